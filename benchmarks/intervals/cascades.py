"""Coverage of the intervals of cascades and of differences between two routers."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .calibration_errors import NUM_ROWS

_POPULATION = 20_000
_SIDE_BY_SIDE = 10
# The small model has mean accuracy 0.62; the large one is better by this much, as far
# as possible.
PAIRS = {"clear gap": 0.15, "small gap": 0.03, "nearly perfect": 0.45}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """The results of many samples of a pair of models.

    Attributes:
      pair: name of the pair.
      num_rows: rows of a sample.
      coverage: by name of the quantity, the share of intervals that contain the truth:
        one number, or one for every K or bin.
      width: median widths, likewise.
    """

    pair: str
    num_rows: int
    coverage: dict[str, np.ndarray]
    width: dict[str, np.ndarray]


def settings(rows: Sequence[int] = NUM_ROWS) -> Iterator[tuple[str, int]]:
    """Every combination."""
    for pair in PAIRS:
        for num_rows in rows:
            yield pair, num_rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class People:
    """A population: calibrated and raw confidences and true probabilities, `[P]`."""

    calibrated: jax.Array
    raw: jax.Array
    small_right: jax.Array
    large_right: jax.Array


def population(pair: str) -> People:
    """Raw confidences mix the calibrated one with noise."""
    rng = np.random.default_rng(0)
    u, noise = rng.random((2, _POPULATION))
    small = 0.25 + 0.74 * u
    large = np.clip(0.62 + PAIRS[pair] + 0.3 * (u - 0.5), 0, 1)
    arrays = (small, 0.6 * small + 0.4 * noise, small, large)
    return People(
        **{
            field.name: jnp.asarray(array, jnp.float32)
            for field, array in zip(dataclasses.fields(People), arrays, strict=True)
        }
    )


def cover(
    pair: str,
    num_rows: int,
    *,
    seed: int,
    num_samples: int,
    num_draws: int,
    num_bins: int = 15,
) -> Coverage:
    """Draws samples and counts.

    Args:
      pair: one of `PAIRS`.
      num_rows: rows of a sample.
      seed: for everything random.
      num_samples: how many.
      num_draws: bootstrap draws of an interval.
      num_bins: bins of the routers, which are fitted on an equal number of other rows.
    """
    people = population(pair)
    rows = np.random.default_rng(seed).integers(_POPULATION, size=num_rows)
    routers = tuple(
        cj.fit_router(confidence[rows], people.large_right[rows], num_bins=num_bins)
        for confidence in (people.calibrated, people.raw)
    )
    key = jax.random.key(seed)
    truth = jax.tree.map(
        np.asarray,
        _both(key, routers, people, people.small_right, people.large_right, 1),
    )
    found = jax.tree.map(
        np.asarray,
        _samples(
            key,
            routers,
            people,
            num_rows=num_rows,
            num_samples=num_samples,
            num_draws=num_draws,
        ),
    )
    coverage, width = {}, {}
    for name, interval in found.items():
        true = truth[name].estimate
        held = (interval.lower <= true + 1e-6) & (interval.upper >= true - 1e-6)
        # With a gap of 0 in the denominator there is no estimate and no interval.
        there = ~np.isnan(interval.estimate)
        coverage[name] = np.mean(held, axis=0, where=there)
        width[name] = np.nanmedian(interval.upper - interval.lower, axis=0)
    return Coverage(pair=pair, num_rows=num_rows, coverage=coverage, width=width)


def _both(
    key: jax.Array,
    routers: Any,
    people: People,
    small: jax.Array,
    large: jax.Array,
    num_draws: int,
) -> dict[str, cj.Interval]:
    """All intervals by name."""
    one = cj.cascade_interval(
        key, routers[0], people.calibrated, small, large, num_resamples=num_draws
    )
    two = cj.cascade.router_difference_interval(
        key,
        *routers,
        people.calibrated,
        people.raw,
        small,
        large,
        num_resamples=num_draws,
    )
    return {
        "accuracy": one.accuracy,
        "accuracy less the large model's": one.over_large,
        "share answered by the small model": one.small_share,
        "PGR": one.pgr,
        "APGR": one.apgr,
        "outcome advantage of a bin": one.outcome_advantage,
        "accuracy, CC less UC": two.accuracy,
        "area, CC less UC": two.area,
        "APGR, CC less UC": two.apgr,
    }


@functools.partial(jax.jit, static_argnames=("num_rows", "num_samples", "num_draws"))
def _samples(
    key: jax.Array,
    routers: Any,
    people: People,
    *,
    num_rows: int,
    num_samples: int,
    num_draws: int,
) -> dict[str, cj.Interval]:
    def one(key: jax.Array) -> dict[str, cj.Interval]:
        keys = jax.random.split(key, 3)
        rows = jax.random.randint(keys[0], (num_rows,), 0, _POPULATION)
        drawn = jax.tree.map(lambda array: array[rows], people)
        first, other, same = jax.random.uniform(keys[1], (3, num_rows))
        # Half of the rows are equally hard for both models.
        second = jnp.where(same < 0.5, first, other)
        return _both(
            keys[2],
            routers,
            drawn,
            first < drawn.small_right,
            second < drawn.large_right,
            num_draws,
        )

    keys = jax.random.split(key, num_samples)
    return lax.map(one, keys, batch_size=min(_SIDE_BY_SIDE, num_samples))
