"""Calibration error before and after (Table 1), reliability diagrams (Figure 1).

Shapes: S splits, M models, n examples of a half, B bins.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import calib_jax as cj
from benchmarks.kit import report
from benchmarks.kit.halves import Half
from benchmarks.kit.report import Claim, Section
from calib_jax import plots

from .study import Advance, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """How good the confidences of M models are on one half.

    Attributes:
      error: float32 `[S, M]`, ECE over fresh equal-count bins.
      chance_error: float32 `[S, M]`, the ECE if each answer were correct with exactly
        the stated probability: one draw of outcomes a split.
      area: float32 `[S, M]`, area under the ROC curve of confidence for correctness.
      rank_correlation: float32 `[S, M]`, of confidence and accuracy over the bins.
      table: `ReliabilityTable` of arrays `[M, B]`, of the first split.
    """

    error: np.ndarray
    chance_error: np.ndarray
    area: np.ndarray
    rank_correlation: np.ndarray
    table: cj.ReliabilityTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskNumbers:
    """One task; the keys of the mappings are "calibration" and "test".

    Attributes:
      models: names.
      num_calibration: examples of the half that is fitted on.
      by_temperature: whether a temperature was fitted, else Platt scaling.
      accuracy: float32 `[S, M]`, on the test half.
      parameter: float32 `[S, M]`, temperature or slope.
      status: int32 `[S, M]`, `cj.FitStatus`.
      before: `Quality` of the stated confidence, by half.
      after: `Quality` of the calibrated confidence, by half.
    """

    models: tuple[str, ...]
    num_calibration: int
    by_temperature: bool
    accuracy: np.ndarray
    parameter: np.ndarray
    status: np.ndarray
    before: Mapping[str, Quality]
    after: Mapping[str, Quality]


Numbers = Mapping[str, TaskNumbers]


def num_steps(study: Study) -> int:
    return len(study.tasks)


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Measures every model of every task before and after calibration."""
    settings, numbers = study.settings, {}
    key = jax.random.key(settings.seed)
    for name, task in study.tasks.items():
        splits = study.halves[name]
        halves = {"calibration": splits.calibration, "test": splits.test}
        quality = {
            calibrated: {
                half: _quality(key, rows, calibrated, settings.num_bins)
                for half, rows in halves.items()
            }
            for calibrated in (False, True)
        }
        numbers[name] = TaskNumbers(
            models=task.models,
            num_calibration=splits.calibration.rows.shape[1],
            by_temperature=task.logits is not None,
            accuracy=splits.test.correct.mean(axis=-1),
            parameter=splits.parameter,
            status=splits.status,
            before=quality[False],
            after=quality[True],
        )
        advance(task.title)
    return numbers


def _quality(key: jax.Array, half: Half, calibrated: bool, num_bins: int) -> Quality:
    confidence = half.confidence(calibrated)
    num_models = confidence.shape[1]
    # One model after the other: all of a task's size share a program.
    measured = [
        _measure(key, confidence[:, m], half.correct[:, m], num_bins=num_bins)
        for m, key in enumerate(jax.random.split(key, num_models))
    ]
    table = [
        jax.tree.map(lambda array: array[0], each.pop("table")) for each in measured
    ]
    return Quality(
        table=jax.tree.map(lambda *parts: np.stack(parts), *table),
        **{
            name: np.stack([each[name] for each in measured], axis=1)
            for name in measured[0]
        },
    )


@functools.partial(jax.jit, static_argnames="num_bins")
def _measure(
    key: jax.Array, confidence: jax.Array, correct: jax.Array, *, num_bins: int
) -> dict[str, Any]:
    """The fields of `Quality` of one model, from `[S, n]`; the tables of all splits."""

    def split(key: jax.Array, confidence: jax.Array, correct: jax.Array):
        bins = cj.equal_count_bins(confidence, num_bins)
        outcomes = jax.random.uniform(key, confidence.shape, jnp.float32) < confidence
        tables = jax.vmap(cj.reliability_table, (None, None, 0))(
            bins, confidence, jnp.stack([correct, outcomes])
        )
        gaps = tables.weight * jnp.abs(tables.confidence - tables.outcome)
        error, chance_error = jnp.sum(gaps, axis=-1) / len(confidence)
        table = jax.tree.map(lambda array: array[0], tables)
        return {
            "error": error,
            "chance_error": chance_error,
            "area": cj.area_under_roc(confidence, correct),
            "rank_correlation": cj.metrics.rank_correlation(table),
            "table": table,
        }

    return jax.vmap(split)(jax.random.split(key, len(confidence)), confidence, correct)


