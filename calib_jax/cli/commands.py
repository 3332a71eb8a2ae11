"""The group of all commands, and how errors end."""

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

import click

from .._core import versions
from . import apply, calibrate, cascade, check, clean, compare, demo, hints, interrupts

# What they write, they write as they go.
_AS_THEY_GO = ("apply", "demo")


@click.group(
    name="calib-jax",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(versions.VERSION, prog_name="calib-jax")
@click.pass_context
def group(context: click.Context) -> None:
    """Calibrate a model's confidence, cascade two models by it, clean labels with it.

    The commands read files of saved outputs: arrays, tables, logs of
    evaluation harnesses, answers and decisions of servers. Each writes a folder with a
    page to look at, report.html.
    """
    as_it_goes = context.invoked_subcommand in _AS_THEY_GO
    interrupts.begin(writes_as_it_goes=as_it_goes)


for command in (
    calibrate.command,
    cascade.command,
    clean.command,
    compare.command,
    apply.command,
    check.command,
    demo.command,
):
    group.add_command(command)


def run(argv: Sequence[str] | None) -> int:
    """Runs the group; every expected error is one line and status 2."""
    try:
        status = _status(argv)
        interrupts.ignore()
        return status
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except Exception:
        # An extension that was being loaded makes another error of it.
        if interrupts.came():
            return _interrupted()
        raise


def _status(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        # As `group.main`, which starts another line for Ctrl-C.
        with group.make_context("calib-jax", arguments) as context:
            return group.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        print(f"calib-jax: {_line_of_click(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _print_no_more()
        return 2
    except (ValueError, ImportError, OSError, MemoryError) as error:
        if interrupts.came():
            raise
        print(f"calib-jax: {_line(error)}", file=sys.stderr)
        if isinstance(error, OSError):
            _print_no_more()
        return 2


def _interrupted() -> int:
    if interrupts.is_watching():
        interrupts.end()
    print(f"calib-jax: {interrupts.words()}", file=sys.stderr)
    return 2


def _print_no_more() -> None:
    """What standard output did not take would be an error once more at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        # Neither files nor standard output say which of them it is.
        return f"{error.strerror}; make room or write elsewhere, and run it again."
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
