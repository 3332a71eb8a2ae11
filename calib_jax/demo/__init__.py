"""The commands `calib-jax demo` and `calib-jax arithmetic`: the whole pipeline.

`demo` trains a small and a large Flax model on 5,000 images of digits, calibrates both,
routes between them and finds flipped labels, then prints the numbers and saves them
with the figures. The parts are `data`, `models`, `calibration`, `cascade` and
`cleaning`, which `pipeline` puts together; `printing` and `saving` come after. The
package `arithmetic` has the same for two models that write sums. They need the extra
`calib-jax[demo]`, and are imported only once a command runs.
"""

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments without the program's name; those of the process by default.

    Returns:
      The exit status, 0.

    Raises:
      SystemExit: after a usage error, or if an extra is not installed.
    """
    start = time.perf_counter()
    parser = argparse.ArgumentParser(
        prog="calib-jax", description="Confidence of models that can be trusted."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_command(
        commands,
        "demo",
        "calibrate, cascade and clean on real images, in about a minute",
        "Trains a small and a large model on images of digits, calibrates them, "
        "routes between them and finds wrong labels. Prints the results; saves them "
        "and the figures.",
    )
    _add_command(
        commands,
        "arithmetic",
        "calibrate and cascade two sequence models, in some minutes",
        "Trains a small and a large sequence model on sums of numbers, calibrates the "
        "scores of their answers and routes between them. Prints the results; saves "
        "them and the figures.",
    )
    arguments = parser.parse_args(argv)

    package = __name__ if arguments.command == "demo" else f"{__name__}.arithmetic"
    try:
        from . import printing as terminal

        pipeline, printing, saving = (
            importlib.import_module(f"{package}.{part}")
            for part in ("pipeline", "printing", "saving")
        )
    except ImportError as error:
        hint = "pip install 'calib-jax[demo]'"
        parser.exit(
            1, f"calib-jax {arguments.command} needs its extra: {hint}\n({error})\n"
        )
    directory: Path = arguments.output_directory
    try:
        # Now rather than after a minute of training.
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot make the folder {directory}: {error.strerror}")

    settings = pipeline.Settings(seed=arguments.seed)
    console = terminal.new_console()
    with terminal.training_progress(console, settings.num_epochs) as advance:
        results = pipeline.run(settings, advance)
    printing.print_results(console, results)
    saving.save_results(directory, results)
    saving.save_figures(directory, results)
    seconds = time.perf_counter() - start
    terminal.print_end(console, directory, seconds)
    return 0


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    description: str,
) -> None:
    command = commands.add_parser(name, help=summary, description=description)
    command.add_argument(
        "--output-directory",
        type=Path,
        default=Path(f"calib-jax-{name}"),
        metavar="DIR",
        help="where results.json and the figures go (default: %(default)s)",
    )
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="of everything random (default: %(default)s)",
    )