def describe(study: Study, numbers: Numbers) -> Section:
    """Table 1, Figure 1, and the first observation of the paper."""
    blocks = [
        "Every model is calibrated on one half of a task and judged on the other: by a "
        "temperature where the logits were saved, else by Platt scaling of the "
        "log-odds of its stated confidence. ECE over "
        f"{study.settings.num_bins} equal-count bins, mean ± standard deviation over "
        f"{study.settings.num_halves} random halves. *By chance* is the ECE of "
        "outcomes drawn with exactly the calibrated probabilities: what a perfectly "
        "calibrated model shows on as many examples, and no model can be told from "
        "calibrated below it.",
    ]
    for name, task in numbers.items():
        blocks += [
            f"### {study.tasks[name].title} ({task.num_calibration:,} examples a half)",
            _error_table(task),
        ]
        unusual = _unusual_fits(task)
        blocks += [unusual] if unusual else []
        blocks.append(
            report.figure(
                f"reliability-{name}",
                f"{study.tasks[name].title}: accuracy against confidence on the test "
                "half of the first split, before and after calibration; on the "
                "diagonal, confidence means what it says.",
            )
        )
    blocks += [
        "### Does confidence tell right from wrong?",
        "The paper's first observation: accuracy rises with confidence even before "
        "calibration. Spearman's rank correlation of mean confidence and accuracy over "
        "the bins, and the area under the ROC curve of confidence for correctness "
        "(0.5 is chance), on the test half. A temperature can change the ranking of "
        "examples of several classes, Platt scaling cannot, unless its slope is "
        "negative.",
        _ranking_table(study, numbers),
    ]
    return Section(
        title="Calibration (Table 1, Figure 1)",
        blocks=blocks,
        figures={
            f"reliability-{name}": functools.partial(_draw, task)
            for name, task in numbers.items()
        },
        claims=_claims(numbers),
        numbers=numbers,
    )


def _error_table(task: TaskNumbers) -> str:
    parameter = "temperature" if task.by_temperature else "slope"
    header = ["model", "accuracy (%)", parameter]
    header += ["calibration half: before", "after"]
    header += ["**test half: before**", "**after**", "by chance"]
    rows = []
    for m, model in enumerate(task.models):
        errors = [
            report.spread(quality.error[:, m])
            for half in ("calibration", "test")
            for quality in (task.before[half], task.after[half])
        ]
        rows.append(
            [
                model,
                report.number(task.accuracy[:, m].mean(), 1, 100.0),
                report.spread(task.parameter[:, m], 2),
                *errors,
                report.number(task.after["test"].chance_error[:, m].mean()),
            ]
        )
    return report.table(header, rows)


def _unusual_fits(task: TaskNumbers) -> str:
    """A sentence on the fits that did not simply converge, or none."""
    parts = []
    for m, model in enumerate(task.models):
        codes, counts = np.unique(task.status[:, m], return_counts=True)
        parts += [
            f"{model}: {cj.FitStatus(int(code)).name} in {count}"
            for code, count in zip(codes, counts, strict=True)
            if code != cj.FitStatus.CONVERGED
        ]
    if not parts:
        return ""
    return f"Fits other than CONVERGED, of {len(task.status)}: {'; '.join(parts)}."


def _ranking_table(study: Study, numbers: Numbers) -> str:
    header = ["task, model", "rank correlation: before", "after"]
    header += ["ROC area: before", "after"]
    rows = [
        [
            f"{study.tasks[name].title}, {model}",
            *(
                report.spread(values[:, m])
                for values in (
                    task.before["test"].rank_correlation,
                    task.after["test"].rank_correlation,
                    task.before["test"].area,
                    task.after["test"].area,
                )
            ),
        ]
        for name, task in numbers.items()
        for m, model in enumerate(task.models)
    ]
    return report.table(header, rows)


def _claims(numbers: Numbers) -> list[Claim]:
    def means(values: str, half: str, when: str) -> np.ndarray:
        """Mean over the splits, for every model of every task."""
        return np.concatenate(
            [
                np.nanmean(getattr(getattr(task, when)[half], values), axis=0)
                for task in numbers.values()
            ]
        )

    before, after = (means("error", "test", when) for when in ("before", "after"))
    fitted = means("error", "calibration", "after")
    chance = means("chance_error", "test", "after")
    correlation = means("rank_correlation", "test", "before")
    area = means("area", "test", "before")
    lower, total = int(np.sum(after < before)), len(after)
    ordered = int(np.sum(correlation >= 0.9))
    return [
        Claim(
            "Calibration on one half lowers the ECE of the other",
            report.verdict(lower, total),
            f"lower for {lower} of {total} models; median test ECE "
            f"{report.number(np.median(before))} before, "
            f"{report.number(np.median(after))} after (by chance "
            f"{report.number(np.median(chance))})",
        ),
        Claim(
            "What was fitted on one half transfers to the other",
            report.verdict(int(np.sum(after <= 1.5 * fitted)), total),
            "after calibration the test ECE is at most 1.5 times that of the "
            f"calibration half for {int(np.sum(after <= 1.5 * fitted))} of {total} "
            f"models; median {report.number(np.median(fitted))} there, "
            f"{report.number(np.median(after))} on the test half",
        ),
        Claim(
            "Accuracy rises with confidence, before any calibration",
            report.verdict(ordered, total),
            f"rank correlation over bins of at least 0.9 for {ordered} of {total} "
            f"models (least {report.number(correlation.min(), 2)}); area under the ROC "
            f"curve {report.number(area.min(), 2)} to {report.number(area.max(), 2)}",
        ),
    ]


def _draw(task: TaskNumbers, dark: bool) -> Figure:
    rows = math.ceil(len(task.models) / 3)
    columns = math.ceil(len(task.models) / rows)
    figure = Figure(figsize=(2.33 * columns, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for m, axes in enumerate(panels):
        if m >= len(task.models):
            axes.set_axis_off()
            continue
        tables = {
            when: jax.tree.map(lambda array, m=m: array[m], quality["test"].table)
            for when, quality in (("before", task.before), ("after", task.after))
        }
        plots.reliability_diagram(tables, title=task.models[m], axes=axes)
    return figure
