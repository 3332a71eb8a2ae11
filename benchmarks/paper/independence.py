"""How alike two experts are, and the effect on cleaning and on a cascade.

The experts are trained in `expert_pairs`.

Shapes: R repetitions, D degrees of likeness, H pairs faced with a habit.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import expert_pairs, independence_figure, text
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
      habitual: H of these names.
      num_train: images each expert is trained on.
      num_test: images to test on, and as many to calibrate on.
      num_top_bins: the K of Method 2.
      pairs: entries `[R, D, ...]`; labels wrong at random.
      habit: entries `[R, 2, H, ...]`; labels wrong at random and by habit; experts
        that were trained and calibrated on right labels, and on labels given by habit.
      ordered: int64 `[2, 4, 2]`, over all pairs of degrees of one repetition, how many
        differ in `CAUSES` and in `EFFECTS` in opposite directions (less of the one,
        more of the other), and how many in the same direction; ties are neither.
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
    """Over all pairs of degrees `[R, D]` of a repetition, how many differ which way."""
    first, second = np.triu_indices(cause.shape[1], 1)
    sign = np.sign(cause[:, first] - cause[:, second]) * np.sign(
        effect[:, first] - effect[:, second]
    )
    return int(np.sum(sign < 0)), int(np.sum(sign > 0))


def describe(study: Study, numbers: Numbers) -> Section:
    """Tables by degree of likeness, and what a shared habit does."""
    given, taken = HABIT
    return text.section(
        "independence",
        study,
        numbers,
        figures={
            "independence": functools.partial(
                independence_figure.draw, numbers.degrees, numbers.pairs
            )
        },
        given=given,
        taken=taken,
        habit_share=HABIT_SHARE,
        cleaning_table=_cleaning_table(numbers),
        cascade_table=_cascade_table(numbers),
        habit_table=_habit_table(numbers),
        **_evidence(numbers),
    )


def _evidence(numbers: Numbers) -> dict[str, Any]:
    """Evidence for the claims; comparisons are counts of both orders."""
    pairs, habit = numbers.pairs, numbers.habit

    def ordered(cause: str, effect: str) -> np.ndarray:
        return numbers.ordered[CAUSES.index(cause), EFFECTS.index(effect)]

    return {
        "by_lift": ordered("lift", "precision"),
        "by_joint": ordered("joint_error", "precision"),
        "by_matched": ordered("lift", "matched_precision"),
        "by_union": ordered("lift", "union_gain"),
        "precision_twice": pairs.precision[:, 0],
        "precision_two": pairs.precision[:, 1:],
        "gains": pairs.gain[:, 1:],
        "union_gain": pairs.union_gain[:, 1:].mean(),
        "learned": habit.habit_recall[:, 1],
        "unlearned": habit.habit_recall[:, 0],
        "recall": [habit.recall[:, k].mean() for k in (0, 1)],
    }


def _spread(
    values: np.ndarray, digits: int = 1, scale: float = 100.0
) -> Callable[[int], str]:
    """A cell in the row of a degree, from values `[R, D]`."""
    return lambda degree: report.spread(values[:, degree], digits, scale)


def _cleaning_table(numbers: Numbers) -> str:
    pairs = numbers.pairs
    return report.table(
        [
            ("second expert", lambda degree: numbers.degrees[degree]),
            ("joint error", _spread(pairs.joint_error)),
            ("lift", _spread(pairs.lift, 1, 1.0)),
            ("flagged", _spread(pairs.flagged)),
            ("precision", _spread(pairs.precision)),
            ("recall", _spread(pairs.recall)),
            ("matched", _spread(pairs.matched_precision)),
        ],
        range(len(numbers.degrees)),
    )


def _cascade_table(numbers: Numbers) -> str:
    pairs = numbers.pairs
    return report.table(
        [
            ("second expert", lambda degree: numbers.degrees[degree]),
            ("accuracy first", _spread(pairs.accuracy[..., 0])),
            ("second", _spread(pairs.accuracy[..., 1])),
            ("agreement", _spread(pairs.agreement)),
            ("gain", _spread(pairs.gain, 2)),
            ("union", _spread(pairs.union_gain, 2)),
        ],
        range(len(numbers.degrees)),
    )


def _habit_table(numbers: Numbers) -> str:
    labels = "right labels", "labels with the habit"
    habit, num_names = numbers.habit, len(numbers.habitual)

    def spread(values: np.ndarray) -> Callable[[tuple[int, int]], str]:
        return lambda row: report.spread(values[:, *row], 1, 100.0)

    return report.table(
        [
            (
                "second expert",
                lambda row: f"{numbers.habitual[row[1]]}, {labels[row[0]]}",
            ),
            ("precision", spread(habit.precision)),
            ("random ones found", spread(habit.recall)),
            ("of habit found", spread(habit.habit_recall)),
        ],
        itertools.product(range(2), range(num_names)),
    )
