"""`calib-jax demo`."""

import importlib
import tempfile
from pathlib import Path

import click

from . import caching, running

# Where each demo is, the extra that it needs, and the folder it writes to.
DEMOS = {
    "digits": ("..demo.running", "demo", Path("calib-jax-demo")),
    "languages": (
        "..demo.languages.running",
        "languages",
        Path("calib-jax-languages"),
    ),
}


@click.command("demo")
@click.argument("name", type=click.Choice(list(DEMOS)), default="digits")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for results.json and the figures.  "
    "[default: calib-jax-demo, or calib-jax-languages]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@running.no_cache
def command(name: str, output: Path | None, seed: int, no_cache: bool) -> None:
    """Calibrate, cascade and clean on real data, in a minute or two.

    digits, which is what runs without a name, trains a small and a large model on
    images of digits, calibrates them, routes between them and finds wrong labels.

    languages does it with three pretrained models that say which language a string is
    in, on the translations that come with Django. It needs the extra
    calib-jax[languages].

    Both print the results, and save them with figures and files for the other commands.
    """
    module, extra, folder = DEMOS[name]
    try:
        demo = importlib.import_module(module, __package__)
    except ImportError as error:
        raise click.ClickException(
            f"the demo needs its extra: pip install 'calib-jax[{extra}]' ({error})"
        ) from error
    output = output or folder
    try:
        # Fails now rather than after a minute of work.
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise click.ClickException(
            f"cannot write to the folder {output}: {error.strerror}"
        ) from error
    # Before anything is compiled.
    click.echo(caching.turn_off() if no_cache else caching.turn_on())
    demo.run(output, seed)
