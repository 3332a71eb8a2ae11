"""How alike two experts may be, and what it does to cleaning and to a cascade.

The experts are trained in `expert_pairs`.

Shapes: R repetitions, D degrees of likeness, H pairs that meet a habit.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Claim, Section

from . import expert_pairs, independence_figure
from .expert_pairs import HABIT, HABIT_SHARE, HABITUAL, SECOND, Trained
from .independence_measures import Measured, measure
from .study import Advance, Settings, Study

CAUSES = ("joint_error", "lift")
EFFECTS = ("precision", "matched_precision", "gain", "union_gain")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Everything on the test part.

    Attributes:
      degrees: D names.
      habitual: H of them.
      num_train: images each expert is trained on.
      num_test: images to test on, and as many to calibrate on.
      num_top_bins: the K of Method 2.
      pairs: entries `[R, D, ...]`; labels wrong at random.
      habit: entries `[R, 2, H, ...]`; labels wrong at random and by habit; experts
        that were trained and calibrated on right labels, and on labels given by habit.
      ordered: int64 `[2, 4, 2]`, of all two degrees of one repetition, how many differ
        in `CAUSES` and in `EFFECTS` the opposite way (less of the one, more of the
        other), and how many the same way; ties are neither.
    """

    degrees: tuple[str, ...]
    habitual: tuple[str, ...]
    num_train: int
    num_test: int
    num_top_bins: int
    pairs: Measured
    habit: Measured
    ordered: np.ndarray


def num_steps(study: Study) -> int:
    return study.settings.num_repeats * len(expert_pairs.experts())


def evaluate(study: Study, advance: Advance) -> Numbers:
    repeats = range(study.settings.num_repeats)
    return summarise(
        study.settings,
        [expert_pairs.train(study.settings, each, advance) for each in repeats],
    )


def summarise(settings: Settings, repeats: list[Trained]) -> Numbers:
    """The numbers, from the logits of every repetition."""
    num_top_bins = round(settings.num_bins * 2 / 3)
    measured = [
        jax.tree.map(
            np.asarray,
            measure(
                expert_pairs.pairs(each),
                num_bins=settings.num_bins,
                num_top_bins=num_top_bins,
                share=settings.flipped_share,
            ),
        )
        for each in repeats
    ]
    together = jax.tree.map(lambda *parts: np.stack(parts), *measured)
    degrees, shape = len(SECOND), (len(repeats), 2, len(HABITUAL))
    of_degrees = jax.tree.map(lambda part: part[:, :degrees], together)
    return Numbers(
        degrees=tuple(SECOND),
        habitual=HABITUAL,
        num_train=settings.num_train // 2,
        num_test=len(repeats[0].truth),
        num_top_bins=num_top_bins,
        pairs=of_degrees,
        habit=jax.tree.map(
            lambda part: part[:, degrees:].reshape(*shape, *part.shape[2:]), together
        ),
        ordered=np.array(
            [
                [
                    _ordered(getattr(of_degrees, cause), getattr(of_degrees, effect))
                    for effect in EFFECTS
                ]
                for cause in CAUSES
            ]
        ),
    )


def _ordered(cause: np.ndarray, effect: np.ndarray) -> tuple[int, int]:
    """Of all two degrees `[R, D]` of a repetition, how many differ which way."""
    first, second = np.triu_indices(cause.shape[1], 1)
    sign = np.sign(cause[:, first] - cause[:, second]) * np.sign(
        effect[:, first] - effect[:, second]
    )
    return int(np.sum(sign < 0)), int(np.sum(sign > 0))


def describe(study: Study, numbers: Numbers) -> Section:
    """Tables by degree of likeness, and what a shared habit does."""
    settings = study.settings
    flipped = report.percent(settings.flipped_share, 0)
    given, taken = HABIT
    blocks = [
        "The first expert is a small convolutional network of the demo's kind, trained "
        f"here on {numbers.num_train:,} digits for {settings.num_epochs} epochs; the "
        "second is the same network; or one of another seed (first weights and order "
        "of images); of another seed and twice as many channels; of another seed and "
        "the other half of the training images; or a perceptron, on the same images "
        "or on the other half. "
        f"{settings.num_repeats} repetitions with other digits. Both are calibrated on "
        f"{numbers.num_test:,} digits and tested on as many others.",
        "### Cleaning",
        f"{flipped} % of the test labels are made wrong at random. *Joint error* is "
        "the share of digits that both experts have wrong, *lift* that over what it "
        "would be if they erred independently (1). Method 2 flags what both contradict "
        f"from one of their {numbers.num_top_bins} most accurate of "
        f"{settings.num_bins} bins; *matched* is the precision of the {flipped} % most "
        "suspect labels, so of as many for every pair. Shares in %; mean ± standard "
        "deviation over repetitions.",
        report.table(*_cleaning_table(numbers)),
        report.figure(
            "independence",
            "Precision of Method 2, and what cascade and union gain over the better "
            "expert, for every degree of likeness: mean, with the standard deviation "
            "over repetitions as bars.",
        ),
        "### Cascade",
        "Between both experts the K of most accuracy on the calibration part is "
        "routed; *gain* is its test accuracy minus that of the expert which is better "
        "on the calibration part, *union* what an oracle that takes either right "
        "answer would gain. In % and points.",
        report.table(*_cascade_table(numbers)),
        "### A shared habit",
        f"In the test part {report.percent(HABIT_SHARE, 0)} % of the digits {given} "
        f"are labelled {taken}, besides the labels wrong at random. Experts that were "
        "trained and calibrated on right labels find both; experts whose own training "
        "and calibration labels have the same habit find what is wrong at random, and "
        "of what is wrong by habit only what the last column says, be they as unlike "
        "as they may. In %.",
        report.table(*_habit_table(numbers)),
    ]
    return Section(
        title="How alike the experts may be",
        blocks=blocks,
        figures={
            "independence": functools.partial(
                independence_figure.draw, numbers.degrees, numbers.pairs
            )
        },
        claims=_claims(numbers),
        numbers=numbers,
    )


