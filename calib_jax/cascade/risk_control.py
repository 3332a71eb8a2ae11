r"""Choosing K, the number of bins kept small, so that a promise holds on new inputs.

A router is fitted on one part of the validation data. Its order of the bins makes the
candidates nested: the inputs that the small model answers with K bins are among those
with K + 1. On *another* part, whose rows neither the router nor the calibration has
seen, the functions here bound the risk of every K and choose one; no correction for the
number of candidates is needed. What holds, holds for the distribution from which these
rows and all new inputs are drawn independently (or exchangeably), whatever the models.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins. At K = 0 the large
model answers everything, which loses nothing and saves nothing: it is an answer to no
target here, and where nothing else is within one, the target is called impossible.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks
from ..stats import binomial, bounds
from . import first_bins
from .first_bins import FirstBins
from .routers import Router

# The sequence of tests begins where this many times the rows are expected that a bound
# would need which sees no error.
_START_ROWS = 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """K, the number of bins kept small, and what the choice rests on.

    Attributes:
      num_small_bins: int32 scalar K; -1 where the target is impossible.
      possible: bool scalar, whether some K keeps the target. K = 0, no answer by the
        small model, counts only where the target is a cost.
      level: float32 scalar, the target.
      least_level: float32 scalar, the least target that these rows make possible.
      risk: float32 `[num_bins + 1]`, estimate of what the target limits, for 0 to
        num_bins bins kept small.
      bound: float32 `[num_bins + 1]`, what is compared with the target.
      large_share: float32 `[num_bins + 1]`, share of inputs sent to the large model.
      num_rows: int32 scalar, valid rows.
      same_rows: bool scalar, whether these rows repeat the router's own table to the
        last bit: it was fitted on them, nothing is promised, and `possible` is False.
        Never where one bin holds them all: there was no order to be fitted.
    """

    num_small_bins: jax.Array
    possible: jax.Array
    level: jax.Array
    least_level: jax.Array
    risk: jax.Array
    bound: jax.Array
    large_share: jax.Array
    num_rows: jax.Array
    same_rows: jax.Array


def control_regret(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_regret: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose expected regret is within a limit (conformal risk control).

    The regret of an input is what the large model's answer would have been better, if
    the small model answers it, and else 0; that the small model is at times the better
    one does not make up for it. It only grows with K, so that

    .. math:: \hat K = \max\left\{K : \frac{\sum_i 1[i \in S_K] \,
        (v_i^{large} - v_i^{small})_+ + 1}{n + 1} \le \alpha\right\}

    keeps the regret of a new input at or below the limit, on average over the rows to
    choose on too: a promise in expectation, of no single choice. It is exact for every
    n. Where it is impossible the large model alone, `max(num_small_bins, 0)`, keeps it.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct.
      large_outcome: the same for the large model's answer.
      max_regret: floating scalar in `[0, 1]`, an accuracy; may be traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `Selection`; NaN, and not chosen, are all K whose bins hold a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Angelopoulos et al., "Conformal Risk Control", 2022, arXiv 2208.02814, theorem 1.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_regret(
      ...     router, small[:399], small[:399] > 0.6, jnp.ones(399, bool), 0.05
      ... )
      >>> print(chosen.num_small_bins, chosen.bound[1:4])
      1 [0.003 0.103 0.353]
    """
    confidence, small, large, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, where
    )
    level = checks.scalar("max_regret", max_regret)
    regret = large & ~small if small.dtype == bool else jnp.maximum(large - small, 0.0)
    sums = first_bins.sum_first_bins(router, confidence, (regret,), mask)
    return _by_regret(sums, level)


