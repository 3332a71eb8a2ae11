r"""Error bars for what a cascade achieves, and for the difference of two routers.

Shapes: N examples, D resamples, `num_bins` bins, K from 0 to num_bins. One problem;
many by `jax.vmap`. Routers are held fixed, as fitted on other rows; the estimand is
what they would achieve on the population from which the rows are exchangeable draws.
Every resample takes the same rows for both models and for both routers, so comparisons
are paired.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records
from .._core.domains import Confidence, Outcome
from ..binning import bin_sums, search
from ..binning.bin_sums import BinMeans
from ..stats import intervals, resampling
from ..stats.intervals import Counts, Interval
from . import curves, first_bins
from .curves import CascadeCurve
from .routers import Router

# Exact sums, means in bins, and the number of valid rows.
Table = tuple[jax.Array, BinMeans, jax.Array]


@records.record(
    "num_bins+1", axes={"apgr": "", "outcome_advantage": "num_bins", "counts": ""}
)
class CascadeInterval(records.Result):
    """What a cascade achieves, each with its interval.

    Attributes:
      small_share: `Interval` of `[num_bins + 1]`, share answered by the small model.
      accuracy: `Interval` of `[num_bins + 1]`, mean outcome for every K.
      over_large: `Interval` of `[num_bins + 1]`, accuracy minus the large model's.
      pgr: `Interval` of `[num_bins + 1]`, performance gap recovered.
      apgr: `Interval` of a scalar, average performance gap recovered.
      outcome_advantage: `Interval` of `[num_bins]`, mean outcome of the large model
        minus the small model's in each bin; 0 in a bin without rows.
      counts: `Counts` of the rows.
    """

    small_share: Interval
    accuracy: Interval
    over_large: Interval
    pgr: Interval
    apgr: Interval
    outcome_advantage: Interval
    counts: Counts


@records.record(axes={"accuracy": "num_bins+1"})
class RouterDifference(records.Result):
    """How much more a first router achieves than a second, each with its interval.

    Attributes:
      accuracy: `Interval` of `[num_bins + 1]`, difference of mean outcomes where the
        small model answers a share of k / num_bins.
      area: `Interval` of a scalar, mean of that difference over all shares.
      apgr: `Interval` of a scalar, difference of APGR: the area divided by the gap
        between the models.
      counts: `Counts` of the rows, with `num_bins` int32 `[2]`, for both routers.
    """

    accuracy: Interval
    area: Interval
    apgr: Interval
    counts: Counts


def cascade_interval(
    key: jax.Array,
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    conferred_outcome: ArrayLike | None = None,
    num_resamples: int = 1000,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> CascadeInterval:
    r"""The curve of a cascade, PGR, APGR and advantages of bins, with error bars.

    Each interval is for one number on its own: a curve as a whole lies inside its
    intervals less often. Those of PGR and APGR are percentile intervals of the
    resampled rows. Both divide by the gap between the models, so their intervals are
    wide where resamples have a gap of either sign, as they must be. For a K whose bins
    hold no row on which the models differ, every resample has the same PGR, and its
    interval says nothing.

    Resamples with few differences, or few wrong answers, vary too little, so means over
    rows get adjusted normal intervals,

    .. math:: \tilde x \pm z \sqrt{(\tilde s - \tilde x^2) / (n + a)}, \quad
        \tilde x = \frac{b + \sum_i x_i}{n + a}, \;
        \tilde s = \frac{c + \sum_i x_i^2}{n + a}, \;
        z = \Phi^{-1}(1 - \alpha / 2)

    with :math:`1 - \alpha` the confidence level. For accuracies and shares,
    :math:`z^2 / 2` correct rows and as many wrong ones are added (:math:`a = z^2`,
    :math:`b = c = z^2 / 2`). For the difference of two models on the same rows, each
    wins one more row (:math:`a = c = 2`, :math:`b = 0`).

    Args:
      key: a JAX random key; the same key pairs calls on the same rows.
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]` in `[0, 1]`, calibrated as in the fit.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      conferred_outcome: optional `[N]`, outcome of the answer where both models were
        asked, from an arbiter fitted on other rows: see `cascade_curve`.
      num_resamples: static number of resamples, at least 1 and better at least
        2 / (1 - confidence_level).
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      where: optional bool `[N]`.

    Returns:
      `CascadeInterval`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype, count or confidence level, values on
        the host outside `[0, 1]`, or without rows.

    References:
      Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Ong et
      al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2 (PGR and APGR); Agresti and
      Coull, "Approximate is better than 'exact' for interval estimation of binomial
      proportions", 1998; Bonett and Price, "Adjusted Wald confidence interval for a
      difference of binomial proportions based on paired data", 2012.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> confidence = jnp.tile(jnp.array([0.1, 0.9]), 500)
      >>> small, large = jnp.arange(1000) % 4 > 1, jnp.arange(1000) % 4 > 0
      >>> found = cascade_interval(jax.random.key(0), router, confidence, small, large)
      >>> loss = found.over_large
      >>> print(f"{loss.estimate[1]:.2f}, {loss.lower[1]:.2f} to {loss.upper[1]:.2f}")
      -0.25, -0.28 to -0.22
    """
    random = checks.key("key", key)
    checks.instance("router", router, Router)
    confidence, small, large, mask, error, size = arguments(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        num_resamples,
        confidence_level,
        where,
    )
    answer = checks.conferred("conferred_outcome", conferred_outcome, small)
    rows = router, confidence[0], small, large, answer, mask
    return _cascade_interval(
        router.order,
        tabulate(*rows),
        _draw(random, *rows, num_resamples=size),
        error,
        jnp.int32(small.shape[0]),
    )


def router_difference_interval(
    key: jax.Array,
    first: Router,
    second: Router,
    first_confidence: ArrayLike,
    second_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    first_conferred_outcome: ArrayLike | None = None,
    second_conferred_outcome: ArrayLike | None = None,
    num_resamples: int = 1000,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> RouterDifference:
    r"""How much better one router is than another on the same rows, with error bars.

    For example routing by calibrated confidences against raw ones (the paper's CC and
    UC). Curves are compared at equal shares, linear between their points, which is what
    keeping part of a bin at random achieves. Intervals are percentile intervals of the
    resampled rows.

    Args, errors and NaN as for `cascade_interval`, with two routers `first` and
    `second` of equally many bins and the confidences `[N]` that each routes by. If the
    models confer, `first_conferred_outcome` and `second_conferred_outcome` `[N]` are
    the outcomes of the answers that each takes for rows sent on. One alone, with one
    router given twice, shows what the arbiter is worth.

    Returns:
      `RouterDifference`, the first minus the second.

    Raises:
      ValueError: as `cascade_interval`, or for routers with different numbers of bins.

    References:
      Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Hao et
      al. 2026, arXiv 2601.07965, Figure 2 (calibrated and uncalibrated routing).

    Examples:
      >>> import calib_jax
      >>> good = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> bad = calib_jax.fit_router([0.2, 0.8], [0.1, 0.9], num_bins=2)
      >>> c = jnp.tile(jnp.array([0.1, 0.9]), 500)
      >>> small, large = jnp.arange(1000) % 2 == 1, jnp.arange(1000) % 8 > 0
      >>> more = router_difference_interval(
      ...     jax.random.key(0), good, bad, c, c, small, large
      ... ).apgr
      >>> print(f"{more.estimate:.1f}, {more.lower:.1f} to {more.upper:.1f}")
      0.5, 0.5 to 0.5
    """
    random = checks.key("key", key)
    checks.instance("first", first, Router)
    checks.instance("second", second, Router)
    confidences, small, large, mask, error, size = arguments(
        {"first_confidence": first_confidence, "second_confidence": second_confidence},
        small_outcome,
        large_outcome,
        num_resamples,
        confidence_level,
        where,
    )
    if first.bins.num_bins != second.bins.num_bins:
        raise ValueError(
            f"second: expected a router of {first.bins.num_bins} bins, as the first "
            f"has, got {second.bins.num_bins}; fit both with one num_bins."
        )
    given = {
        "first_conferred_outcome": first_conferred_outcome,
        "second_conferred_outcome": second_conferred_outcome,
    }
    answers = [checks.conferred(name, value, small) for name, value in given.items()]
    checks.in_domain(domains.OUTCOME, mask, **dict(zip(given, answers, strict=True)))
    if any(answer is not None for answer in answers):
        # Without an arbiter the large model's answer is taken.
        answers = [large if answer is None else answer for answer in answers]
    both = [
        (router, confidence, small, large, answer, mask)
        for router, confidence, answer in zip(
            (first, second), confidences, answers, strict=True
        )
    ]
    return _router_difference_interval(
        (first.order, second.order),
        tuple(tabulate(*rows) for rows in both),
        tuple(_draw(random, *rows, num_resamples=size) for rows in both),
        error,
        jnp.int32(small.shape[0]),
    )


def arguments(
    confidences: dict[str, ArrayLike],
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    num_resamples: int,
    confidence_level: ArrayLike,
    where: ArrayLike | None,
) -> tuple[Any, ...]:
    """All but key and routers, checked and converted."""
    given = checks.two_models(confidences, small_outcome, large_outcome, where)
    # Here, where each confidence has its own name.
    checks.in_domain(
        domains.CONFIDENCE, given[3], **dict(zip(confidences, given[0], strict=True))
    )
    resampling.check_drawn("small_outcome", given[1])
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    return *given, checks.error_rate("confidence_level", confidence_level), size


@dispatch.core(
    rows=[
        "small_confidence",
        "small_outcome",
        "large_outcome",
        "conferred_outcome",
        "where",
    ]
)
def tabulate(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    conferred_outcome: Outcome | None,
    where: jax.Array | None,
) -> Table:
    """What is read from the rows, in exact sums for `curves.curve_of_sums`; the means
    are of the outcomes, what the large model gains over the small one and, with
    conferred outcomes, over those, and the squares of all these."""
    outcomes = [small_outcome, large_outcome]
    if conferred_outcome is not None:
        outcomes.append(conferred_outcome)
    gains = [large_outcome - outcome for outcome in (small_outcome, *outcomes[2:])]
    parts = *outcomes, *gains
    values = *parts, *(part**2 for part in parts)
    state, table = bin_sums.bin_sums_and_means(
        router.bins, small_confidence, values, where, None
    )
    valid = masking.valid_rows(small_confidence.shape[0], where)
    digits = state.sums[1 : 2 + len(outcomes)]
    return digits, table, jnp.sum(valid, dtype=jnp.int32)


@dispatch.core(static=["num_resamples"], passes=dispatch.Passes.MANY)
def _draw(
    key: jax.Array,
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    conferred_outcome: Outcome | None,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> tuple[jax.Array, jax.Array]:
    """Rows `[D, num_bins]` and sums of outcomes `[D, 2, num_bins]` of resamples, 3 with
    conferred ones.

    The same rows are drawn for all outcomes, and for every router.
    """
    outcomes = [small_outcome, large_outcome]
    if conferred_outcome is not None:
        outcomes.append(conferred_outcome)
    return resampling.sums_of_draws(
        key,
        search.bin_of(router.bins.edges, small_confidence),
        outcomes,
        where,
        None,
        router.bins.num_bins,
        num_resamples,
    )


def _curves(
    order: jax.Array,
    seen: Table,
    drawn: tuple[jax.Array, jax.Array],
) -> CascadeCurve:
    """Curves `[1 + D, ...]`: of the rows, from `tabulate`, and of resamples, from
    `_draw`."""
    digits, table, _ = seen
    curve = curves.curve_of_sums(digits, order, jnp.any(jnp.isnan(table.means)))
    count, sums = drawn
    rows = count.astype(jnp.float32)
    # A resample may hold masked rows only: 0 / 0.
    weight = rows / jnp.minimum(jnp.sum(rows, axis=1, keepdims=True), 1.0)
    several = jax.vmap(curves.curve_of_means, (0, 0, None))(
        weight, resampling.means_of_draws(rows, sums), order
    )
    return jax.tree.map(
        lambda one, more: jnp.concatenate([one[None], more]), curve, several
    )


def _interval_of(every: Any, error: jax.Array) -> dict[str, Interval]:
    """Intervals of a dictionary of numbers, of which the first are of the rows."""
    first, draws = (
        jax.tree.map(lambda x, k=k: x[k], every) for k in (0, slice(1, None))
    )
    return intervals.by_name(intervals.interval_of_draws(first, draws, error))


def count_rows(seen: Table, num_given: jax.Array) -> Counts:
    _, table, num_valid = seen
    return Counts(
        num_rows=jnp.array(num_valid, copy=True),
        num_masked=num_given - num_valid,
        num_bins=jnp.sum(table.count > 0, dtype=jnp.int32),
    )


@dispatch.core
def _cascade_interval(
    order: jax.Array,
    seen: Table,
    drawn: tuple[jax.Array, jax.Array],
    error: jax.Array,
    num_given: jax.Array,
) -> CascadeInterval:
    def read(curve: CascadeCurve) -> dict[str, jax.Array]:
        return {"pgr": curves.pgr_of(curve), "apgr": curves.apgr_of(curve)}

    found = _interval_of(jax.vmap(read)(_curves(order, seen, drawn)), error)
    table = seen[1]
    sums, squares = _sums_and_squares(table)
    # The first gain follows the outcomes.
    place = (sums.shape[0] + 1) // 2
    ends = intervals.bonett_price(sums[place], squares[place], table.weight, error)
    advantage = Interval(estimate=table.means[place], lower=ends[0], upper=ends[1])
    by_k = for_every_k(order, seen, error)
    none = jnp.isnan(by_k["accuracy"].estimate[0])
    return CascadeInterval(
        **found,
        **by_k,
        outcome_advantage=jax.tree.map(
            lambda leaf: jnp.where(none, jnp.nan, leaf), advantage
        ),
        counts=count_rows(seen, num_given),
    )


def _sums_and_squares(table: BinMeans) -> tuple[jax.Array, jax.Array]:
    """Sums in bins `[Q, num_bins]` of what `tabulate` reads, and of its squares."""
    sums = table.weight[None] * table.means
    size = sums.shape[0] // 2
    return sums[:size], sums[size:]


def for_every_k(order: jax.Array, seen: Table, error: jax.Array) -> dict[str, Interval]:
    """The fields `small_share`, `accuracy` and `over_large` of a `CascadeInterval`."""
    digits, table, _ = seen
    curve = curves.curve_of_sums(digits, order, jnp.any(jnp.isnan(table.means)))
    num_rows = jnp.sum(table.count, dtype=jnp.int32).astype(jnp.float32)
    # By row, what the large model gains: over the small model, then over the arbiter.
    parts = list(zip(*_sums_and_squares(table), strict=True))
    num_outcomes = (len(parts) + 1) // 2
    by_small, *_, by_answer = (jnp.stack(part) for part in parts[:num_outcomes])
    weights = table.weight, jnp.zeros_like(table.weight)
    gains = zip(weights, parts[num_outcomes:], strict=False)
    lost, *lost_sent_on = (jnp.stack([weight, *part]) for weight, part in gains)
    rows, gain, gain_squares = first_bins.sum_for_every_k(
        order, lost, *lost_sent_on, axis=1
    )
    correct, squares = first_bins.sum_for_every_k(order, by_small, by_answer, axis=1)

    none = jnp.isnan(curve.accuracy)
    number = jnp.arange(none.shape[0], dtype=jnp.int32)
    no_small, all_small = number == 0, number == number.shape[0] - 1

    def interval(
        estimate: jax.Array,
        ends: tuple[jax.Array, jax.Array],
        known: jax.Array | bool = False,
    ) -> Interval:
        lower, upper = (jnp.where(none | known, estimate, end) for end in ends)
        return Interval(estimate=estimate, lower=lower, upper=upper)

    of_shares, of_accuracies = zip(
        *intervals.agresti_coull(
            jnp.stack([rows, correct]), jnp.stack([rows, squares]), num_rows, error
        ),
        strict=True,
    )
    over = jnp.where(none, jnp.nan, -gain / num_rows)
    return {
        "small_share": interval(curve.small_share, of_shares, no_small | all_small),
        "accuracy": interval(curve.accuracy, of_accuracies),
        # With no bins kept small the large model answers everything, or the arbiter.
        "over_large": interval(
            over,
            intervals.bonett_price(-gain, gain_squares, num_rows, error),
            no_small & (not lost_sent_on),
        ),
    }


@dispatch.core
def _router_difference_interval(
    orders: tuple[jax.Array, jax.Array],
    seen: tuple[Any, Any],
    drawn: tuple[Any, Any],
    error: jax.Array,
    num_given: jax.Array,
) -> RouterDifference:
    num_bins = orders[0].shape[0]
    share = jnp.arange(num_bins + 1, dtype=jnp.float32) / num_bins

    def read(curve: CascadeCurve) -> dict[str, jax.Array]:
        return {
            "accuracy": jnp.interp(share, curve.small_share, curve.accuracy),
            "area": jnp.trapezoid(curve.accuracy, curve.small_share),
            "apgr": curves.apgr_of(curve),
        }

    def both(one: Any) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *one)

    def less(pair: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return jax.tree.map(lambda leaf: leaf[0] - leaf[1], pair)

    tables = both(seen)
    every = jax.vmap(_curves)(both(orders), tables, both(drawn))
    found = _interval_of(less(jax.vmap(jax.vmap(read))(every)), error)
    counts = jax.vmap(count_rows, (0, None))(tables, num_given)
    return RouterDifference(
        **found,
        counts=dataclasses.replace(
            counts, num_rows=counts.num_rows[0], num_masked=counts.num_masked[0]
        ),
    )
