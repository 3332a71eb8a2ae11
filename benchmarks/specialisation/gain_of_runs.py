r"""The gain from a second architecture in a cascade, beyond a second training run.

Shapes: S runs of a first architecture, T runs of a second, R = S + T; N examples, D
draws.
Masked rows may hold anything.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

import calib_jax as cj
from calib_jax._core import checks, dispatch, masking
from calib_jax.binning.bins import DEFAULT_NUM_BINS
from calib_jax.stats.intervals import Counts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RunGains:
    """Gains of cascades between training runs of two architectures.

    Attributes:
      gains: float32 `[R, R]`, accuracy of the cascade from run i to run j minus that of
        the better of the two; NaN on the diagonal. Runs of the first architecture come
        first.
      within_first: float32 scalar, mean gain of two runs of the first architecture.
      within_second: float32 scalar, mean gain of two runs of the second.
      across: float32 scalar, mean gain of one run of each, in either order.
      difference: float32 scalar, `across` minus the mean of the other two.
      p_value: float32 scalar, for the hypothesis that all runs are of one kind, against
        a difference above 0.
      num_calibration: int32 scalar, rows on which routers are fitted and K is chosen.
      counts: `Counts` of the rows that are judged and of those that `where` removes.
    """

    gains: jax.Array
    within_first: jax.Array
    within_second: jax.Array
    across: jax.Array
    difference: jax.Array
    p_value: jax.Array
    num_calibration: jax.Array
    counts: Counts


def cascade_gain_of_runs(
    key: jax.Array,
    first_confidence: ArrayLike,
    second_confidence: ArrayLike,
    first_outcome: ArrayLike,
    second_outcome: ArrayLike,
    calibration: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    num_draws: int = 1000,
    where: ArrayLike | None = None,
) -> RunGains:
    r"""Gains of cascades within one architecture and across two, from several runs.

    Two runs of one architecture on the same data gain together because their errors
    differ. Any gain of two architectures beyond that is due to the architectures. One
    run of each cannot tell these apart. For every ordered pair of runs, the router, the
    most accurate K and the better run are chosen on the calibration rows, and the gain
    over that run is measured on the others.

    The p-value assigns the runs to two groups again and counts how often the difference
    is as large. It is exact where all runs are exchangeable, given the rows. If there
    are at most `num_draws` assignments, all are evaluated: for four runs of each kind
    70, each with the same difference as its mirror image, so no p-value is below 1/35.
    Otherwise D assignments are drawn, and it is
    :math:`(1 + \#\{\ge\}) / (1 + D)`. If one architecture is more accurate, gains
    across are smaller, since the better one is hard to beat. A difference above 0 is
    then clear evidence, and one below 0 is no evidence against specialisation.

    Args:
      key: a JAX random key; not used where all assignments are evaluated.
      first_confidence: floating `[S, N]`, calibrated confidence of S >= 2 runs.
      second_confidence: floating `[T, N]`, calibrated confidence of T >= 2 runs.
      first_outcome: bool, integer or floating `[S, N]` in `[0, 1]`.
      second_outcome: `[T, N]`, like `first_outcome`.
      calibration: bool `[N]`, rows to fit and choose on; the others are judged.
      num_bins: static number of bins of the routers.
      num_draws: static number of assignments to draw, at least 1.
      where: optional bool `[N]`.

    Returns:
      `RunGains`; NaN without rows of both kinds, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Table 2; Phipson and Smyth, "Permutation
      P-values Should Never Be Zero", 2010.

    Examples:
      >>> topic, half = jnp.arange(400) % 2, jnp.arange(400) < 200
      >>> first = jnp.tile(jnp.where(topic == 0, 0.9, 0.6), (3, 1))
      >>> second = jnp.tile(jnp.where(topic == 0, 0.6, 0.9), (3, 1))
      >>> found = cascade_gain_of_runs(
      ...     jax.random.key(0), first, second, first > 0.7, second > 0.7, half
      ... )
      >>> print(f"{found.within_first:.2f} {found.across:.2f} {found.p_value:.1f}")
      0.00 0.50 0.1
    """
    random = checks.key("key", key)
    runs = {
        "first_confidence": checks.floats(
            "first_confidence", first_confidence, rank=2, axes="[S, N]"
        ),
        "second_confidence": checks.floats(
            "second_confidence", second_confidence, rank=2, axes="[T, N]"
        ),
        "first_outcome": checks.outcomes(
            "first_outcome", first_outcome, rank=2, axes="[S, N]"
        ),
        "second_outcome": checks.outcomes(
            "second_outcome", second_outcome, rank=2, axes="[T, N]"
        ),
    }
    chosen = checks.bools("calibration", calibration)
    mask = checks.mask("where", where)
    for name in ("first", "second"):
        confidence = runs[f"{name}_confidence"]
        checks.same_shape(
            **{key: array for key, array in runs.items() if key.startswith(name)}
        )
        if confidence.shape[0] < 2:
            raise ValueError(
                f"{name}_confidence: expected at least 2 runs, got "
                f"{confidence.shape[0]}; the gain across architectures is compared "
                "with that of two runs of one."
            )
    checks.same_columns(**runs, calibration=chosen, where=mask)
    return _cascade_gain_of_runs(
        random,
        jnp.concatenate([runs["first_confidence"], runs["second_confidence"]]),
        jnp.concatenate([runs["first_outcome"], runs["second_outcome"]]),
        chosen,
        mask,
        num_first=runs["first_confidence"].shape[0],
        num_bins=checks.static_int("num_bins", num_bins, minimum=1),
        num_draws=checks.static_int("num_draws", num_draws, minimum=1),
    )


@dispatch.core(static=["num_first", "num_bins", "num_draws"])
def _cascade_gain_of_runs(
    key: jax.Array,
    confidence: jax.Array,
    outcome: jax.Array,
    calibration: jax.Array,
    where: jax.Array | None,
    *,
    num_first: int,
    num_bins: int,
    num_draws: int,
) -> RunGains:
    num_runs = confidence.shape[0]
    valid = masking.valid_rows(calibration.shape[0], where, None)
    seen, judged = valid & calibration, valid & ~calibration

    def gain(first: tuple[jax.Array, ...], second: tuple[jax.Array, ...]) -> jax.Array:
        router = cj.fit_router(first[0], second[0], num_bins=num_bins, where=seen)
        before, after = (
            cj.cascade_curve(router, first[0], first[1], second[1], where=rows)
            for rows in (seen, judged)
        )
        chosen = cj.choose_num_small_bins(before)
        better = jnp.where(
            before.large_accuracy >= before.small_accuracy,
            after.large_accuracy,
            after.small_accuracy,
        )
        reached = after.accuracy[chosen.num_small_bins]
        return jnp.where(chosen.feasible, reached - better, jnp.nan)

    runs = (confidence, outcome)
    gains = lax.map(
        lambda first: jax.vmap(lambda second: gain(first, second))(runs), runs
    )
    # A run is not paired with itself.
    other = ~jnp.eye(num_runs, dtype=bool)

    def means(is_first: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        same = is_first[:, None] == is_first[None]
        kinds = (same & is_first[:, None], same & ~is_first[:, None], ~same)
        within_first, within_second, across = (
            jnp.mean(jnp.where(kind & other, gains, 0.0))
            / jnp.mean(kind & other, dtype=jnp.float32)
            for kind in kinds
        )
        return within_first, within_second, across

    def difference(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return parts[2] - 0.5 * (parts[0] + parts[1])

    is_first = jnp.arange(num_runs, dtype=jnp.int32) < num_first
    found = means(is_first)
    # 0 if all splits are evaluated, which includes the actual one.
    num_drawn = num_draws if math.comb(num_runs, num_first) > num_draws else 0
    if num_drawn:
        splits = jax.vmap(lambda key: jax.random.permutation(key, is_first))(
            jax.random.split(key, num_drawn)
        )
    else:
        splits = jnp.asarray(_all_splits(num_runs, num_first))
    drawn = jax.vmap(lambda split: difference(means(split)))(splits)
    # Equal up to the order of summation counts as equal.
    enough = jnp.sum(drawn >= difference(found) - 1e-6, dtype=jnp.float32)
    drawn_too = float(num_drawn > 0)
    p_value = (drawn_too + enough) / (drawn_too + splits.shape[0])
    bad = jnp.any(jnp.isnan(gains) & other)
    return RunGains(
        gains=jnp.where(other, gains, jnp.nan),
        within_first=found[0],
        within_second=found[1],
        across=found[2],
        difference=difference(found),
        p_value=jnp.where(bad, jnp.nan, p_value),
        num_calibration=jnp.sum(seen, dtype=jnp.int32),
        counts=Counts(
            num_rows=jnp.sum(judged, dtype=jnp.int32),
            num_masked=jnp.sum(~valid, dtype=jnp.int32),
        ),
    )


def _all_splits(num_runs: int, num_first: int) -> np.ndarray:
    """Bool `[C, R]`, every choice of so many runs."""
    chosen = np.array(list(itertools.combinations(range(num_runs), num_first)))
    return (chosen[:, :, None] == np.arange(num_runs)).any(axis=1)
