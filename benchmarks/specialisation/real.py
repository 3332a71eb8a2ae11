"""Pairs of saved outputs: router, K and groups from one half, judged on the other.

Shapes: S random halves, M models, P pairs, n examples of a half, B bins, Q groupings.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit import halves
from benchmarks.kit.halves import Halves, take
from benchmarks.kit.outputs import Outputs, Pair

from .gain import CascadeGain, cascade_gain_test

# Bins of the other models' confidence, and how many are merged into one where they are
# crossed with something else.
_BINS, _TOGETHER = 15, 3
# Rows judged in all: for large tasks fewer halves suffice.
_MOST_ROWS = 20_000
# How often the models of a pair are swapped, and signs are shuffled.
_NUM_SWAPS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of the examples of both halves, which do not depend on the pair.

    Attributes:
      name: to print.
      groups: int32 `[S, n]`, groups of the test half.
      num_groups: number of groups.
    """

    name: str
    groups: np.ndarray
    num_groups: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One pair.

    Attributes:
      pair: task and models.
      groupings: Q names.
      first: `[S]`, accuracy of the first model on the test half.
      second: `[S]`, accuracy of the second.
      gain: `[S]`, gain of the cascade over the better of both.
      handicap: `[S]`.
      specialisation: `[Q, S]`, by each grouping.
      chance: `[Q, S]`.
      interval: `[2]`, interval of the gain on the first half.
      special_interval: `[Q, 2]`, interval of the specialisation on the first half.
      routing_p_value: on the first half.
      interaction_p_value: `[Q]`, on the first half.
      swapped: mean gain on the first half if the models are swapped in every row with
        probability one half.
      num_rows: n.
      num_discordant: rows of the first half on which exactly one model is right.
      num_groups: `[Q]`, groups of two rows or more, in the first half.
      num_unequal: `[Q]`, groups in which one model is right more often, in the first
        half.
      num_reversed: `[Q]`, groups in which the model that is worse overall is right more
        often.
      reversed_by_chance: `[Q]`, their mean number if the rows on which the models
        differ are shuffled over the groups.
    """

    pair: str
    groupings: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    gain: np.ndarray
    handicap: np.ndarray
    specialisation: np.ndarray
    chance: np.ndarray
    interval: np.ndarray
    special_interval: np.ndarray
    routing_p_value: float
    interaction_p_value: np.ndarray
    swapped: float
    num_rows: int
    num_discordant: int
    num_groups: np.ndarray
    num_unequal: np.ndarray
    num_reversed: np.ndarray
    reversed_by_chance: np.ndarray


def judge(
    task: Outputs, seed: int, num_halves: int, num_bins: int, num_draws: int
) -> list[Judged]:
    """Every pair of large models of a task."""
    few = max(1, min(num_halves, 2 * _MOST_ROWS // task.num_examples))
    split = halves.split(task, seed, few)
    found = []
    for pair in task.large_large:
        groupings = group(task, split, pair)
        size = max(each.num_groups for each in groupings)
        tests, keep = _test(
            jax.random.key(seed),
            _rows(split, pair, groupings),
            num_bins=num_bins,
            num_groups=size,
            num_draws=num_draws,
        )
        tests = jax.tree.map(np.asarray, tests)
        found.append(
            _judged(task, split, pair, groupings, seed, tests, np.asarray(keep[0]))
        )
    return found


def group(task: Outputs, split: Halves, pair: Pair) -> list[Grouping]:
    """Groups by class, by the other models' confidence, and by both."""
    others = [model for model in range(len(task.models)) if model not in pair]
    groupings = []
    if task.label is not None:
        size = int(task.label.max()) + 1
        labels = task.label[split.test.rows].astype(np.int32)
        groupings.append(Grouping(name="class", groups=labels, num_groups=size))
    if others:
        before, after = (
            half.calibrated[:, others].mean(axis=1)
            for half in (split.calibration, split.test)
        )
        ease = np.asarray(_bins(before, after))
        groupings.append(Grouping(name="others", groups=ease, num_groups=_BINS))
        coarse, size = ease // _TOGETHER, _BINS // _TOGETHER
        if task.label is not None:
            known, count = groupings[0].groups, groupings[0].num_groups
        else:
            # Which of the other models are right.
            right = take(task.correct, split.test.rows)[:, others].astype(np.int32)
            powers = 2 ** np.arange(len(others), dtype=np.int32)
            known = np.sum(powers[None, :, None] * right, axis=1, dtype=np.int32)
            count = 2 ** len(others)
        crossed = (known * size + coarse).astype(np.int32)
        name = "class, others" if task.label is not None else "others, right"
        groupings.append(Grouping(name=name, groups=crossed, num_groups=count * size))
    return groupings


