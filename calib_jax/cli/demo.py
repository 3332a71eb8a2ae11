"""`calib-jax demo`."""

from pathlib import Path

import click

from . import caching, running


@click.command("demo")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("calib-jax-demo"),
    metavar="DIR",
    show_default=True,
    help="Folder for results.json and the figures.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@running.no_cache
def command(output: Path, seed: int, no_cache: bool) -> None:
    """Calibrate, cascade and clean on real images, in about a minute.

    Trains a small and a large model on images of digits, calibrates them, routes
    between them and finds wrong labels. Prints the results, and saves them with
    figures.
    """
    try:
        from ..demo import running
    except ImportError as error:
        raise click.ClickException(
            f"the demo needs its extra: pip install 'calib-jax[demo]' ({error})"
        ) from error
    try:
        # Fails now rather than after a minute of training.
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(
            f"cannot make the folder {output}: {error.strerror}"
        ) from error
    # Before anything is compiled.
    click.echo(caching.turn_off() if no_cache else caching.turn_on())
    running.run(output, seed)
