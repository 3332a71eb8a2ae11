r"""An alarm for a stream of unlabelled rows that bounds false alarms at all times.

Shapes: R reference rows, N new rows in a batch, `num_bins` bins, G gamblers. A monitor
is a pytree of constant shapes and dtypes, so it can be the carry of a `jax.lax.scan`.
It bets that the shares of new confidences in the bins differ from those of the
reference, at odds that are fair as long as they are equal. A capital of M is evidence
of strength 1 / M, however long one waits for it (Ville).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from ..binning.bins import DEFAULT_NUM_BINS

# Number of gamblers, each betting on a drift of a different size.
_NUM_GAMBLERS = 8


@records.record(
    axes={
        "edges": "num_bins-1",
        "tie_breaks": "num_bins-1",
        "gaps": "num_bins",
        "count": "num_bins",
        "log_capital": "G",
    },
    values={
        # NaN if a reference score is, as the capital then.
        "edges": records.ASCENDING._replace(nan=True),
        "gaps": records.COUNT,
        "count": records.COUNT,
        "num_rows": records.COUNT,
    },
)
class DriftMonitor(records.Result):
    """State of a monitored stream.

    Attributes:
      edges: float32 `[num_bins - 1]`, reference scores at which bins start, ascending.
      tie_breaks: float32 `[num_bins - 1]`, the number that a score equal to an edge
        must draw to fall in the bin above; 2 for an unused edge.
      gaps: int32 `[num_bins]`, gaps between reference rows in each bin.
      count: int32 `[num_bins]`, new rows so far in each bin.
      num_rows: int32 scalar, new rows so far.
      log_capital: float32 `[G]`, natural logarithm of each gambler's capital.
      max_log_capital: float32 scalar, largest logarithm of their mean capital so far.
      alarm_row: int32 scalar, number of rows at the first alarm; -1 before it.
      false_alarm_rate: float32 scalar, probability of ever raising a false alarm.
    """

    edges: jax.Array
    tie_breaks: jax.Array
    gaps: jax.Array
    count: jax.Array
    num_rows: jax.Array
    log_capital: jax.Array
    max_log_capital: jax.Array
    alarm_row: jax.Array
    false_alarm_rate: jax.Array


@records.record(axes={"share": "num_bins", "expected_share": "num_bins"})
class DriftAlarm(records.Result):
    """What a monitor has found so far.

    Attributes:
      alarm: bool scalar, whether there was an alarm at any time.
      alarm_row: int32 scalar, number of new rows at the first alarm; -1 without one.
      p_value: float32 scalar, for no drift; valid however often it is read.
      log_capital: float32 scalar, natural logarithm of the current capital.
      share: float32 `[num_bins]`, share of new rows in each bin, in order of
        confidence; NaN without rows.
      expected_share: float32 `[num_bins]`, share of the reference in each bin.
      num_rows: int32 scalar, valid new rows.
      num_reference: int32 scalar, valid reference rows.
    """

    alarm: jax.Array
    alarm_row: jax.Array
    p_value: jax.Array
    log_capital: jax.Array
    share: jax.Array
    expected_share: jax.Array
    num_rows: jax.Array
    num_reference: jax.Array


def init_monitor(
    key: jax.Array,
    reference: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    confidence_level: ArrayLike = 0.99,
    where: ArrayLike | None = None,
) -> DriftMonitor:
    r"""A monitor that has seen no new rows yet.

    Its bins hold equal counts of reference rows, with ties broken at random. If new
    rows and reference rows are exchangeable, the probability that the next row falls
    into bin b depends on ranks alone,

    .. math:: P_b = \frac{g_b + m_b}{R + 1 + n}

    with :math:`g_b` of the R + 1 gaps between reference rows and :math:`m_b` of the n
    new rows so far in the bin. Each gambler g bets on :math:`(a_{gb} + m_b) /
    (A_g + n)` instead, with :math:`a_{gb}` proportional to :math:`g_b` and sums
    :math:`A_g` from half the number of bins to half of R + 1, and is paid the ratio of
    the two. The mean of their capitals is a martingale that starts at 1, so the
    probability that it ever reaches :math:`1 / \alpha` is at most :math:`\alpha`, 1
    minus the confidence level: exactly, for every R, with ties, and for any
    confidences.

    It detects drift of the confidence, not of its meaning. A drift that begins late
    takes longer to detect, because capital was lost on the rows before it.

    Args:
      key: a JAX random key, to break ties.
      reference: floating `[R]`, confidences with which new rows are exchangeable
        without drift: of the rows on which the router was fitted, or of other rows. If
        they were calibrated on these very rows, the calibration should be monotone, as
        Platt scaling is, so that ranks stay.
      num_bins: static number of bins.
      confidence_level: floating scalar in `(0, 1)`, probability of no alarm at any time
        without drift; may be traced.
      where: optional bool `[R]`.

    Returns:
      `DriftMonitor`; without a reference row it never alarms, and if a valid row is NaN
      its capital is NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005,
      section 7.1 (test martingales under exchangeability); Ville, "Etude critique de la
      notion de collectif", 1939; Blackwell and MacQueen, "Ferguson distributions via
      Polya urn schemes", 1973.

    Examples:
      >>> monitor = init_monitor(jax.random.key(0), jnp.linspace(0.0, 1.0, 99))
      >>> print(monitor.gaps.sum(), monitor.count.sum())
      100 0
    """
    random = checks.key("key", key)
    scores = checks.floats("reference", reference, axes="[R]")
    size = checks.static_int("num_bins", num_bins, minimum=1)
    alpha = checks.error_rate("confidence_level", confidence_level)
    mask = checks.mask("where", where, axes="[R]")
    checks.same_shape(reference=scores, where=mask)
    return _drift_monitor(random, scores, alpha, mask, num_bins=size)


def update_monitor(
    key: jax.Array,
    state: DriftMonitor,
    scores: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> DriftMonitor:
    """Adds new rows, in the order in which they came; no labels are needed.

    Alarms are checked after every row, so apart from the random numbers that break ties
    nothing depends on how rows are cut into batches.

    Args:
      key: a JAX random key, a new one for each batch.
      state: `DriftMonitor`.
      scores: floating `[N]`, confidences of new rows, calibrated like the reference.
      where: optional bool `[N]`.

    Returns:
      `DriftMonitor`; its capital stays NaN once a valid row is NaN.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype.

    References:
      Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005,
      section 7.1.

    Examples:
      >>> first, second = jax.random.split(jax.random.key(0))
      >>> state = init_monitor(first, jnp.linspace(0.0, 1.0, 999))
      >>> state = update_monitor(second, state, jnp.linspace(0.0, 0.5, 100))
      >>> print(read_monitor(state).alarm)
      True
    """
    random = checks.key("key", key)
    checks.instance("state", state, DriftMonitor)
    score, mask = checks.floats("scores", scores), checks.mask("where", where)
    checks.same_shape(scores=score, where=mask)
    return _update(random, state, score, mask)


def read_monitor(state: DriftMonitor) -> DriftAlarm:
    r"""Whether there was an alarm, and the evidence so far.

    The p-value is 1 over the largest capital so far. It may be read after every batch:
    without drift the probability that it is ever at or below u is at most u, for every
    u. An alarm means that it was at or below 1 minus the confidence level.

    Args:
      state: `DriftMonitor` with arrays `[num_bins]`.

    Returns:
      `DriftAlarm`; p-value and capital are NaN if a valid row was NaN.

    Raises:
      ValueError: if `state` is not a `DriftMonitor`.

    References:
      Ville, "Etude critique de la notion de collectif", 1939; Ramdas et al.,
      "Game-theoretic statistics and safe anytime-valid inference", 2023, arXiv
      2210.01948.

    Examples:
      >>> first, second = jax.random.split(jax.random.key(0))
      >>> state = init_monitor(first, jnp.linspace(0.0, 1.0, 999))
      >>> scores = (jnp.arange(100.0) * 37 % 100) / 100.0  # Shuffled.
      >>> found = read_monitor(update_monitor(second, state, scores))
      >>> print(found.alarm, found.alarm_row)
      False -1
    """
    checks.instance("state", state, DriftMonitor)
    return _drift_alarm(state)


@dispatch.core(static=["num_bins"])
def _drift_monitor(
    key: jax.Array,
    reference: jax.Array,
    alpha: jax.Array,
    where: jax.Array | None,
    *,
    num_bins: int,
) -> DriftMonitor:
    size = reference.shape[0]
    valid = masking.valid_rows(size, where)
    bad = jnp.any(valid & jnp.isnan(reference))
    num_rows = jnp.sum(valid, dtype=jnp.int32)
    # Equal scores are ordered by random numbers.
    drawn = jax.random.uniform(key, (size,), jnp.float32)
    scores = jnp.where(valid, reference, jnp.inf)
    masked = (~valid).astype(jnp.int32)
    _, ordered, ties = lax.sort((masked, scores, drawn), num_keys=3)
    # The first n mod num_bins bins are one longer, as in `equal_count_bins`.
    k = jnp.arange(num_bins + 1, dtype=jnp.int32)
    start = k * (num_rows // num_bins) + jnp.minimum(k, num_rows % num_bins)
    used = start[1:-1] < num_rows
    edges, tie_breaks = (
        jnp.where(used, jnp.take(jnp.append(x, end), start[1:-1], mode="clip"), end)
        for x, end in ((ordered, jnp.float32(jnp.inf)), (ties, jnp.float32(2)))
    )
    capital = jnp.where(bad, jnp.nan, jnp.zeros(_NUM_GAMBLERS, jnp.float32))
    return DriftMonitor(
        edges=edges,
        tie_breaks=tie_breaks,
        # There is one more gap than there are rows.
        gaps=(start[1:] - start[:-1]).at[0].add(1),
        count=jnp.zeros(num_bins, jnp.int32),
        num_rows=jnp.int32(0),
        log_capital=capital,
        max_log_capital=jnp.max(capital),
        alarm_row=jnp.int32(-1),
        false_alarm_rate=jnp.array(alpha, copy=True),
    )


def _log_mean(log_capital: jax.Array) -> jax.Array:
    """Logarithm of the gamblers' mean capital, from `[G, ...]`."""
    return jax.nn.logsumexp(log_capital, axis=0) - np.float32(np.log(_NUM_GAMBLERS))


