"""Coverage of the interval of the ECE, and of a percentile bootstrap."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

# A population is so many evenly spaced quantiles of the confidences.
_POPULATION = 20_000
_QUANTILES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "confident": lambda u: (1 - (1 - u) ** (1 / 1.3)) ** (1 / 5),
    "wide": lambda u: 0.25 + 0.74 * u,
    "tied": lambda u: np.round((1 - (1 - u) ** (1 / 1.3)) ** (1 / 5) * 20) / 20,
    "saturated": lambda u: 1 - 0.75 * (1 - u) ** 12,
    "nearly certain": lambda u: 1 - 0.01 * (1 - u),
    "from 0.9 to 0.99": lambda u: 0.9 + 0.09 * u,
}
# Confidence minus the probability of being right, from confidences and their bins.
_GAPS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda c, b: 0 * c,
    "0.02 everywhere": lambda c, b: 0.02 + 0 * c,
    "0.05 everywhere": lambda c, b: 0.05 + 0 * c,
    "0.15 everywhere": lambda c, b: 0.15 + 0 * c,
    "0.05 in every other bin": lambda c, b: 0.05 * (b % 2),
    "0.2 in every other bin": lambda c, b: 0.2 * (b % 2),
    "0.1 and -0.1 in turns": lambda c, b: 0.2 * (b % 2) - 0.1,
    "growing to 0.2": lambda c, b: 0.2 * c**4,
    "right at 0.998": lambda c, b: c - 0.998,
    "right at 0.999": lambda c, b: c - 0.999,
}
NUM_ROWS, NUM_BINS = (200, 1000, 10_000), (1, 3, 5, 15, 30)
# Always included, with confidences near 1: all answers of a sample may be right.
FEW_ROWS, FEW_BINS = (20, 50), (1, 15)
# And with answers that are right more often than claimed: hardly any is wrong.
RARE_ROWS = (100, 400)
# The fewest draws under the null that allow the level of one end of a 95 % interval.
NUM_DRAWS = 39
_SIDE_BY_SIDE = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A population, and how it is sampled and binned.

    Attributes:
      num_rows: rows of a sample.
      num_bins: equal-count bins, cut from an equal number of other rows.
      scores: which confidences.
      gap: how far they are from the truth.
    """

    num_rows: int
    num_bins: int
    scores: str
    gap: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """The results of many samples of a setting.

    Attributes:
      setting: the setting.
      truth: ECE of the population on the bins.
      noise: mean ECE from the randomness of outcomes alone, if no bin had a gap; to be
        compared with the truth.
      null_error: mean over samples of the ECE expected for a calibrated model.
      estimate: mean ECE of the samples.
      debiased: mean of the debiased estimate.
      coverage: share of the intervals that contain the truth.
      above: share of the intervals that lie above it.
      below: share of the intervals that lie below it.
      width: mean width of an interval.
      least_width: width of a normal interval of an unbiased estimate that varies as the
        ECE does; no interval can be narrower.
      rejected: share of the samples with a p-value of at most 0.05.
      percentile_coverage: the coverage of the percentile bootstrap; NaN if left out.
    """

    setting: Setting
    truth: float
    noise: float
    null_error: float
    estimate: float
    debiased: float
    coverage: float
    above: float
    below: float
    width: float
    least_width: float
    rejected: float
    percentile_coverage: float


def settings(rows: Sequence[int] = NUM_ROWS) -> Iterator[Setting]:
    """Every combination; only some of those with many rows, which take longest."""
    certain, high = "nearly certain", "from 0.9 to 0.99"
    kinds = [name for name in _QUANTILES if name not in (certain, high)]
    for num_rows in (*FEW_ROWS, *RARE_ROWS, *rows):
        scores, num_bins = kinds, NUM_BINS
        if num_rows in FEW_ROWS:
            scores, num_bins = [certain], FEW_BINS
        elif num_rows in RARE_ROWS:
            scores, num_bins = [high], FEW_BINS
        elif num_rows >= max(NUM_ROWS):
            scores, num_bins = ["confident", "tied"], NUM_BINS[::2]
        for size, name, gap in itertools.product(num_bins, scores, _GAPS):
            # Nearly certain answers cannot be right more often by 0.1.
            possible = name != certain or "-0.1" not in gap
            if possible and (name == high) == gap.startswith("right at"):
                yield Setting(num_rows=num_rows, num_bins=size, scores=name, gap=gap)


