"""Shift of the images: calibrated on clean digits, judged on corrupted ones.

The demo's small and large model are trained here; temperatures, routers and K come from
clean images, and for comparison from a few corrupted ones.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import matplotlib
import numpy as np
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.kit import corruptions, report, training
from benchmarks.kit.report import Section
from calib_jax.demo import data, models

from . import text
from .shift_measures import Logits, Numbers, summarise
from .study import Advance, Settings, Study

NUM_REFIT = 300

# Seeds of this section start with this, after the study's own.
_DIGITS, _SMALL, _LARGE, _CORRUPTION = 1040, 1041, 1042, 1043


def num_steps(study: Study) -> int:
    return study.settings.num_repeats * (1 + len(corruptions.CORRUPTIONS))


def evaluate(study: Study, advance: Advance) -> Numbers:
    repeats = range(study.settings.num_repeats)
    return summarise(
        [logits(study.settings, repeat, advance) for repeat in repeats],
        study.settings.num_bins,
    )


def logits(settings: Settings, repeat: int, advance: Advance) -> Logits:
    """Trains both models, and evaluates them on clean and corrupted images."""

    def seed(of: int) -> tuple[int, ...]:
        return settings.seed, of, repeat

    digits = training.deal(seed(_DIGITS), settings.num_train)
    pair = []
    for build, recipe, of in (
        (training.small, data.Settings.small_recipe, _SMALL),
        (training.large, data.Settings.large_recipe, _LARGE),
    ):
        recipe = dataclasses.replace(recipe, num_epochs=settings.num_epochs)
        pair.append(training.train(build, seed(of), digits.train, recipe))
    advance(f"training {repeat + 1}")

    few = training.some(digits.calibration, slice(NUM_REFIT))
    # Images to test and to refit on together, in one program.
    images = np.concatenate([digits.test.images, few.images])
    clean = _ask(pair, images)
    key = jax.random.key(np.random.default_rng(seed(_CORRUPTION)).integers(2**31))
    shifted = []
    for name, corruption_key in zip(
        corruptions.CORRUPTIONS,
        jax.random.split(key, len(corruptions.CORRUPTIONS)),
        strict=True,
    ):
        worse = [
            _ask(pair, corruptions.corrupt(corruption_key, images, name, severity + 1))
            for severity in range(corruptions.NUM_SEVERITIES)
        ]
        shifted.append([clean, *worse])
        advance(f"{name} {repeat + 1}")
    num_test = len(digits.test.labels)
    test, refit = np.split(np.array(shifted), [num_test], axis=-2)
    return Logits(
        calibration=_ask(pair, digits.calibration.images),
        test=test,
        refit=refit,
        calibration_labels=digits.calibration.labels,
        test_labels=digits.test.labels,
        refit_labels=few.labels,
    )


def _ask(pair: list[nnx.Module], images: np.ndarray | jax.Array) -> np.ndarray:
    return np.stack([models.logits(model, images) for model in pair])


def describe(study: Study, numbers: Numbers) -> Section:
    """Tables by severity and by corruption, and the effect of refitting."""
    return text.section(
        "shift",
        study,
        numbers,
        figures={"shift": functools.partial(_draw, numbers)},
        names=[
            name
            for name, fair in zip(numbers.corruptions, numbers.comparable, strict=True)
            if fair
        ],
        num_severities=corruptions.NUM_SEVERITIES,
        calibration_table=_calibration_table(numbers),
        cascade_table=_cascade_table(numbers),
        corruption_table=_corruption_table(numbers),
        **_calibration_evidence(numbers),
        **_routing_evidence(numbers),
    )


def _calibration_evidence(numbers: Numbers) -> dict[str, Any]:
    """Evidence over both models and all corruptions, means over repetitions."""
    error = numbers.error.mean(axis=0)
    by_clean = error[:, :, 1]
    clean, worst, again = by_clean[:, 0], by_clean[:, -1], error[:, -1, 2]
    return {
        "rises": worst > clean,
        "num_always": np.sum(np.all(np.diff(by_clean, axis=1) > 0, axis=1)),
        "by_severity": by_clean.mean(axis=0).T,
        "falls": again < worst,
        "num_restored": np.sum(again <= clean),
        "worst_error": worst.mean(),
        "refitted_error": again.mean(),
        "clean_error": clean.mean(),
    }


def _routing_evidence(numbers: Numbers) -> dict[str, Any]:
    """Evidence over corruptions with a meaningful APGR, means over repetitions."""
    if not np.any(numbers.comparable):
        return {}
    recovered, lost = (
        values[:, numbers.comparable].mean(axis=0)
        for values in (numbers.recovered, numbers.lost)
    )
    clean, again = recovered[..., 1], recovered[:, -1, 2]
    return {
        "num_less": np.sum(clean[:, -1] < clean[:, 0]),
        "recovered_by_severity": clean.mean(axis=0),
        "num_more": np.sum(again > clean[:, -1]),
        "recovered": (clean[:, -1].mean(), again.mean()),
        "lost": lost[:, -1].mean(axis=0),
    }


def _calibration_table(numbers: Numbers) -> str:
    accuracy = numbers.accuracy.mean(axis=(0, 1))
    error = numbers.error.mean(axis=(0, 1))
    columns: list[tuple[str, Callable[[int], object]]] = [("severity", lambda s: s)]
    for m, model in enumerate(("small", "large")):
        columns.append(
            (f"{model}: accuracy", lambda s, m=m: report.percent(accuracy[s, m]))
        )
        columns += [
            (header, lambda s, m=m, k=k: report.number(error[s, k, m]))
            for k, header in enumerate(("ECE raw", "clean", "refitted"))
        ]
    return report.table(columns, range(len(accuracy)))


def _cascade_table(numbers: Numbers) -> str:
    area, kept, lost = (
        values.mean(axis=(0, 1))
        for values in (numbers.area, numbers.kept, numbers.lost)
    )
    columns: list[tuple[str, Callable[[int], object]]] = [("severity", lambda s: s)]
    for names, values, digits, scale in (
        (("APGR UC", "CC", "refitted"), numbers.mean_recovered, 3, 1.0),
        (("area UC", "CC", "refitted"), area, 2, 100.0),
        (("kept clean", "refitted"), kept, 1, 100.0),
        (("lost clean", "refitted"), lost, 2, 100.0),
    ):
        columns += [
            (
                name,
                lambda s, part=values[:, k], digits=digits, scale=scale: report.number(
                    part[s], digits, scale
                ),
            )
            for k, name in enumerate(names)
        ]
    return report.table(columns, range(len(area)))


def _corruption_table(numbers: Numbers) -> str:
    accuracy, error, recovered, area, kept, lost = (
        values[:, :, -1].mean(axis=0)
        for values in (
            numbers.accuracy,
            numbers.error,
            numbers.recovered,
            numbers.area,
            numbers.kept,
            numbers.lost,
        )
    )

    def arrow(values: np.ndarray, digits: int = 3, scale: float = 1.0) -> str:
        return " → ".join(report.number(value, digits, scale) for value in values)

    return report.table(
        [
            ("corruption", lambda c: numbers.corruptions[c]),
            ("accuracy small", lambda c: report.percent(accuracy[c, 0])),
            ("large", lambda c: report.percent(accuracy[c, 1])),
            ("ECE small", lambda c: arrow(error[c, 1:, 0])),
            ("ECE large", lambda c: arrow(error[c, 1:, 1])),
            (
                "APGR CC",
                lambda c: arrow(recovered[c, 1:]) if numbers.comparable[c] else "-",
            ),
            ("area CC", lambda c: arrow(area[c, 1:], 2, 100.0)),
            ("kept", lambda c: arrow(kept[c], 1, 100.0)),
            ("lost", lambda c: arrow(lost[c], 2, 100.0)),
        ],
        range(len(numbers.corruptions)),
    )


_LOOKS = (("-", "o"), ("--", "s"), (":", "D"))


def _draw(numbers: Numbers, _: bool) -> Figure:
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    panels = figure.subplots(1, 3)
    # Fitted on clean images, refitted, and raw.
    order = [1, 2, 0]
    error = numbers.error.mean(axis=0)[:, :, order]
    recovered = numbers.recovered[:, numbers.comparable].mean(axis=0)[:, :, order]
    temperatures = ("clean temperature", "refitted", "raw")
    _draw_panel(panels[0], "ECE, small model", error[..., 0], temperatures)
    _draw_panel(panels[1], "ECE, large model", error[..., 1], temperatures)
    _draw_panel(panels[2], "APGR", recovered, ("clean CC", "refitted", "clean UC"))
    panels[2].axhline(0.5, color=matplotlib.rcParams["text.color"], linewidth=0.7)
    panels[2].margins(y=0.1)
    for axes in panels:
        axes.set_xlabel("Severity (0: clean)")
        axes.set_xticks(range(error.shape[1]))
    return figure


def _draw_panel(
    axes: Axes, title: str, values: np.ndarray, names: tuple[str, ...]
) -> None:
    """Values `[C, 6, 3]`: the mean of each kind, and the first kind by corruption."""
    for row in values[:, :, 0]:
        axes.plot(row, color="C0", linewidth=0.5, alpha=0.7)
    axes.set_ylabel(title)
    if not len(values):
        return
    for place, (name, (line, marker)) in enumerate(zip(names, _LOOKS, strict=True)):
        axes.plot(
            values[:, :, place].mean(axis=0),
            color=f"C{place}",
            linestyle=line,
            marker=marker,
            markerfacecolor=axes.get_facecolor() if place % 2 else f"C{place}",
            linewidth=2.0 if place == 0 else 1.3,
            label=name,
        )
    # Above the panel a legend does not cover anything.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderpad=0.0)