@dispatch.core
def _update(
    key: jax.Array, state: DriftMonitor, scores: jax.Array, where: jax.Array | None
) -> DriftMonitor:
    size, num_bins = scores.shape[0], state.count.shape[0]
    if size == 0:
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    valid = masking.valid_rows(size, where)
    drawn = jax.random.uniform(key, (size,), jnp.float32)
    above = scores[:, None] > state.edges[None]
    equal = scores[:, None] == state.edges[None]
    above = above | (equal & (drawn[:, None] >= state.tie_breaks[None]))
    index = jnp.sum(above, axis=1, dtype=jnp.int32)
    inside = (index[:, None] == jnp.arange(num_bins, dtype=jnp.int32)[None]) & valid[
        :, None
    ]
    # Rows in the bin of each row, and in all bins, before it came.
    upto = jnp.cumsum(inside, axis=0, dtype=jnp.int32)
    seen = state.count[index] + jnp.sum(
        jnp.where(inside, upto - 1, 0), axis=1, dtype=jnp.int32
    )
    rows = state.num_rows + jnp.cumsum(valid, dtype=jnp.int32)
    before = jnp.where(valid, rows - 1, rows)

    total = jnp.sum(state.gaps, dtype=jnp.int32).astype(jnp.float32)
    gaps = state.gaps[index].astype(jnp.float32)
    # From bets on a drift of any size down to one half as large as noise.
    boldest = np.float32(np.log(0.5 * num_bins))
    meekest = jnp.maximum(jnp.log(0.5 * total), boldest)
    steps = np.linspace(0, 1, _NUM_GAMBLERS, dtype=np.float32)
    sums = jnp.exp(boldest + (meekest - boldest) * steps)[:, None]
    found, earlier = seen.astype(jnp.float32)[None], before.astype(jnp.float32)[None]
    bet = (sums * (gaps / total)[None] + found) / (sums + earlier)
    fair = (gaps[None] + found) / (total + earlier)
    gain = jnp.where(valid[None], jnp.log(bet / fair), 0.0)
    gain = jnp.where((valid & jnp.isnan(scores))[None], jnp.nan, gain)

    path = state.log_capital[:, None] + jnp.cumsum(gain, axis=1)
    capital = _log_mean(path)
    reached = capital >= -jnp.log(state.false_alarm_rate)
    first = rows[jnp.argmax(reached)]
    now = jnp.any(reached) & (state.alarm_row < 0)
    return dataclasses.replace(
        state,
        count=state.count + upto[-1],
        num_rows=rows[-1],
        log_capital=path[:, -1],
        # Keep NaN: a maximum over many rows drops it on the CPU.
        max_log_capital=jnp.where(
            jnp.isnan(capital[-1]),
            jnp.nan,
            jnp.maximum(state.max_log_capital, jnp.max(capital)),
        ),
        alarm_row=jnp.where(now, first, state.alarm_row),
    )


@dispatch.core
def _drift_alarm(state: DriftMonitor) -> DriftAlarm:
    rows = state.num_rows.astype(jnp.float32)
    num_gaps = jnp.sum(state.gaps, dtype=jnp.int32)
    return DriftAlarm(
        alarm=state.alarm_row >= 0,
        alarm_row=jnp.array(state.alarm_row, copy=True),
        # Without a level there is no alarm to wait for, and this shows it.
        p_value=jnp.where(
            jnp.isnan(state.false_alarm_rate),
            jnp.nan,
            jnp.exp(-state.max_log_capital),
        ),
        log_capital=_log_mean(state.log_capital),
        share=masking.ratio(state.count.astype(jnp.float32), rows),
        expected_share=state.gaps.astype(jnp.float32) / num_gaps.astype(jnp.float32),
        num_rows=jnp.array(state.num_rows, copy=True),
        num_reference=num_gaps - 1,
    )
