"""The command `calib-jax`. Each command imports what it needs when it runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments without the program's name; by default the process's.

    Returns:
      The exit status, 0.

    Raises:
      SystemExit: after a usage error, or if an extra is not installed.
    """
    parser = argparse.ArgumentParser(
        prog="calib-jax", description="Confidence of models that can be trusted."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="calibrate, cascade and clean on real images, in about a minute",
        description="Trains a small and a large model on images of digits, calibrates "
        "them, routes between them and finds wrong labels. Prints the results, and "
        "saves them with figures.",
    )
    demo.add_argument(
        "--output-directory",
        type=Path,
        default=Path("calib-jax-demo"),
        metavar="DIR",
        help="folder for results.json and the figures (default: %(default)s)",
    )
    demo.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="INT",
        help="random seed (default: %(default)s)",
    )
    demo.add_argument(
        "--no-cache",
        action="store_true",
        help="do not keep compiled programs for the next run",
    )
    arguments = parser.parse_args(argv)

    try:
        from ..demo import running
        from . import caching
    except ImportError as error:
        hint = "pip install 'calib-jax[demo]'"
        parser.exit(1, f"calib-jax demo needs its extra: {hint}\n({error})\n")
    directory: Path = arguments.output_directory
    try:
        # Fails now rather than after a minute of training.
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot make the folder {directory}: {error.strerror}")
    # Before anything is compiled.
    print(caching.turn_off() if arguments.no_cache else caching.turn_on())
    running.run(directory, arguments.seed)
    return 0