def population(setting: Setting, seed: int) -> tuple[cj.Bins, jax.Array, jax.Array]:
    """Bins, and confidence and probability of being right of every member, `[P]`."""
    u = (np.arange(_POPULATION) + 0.5) / _POPULATION
    scores = np.clip(_QUANTILES[setting.scores](u), 0, 1).astype(np.float32)
    others = np.random.default_rng(seed).choice(scores, setting.num_rows)
    # All numbers of bins share a program; bins beyond the number are empty.
    bins = cj.equal_count_bins(others, setting.num_bins, max_bins=max(NUM_BINS))
    place = np.searchsorted(np.asarray(bins.edges), scores, side="right")
    right = np.clip(scores - _GAPS[setting.gap](scores, place), 0, 1)
    return bins, jnp.asarray(scores), jnp.asarray(right, jnp.float32)


def noise_of(
    setting: Setting, bins: cj.Bins, scores: jax.Array, right: jax.Array
) -> float:
    """The noise, from normal sums with the variance of the outcomes."""
    table = cj.reliability_table(bins, scores, right * (1 - right))
    share = np.asarray(table.weight) / _POPULATION
    variance = share * np.asarray(table.outcome) / setting.num_rows
    return float(np.sum(np.sqrt(2 / np.pi * variance)))


def cover(
    setting: Setting, *, seed: int, num_samples: int, num_percentile_draws: int = 0
) -> Coverage:
    """Draws samples and counts.

    Args:
      setting: what to sample.
      seed: for everything random.
      num_samples: how many.
      num_percentile_draws: draws of the percentile bootstrap; 0 leaves it out.
    """
    bins, scores, right = population(setting, seed)
    truth = float(cj.expected_calibration_error(scores, right, bins=bins))
    found, ends = _samples(
        jax.random.key(seed),
        bins,
        scores,
        right,
        num_rows=setting.num_rows,
        num_samples=num_samples,
        num_percentile_draws=num_percentile_draws,
    )
    found = jax.tree.map(np.asarray, found)
    # The population is on the float32 grid, so the truth is as exact as float32.
    above, below = found.lower > truth + 1e-6, found.upper < truth - 1e-6
    return Coverage(
        setting=setting,
        truth=truth,
        noise=noise_of(setting, bins, scores, right),
        null_error=float(found.null_error.mean()),
        estimate=float(found.estimate.mean()),
        debiased=float(found.debiased.mean()),
        coverage=float(1 - above.mean() - below.mean()),
        above=float(above.mean()),
        below=float(below.mean()),
        width=float((found.upper - found.lower).mean()),
        least_width=float(2 * 1.96 * found.estimate.std()),
        rejected=float((found.p_value <= 0.05).mean()),
        percentile_coverage=float(
            np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
        )
        if num_percentile_draws
        else float("nan"),
    )


@functools.partial(
    jax.jit, static_argnames=("num_rows", "num_samples", "num_percentile_draws")
)
def _samples(
    key: jax.Array,
    bins: cj.Bins,
    scores: jax.Array,
    right: jax.Array,
    *,
    num_rows: int,
    num_samples: int,
    num_percentile_draws: int,
) -> tuple[cj.CalibrationErrorInterval, jax.Array]:
    def one(key: jax.Array) -> tuple[cj.CalibrationErrorInterval, jax.Array]:
        keys = jax.random.split(key, 3)
        rows = jax.random.randint(keys[0], (num_rows,), 0, scores.shape[0])
        outcome = jax.random.uniform(keys[1], (num_rows,)) < right[rows]
        found = cj.calibration_error_interval(
            keys[2], bins, scores[rows], outcome, num_resamples=NUM_DRAWS
        )
        ends = jnp.zeros(2)
        if num_percentile_draws:
            tables = cj.stats.bootstrap_reliability(
                keys[2], bins, scores[rows], outcome, num_percentile_draws
            )
            draws = jax.vmap(cj.metrics.calibration_error_of_table)(tables)
            ends = jnp.quantile(draws, jnp.array([0.025, 0.975]))
        return found, ends

    keys = jax.random.split(key, num_samples)
    return lax.map(one, keys, batch_size=min(_SIDE_BY_SIDE, num_samples))
