r"""Choosing K, the number of bins kept small, so that a promise holds on new inputs.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins. The functions here
bound the risk of every K on rows that neither the router nor the calibration has seen,
and choose one. The inputs kept small with K bins are among those kept with K + 1, so no
correction for the number of candidates is needed. A promise holds for new inputs from
the distribution of these rows, drawn independently (or exchangeably), whatever the
models. Except for costs, always calling the large model (K = 0) is never a solution,
since it meets every target and saves nothing; use it where the target is not feasible.

If the models confer, an arbiter that was fitted on other rows picks the answer of the
rows sent on. Promises still compare with the large model alone. Where the target is not
feasible, take the large model's answers without the arbiter: nothing is shown for it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact
from .._core.domains import Confidence, Difference, Outcome, Share
from ..stats import binomial, bounds
from . import first_bins
from .first_bins import FirstBins
from .routers import Router
from .selection import Selection, select

# Tests start where this many times the rows needed without an error are expected.
_START_ROWS = 4

_ROWS = [
    "small_confidence",
    "small_outcome",
    "large_outcome",
    "conferred_outcome",
    "where",
]


def control_regret(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_regret: ArrayLike,
    *,
    conferred_outcome: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose expected regret is within a limit (conformal risk control).

    Regret is how much better the large model's answer would have been on inputs kept
    small, and 0 otherwise. Wins of the small model do not offset it. It can only grow
    with K, so

    .. math:: \hat K = \max\left\{K : \frac{\sum_i 1[i \in S_K] \,
        (v_i^{large} - v_i^{small})_+ + 1}{n + 1} \le \alpha\right\}

    keeps the expected regret of a new input within the limit, for every n. The
    expectation is also over the rows to choose on: no single choice is promised.

    If the models confer, the answer :math:`v` of an input sent on may be worse than the
    large model's too, and counts

    .. math:: 1[i \in S_K] \, (v_i^{large} - \min(v_i^{small}, v_i))_+ +
        1[i \notin S_K] \, (v_i^{large} - v_i)_+

    This is the regret wherever the arbiter picks one of the two answers, and it can
    only grow with K for any other answer too.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      max_regret: floating scalar in `[0, 1]`, an accuracy; may be traced.
      conferred_outcome: optional `[N]`, like `small_outcome` for the answer where both
        models were asked: see `calib_jax.cascade_curve`. Where nothing is feasible,
        K = 0 means the large model alone: do not use the arbiter then.
      where: optional bool `[N]`.

    Returns:
      `Selection`; every K whose bins hold a valid NaN is NaN and not chosen. None is
      for a limit that is NaN, or traced and out of range, here and below.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or numbers on the host out of range.

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
    confidence, *outcomes, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, conferred_outcome, where
    )
    level = checks.scalar("max_regret", max_regret)
    return _control_regret(router, confidence, *outcomes, level, mask)


def control_accuracy_drop(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_drop: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    *,
    betting: bool = True,
    conferred_outcome: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose loss of accuracy is within a limit (Learn then Test).

    The loss is net: how much less accurate the cascade is than the large model alone.

    .. math:: E[1[x \in S_K] \, (v^{large} - v^{small})] \le \alpha

    With a probability of at least `confidence_level` over the rows to choose on, the
    chosen K meets the limit. K = 1, 2, ... are tested in this order, each at the full
    level, until one fails. A K beyond the limit can only be chosen if the first such K
    passes its test, which has a probability of at most `1 - confidence_level`. A
    negative limit asks for a gain. Bool outcomes make the test faster; other
    differences are rounded up to a multiple of 1 / 256.

    If the models confer, the large model's answers are compared with those of an
    arbiter on inputs sent on, so that no drop, or a gain, can be promised:

    .. math:: E[1[x \in S_K] \, (v^{large} - v^{small}) +
        1[x \notin S_K] \, (v^{large} - v)] \le \alpha

    The loss may then fall and rise with K. The order of the tests needs no more than
    that it was fixed beforehand. Where nothing is feasible, only the large model alone
    is safe: do not use the arbiter then.

    Args, errors and NaN as for `control_regret`, and also:

    Args:
      max_drop: floating scalar in `[-1, 1]`, an accuracy; may be traced.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      betting: static; test by `calib_jax.stats.betting_p_value` or, if False, by
        `calib_jax.stats.hoeffding_bentkus_p_value`, which is weaker where the two
        models mostly agree. Both take the loss as (difference + 1) / 2.

    Returns:
      `Selection`; `bound` is the smallest limit that each K would pass on its own.

    Raises:
      ValueError: for a wrong rank, shape, dtype or confidence level.

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
    confidence, *outcomes, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, conferred_outcome, where
    )
    level = checks.scalar("max_drop", max_drop)
    error = checks.error_rate("confidence_level", confidence_level)
    sums, counts = _sum_differences(
        router,
        confidence,
        *outcomes,
        mask,
        betting=checks.flag("betting", betting),
    )
    few = counts is None or counts[0].shape[1] < first_bins.NUM_LEVELS
    control = _of_few_levels if few else _of_many_levels
    return control(sums, counts, router.order, level, error)


def control_small_error(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    max_error: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose small model is rarely wrong where it answers.

    .. math:: P(v^{small} = 0 \mid x \in S_K) \le \alpha

    With a probability of at least `confidence_level` over the rows to choose on, the
    chosen K meets the limit. Given the number of rows in S_K, the number of errors
    among them is binomial, and `bound` is its upper Clopper-Pearson bound. K is tested
    in ascending order, each at the full level, until one fails. The first bins may hold
    too few rows to show anything, so the sequence starts at the first K that, by the
    counts of the router's own table, can expect four times the rows needed without a
    single error.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool `[N]`, whether the small model's answer is correct.
      max_error: floating scalar in `[0, 1]`; may be traced.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`.

    Returns:
      `Selection`; not feasible with a valid NaN confidence. At K = 0 the risk is 0 and
      the bound 1.

    Raises:
      ValueError: for a wrong rank, shape, dtype or confidence level, or numbers on the
        host out of range.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500; Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_small_error(router, small[:399], small[:399] > 0.6, 0.2)
      >>> print(chosen.num_small_bins, chosen.bound.round(2))
      1 [1.   0.03 0.25 0.52 0.64]
    """
    checks.instance("router", router, Router)
    confidence = checks.floats("small_confidence", small_confidence)
    outcome = checks.bools("small_outcome", small_outcome)
    mask = checks.mask("where", where)
    checks.same_shape(small_confidence=confidence, small_outcome=outcome, where=mask)
    level = checks.scalar("max_error", max_error)
    error = checks.error_rate("confidence_level", confidence_level)
    sums = first_bins.sum_rows(router, confidence, (~outcome,), (), mask)
    return _control_small_error(sums, router, level, error)


