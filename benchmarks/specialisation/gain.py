r"""The gain of a cascade of two large models over the better one, split and tested.

Shapes: N examples, D draws, `num_bins` bins, G groups of examples. Masked rows may hold
anything. Functions take one problem; `jax.vmap` takes many. Routers are held fixed, as
fitted on other rows.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from calib_jax._core import checks, dispatch, masking
from calib_jax.binning.bins import bin_index
from calib_jax.cascade import first_bins
from calib_jax.cascade.routers import Router
from calib_jax.stats import intervals
from calib_jax.stats.intervals import Counts, Interval

from . import gain_draws


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeGain:
    """The gain of a cascade over the better of its models, and its parts.

    Attributes:
      gain: `Interval` of a scalar, accuracy of the cascade minus that of the model that
        is more accurate on these rows, and so too low where the two are nearly equal;
        the ends are NaN where K was chosen on these rows.
      selection: float32 scalar, the average gain from choosing K on these rows if
        confidence says nothing; 0 where K was given.
      handicap: float32 scalar, at most 0, the cost of asking the worse model, as if it
        were equally worse in all groups.
      specialisation: `Interval` of a scalar, the gain from sending groups to the model
        that is better at them relative to its overall odds; that model may still be the
        worse one there. The ends are NaN where those of `gain` are.
      chance: float32 scalar, the gain from confidence within groups, minus `selection`.
        The four parts add up to the gain.
      routing_p_value: float32 scalar, for the hypothesis that which model is right does
        not depend on the bins.
      interaction_p_value: float32 scalar, for the hypothesis that where one model is
        right and the other wrong, the odds of either are the same in all groups.
      num_small_bins: int32 scalar, K; 0 where the numbers are NaN.
      num_discordant: int32 scalar, rows on which the outcomes differ.
      num_groups: int32 scalar, groups of two rows or more.
      num_alone: int32 scalar, rows outside these groups.
      counts: `Counts` of the rows.
    """

    gain: Interval
    selection: jax.Array
    handicap: jax.Array
    specialisation: Interval
    chance: jax.Array
    routing_p_value: jax.Array
    interaction_p_value: jax.Array
    num_small_bins: jax.Array
    num_discordant: jax.Array
    num_groups: jax.Array
    num_alone: jax.Array
    counts: Counts


def cascade_gain_test(
    key: jax.Array,
    router: Router,
    first_confidence: ArrayLike,
    first_outcome: ArrayLike,
    second_outcome: ArrayLike,
    groups: ArrayLike,
    *,
    num_groups: int,
    num_small_bins: int | jax.Array | None = None,
    num_draws: int = 1000,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> CascadeGain:
    r"""Splits the gain of a cascade of two models into specialisation and chance.

    Let :math:`d_i = v_i^{second} - v_i^{first}`, and :math:`r_i` be 1 where the cascade
    asks the second model and -1 where the first answers. The gain over the better model
    is

    .. math:: \frac1{2N} \left( \sum_i d_i r_i - \left| \sum_i d_i \right| \right)

    Models are specialised if, where only one is right, which one depends on the group.
    With :math:`\theta = \sum d_i / \sum |d_i|`, the part of :math:`d` that does not
    depend on it is :math:`\theta |d_i|`, and the rest
    :math:`e_i = d_i - \theta |d_i|`:

    .. math:: \underbrace{\frac1{2N} \left( \theta \sum_i |d_i| r_i
        - \left| \sum_i d_i \right| \right)}_{\mathrm{handicap} \,\le\, 0}
        + \underbrace{\frac1{2N} \sum_i e_i (\bar r_{g(i)} - \bar r)
        }_{\mathrm{specialisation}}
        + \underbrace{\frac1{2N} \sum_i e_i (r_i - \bar r_{g(i)} + \bar r)
        }_{\mathrm{chance}}

    Both means leave row i out. So specialisation is the gain from routing each row like
    another row of its group, beyond routing it like any other row. The model that is
    worse overall need not be the better one in any group: being less bad there than
    elsewhere is enough, and the handicap includes the cost of that. Chance is the gain
    from the row's own confidence. If two models' errors are of one kind and independent
    from row to row, there is only chance: their expected specialisation is 0, whatever
    the bins, if groups are a function of the input (its class, its topic, a third
    model's answer) or treat both models alike. Groups made from one model's confidence
    do not. Differences within groups count as chance.

    Both parts and their tests are about these two models, not about how they were
    trained. Two training runs of one network may each happen to be better at some
    classes; that is specialisation too. To see what two architectures add beyond two
    runs of one, compare several runs of each with `cascade_gain_of_runs`.

    Neither part can be read off the gain alone: if models swap places in every row with
    probability one half, they gain as much, except for the handicap, however
    specialised they were.

    Rows must be exchangeable, and the router fitted on others. `routing_p_value` is
    exact where the differences are exchangeable over rows; its statistic is the gain,
    at the best K if K is chosen here. `interaction_p_value` is exact where the sign of
    :math:`d_i` is exchangeable over the rows on which the models differ, given these
    rows and the groups, whichever model is better overall. With :math:`s_i` that sign
    and :math:`\bar s` its mean over these rows, its statistic is the sum of
    :math:`|d_i d_j| (s_i - \bar s)(s_j - \bar s)` over pairs of rows in one group (of
    :math:`e_i e_j` where outcomes are 0 or 1). Both count draws:
    :math:`(1 + \#\{\ge\}) / (1 + D)`.

    The better model is chosen on these rows, so its accuracy is on average too high
    where the two are nearly equal, and the gain and the handicap are too low: for equal
    models by :math:`1 / \sqrt{2 \pi}` standard errors of the difference of their
    accuracies. The interval of the gain then misses on one side, with its upper end
    below the truth. Each end is the lower one of the ends for the gains over either
    model, which have the adjusted normal interval of `cascade_interval`. The interval
    of specialisation is normal, with the variance of its linear part, and covers more
    than stated where groups have few rows.

    Args:
      key: a JAX random key.
      router: `Router` from the first model to the second, fitted on other rows.
      first_confidence: floating `[N]`, confidence of the first model, calibrated as in
        the fit.
      first_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      second_outcome: `[N]`, like `first_outcome` for the second model.
      groups: integer `[N]`; a row outside `[0, num_groups)` is in a group of its own.
      num_groups: static number of groups.
      num_small_bins: K, 0 to num_bins, chosen on other rows; may be traced. By default
        the most accurate K on these rows.
      num_draws: static number of permutations, at least 1.
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      where: optional bool `[N]`.

    Returns:
      `CascadeGain`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or without rows.

    References:
      Hao et al. 2026, arXiv 2601.07965, Table 2; Hoeffding, "A Class of Statistics with
      Asymptotically Normal Distribution", 1948 (means over pairs of rows); Phipson and
      Smyth, "Permutation P-values Should Never Be Zero", 2010.

    Examples:
      >>> import calib_jax
      >>> row = jnp.arange(800)
      >>> topic = row % 2
      >>> sure = jnp.where(topic == 1, 0.9, 0.5)
      >>> router = calib_jax.fit_router(sure, jnp.full(800, 0.8), num_bins=2)
      >>> first, second = (row % 8 < 4) | (topic == 1), (row % 8 < 4) | (topic == 0)
      >>> found = cascade_gain_test(
      ...     jax.random.key(0), router, sure, first, second, topic,
      ...     num_groups=2, num_small_bins=1,
      ... )
      >>> print(f"{found.gain.estimate:.2f} {found.specialisation.estimate:.2f}")
      0.25 0.25
      >>> print(f"{found.chance:.2f} {found.interaction_p_value:.3f}")
      0.00 0.001
    """
    random = checks.key("key", key)
    checks.instance("router", router, Router)
    confidence = checks.floats("first_confidence", first_confidence)
    first = checks.outcomes("first_outcome", first_outcome)
    second = checks.outcomes("second_outcome", second_outcome)
    group = checks.integers("groups", groups)
    mask = checks.mask("where", where)
    checks.same_shape(
        first_confidence=confidence,
        first_outcome=first,
        second_outcome=second,
        groups=group,
        where=mask,
    )
    if group.shape[0] == 0:
        raise ValueError("groups: expected N > 0 examples, got 0.")
    budget = None
    if num_small_bins is not None:
        budget = checks.traced_int(
            "num_small_bins", num_small_bins, minimum=0, maximum=router.bins.num_bins
        )
    return _cascade_gain_test(
        random,
        router,
        confidence,
        second - first,
        group,
        budget,
        checks.error_rate("confidence_level", confidence_level),
        mask,
        num_groups=checks.static_int("num_groups", num_groups, minimum=1),
        num_draws=checks.static_int("num_draws", num_draws, minimum=1),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class _Groups:
    """The groups of rows.

    Attributes:
      place: int32 `[N]`, the group, or G for a row that is alone.
      shared: bool `[N]`, whether another row is in the group.
      others: float32 `[N]`, number of other rows in the group, at least 1.
    """

    place: jax.Array
    shared: jax.Array
    others: jax.Array

    def mean_of_others(self, values: jax.Array, num_groups: int) -> jax.Array:
        """Mean of values `[N]` over the other rows of the group; 0 for a row alone."""
        total = gain_draws.sums_at(self.place, values, num_groups)[self.place] - values
        return jnp.where(self.shared, total / self.others, 0.0)


@dispatch.core(static=["num_groups", "num_draws"])
def _cascade_gain_test(
    key: jax.Array,
    router: Router,
    confidence: jax.Array,
    difference: jax.Array,
    group: jax.Array,
    num_small_bins: jax.Array | None,
    error: jax.Array,
    where: jax.Array | None,
    *,
    num_groups: int,
    num_draws: int,
) -> CascadeGain:
    num_bins = router.bins.num_bins
    valid = masking.valid_rows(confidence.shape[0], where, None)
    index = bin_index(router.bins, confidence)
    bad = jnp.any(valid & (jnp.isnan(difference) | (index < 0))) | ~jnp.any(valid)
    d = jnp.where(valid & ~bad, difference, 0.0)
    count = jnp.sum(valid, dtype=jnp.int32)
    rows = jnp.maximum(count, 1).astype(jnp.float32)

    # The position of each row's bin in the router's order.
    places = jnp.arange(num_bins, dtype=jnp.int32)
    place = jnp.argsort(router.order).astype(jnp.int32)[index]
    place = jnp.where(valid & (index >= 0), place, num_bins)

    def gains(d: jax.Array, place: jax.Array) -> jax.Array:
        """Gains over the better model, for every K, `[num_bins + 1]`."""
        by_place = gain_draws.sums_at(place, d, num_bins)[:-1]
        lost = first_bins.sum_for_every_k(places, by_place)
        won = first_bins.sum_for_every_k(places, large=by_place)
        return jnp.minimum(-lost, won) / rows

    of_all = gains(d, place)
    chosen, at_best = num_small_bins, num_small_bins is None
    if chosen is None:
        # Among equals the largest K, as in `choose_num_small_bins`.
        chosen = num_bins - jnp.argmax(of_all[::-1]).astype(jnp.int32)
    second = place >= chosen
    one = jnp.float32(1.0)
    routed = jnp.where(valid, jnp.where(second, one, -one), 0.0)

    in_group = valid & (group >= 0) & (group < num_groups)
    to = jnp.where(in_group, group, num_groups)
    members = gain_draws.sums_at(to, jnp.ones_like(d), num_groups)
    shared = in_group & (members[to] > 1)
    known = _Groups(
        place=jnp.where(shared, to, num_groups),
        shared=shared,
        others=jnp.maximum(members[to] - 1, 1.0),
    )

    size = jnp.abs(d)
    total, differ = jnp.sum(d), jnp.sum(size)
    theta = total / jnp.where(differ > 0, differ, 1.0)
    rest = d - theta * size
    # How another row of the group is routed, beyond how any other row is.
    anywhere = (jnp.sum(routed) - routed) / jnp.maximum(rows - 1, 1.0)
    other = known.mean_of_others(routed, num_groups)
    apart = jnp.where(known.shared, other - anywhere, 0.0)
    handicap = 0.5 * (theta * jnp.sum(size * routed) - jnp.abs(total)) / rows
    specialised = 0.5 * jnp.sum(rest * apart) / rows

    z = -ndtri(0.5 * error)
    # The part of a mean over pairs that is linear in the rows; theta is estimated too.
    level = jnp.sum(size * apart) / jnp.where(differ > 0, differ, 1.0)
    linear = rest * (apart - level)
    moved = (routed - other) * known.mean_of_others(rest, num_groups)
    linear = linear + jnp.where(known.shared, moved, 0.0)
    variance = jnp.sum(jnp.where(valid, (linear - jnp.sum(linear) / rows) ** 2, 0.0))
    reach = 0.5 * z * jnp.sqrt(variance) / rows

    over_first, over_second = (
        intervals.bonett_price(jnp.sum(part), jnp.sum(part**2), rows, error)
        for part in (jnp.where(second, d, 0.0), jnp.where(second, 0.0, -d))
    )
    ends = [
        # A model that answers everything gains nothing over itself.
        jnp.minimum(
            jnp.where(chosen == num_bins, 0.0, end_first),
            jnp.where(chosen == 0, 0.0, end_second),
        )
        for end_first, end_second in zip(over_first, over_second, strict=True)
    ]

    def reach_of(gains: jax.Array) -> jax.Array:
        return jnp.max(gains) if at_best else gains[chosen]

    reached, agreements, agreement = gain_draws.draw(
        key,
        d,
        valid,
        known.place,
        place,
        lambda d, place: reach_of(gains(d, place)),
        num_bins=num_bins,
        num_groups=num_groups,
        num_draws=num_draws,
    )
    gain = of_all[chosen]
    selection = jnp.mean(reached) if at_best else jnp.zeros_like(gain)

    def p_value(draws: jax.Array, seen: jax.Array, scale: ArrayLike) -> jax.Array:
        # Equal up to rounding counts as equal.
        enough = draws >= seen - 1e-6 * scale
        return (1.0 + jnp.sum(enough, dtype=jnp.float32)) / (1.0 + num_draws)

    held = gain_draws.sums_at(place, jnp.ones_like(d), num_bins)[:-1]

    def shown(value: jax.Array, hidden: bool = False) -> jax.Array:
        return jnp.where(bad | hidden, jnp.nan, value)

    return CascadeGain(
        gain=Interval(
            estimate=shown(gain),
            lower=shown(ends[0], at_best),
            upper=shown(ends[1], at_best),
        ),
        selection=shown(selection),
        handicap=shown(handicap),
        specialisation=Interval(
            estimate=shown(specialised),
            lower=shown(specialised - reach, at_best),
            upper=shown(specialised + reach, at_best),
        ),
        chance=shown(gain - selection - handicap - specialised),
        routing_p_value=shown(p_value(reached, gain, 1.0)),
        interaction_p_value=shown(p_value(agreements, *agreement)),
        num_small_bins=jnp.where(bad, 0, chosen) if at_best else chosen,
        num_discordant=jnp.sum(valid & (d != 0), dtype=jnp.int32),
        num_groups=jnp.sum(members[:-1] > 1, dtype=jnp.int32),
        num_alone=jnp.sum(valid & ~shared, dtype=jnp.int32),
        counts=intervals.count_rows(valid, held),
    )
