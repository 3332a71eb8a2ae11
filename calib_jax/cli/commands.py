"""The group of all commands, and how errors end."""

import os
import sys
from collections.abc import Sequence

import click

from . import apply, calibrate, cascade, check, clean, demo, hints


@click.group(
    name="calib-jax",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(package_name="calib_jax", prog_name="calib-jax")
def group() -> None:
    """Calibrate a model's confidence, cascade two models by it, clean labels with it.

    The commands read files of saved outputs: arrays, tables, logs of
    lm-evaluation-harness, answers and decisions of servers. Each writes a folder with a
    page to look at, report.html.
    """


for command in (
    calibrate.command,
    cascade.command,
    clean.command,
    apply.command,
    check.command,
    demo.command,
):
    group.add_command(command)


def run(argv: Sequence[str] | None) -> int:
    """Runs the group; every expected error is one line and status 2."""
    arguments = None if argv is None else list(argv)
    try:
        return group.main(arguments, "calib-jax", standalone_mode=False) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        print(f"calib-jax: {_line_of_click(error)}", file=sys.stderr)
        return 2
    except click.Abort:
        print("calib-jax: interrupted.", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except (ValueError, ImportError, OSError, MemoryError) as error:
        print(f"calib-jax: {_line(error)}", file=sys.stderr)
        return 2


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and "pip install" not in str(error):
        return f"{hints.EXTRA} ({error})"
    if isinstance(error, MemoryError):
        return "out of memory; read the rows in several files."
    said = " ".join(str(error).split()) or type(error).__name__
    return hints.as_options(said)


def _line_of_click(error: click.ClickException) -> str:
    said = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    more = "" if context is None else f" See {context.command_path} --help."
    return said + ("" if said.endswith((".", "?")) else ".") + more
