"""`calib-jax compare`."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..io.outputs import many
from . import hints, options, running
from .running import Run

if TYPE_CHECKING:
    from ..report.on_tasks import OnTask


class PriceOf(click.ParamType):
    """A model and the price of a question, such as gpt-4.1=2.5."""

    name = "MODEL=PRICE"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, float]:
        model, _, price = value.rpartition("=")
        try:
            found = float(price)
        except ValueError:
            found = math.nan
        if not (model and math.isfinite(found) and found >= 0):
            self.fail(
                "expected a model, then = and its price of a question, such as "
                f"small=0.2, got {value!r}.",
                param,
                ctx,
            )
        return model, found


_TEXT_PATH = click.Path(path_type=Path)


@click.command(
    "compare",
    epilog="""\b
Examples:
  calib-jax compare lm_eval_output
  calib-jax compare runs --pattern "{model}/{task}.npz" --cost small=1 --cost large=10
  calib-jax compare answers --pattern "{model}/{task}" --labels "labels/{task}.csv"
""",
)
@click.argument("paths", type=_TEXT_PATH, nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--pattern",
    metavar="TEXT",
    help="Where paths name model and task, such as '{model}/{task}.npz'.",
)
@click.option("--model", metavar="NAME", help="Model, where nothing else says it.")
@click.option("--task", metavar="NAME", help="Task, where nothing else says it.")
@click.option(
    "--cost",
    "costs",
    type=PriceOf(),
    multiple=True,
    help="Price of a question for a model, in any unit. Repeat it for each model. "
    "[default: costs in the files, if all have them]",
)
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Leave out files that cannot be read; without it they are an error.",
)
@click.option(
    "--labels",
    type=_TEXT_PATH,
    metavar="FILE",
    help="File with labels or outcomes; '{task}' in its name is the task, and a folder "
    "has a file for each.",
)
@click.option(
    "--repeats",
    type=click.Choice(["first", "last"]),
    help="Which row to keep when an id repeats, and which file of a model and task.",
)
@options.reading_new
@options.method
@running.as_run("calib-jax-compare", of_level="Confidence level of intervals.")
def command(
    paths: tuple[Path, ...],
    pattern: str | None,
    model: str | None,
    task: str | None,
    costs: tuple[tuple[str, float], ...],
    skip_unreadable: bool,
    method: str,
    how: dict[str, Any],
    run: Run,
) -> None:
    """Compare several models on several tasks.

    PATH is a file, a folder, which is read with all below it, or a pattern of these in
    quotation marks. A folder whose files hold one answer each is read as one file. Each
    model is calibrated on a random half of each task and judged on the other; each
    ordered pair is a cascade. With prices, the best model or pair at each price is
    chosen on one half and judged on the other. Writes comparison.json and report.html.
    """
    from ..report import comparing, methods

    prices = dict(costs)
    if len(prices) < len(costs):
        raise click.UsageError("expected --cost once for each model.")
    run.check("compare", (*paths, how["labels"]), comparing.FILES)
    with running.steps("Reading") as advance:
        outputs = many.read_many(
            paths,
            pattern=pattern,
            model=model,
            task=task,
            skip_unreadable=skip_unreadable,
            progress=advance,
            **how,
        )
    outputs = tuple(
        dataclasses.replace(one, notes=tuple(map(hints.as_options, one.notes)))
        for one in outputs
    )
    with running.steps("Fitting and judging") as advance:
        report = comparing.comparison_report(
            outputs,
            prices=prices,
            method=methods.METHODS.get(method),
            confidence_level=run.confidence_level,
            seed=run.seed,
            progress=advance,
        )
    report = dataclasses.replace(report, folder=_folder(paths, report.on_tasks))
    labels = how["labels"]
    run.finish(report, how | {"labels": () if labels is None else (labels,)})


def _folder(paths: Sequence[Path], rows: Sequence["OnTask"]) -> str | None:
    """The folder that the names of all files are below, or None if it is not found."""
    for folder in (path for one in paths for path in (one, *one.parents)):
        if all((folder / row.file).exists() for row in rows):
            return str(folder)
    return None