def control_accuracy_drop(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_drop: ArrayLike,
    error_probability: ArrayLike = 0.05,
    *,
    betting: bool = True,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose loss of accuracy is within a limit (Learn then Test).

    The loss is net: what the cascade is less accurate than the large model alone.

    .. math:: E[1[x \in S_K] \, (v^{large} - v^{small})] \le \alpha

    With a probability of at least `1 - error_probability` over the rows to choose on,
    the K that is returned keeps this limit. K = 1, 2, ... are tested in this order,
    each at the whole error probability, until one fails: the first K that breaks the
    limit passes with that probability at most, and unless it does none after it is
    reached. A negative limit asks for a gain.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct. With bools the test is quicker; differences of others
        are rounded up to a multiple of 1 / 256.
      large_outcome: the same for the large model's answer.
      max_drop: floating scalar in `[-1, 1]`, an accuracy; may be traced.
      error_probability: floating scalar in `(0, 1)`; may be traced.
      betting: static; test by `calib_jax.stats.betting_p_value`, or else by
        `calib_jax.stats.hoeffding_bentkus_p_value`, which is weaker where the two
        models mostly agree. Both take the loss as (difference + 1) / 2.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `Selection`; `bound` is the least limit that each K would pass on its own. NaN,
      and not chosen, are all K whose bins hold a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052, section 2
      (fixed-sequence testing).

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_accuracy_drop(
      ...     router, small[:399], small[:399] > 0.6, jnp.ones(399, bool), 0.05
      ... )
      >>> print(chosen.num_small_bins, chosen.bound[:3])
      1 [0.01 0.01 0.15]
    """
    confidence, small, large, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, where
    )
    level = checks.scalar("max_drop", max_drop)
    error = checks.scalar("error_probability", error_probability)
    sums = first_bins.sum_first_bins(router, confidence, (small, large), mask)
    if not betting:
        return _by_drop(sums, None, level, error)
    if small.dtype == bool:
        place, levels = 1 + large.astype(jnp.int32) - small.astype(jnp.int32), 3
    else:
        levels = first_bins.NUM_LEVELS
        place = first_bins.level_of(0.5 * (large - small) + 0.5)
    counts = first_bins.count_levels(router, confidence, place, mask, levels=levels)
    return _by_drop(sums, counts, level, error)


def control_small_error(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    max_error: ArrayLike,
    error_probability: ArrayLike = 0.05,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose small model errs rarely enough where it answers.

    .. math:: P(v^{small} = 0 \mid x \in S_K) \le \alpha

    With a probability of at least `1 - error_probability` over the rows to choose on,
    the K that is returned keeps this limit. Given how many of them are in S_K, the
    number of errors among these is binomial, and `bound` is the upper one of Clopper
    and Pearson. K is tested in ascending order, each at the whole error probability,
    until one fails. The first bins may hold too few rows to show anything: the sequence
    begins at the first K in which, by the counts of the router's own table, four times
    the rows are expected that would be needed without a single error.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool `[N]`, whether the small model's answer is correct.
      max_error: floating scalar in `[0, 1]`; may be traced.
      error_probability: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `Selection`; impossible with a valid NaN confidence. At K = 0 there is nothing to
      err in: its risk is 0, its bound 1.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500; Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_small_error(
      ...     router, small[:399], small[:399] > 0.6, 0.2
      ... )
      >>> print(chosen.num_small_bins, chosen.bound.round(2))
      1 [1.   0.03 0.25 0.52 0.64]
    """
    checks.instance("router", router, Router)
    confidence = checks.floats("small_confidence", small_confidence)
    outcome = checks.bools("small_outcome", small_outcome)
    mask = checks.mask("where", where)
    checks.same_shape(small_confidence=confidence, small_outcome=outcome, where=mask)
    level = checks.scalar("max_error", max_error)
    error = checks.scalar("error_probability", error_probability)
    sums = first_bins.sum_first_bins(router, confidence, (~outcome,), mask)
    return _by_small_error(sums, router, level, error)


def _pair_rows(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    where: ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    checks.instance("router", router, Router)
    (confidence,), small, large, mask = checks.two_models(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    if small.dtype != large.dtype:
        small, large = small.astype(jnp.float32), large.astype(jnp.float32)
    return confidence, small, large, mask


def select(
    sums: FirstBins,
    passes: jax.Array,
    level: jax.Array,
    least_level: jax.Array,
    risk: jax.Array,
    bound: jax.Array,
    *,
    smallest: bool = False,
) -> Selection:
    """The largest, or smallest, K that passes, bool `[num_bins + 1]`."""
    number = jnp.arange(passes.shape[0], dtype=jnp.int32)
    possible = jnp.any(passes) & ~sums.same_rows
    if smallest:
        chosen = jnp.min(jnp.where(passes, number, passes.shape[0]))
    else:
        chosen = jnp.max(jnp.where(passes, number, -1))
    rows = jnp.where(jnp.isnan(sums.rows), 0.0, sums.rows)
    return Selection(
        num_small_bins=jnp.where(possible, chosen, -1),
        possible=possible,
        level=level,
        least_level=least_level,
        risk=risk,
        bound=bound,
        large_share=1 - first_bins.over(sums.kept, sums.rows),
        num_rows=rows.astype(jnp.int32),
        same_rows=sums.same_rows,
    )


def least_means(counts: jax.Array, error: jax.Array) -> jax.Array:
    """The least mean loss that betting excludes `[S]`, of counts of levels `[S, L]`."""
    values = first_bins.values_of(counts.shape[1])
    means = jax.vmap(
        lambda count: binomial.least_float(
            lambda mean: bounds.betting(count, values, mean) <= error
        )[0]
    )(counts.astype(jnp.float32))
    return jnp.where(jnp.isnan(error), jnp.nan, means)


def _in_sequence(passes: jax.Array, tested: jax.Array) -> jax.Array:
    """Which K pass before the first that is tested and does not, `[num_bins + 1]`."""
    fails = tested & ~passes
    return tested & (jnp.cumsum(fails, dtype=jnp.int32) == 0)


@jax.jit
def _by_regret(sums: FirstBins, level: jax.Array) -> Selection:
    total = binomial.to_float(sums.totals)[0]
    bound = (total + 1) / (sums.rows + 1)
    passes = (bound <= level) & (jnp.arange(bound.shape[0]) > 0)
    risk = first_bins.over(total, sums.rows)
    return select(sums, passes, level, bound[1], risk, bound)


@jax.jit
def _by_drop(
    sums: FirstBins, counts: jax.Array | None, level: jax.Array, error: jax.Array
) -> Selection:
    by_small, by_large = zip(*sums.totals, strict=True)
    lost = binomial.minus(by_large, by_small)
    # A loss in [0, 1]: half of what is lost, and a half.
    if counts is None:
        half, rest = (0.5 * part for part in lost)
        rows = jnp.full_like(half, -0.5 * sums.rows)
        total = binomial.minus((half, rest), (rows, jnp.zeros_like(rows)))
        mean = jax.vmap(
            lambda high, low: binomial.least_float(
                lambda mean: (
                    bounds.hoeffding_bentkus((high, low), sums.rows, mean) <= error
                )
            )[0]
        )(*total)
    else:
        # What the large model answers is no loss.
        kept = first_bins.before(counts)
        sent = jnp.sum(kept[-1:] - kept, axis=1, dtype=jnp.int32)
        mean = least_means(kept.at[:, counts.shape[1] // 2].add(sent), error)
    drop = binomial.to_float(lost)
    unknown = jnp.isnan(drop) | jnp.isnan(error)
    bound = jnp.where(unknown, jnp.nan, 2 * mean - 1)
    passes = _in_sequence(bound <= level, jnp.arange(bound.shape[0]) > 0)
    risk = first_bins.over(drop, sums.rows)
    return select(sums, passes, level, bound[1], risk, bound)


@jax.jit
def _by_small_error(
    sums: FirstBins, router: Router, level: jax.Array, error: jax.Array
) -> Selection:
    wrong = binomial.to_float(sums.totals)[0]
    bound = jax.vmap(lambda k, n: bounds.upper_rate(k, n, error))(wrong, sums.kept)
    bound = jnp.where(jnp.isnan(wrong), jnp.nan, bound)
    # From which target on each K is the first to be tested: what the router's own rows
    # say of the number of rows, since the rows to choose on may not.
    seen = jnp.cumsum(router.table.count[router.order].astype(jnp.float32))
    expected = sums.rows * seen / jnp.maximum(seen[-1], 1.0)
    start = -jnp.expm1(_START_ROWS * jnp.log(error) / jnp.maximum(expected, 1e-6))
    start = jnp.pad(start, (1, 0), constant_values=jnp.inf)
    passes = _in_sequence(bound <= level, start <= level)
    first = jnp.maximum(bound, start)[1:]
    least = jnp.min(jnp.where(first < start[:-1], first, 1.0))
    risk = wrong / jnp.maximum(sums.kept, 1.0)
    least = jnp.where(jnp.isnan(sums.rows), jnp.nan, least)
    return select(sums, passes, level, least, risk, bound)
