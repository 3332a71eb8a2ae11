"""The paper's claims on further language models against the numbers.

Shapes: S splits, T things that are compared, such as models or pairs of models.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import calib_jax as cj
from benchmarks.kit import report

from . import cascades, large_pairs
from .further_numbers import LENGTHS, LOGIT, SOFTMAX, Numbers, Scored

# What holds in so many of the halves does not hang on the halves.
MOST_HALVES = 0.95


class Both(NamedTuple):
    """The same T things by both kinds of score, `[S, T]`."""

    softmax: np.ndarray
    logit: np.ndarray

    @property
    def medians(self) -> tuple[float, ...]:
        """Over the things, of their means over the splits."""
        return tuple(float(np.median(part.mean(axis=0))) for part in self)

    @property
    def ahead(self) -> int:
        """For how many things the mean of the raw logit is at least as large."""
        return int(np.sum(self.logit.mean(axis=0) >= self.softmax.mean(axis=0)))


def _both(
    numbers: Numbers,
    things: Callable[[Scored], Sequence[str]],
    values: Callable[[Scored], np.ndarray],
) -> Both | None:
    """What both kinds of score give for things of one name; None if there are none."""
    parts = []
    for task in numbers.values():
        logit = task.scores.get(LOGIT)
        if logit is not None and things(logit):
            softmax = task.scores[SOFTMAX]
            places = [things(softmax).index(thing) for thing in things(logit)]
            parts.append((values(softmax)[:, places], values(logit)))
    if not parts:
        return None
    return Both(*(np.concatenate(part, axis=1) for part in zip(*parts, strict=True)))


def of_models(numbers: Numbers, name: str, when: str = "after") -> Both | None:
    """A field of `Quality` on the test halves, for models whose logits are known."""

    def values(scored: Scored) -> np.ndarray:
        return getattr(getattr(scored.calibration, when)["test"], name)

    return _both(numbers, lambda scored: scored.calibration.models, values)


def of_pairs(numbers: Numbers, name: str) -> Both | None:
    """A field of the cascades by calibrated confidence, for pairs of these models."""

    def values(scored: Scored) -> np.ndarray:
        return getattr(scored.cascades, name)[:, 1]

    return _both(
        numbers,
        lambda scored: scored.cascades.pairs if scored.cascades else (),
        values,
    )


def _by(numbers: Numbers, score: str) -> list[Scored]:
    return [task.scores[score] for task in numbers.values() if score in task.scores]


def _mostly(holds: np.ndarray) -> int:
    """How many columns of bool `[S, T]` are true in nearly all halves."""
    return int(np.sum(np.mean(holds, axis=0) >= MOST_HALVES))


def evidence(numbers: Numbers) -> dict[str, Any]:
    """Evidence for the claims, over all models and pairs of all tasks."""
    quality = [task.calibration for task in _by(numbers, SOFTMAX)]
    before, after = (
        np.concatenate([getattr(one, when)["test"].error for one in quality], axis=1)
        for when in ("before", "after")
    )
    chance = [one.after["test"].chance_error for one in quality]
    large = {
        score: [one.large_pairs for one in _by(numbers, score) if one.large_pairs]
        for score in (SOFTMAX, LOGIT)
    }
    return {
        "most_halves": MOST_HALVES,
        "num_models": before.shape[1],
        "before": before.mean(axis=0),
        "after": after.mean(axis=0),
        "chance": np.concatenate(chance, axis=1).mean(axis=0),
        "lower": int(np.sum(after.mean(axis=0) < before.mean(axis=0))),
        "mostly_lower": _mostly(after < before),
        "halved": int(np.sum(after.mean(axis=0) <= before.mean(axis=0) / 2)),
        "models": _compare_models(numbers),
        "pairs": _compare_pairs(numbers),
        "routed": {score: routed(numbers, score) for score in (SOFTMAX, LOGIT)},
        "together": {
            score: large_pairs.evidence(tasks)
            for score, tasks in large.items()
            if tasks
        },
        "cleaned": _cleaned(numbers),
    }


def routed(numbers: Numbers, score: str) -> dict[str, Any]:
    """The evidence of section 2, and what holds in nearly all halves; or nothing."""
    tasks = [one.cascades for one in _by(numbers, score) if one.cascades]
    if not tasks:
        return {}
    area = np.concatenate([task.area for task in tasks], axis=-1)
    return cascades.evidence(tasks) | {
        "mostly_better": _mostly(area[:, 1] > 0),
        "mostly_ahead": _mostly(area[:, 1] > area[:, 0]),
        "mostly_behind": _mostly(area[:, 1] < area[:, 0]),
    }


def _compare_models(numbers: Numbers) -> dict[str, Any]:
    error = of_models(numbers, "error")
    stated = of_models(numbers, "error", "before")
    area = of_models(numbers, "area", "before")
    fitted = of_models(numbers, "area")
    status = _both(
        numbers,
        lambda scored: scored.calibration.models,
        lambda scored: scored.calibration.status,
    )
    if not (error and stated and area and fitted and status):
        return {}
    mean = error.logit.mean(axis=0)
    return {
        "total": len(mean),
        "calibrates": int(np.sum(mean < stated.softmax.mean(axis=0))),
        "lower": int(np.sum(mean < error.softmax.mean(axis=0))),
        "mostly_lower": _mostly(error.logit < error.softmax),
        "mostly_higher": _mostly(error.logit > error.softmax),
        "error": error,
        "stated": stated,
        "area": area,
        "mostly_larger": _mostly(area.logit > area.softmax),
        "mostly_smaller": _mostly(area.logit < area.softmax),
        "fitted": fitted,
        "reversed": [
            int(np.sum(np.any(part == cj.FitStatus.REVERSED, axis=0)))
            for part in status
        ],
    }


def _compare_pairs(numbers: Numbers) -> dict[str, Any]:
    area, recovered = of_pairs(numbers, "area"), of_pairs(numbers, "recovered")
    if not (area and recovered):
        return {}
    return {
        "total": area.logit.shape[1],
        "area": area,
        "mostly_higher": _mostly(area.logit > area.softmax),
        "mostly_lower": _mostly(area.logit < area.softmax),
        "recovered": recovered,
    }


def _cleaned(numbers: Numbers) -> dict[str, Any]:
    """Precision of the most confident contradictions against that of all."""
    cases = [
        (
            f"{', '.join(one.experts[g])} by {score}",
            one.all[g],
            one.stated[g],
            one.calibrated[g],
        )
        for task in numbers.values()
        for score, one in ((s, scored.cleaning) for s, scored in task.scores.items())
        if one is not None
        for g in range(len(one.experts))
    ]
    fewest = len(LENGTHS) - 1
    more = [
        int(sure.wrong[fewest]) - int(stated.wrong[fewest])
        for _, _, stated, sure in cases
    ]
    return {
        "total": len(cases),
        "always": sum(
            bool(np.all(sure.precision > one.precision)) for _, one, _, sure in cases
        ),
        "sharper": [
            sum(bool(sure.precision[k] > one.precision) for _, one, _, sure in cases)
            for k in range(len(LENGTHS))
        ],
        "surely": [
            sum(bool(sure.low[k] > one.precision) for _, one, _, sure in cases)
            for k in range(len(LENGTHS))
        ],
        "helped": sum(number > 0 for number in more),
        "hurt": sum(number < 0 for number in more),
        "found": [
            f"{name}: "
            + ", ".join(map(report.percent, [one.precision, *sure.precision]))
            for name, one, _, sure in cases
        ],
    }