def _rows(
    names: Sequence[str], columns: Sequence[tuple[np.ndarray, int, float]]
) -> list[list[str]]:
    """A row for each name, of values `[R, len(names)]`, digits and scale."""
    return [
        [
            name,
            *(
                report.spread(values[:, d], digits, scale)
                for values, digits, scale in columns
            ),
        ]
        for d, name in enumerate(names)
    ]


def _cleaning_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["second expert", "joint error", "lift", "flagged", "precision"]
    pairs = numbers.pairs
    columns = [
        (pairs.joint_error, 1, 100.0),
        (pairs.lift, 1, 1.0),
        (pairs.flagged, 1, 100.0),
        (pairs.precision, 1, 100.0),
        (pairs.recall, 1, 100.0),
        (pairs.matched_precision, 1, 100.0),
    ]
    return [*header, "recall", "matched"], _rows(numbers.degrees, columns)


def _cascade_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["second expert", "accuracy first", "second", "agreement"]
    pairs = numbers.pairs
    columns = [
        (pairs.accuracy[..., 0], 1, 100.0),
        (pairs.accuracy[..., 1], 1, 100.0),
        (pairs.agreement, 1, 100.0),
        (pairs.gain, 2, 100.0),
        (pairs.union_gain, 2, 100.0),
    ]
    return [*header, "gain", "union"], _rows(numbers.degrees, columns)


def _habit_table(numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["second expert", "precision", "random ones found", "of habit found"]
    rows = []
    for learned, labels in enumerate(("right labels", "labels with the habit")):
        habit = numbers.habit
        columns = [
            (values[:, learned], 1, 100.0)
            for values in (habit.precision, habit.recall, habit.habit_recall)
        ]
        names = [f"{name}, {labels}" for name in numbers.habitual]
        rows += _rows(names, columns)
    return header, rows


def _claims(numbers: Numbers) -> list[Claim]:
    pairs, habit = numbers.pairs, numbers.habit
    found = {
        (cause, effect): numbers.ordered[i, j]
        for i, cause in enumerate(CAUSES)
        for j, effect in enumerate(EFFECTS)
    }
    opposite, same = found["lift", "precision"]
    joint = found["joint_error", "precision"]
    matched = found["lift", "matched_precision"]
    ranges = [
        f"{report.percent(values.max())} to {report.percent(values.min())}"
        for values in (pairs.precision[:, 0], pairs.precision[:, 1:])
    ]
    gains = pairs.gain[:, 1:]
    union = found["lift", "union_gain"]
    learned, unlearned = (habit.habit_recall[:, i] for i in (1, 0))
    fewer = int(np.sum(learned < unlearned))
    return [
        Claim(
            "The more independently experts err, the more precise is cleaning",
            report.verdict(int(matched[0]), int(matched.sum())),
            "of two pairs of experts that flag equally many labels the one of less "
            f"lift is the more precise in {matched[0]} of {matched.sum()} comparisons; "
            "by Method 2, by which experts more alike flag more, in "
            f"{opposite} of {opposite + same}; the one of less joint error, "
            f"which counts how good the experts are as well, in {joint[0]} of "
            f"{joint.sum()}. Precision in %: {ranges[0]} with one network twice, "
            f"{ranges[1]} with two",
        ),
        Claim(
            "Two experts that err differently make a cascade better than either",
            report.verdict(int(np.sum(gains > 0)), gains.size),
            f"better than the better one for {int(np.sum(gains > 0))} of {gains.size} "
            f"pairs of two networks, worse for {int(np.sum(gains < 0))}, mean gain "
            f"{report.number(gains.mean(), 2, 100.0)} points; the union would gain "
            f"{report.number(pairs.union_gain[:, 1:].mean(), 2, 100.0)}, more at less "
            f"lift in {union[0]} of {union.sum()} comparisons",
        ),
        Claim(
            "Labels wrong in a way that the experts have learned are not found",
            report.verdict(fewer, learned.size),
            f"found {report.percent(learned.mean())} % of them, by experts trained on "
            f"right labels {report.percent(unlearned.mean())} %; of labels wrong at "
            f"random {report.percent(habit.recall[:, 1].mean())} and "
            f"{report.percent(habit.recall[:, 0].mean())} %",
        ),
    ]