def _pair_rows(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    conferred_outcome: ArrayLike | None,
    where: ArrayLike | None,
) -> tuple[Any, ...]:
    """Confidence, the outcomes of both and conferred ones, all bool or none, mask."""
    checks.instance("router", router, Router)
    (confidence,), small, large, mask = checks.two_models(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    answer = checks.conferred(
        "conferred_outcome", conferred_outcome, small, keep_bool=True
    )
    found = small, large, answer
    if len({outcome.dtype for outcome in found if outcome is not None}) > 1:
        found = jax.tree.map(lambda outcome: outcome.astype(jnp.float32), found)
    return confidence, *found, mask


def least_means(counts: jax.Array, error: jax.Array) -> jax.Array:
    """The least mean loss that betting excludes `[S]`, of counts of levels `[S, L]`."""
    values = first_bins.values_of(counts.shape[1])
    means = jax.vmap(
        lambda count: binomial.least_float(
            lambda mean: bounds.betting(count, values, mean) <= error
        )[0]
    )(counts.astype(jnp.float32))
    return jnp.where(jnp.isnan(error), jnp.nan, means)


def bound_of_mean(total: binomial.Pair, most: jax.Array, rows: jax.Array) -> jax.Array:
    """The mean with one more row at the most, rounded once: equal to a limit or not."""
    most = jnp.broadcast_to(-most, total[0].shape)
    added = binomial.minus(total, binomial.pair(most))
    return exact.divide(added, binomial.pair(rows + 1))[0]


def _in_sequence(passes: jax.Array, tested: jax.Array) -> jax.Array:
    """Which K pass before the first that is tested and fails, `[num_bins + 1]`."""
    fails = tested & ~passes
    return tested & (jnp.cumsum(fails, dtype=jnp.int32) == 0)


@dispatch.core(rows=_ROWS)
def _control_regret(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    conferred_outcome: Outcome | None,
    max_regret: Share,
    where: jax.Array | None,
) -> Selection:
    def regret(outcome: jax.Array) -> jax.Array:
        if outcome.dtype == bool:
            return large_outcome & ~outcome
        return jnp.maximum(large_outcome - outcome, 0.0)

    worst = small_outcome
    sent_on: tuple[jax.Array, ...] = ()
    if conferred_outcome is not None:
        worst = jnp.minimum(small_outcome, conferred_outcome)
        sent_on = (regret(conferred_outcome),)
    sums = first_bins.sum_rows(
        router, small_confidence, (regret(worst),), sent_on, where
    )
    total, *more = zip(*sums.totals, strict=True)
    for part in more:
        total = binomial.plus(total, part)
    high = total[0]
    bound = bound_of_mean(total, jnp.float32(1), sums.rows)
    return select(
        (bound <= max_regret) & (jnp.arange(bound.shape[0]) > 0),
        level=max_regret,
        min_feasible_level=bound[1],
        risk=sums.mean(high),
        bound=bound,
        **sums.described(),
    )


@dispatch.core(static=["betting"], rows=_ROWS)
def _sum_differences(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    conferred_outcome: Outcome | None,
    where: jax.Array | None,
    *,
    betting: bool,
) -> tuple[FirstBins, tuple[jax.Array, ...] | None]:
    """Sums of outcomes, and for betting int32 `[num_bins, L]`, rows by loss.

    Of the small and of the large model where the small one answers and, with conferred
    outcomes, of these and of the large model where rows are sent on.
    """
    large = large_outcome
    pairs = [(small_outcome, large)]
    if conferred_outcome is not None:
        pairs.append((conferred_outcome, large))
    sums = first_bins.sum_rows(
        router, small_confidence, pairs[0], sum(pairs[1:], ()), where
    )
    if not betting:
        return sums, None

    def count(outcome: jax.Array) -> jax.Array:
        # The loss in [0, 1] is half the difference plus one half.
        if outcome.dtype == bool:
            place, size = 1 + large.astype(jnp.int32) - outcome.astype(jnp.int32), 3
        else:
            place = first_bins.level_of(0.5 * (large - outcome) + 0.5)
            size = first_bins.NUM_LEVELS
        return first_bins.count_levels(router, small_confidence, place, size, where)

    return sums, tuple(count(outcome) for outcome, _ in pairs)


def _control_accuracy_drop(
    sums: FirstBins,
    counts: tuple[jax.Array, ...] | None,
    order: jax.Array,
    max_drop: Difference,
    error: jax.Array,
) -> Selection:
    by_small, by_large, *sent_on = zip(*sums.totals, strict=True)
    lost = binomial.minus(by_large, by_small)
    if sent_on:
        lost = binomial.plus(lost, binomial.minus(sent_on[1], sent_on[0]))
    if counts is not None:
        kept, *rest = counts
        if not rest:
            # Rows that the large model answers differ by 0.
            rows = jnp.sum(kept, axis=1, dtype=jnp.int32)
            rest = [jnp.zeros_like(kept).at[:, kept.shape[1] // 2].set(rows)]
        mean = least_means(first_bins.sum_for_every_k(order, kept, *rest), error)
    else:
        high, low = (0.5 * part for part in lost)
        rows = jnp.broadcast_to(-0.5 * sums.rows, high.shape)
        total = binomial.minus((high, low), binomial.pair(rows))
        mean = jax.vmap(
            lambda high, low: binomial.least_float(
                lambda mean: (
                    bounds.hoeffding_bentkus((high, low), sums.rows, mean) <= error
                )
            )[0]
        )(*total)
    drop = binomial.to_float(lost)
    bound = jnp.where(jnp.isnan(drop) | jnp.isnan(error), jnp.nan, 2 * mean - 1)
    return select(
        _in_sequence(bound <= max_drop, jnp.arange(bound.shape[0]) > 0),
        level=max_drop,
        min_feasible_level=bound[1],
        risk=sums.mean(drop),
        bound=bound,
        **sums.described(),
    )


# Separate programs, so that the bisections are not recompiled for every number of rows.
# Those of several hundred levels take time.
_of_few_levels = dispatch.core(_control_accuracy_drop)
_of_many_levels = dispatch.core(
    _control_accuracy_drop, passes=dispatch.Passes.ALL_OPTIMISED
)


@dispatch.core
def _control_small_error(
    sums: FirstBins, router: Router, max_error: Share, error: jax.Array
) -> Selection:
    wrong = binomial.to_float(sums.totals)[0]
    bound = jax.vmap(lambda k, n: bounds.upper_rate(k, n, error))(wrong, sums.kept)
    bound = jnp.where(jnp.isnan(wrong), jnp.nan, bound)
    # The smallest target at which each K is the first one tested. It may depend on the
    # router's own rows, but not on those to choose on.
    count = router.table.count.astype(jnp.float32)
    seen = first_bins.sum_for_every_k(router.order, count)[1:]
    expected = sums.rows * seen / jnp.maximum(seen[-1], 1.0)
    start = -jnp.expm1(_START_ROWS * jnp.log(error) / jnp.maximum(expected, 1e-6))
    start = jnp.pad(start, (1, 0), constant_values=jnp.inf)
    first = jnp.maximum(bound, start)[1:]
    least = jnp.min(jnp.where(first < start[:-1], first, 1.0))
    return select(
        _in_sequence(bound <= max_error, start <= max_error),
        level=max_error,
        min_feasible_level=jnp.where(jnp.isnan(sums.rows), jnp.nan, least),
        risk=wrong / jnp.maximum(sums.kept, 1.0),
        bound=bound,
        **sums.described(),
    )
