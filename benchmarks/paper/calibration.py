"""Calibration error before and after (Table 1), reliability diagrams (Figure 1).

Shapes: S splits, M models, n examples of a half, B bins.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import calib_jax as cj
from benchmarks.kit import report
from benchmarks.kit.halves import Half
from benchmarks.kit.report import Section
from calib_jax import plots

from . import text
from .study import Advance, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """The quality of the confidences of M models on one half.

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
      num_calibration: examples of the calibration half.
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
    # One model after the other: all models of one size share a program.
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
    correlation = means("rank_correlation", "test", "before")
    return text.section(
        "calibration",
        study,
        numbers,
        figures={
            f"reliability-{name}": functools.partial(_draw, task)
            for name, task in numbers.items()
        },
        total=len(after),
        before=before,
        after=after,
        lower=int(np.sum(after < before)),
        chance=means("chance_error", "test", "after"),
        fitted=fitted,
        transferred=int(np.sum(after <= 1.5 * fitted)),
        correlation=correlation,
        ordered=int(np.sum(correlation >= 0.9)),
        area=means("area", "test", "before"),
        error_tables={name: _error_table(task) for name, task in numbers.items()},
        unusual={name: _unusual_fits(task) for name, task in numbers.items()},
        ranking_table=_ranking_table(study, numbers),
    )


def _error_table(task: TaskNumbers) -> str:
    def error(half: str, when: str) -> Callable[[int], str]:
        return lambda m: report.spread(getattr(task, when)[half].error[:, m])

    chance = task.after["test"].chance_error
    return report.table(
        [
            ("model", lambda m: task.models[m]),
            ("accuracy (%)", lambda m: report.percent(task.accuracy[:, m].mean())),
            (
                "temperature" if task.by_temperature else "slope",
                lambda m: report.spread(task.parameter[:, m], 2),
            ),
            ("calibration half: before", error("calibration", "before")),
            ("after", error("calibration", "after")),
            ("**test half: before**", error("test", "before")),
            ("**after**", error("test", "after")),
            ("by chance", lambda m: report.number(chance[:, m].mean())),
        ],
        range(len(task.models)),
    )


def _unusual_fits(task: TaskNumbers) -> list[str]:
    """The fits that did not simply converge."""
    parts = []
    for m, model in enumerate(task.models):
        codes, counts = np.unique(task.status[:, m], return_counts=True)
        parts += [
            f"{model}: {cj.FitStatus(int(code)).name} in {count}"
            for code, count in zip(codes, counts, strict=True)
            if code != cj.FitStatus.CONVERGED
        ]
    return parts


def _ranking_table(study: Study, numbers: Numbers) -> str:
    def cell(when: str, values: str) -> Callable[[tuple[str, int]], str]:
        def found(row: tuple[str, int]) -> str:
            quality = getattr(numbers[row[0]], when)["test"]
            return report.spread(getattr(quality, values)[:, row[1]])

        return found

    return report.table(
        [
            (
                "task, model",
                lambda row: (
                    f"{study.tasks[row[0]].title}, {numbers[row[0]].models[row[1]]}"
                ),
            ),
            ("rank correlation: before", cell("before", "rank_correlation")),
            ("after", cell("after", "rank_correlation")),
            ("ROC area: before", cell("before", "area")),
            ("after", cell("after", "area")),
        ],
        [(name, m) for name, task in numbers.items() for m in range(len(task.models))],
    )


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
