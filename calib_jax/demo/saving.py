"""Results as files: all numbers in results.json, figures, and both models' outputs.

Each figure is saved as `NAME.pdf` and `NAME.png` on white, and as `NAME-dark.png`.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import calib_jax as cj
from calib_jax import plots
from calib_jax._core.plain import Plain, plain

from .calibration import TEST, CalibratedModel
from .cascade import Cascade
from .cleaning import Cleaning, Flags
from .results import Results

FIGURES = ("reliability-small", "reliability-large", "cascade", "cleaning")


def save(directory: Path, results: Results) -> None:
    """Writes numbers, figures and outputs into an existing folder."""
    save_results(directory, results)
    save_figures(directory, results)
    save_outputs(directory, results)


def save_results(directory: Path, results: Results) -> None:
    """Writes `results.json` into an existing folder."""
    write_json(directory, as_plain(results))


def save_figures(directory: Path, results: Results) -> None:
    """Writes all figures into an existing folder."""
    write_figures(directory, _drawings(results))


def save_outputs(directory: Path, results: Results) -> None:
    """Writes what the other commands read, for all examples that are not trained on.

    `small.npz`, `large.npz` and so on hold logits and true labels, with names of rows
    and classes if there are any. `suspect_labels.npy` has the labels to clean; with
    names of rows it is `suspect_labels.npz`.
    """
    labels, suspect = _joined(results.labels), _joined(results.given)
    rows: dict[str, Any] = {}
    if results.ids is not None:
        rows["ids"] = _joined(results.ids)
    named = {} if results.choices is None else {"choices": np.array(results.choices)}
    arrays: dict[str, Any] = {"labels": labels, **rows, **named}
    for name, model in results.models.items():
        logits = _joined({half: model.logits[half] for half in results.labels})
        np.savez_compressed(directory / f"{name}.npz", logits=logits, **arrays)
    if rows:
        np.savez_compressed(directory / "suspect_labels.npz", labels=suspect, **rows)
    else:
        np.save(directory / "suspect_labels.npy", suspect)


def _joined(halves: Mapping[str, jax.Array | Sequence[str]]) -> np.ndarray:
    return np.concatenate([np.asarray(half) for half in halves.values()])


def write_json(directory: Path, plain: Plain) -> None:
    """Writes plain data as `results.json` into an existing folder."""
    text = json.dumps(plain, indent=2, allow_nan=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")


def write_figures(
    directory: Path, drawings: Mapping[str, Callable[[bool], Figure]]
) -> None:
    """Writes figures by name into an existing folder, drawn light and dark."""
    for dark, endings in ((False, (".png", ".pdf")), (True, ("-dark.png",))):
        # Resolution and fonts are looked up when a figure is written.
        with plots.style(dark=dark):
            for name, draw in drawings.items():
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
    # The panel ends a little to the right of the rightmost point.
    furthest = max(float(jnp.max(share)) for share, _ in points.values())
    return {
        "reliability-small": lambda dark: _reliability("small", results, dark),
        "reliability-large": lambda dark: _reliability("large", results, dark),
        "cascade": lambda dark: plots.cascade_curves(results.cascade.curves, dark=dark),
        "cleaning": lambda dark: plots.cleaning_curves(
            cleaning.curves,
            points,
            max_flagged_share=min(1.0, 1.25 * furthest),
            dark=dark,
        ),
    }


def _reliability(name: str, results: Results, dark: bool) -> Figure:
    model = results.models[name]
    tables = {"before": model.before[TEST].table, "after": model.after[TEST].table}
    return plots.reliability_diagram(
        tables, title=f"{name.capitalize()} model, test half", dark=dark
    )


def _point(flags: Flags) -> tuple[jax.Array, jax.Array]:
    return flags.flagged_share, flags.precision


def as_plain(results: Results) -> dict[str, Plain]:
    """All numbers as plain data, with None for NaN, which JSON lacks."""
    return {
        "settings": dataclasses.asdict(results.settings),
        "models": {name: _model(model) for name, model in results.models.items()},
        "cascade": plain_cascade(results.cascade),
        "cleaning": _cleaning(results.cleaning),
    }


def plain_cascade(cascade: Cascade) -> dict[str, Plain]:
    """Accuracies, APGR, operating points and curves of every router."""
    curve = next(iter(cascade.curves.values()))
    return {
        "small_accuracy": plain(curve.small_accuracy),
        "large_accuracy": plain(curve.large_accuracy),
        "apgr": plain(cascade.apgr),
        "apgr_gain_interval": list(cascade.gain_interval),
        "max_loss": cascade.max_loss,
        "chosen": plain(cascade.chosen),
        "hindsight": plain(cascade.hindsight),
        "best": plain(cascade.best),
        "curves": {
            name: {
                "small_share": plain(curve.small_share),
                "accuracy": plain(curve.accuracy),
            }
            for name, curve in cascade.curves.items()
        },
    }


def plain_fit(report: cj.FitReport) -> dict[str, Plain]:
    """How a fit ended."""
    return {
        "status": cj.FitStatus(int(report.status)).name,
        "converged": bool(report.converged),
        "num_steps": int(report.num_steps),
        "loss": plain(report.loss),
    }


def _model(model: CalibratedModel) -> dict[str, Plain]:
    return {
        "temperature": plain(model.temperature.temperature),
        "fit": plain_fit(model.report),
        "halves": {
            half: {
                "accuracy": plain(jnp.mean(model.after[half].correct)),
                "ece_before": plain(model.before[half].error),
                "ece_after": plain(model.after[half].error),
                "reliability_before": plain(model.before[half].table),
                "reliability_after": plain(model.after[half].table),
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
        "curves": plain(cleaning.curves),
    }


def _flags(flags: Flags) -> dict[str, Plain]:
    return {
        "num_flagged": int(jnp.sum(flags.flagged)),
        "flagged_share": plain(flags.flagged_share),
        "precision": plain(flags.precision),
        "recall": plain(flags.recall),
        "suggestions_correct": plain(flags.suggestions_correct),
        "repaired_accuracy": plain(flags.repaired_accuracy),
    }
