"""Ways to fit and to guard an arbiter, in float64 NumPy.

Where two models differ and one is right, P(large right) is a logistic curve of their
log-odds. The variants differ in what the fit is drawn towards, how strongly, and when
it is trusted.

Shapes: n decisive rows, V variants, P pairs. Parameters `[3]` are the mean of the two
slopes, half their difference, and the intercept.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import special

import calib_jax as cj
from benchmarks.kit import halves, report
from benchmarks.kit.command import Advance
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Section, percent

from .pairs import TUNED, listed

# Calibration rows; None is the whole half.
SIZES = (100, 300, 1000, None)
# A loss of accuracy that is noticed.
LOSS = 0.001
_STEPS, _LEAST = 50, 1e-9


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to fit, and a guard.

    Attributes:
      title: to print.
      strength: of the penalty, for each parameter.
      towards: the parameters that it draws to.
      shown: standard errors that the gain on calibration rows has to exceed, else the
        model that is better there is taken; None trusts the fit.
      folds: of the cross-validation of that gain; 0 leaves out one row at a time.
    """

    title: str
    strength: tuple[float, float, float]
    towards: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shown: float | None = None
    folds: int = 0


_SURER, _NOTHING = (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)
# Of both slopes alike, in the coordinates of mean and half difference.
_ONE = (2.0, 2.0, 1.0)
_FREE, _OURS = (0.01, 0.01, 0.01), (20.0, 60.0, 0.1)
_STRONG = (50.0, 150.0, 0.1)

