"""Results as files: every number in results.json, and the figures.

Each figure is saved three times: `NAME.pdf` and `NAME.png` on white, and
`NAME-dark.png`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
from matplotlib.figure import Figure

from calib_jax import plots
from calib_jax._core.plain import Plain, plain
from calib_jax.demo.calibration import TEST
from calib_jax.demo.saving import (
    plain_cascade,
    plain_fit,
    write_figures,
    write_json,
)

from .calibration import LOG_ODDS, MEAN, MEAN_LOGIT, CalibratedScore
from .pipeline import ModelResults, Results
from .printing import by_carries

FIGURES = ("reliability-small", "reliability-large", "cascade", "credit")


def save_results(directory: Path, results: Results) -> None:
    """Writes `results.json` into an existing folder."""
    write_json(directory, as_plain(results))


def save_figures(directory: Path, results: Results) -> None:
    """Writes all figures into an existing folder."""
    write_figures(directory, _drawings(results))


def _drawings(results: Results) -> dict[str, Callable[[bool], Figure]]:
    return {
        "reliability-small": lambda dark: _reliability("Small", results.small, dark),
        "reliability-large": lambda dark: _reliability("Large", results.large, dark),
        "cascade": lambda dark: plots.cascade_curves(results.cascade.curves, dark=dark),
        "credit": lambda dark: _credit(results.small, dark),
    }


def _reliability(name: str, model: ModelResults, dark: bool) -> Figure:
    likelihood, logit = model.scores[LOG_ODDS], model.scores[MEAN_LOGIT]
    assert likelihood.before is not None  # Only a mean logit does not have one.
    tables = {
        "likelihood, before": likelihood.before[TEST].table,
        "likelihood, Platt": likelihood.after[TEST].table,
        "mean logit, Platt": logit.after[TEST].table,
    }
    return plots.reliability_diagram(
        tables, title=f"{name} model, test half", dark=dark
    )


def _credit(model: ModelResults, dark: bool) -> Figure:
    score = model.credit_scores[MEAN]
    assert score.before is not None
    figure = plots.reliability_diagram(
        {
            "exp of mean log-likelihood": score.before[TEST].table,
            "mean log-likelihood, Platt": score.after[TEST].table,
        },
        title="Small model, partial credit, test half",
        dark=dark,
    )
    figure.axes[0].set_ylabel("Share of digits right (mean outcome)")
    return figure


def as_plain(results: Results) -> dict[str, Plain]:
    """All numbers as plain data; NaN, which JSON lacks, as None."""
    return {
        "settings": dataclasses.asdict(results.settings),
        "models": {"small": _model(results.small), "large": _model(results.large)},
        "cascade": plain_cascade(results.cascade),
        "by_carries": [
            {name: plain(jnp.asarray(value)) for name, value in row.items()}
            for row in by_carries(results)
        ],
    }


def _model(model: ModelResults) -> dict[str, Plain]:
    return {
        "accuracy": {
            half: plain(jnp.mean(correct)) for half, correct in model.correct.items()
        },
        "credit": {
            half: plain(jnp.mean(credit)) for half, credit in model.credit.items()
        },
        "scores": {name: _score(score) for name, score in model.scores.items()},
        "credit_scores": {
            name: _score(score) for name, score in model.credit_scores.items()
        },
    }


def _score(score: CalibratedScore) -> dict[str, Plain]:
    before = score.before
    return {
        "slope": plain(score.platt.slope),
        "intercept": plain(score.platt.intercept),
        "fit": plain_fit(score.report),
        "halves": {
            half: {
                "auroc": plain(score.ranking[half]),
                "ece_before": None if before is None else plain(before[half].error),
                "ece_after": plain(after.error),
                "reliability_before": (
                    None if before is None else plain(before[half].table)
                ),
                "reliability_after": plain(after.table),
            }
            for half, after in score.after.items()
        },
    }
