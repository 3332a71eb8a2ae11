"""`calib-jax cascade`."""

import math
from pathlib import Path
from typing import Any

import click

from . import options, running
from .running import Run


class Price(click.ParamType):
    """Prices of a call of the small and of the large model, such as 1:10."""

    name = "SMALL:LARGE"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[float, float]:
        try:
            small, large = map(float, value.split(":"))
        except ValueError:
            self.fail(
                f"expected two prices of a call, small:large, such as 1:10, got "
                f"{value!r}.",
                param,
                ctx,
            )
        if not all(math.isfinite(one) and one >= 0 for one in (small, large)):
            self.fail(f"expected prices of 0 or more, got {value!r}.", param, ctx)
        if not (small or large):
            self.fail("both prices are 0; at least one must be positive.", param, ctx)
        return small, large


@click.command(
    "cascade",
    epilog="""\b
Examples:
  calib-jax cascade samples_small.jsonl samples_large.jsonl --cost 1:10
  calib-jax cascade small.npz large.npz --labels labels.csv --max-drop 0.02
  calib-jax cascade direct.jsonl thinking.jsonl --choices A,B,C,D
  calib-jax cascade a.jsonl b.jsonl --labels a_eval.json --labels b_eval.json
""",
)
@options.file_argument("small")
@options.file_argument("large")
@options.reading
@options.model
@options.method
@click.option(
    "--cost",
    type=Price(),
    help="Prices of a small and of a large call, such as 1:10, in any unit. "
    "[default: costs in the files, if both have them]",
)
@click.option(
    "--max-drop",
    type=options.Number(-1.0, 1.0),
    default=0.01,
    show_default=True,
    help="Largest allowed loss of accuracy; 0.01 is one point.",
)
@click.option(
    "--num-bins",
    type=click.IntRange(2, 200),
    default=15,
    show_default=True,
    help="Number of router bins.",
)
@click.option(
    "--num-small-bins",
    type=click.IntRange(0),
    metavar="K",
    help="Bins to keep small, without a promise. [default: chosen for --max-drop]",
)
@click.option(
    "--large-decides",
    is_flag=True,
    help="Take the large model's answer wherever it is asked. [default: weigh both "
    "answers by their confidence, if that helped on the rows of the fit]",
)
@running.as_run("calib-jax-cascade")
def command(
    small: Path,
    large: Path,
    cost: tuple[float, float] | None,
    max_drop: float,
    num_bins: int,
    num_small_bins: int | None,
    large_decides: bool,
    method: str,
    model: tuple[str, ...],
    how: dict[str, Any],
    run: Run,
) -> None:
    """Route inputs between a small and a large model, with a promise.

    SMALL and LARGE hold outputs of two models, or of one model run two ways, on the
    same inputs; --labels is for both, or given once for each. Calibrators and router
    are fitted on a random half of the shared rows. K, how many bins the small model
    keeps, is chosen on the other half, to lose at most --max-drop. Where both models
    were asked, an arbiter takes one of their answers, if that helped on the first half.
    Writes cascade.json and report.html.
    """
    from ..report import cascade, methods

    paths = (small, large)
    run.check("cascade", (*paths, *how["labels"]), cascade.FILES)
    outputs = options.read_all(paths, model, **how)
    prices = (None, None) if cost is None else cost
    with running.working("Fitting, choosing K and judging"):
        report = cascade.cascade_report(
            *outputs,
            max_drop=max_drop,
            confidence_level=run.confidence_level,
            small_cost=prices[0],
            large_cost=prices[1],
            method=methods.METHODS.get(method),
            num_bins=num_bins,
            num_small_bins=num_small_bins,
            large_decides=large_decides,
            seed=run.seed,
        )
    run.finish(report, {**how, "model": model})