VARIANTS = (
    Variant("surer of the two", (1e9, 1e9, 1e9), _SURER),
    Variant("maximum likelihood", _FREE, _SURER),
    Variant("ridge 1 to the surer", _ONE, _SURER),
    Variant("ridge 1 to the surer, gain over 1 error", _ONE, _SURER, 1.0),
    Variant("ridge 1 to the surer, gain over 1 error in 5 folds", _ONE, _SURER, 1.0, 5),
    Variant(
        "ridge 10 to the surer, gain over 1 error", (20.0, 20.0, 10.0), _SURER, 1.0
    ),
    Variant(
        "slopes to 0 by 10 and 30, gain over half an error",
        (10.0, 30.0, 0.1),
        _NOTHING,
        0.5,
    ),
    Variant(
        "slopes to 0 by 20 and 20, gain over half an error",
        (20.0, 20.0, 0.1),
        _NOTHING,
        0.5,
    ),
    Variant(
        "equal slopes to 0 by 20, gain over half an error",
        (20.0, 1e9, 0.1),
        _NOTHING,
        0.5,
    ),
    Variant("slopes to 0 by 20 and 60", _OURS),
    Variant("slopes to 0 by 20 and 60, gain over 0", _OURS, _NOTHING, 0.0),
    Variant(
        "slopes to 0 by 20 and 60, gain over half an error (the library's)",
        _OURS,
        _NOTHING,
        0.5,
    ),
    Variant("slopes to 0 by 20 and 60, gain over 1 error", _OURS, _NOTHING, 1.0),
    Variant("slopes to 0 by 20 and 60, gain over 2 errors", _OURS, _NOTHING, 2.0),
    Variant("slopes to 0 by 50 and 150", _STRONG),
    Variant("slopes to 0 by 50 and 150, loss below 1 error", _STRONG, _NOTHING, -1.0),
    Variant(
        "slopes to 0 by 50 and 150, gain over half an error", _STRONG, _NOTHING, 0.5
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """Accuracy gained over the model that is better on the calibration rows.

    Attributes:
      titles: of the variants, in order.
      gains: for each of `SIZES`, float64 `[V, P]`, means over splits on test halves.
      tuned: for each of `SIZES`, bool `[P]`, whether the pair is of a task on which the
        guard was chosen.
      num_splits: of each task.
    """

    titles: tuple[str, ...]
    gains: tuple[np.ndarray, ...]
    tuned: tuple[np.ndarray, ...]
    num_splits: int


def evaluate(
    tasks: Mapping[str, Outputs], seed: int, num_splits: int, advance: Advance
) -> Tried:
    """All variants on every pair, for every size that a task has rows for."""
    gains: list[list[np.ndarray]] = [[] for _ in SIZES]
    tuned: list[list[bool]] = [[] for _ in SIZES]
    for name, task in tasks.items():
        rows = halves.random_rows(seed, task.num_examples, num_splits)
        for place, size in enumerate(SIZES):
            # With a few more rows it would be the whole half.
            if size is not None and 1.5 * size > rows[0].shape[1]:
                continue
            of_splits = [
                _of_split(task, calibration[:size], test)
                for calibration, test in zip(*rows, strict=True)
            ]
            found = np.mean(of_splits, axis=0)
            gains[place].append(found)
            tuned[place] += [name in TUNED] * found.shape[1]
        advance(task.title)
    return Tried(
        titles=tuple(variant.title for variant in VARIANTS),
        gains=tuple(
            np.concatenate([np.zeros((len(VARIANTS), 0)), *parts], axis=1)
            for parts in gains
        ),
        tuned=tuple(np.array(flags, bool) for flags in tuned),
        num_splits=num_splits,
    )


def _of_split(task: Outputs, calibration: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Gains `[V, P]` of one split."""
    pairs, odds = listed(task), {}
    for model in {model for pair in pairs for model in pair}:
        rows = task.score[model, calibration], task.correct[model, calibration]
        params, _ = cj.fit_platt(*map(np.asarray, rows), smooth_targets=True)
        confidence = np.asarray(cj.calibrate(params, task.score[model]), np.float64)
        odds[model] = special.logit(np.clip(confidence, 2.0**-24, 1 - 2.0**-24))
    return np.transpose(
        [_of_pair(task, odds, pair, calibration, test) for pair in pairs]
    )


def _of_pair(
    task: Outputs,
    odds: Mapping[int, np.ndarray],
    pair: tuple[int, int],
    calibration: np.ndarray,
    test: np.ndarray,
) -> list[float]:
    small, large = pair
    advantage = task.correct[large].astype(int) - task.correct[small]
    features = np.stack(
        [odds[large] - odds[small], odds[large] + odds[small], np.ones(len(advantage))],
        axis=1,
    )
    takes_large = advantage[calibration].sum() >= 0

    def change(rows: np.ndarray, margin: np.ndarray) -> np.ndarray:
        """Of accuracy, where a rule takes the model that is worse."""
        other = (margin >= 0) != takes_large
        return np.where(other, -advantage[rows] if takes_large else advantage[rows], 0)

    decisive = calibration[advantage[calibration] != 0]
    rows, target = features[decisive], advantage[decisive] > 0
    tested = test[advantage[test] != 0]
    found, fits = [], {}
    for variant in VARIANTS:
        how = variant.strength, variant.towards
        if how not in fits:
            fits[how] = solve(rows, target, *how)
        params, inverse = fits[how]
        gain = change(tested, features[tested] @ params).sum() / len(test)
        if variant.shown is not None:
            margin = (
                _by_folds(rows, target, *how, variant.folds)
                if variant.folds
                else left_out(rows, target, params, inverse)
            )
            seen = change(decisive, margin)
            error = np.sqrt(
                max(np.sum(seen**2) - seen.sum() ** 2 / len(calibration), 0)
            )
            gain = gain if seen.sum() > variant.shown * error else 0.0
        found.append(float(gain))
    return found


def solve(
    rows: np.ndarray,
    target: np.ndarray,
    strength: Sequence[float],
    towards: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters `[3]` and the inverse Hessian, by Newton steps, halved if need be."""
    strength, towards = np.array(strength), np.array(towards)

    def loss(params: np.ndarray) -> float:
        margin = rows @ params
        away = params - towards
        likelihood = np.logaddexp(0, margin) - target * margin
        return np.sum(likelihood) + 0.5 * np.sum(strength * away**2)

    params = towards
    for _ in range(_STEPS):
        chance = special.expit(rows @ params)
        gradient = rows.T @ (chance - target) + strength * (params - towards)
        curved = (rows * (chance * (1 - chance))[:, None]).T @ rows
        inverse = np.linalg.inv(curved + np.diag(strength))
        step = -inverse @ gradient
        while loss(params + step) > loss(params) + 1e-12 * abs(loss(params)):
            step = step / 2
        params = params + step
        if np.abs(step).max() < _LEAST:
            break
    return params, inverse


def left_out(
    rows: np.ndarray, target: np.ndarray, params: np.ndarray, inverse: np.ndarray
) -> np.ndarray:
    """The margin of each row by the fit without it, to first order, `[n]`."""
    margin = rows @ params
    chance = special.expit(margin)
    leverage = np.einsum("ni,ij,nj->n", rows, inverse, rows)
    rest = np.maximum(1 - leverage * chance * (1 - chance), 1e-6)
    return margin - leverage * (target - chance) / rest


def _by_folds(
    rows: np.ndarray,
    target: np.ndarray,
    strength: Sequence[float],
    towards: Sequence[float],
    num_folds: int,
) -> np.ndarray:
    """The margin of each row by the fit without its fold, `[n]`."""
    fold = np.arange(len(target)) % num_folds
    margin = np.zeros(len(target))
    for part in range(num_folds):
        others = fold != part
        params, _ = solve(rows[others], target[others], strength, towards)
        margin[~others] = rows[~others] @ params
    return margin


def describe(tried: Tried) -> Section:
    """Every variant, on tasks that the guard was chosen on and on others."""
    return report.section(
        Path(__file__).with_name("templates") / "tried.md.jinja",
        stored=None,
        figures={},
        num_splits=tried.num_splits,
        loss=LOSS,
        tuned_table=_table(tried, True),
        other_table=_table(tried, False),
    )


def _table(tried: Tried, tuned: bool) -> str:
    """Mean gain, the worst pair, and how many lose, for each size."""
    parts = [
        gains[:, flags == tuned]
        for gains, flags in zip(tried.gains, tried.tuned, strict=True)
    ]
    kept = [place for place, part in enumerate(parts) if part.shape[1]]
    header = ["variant"]
    for place in kept:
        size = "half" if SIZES[place] is None else f"{SIZES[place]:,} rows"
        header.append(f"{size}, {parts[place].shape[1]} pairs")
    return report.grid(
        header,
        [
            [title, *(_cell(parts[place][v]) for place in kept)]
            for v, title in enumerate(tried.titles)
        ],
    )


def _cell(gains: np.ndarray) -> str:
    mean, worst = percent(gains.mean(), 2), percent(gains.min(), 2)
    return f"{mean} ({worst}; {np.sum(gains < -LOSS)})"