@jax.jit
def _bins(before: jax.Array, after: jax.Array) -> jax.Array:
    def one(before: jax.Array, after: jax.Array) -> jax.Array:
        return cj.bin_index(cj.equal_count_bins(before, _BINS), after)

    return jax.vmap(one)(before, after)


def _rows(split: Halves, pair: Pair, groupings: Sequence[Grouping]) -> tuple:
    models = list(pair)
    return (
        split.calibration.calibrated[:, models],
        split.calibration.correct[:, models],
        split.test.calibrated[:, models],
        split.test.correct[:, models],
        np.stack([each.groups for each in groupings], axis=1),
    )


@functools.partial(jax.jit, static_argnames=("num_bins", "num_groups", "num_draws"))
def _test(
    key: jax.Array,
    rows: tuple[jax.Array, ...],
    *,
    num_bins: int,
    num_groups: int,
    num_draws: int,
) -> tuple[CascadeGain, jax.Array]:
    """Results `[S, Q]`, and the routes `[S, 2, n]` by either model's confidence."""

    def one(split: tuple[jax.Array, ...]) -> tuple[CascadeGain, jax.Array]:
        seen, known, confidence, correct, groups = split
        router = cj.fit_router(*seen, num_bins=num_bins)
        curve = cj.cascade_curve(router, seen[0], *known)
        chosen = cj.choose_num_small_bins(curve).num_small_bins

        def by(group: jax.Array) -> CascadeGain:
            return cascade_gain_test(
                key,
                router,
                confidence[0],
                *correct.astype(jnp.float32),
                group,
                num_groups=num_groups,
                num_small_bins=chosen,
                num_draws=num_draws,
            )

        keep = jax.vmap(lambda c: cj.use_small(router, c, chosen))(confidence)
        return lax.map(by, groups), keep

    return lax.map(one, rows)


def _judged(
    task: Outputs,
    split: Halves,
    pair: Pair,
    groupings: Sequence[Grouping],
    seed: int,
    parts: CascadeGain,
    keep: np.ndarray,
) -> Judged:
    tests = jax.tree.map(lambda array: array[0], parts)
    correct = split.test.correct[:, list(pair)]
    first, second = np.moveaxis(correct.mean(axis=-1), 0, 1)
    names = [task.models[model] for model in pair]
    unequal, reverse, by_chance = np.array(
        [_reversed(seed, correct[0], each.groups[0]) for each in groupings]
    ).T
    return Judged(
        pair=f"{task.title}: {names[0]} + {names[1]}",
        groupings=tuple(each.name for each in groupings),
        first=first,
        second=second,
        gain=parts.gain.estimate[:, 0],
        handicap=parts.handicap[:, 0],
        specialisation=parts.specialisation.estimate.T,
        chance=parts.chance.T,
        interval=np.stack([tests.gain.lower[0], tests.gain.upper[0]]),
        special_interval=np.stack(
            [tests.specialisation.lower, tests.specialisation.upper], axis=1
        ),
        routing_p_value=float(tests.routing_p_value[0]),
        interaction_p_value=tests.interaction_p_value,
        swapped=_swapped(seed, correct[0], keep),
        num_rows=int(tests.counts.num_rows[0]),
        num_discordant=int(tests.num_discordant[0]),
        num_groups=tests.num_groups,
        num_unequal=unequal,
        num_reversed=reverse,
        reversed_by_chance=by_chance,
    )


def _swapped(seed: int, correct: np.ndarray, keep: np.ndarray) -> float:
    """Mean gain if models are swapped; right and kept `[2, n]` by either."""
    rng = np.random.default_rng(seed)
    swap = rng.random((_NUM_SWAPS, correct.shape[1])) < 0.5
    first, second = (
        np.where(swap, correct[1], correct[0]),
        np.where(swap, correct[0], correct[1]),
    )
    routed = np.where(np.where(swap, keep[1], keep[0]), first, second)
    better = np.maximum(first.mean(axis=1), second.mean(axis=1))
    return float((routed.mean(axis=1) - better).mean())


def _reversed(
    seed: int, correct: np.ndarray, groups: np.ndarray
) -> tuple[int, int, float]:
    """Groups that are unequal, that favour the worse model, and that do by chance."""
    d = correct[1].astype(int) - correct[0]
    differing = np.flatnonzero(d)
    _, group = np.unique(groups[differing], return_inverse=True)
    worse = -np.sign(d.sum())

    def favour(signs: np.ndarray) -> np.ndarray:
        """Signs of the groups' sums."""
        return np.sign(np.bincount(group, weights=signs))

    rng = np.random.default_rng(seed)
    seen = favour(d[differing])
    drawn = [
        np.sum(worse * favour(rng.permutation(d[differing])) > 0)
        for _ in range(_NUM_SWAPS)
    ]
    return int(np.sum(seen != 0)), int(np.sum(worse * seen > 0)), float(np.mean(drawn))
