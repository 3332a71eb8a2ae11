"""Results as files: every number in results.json, and the figures of the paper.

Each figure is saved three times: `NAME.pdf` and `NAME.png` on white, and
`NAME-dark.png`.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

import calib_jax as cj
from calib_jax import plots

from .calibration import TEST, CalibratedModel
from .cleaning import Cleaning, Flags
from .pipeline import Results

Plain = Mapping[str, "Plain"] | list["Plain"] | str | float | int | None

FIGURES = ("reliability-small", "reliability-large", "cascade", "cleaning")


def save_results(directory: Path, results: Results) -> None:
    """Writes `results.json` into an existing folder."""
    text = json.dumps(as_plain(results), indent=2, allow_nan=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")


def save_figures(directory: Path, results: Results) -> None:
    """Writes all figures into an existing folder."""
    for dark, endings in ((False, (".png", ".pdf")), (True, ("-dark.png",))):
        # Resolution and fonts are looked up while a figure is written.
        with plots.style(dark=dark):
            for name, draw in _drawings(results).items():
                figure = draw(dark)
                for ending in endings:
                    figure.savefig(directory / f"{name}{ending}")


def _drawings(results: Results) -> dict[str, Callable[[bool], Figure]]:
    cleaning = results.cleaning
    methods = list(cleaning.high_confidence.values())
    points = {
        "top-1 disagreement": _point(cleaning.top1),
        "high confidence": (
            jnp.stack([flags.flagged_share for flags in methods]),
            jnp.stack([flags.precision for flags in methods]),
        ),
        "confident learning": _point(cleaning.confident_learning),
    }
    # The panel ends a little to the right of the last point.
    furthest = max(float(jnp.max(share)) for share, _ in points.values())
    return {
        "reliability-small": lambda dark: _reliability("Small", results.small, dark),
        "reliability-large": lambda dark: _reliability("Large", results.large, dark),
        "cascade": lambda dark: plots.cascade_curves(results.cascade.curves, dark=dark),
        "cleaning": lambda dark: plots.cleaning_curves(
            cleaning.curves,
            points,
            max_flagged_share=min(1.0, 1.25 * furthest),
            dark=dark,
        ),
    }


def _reliability(name: str, model: CalibratedModel, dark: bool) -> Figure:
    tables = {"before": model.before[TEST].table, "after": model.after[TEST].table}
    return plots.reliability_diagram(
        tables, title=f"{name} model, test half", dark=dark
    )


def _point(flags: Flags) -> tuple[jax.Array, jax.Array]:
    return flags.flagged_share, flags.precision


def as_plain(results: Results) -> dict[str, Plain]:
    """All numbers as plain data; NaN, which JSON lacks, as None."""
    curve = next(iter(results.cascade.curves.values()))
    return {
        "settings": dataclasses.asdict(results.settings),
        "models": {
            "small": _model(results.small),
            "large": _model(results.large),
        },
        "cascade": {
            "small_accuracy": _numbers(curve.small_accuracy),
            "large_accuracy": _numbers(curve.large_accuracy),
            "apgr": {k: _numbers(v) for k, v in results.cascade.recovered.items()},
            "apgr_gain_interval": list(results.cascade.gain_interval),
            "no_loss": {
                name: dataclasses.asdict(point)
                for name, point in results.cascade.no_loss.items()
            },
            "hindsight": {
                name: dataclasses.asdict(point)
                for name, point in results.cascade.hindsight.items()
            },
            "curves": {
                name: {
                    "small_share": _numbers(curve.small_share),
                    "accuracy": _numbers(curve.accuracy),
                }
                for name, curve in results.cascade.curves.items()
            },
        },
        "cleaning": _cleaning(results.cleaning),
    }


def _model(model: CalibratedModel) -> dict[str, Plain]:
    return {
        "temperature": _numbers(model.temperature.temperature),
        "fit": {
            "status": cj.FitStatus(int(model.report.status)).name,
            "converged": bool(model.report.converged),
            "num_steps": int(model.report.num_steps),
            "loss": _numbers(model.report.loss),
        },
        "halves": {
            half: {
                "accuracy": _numbers(jnp.mean(model.after[half].correct)),
                "ece_before": _numbers(model.before[half].error),
                "ece_after": _numbers(model.after[half].error),
                "reliability_before": _arrays(model.before[half].table),
                "reliability_after": _arrays(model.after[half].table),
            }
            for half in model.after
        },
    }


def _cleaning(cleaning: Cleaning) -> dict[str, Plain]:
    return {
        "num_labels": cleaning.labels.shape[0],
        "num_wrong": int(jnp.sum(cleaning.is_error)),
        "methods": {
            "top1_disagreement": _flags(cleaning.top1),
            "high_confidence_disagreement": {
                str(num_top_bins): _flags(flags)
                for num_top_bins, flags in cleaning.high_confidence.items()
            },
            "confident_learning": _flags(cleaning.confident_learning),
        },
        "curves": {name: _arrays(curve) for name, curve in cleaning.curves.items()},
    }


def _flags(flags: Flags) -> dict[str, Plain]:
    return {
        "num_flagged": int(jnp.sum(flags.flagged)),
        "flagged_share": _numbers(flags.flagged_share),
        "precision": _numbers(flags.precision),
        "recall": _numbers(flags.recall),
        "suggestions_correct": _numbers(flags.suggestions_correct),
        "repaired_accuracy": _numbers(flags.repaired_accuracy),
    }


def _arrays(table: cj.ReliabilityTable | cj.CleaningCurve) -> Plain:
    return {
        field.name: _numbers(getattr(table, field.name))
        for field in dataclasses.fields(table)
    }


def _numbers(array: ArrayLike) -> Plain:
    """A number, or a list of them, in the fewest digits that give the float32 again."""
    values = np.asarray(array)
    if values.ndim:
        return [_numbers(value) for value in values]
    if np.issubdtype(values.dtype, np.integer):
        return int(values)
    return float(str(values)) if np.isfinite(values) else None
