"""How many of the first labels in a ranking will turn out wrong, at every length.

Shapes: M experts, N examples in the order of the ranking, D points of the prior, G
lengths.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import special

from .._core import reduce
from ..stats.intervals import Interval
from . import shared_errors
from .shared_errors import SharedErrors

# Lengths at which the share is computed: four an octave, with straight lines between.
_LENGTHS = np.unique(np.round(2.0 ** (np.arange(4 * 31) / 4))).astype(np.int32)
# No share of a label counts for more, in logarithms.
_MOST = 30.0
# What is left open beside the four parameters of `fit_shared_errors`, for each of its
# points: the power of a label's share, from 0 to this, and the logarithm of the odds of
# all labels that some expert contradicts, normal with this standard deviation. Chosen
# on the cases of `benchmarks/label_errors` and on one of 56 classes with 1 to 12 % of
# the labels wrong, so that intervals hold there.
_LARGEST_POWER, _ODDS_SPREAD = 2.0, 1.0
_POWER, _SHIFT = shared_errors.even_points(shared_errors.NUM_PARAMETERS + 2)[-2:]
_POWER = np.float32(_LARGEST_POWER * _POWER)
_SHIFT = np.float32(_ODDS_SPREAD * special.ndtri(_SHIFT))


def expect(
    shared: SharedErrors,
    confidences: jax.Array,
    contradicted: jax.Array,
    log_share: jax.Array,
    where: jax.Array,
    alpha: jax.Array,
    num_classes: int,
) -> Interval:
    r"""Share of wrong labels to expect among the first k, for every k.

    A label that all experts contradict is wrong with the probability that
    `shared_errors.joint_error_probability` has, but for what is known of the label
    itself. A wrong label may be any of the C - 1 other classes, while experts take a
    right label for another class as often as they say: with s the share that the label
    has in their probability of all classes but the likeliest, the odds are multiplied
    by

    .. math:: e^z \left(\frac{1}{(C - 1) s}\right)^t

    How much a label tells, t, is not known, nor how far the odds are off together, z:
    each point of the prior has its own, uniform in [0, 2] and standard normal.

    Where some experts contradict and others confirm a label, the first alone are the
    group of experts, and the odds are multiplied by the strongest confirmation, of
    confidence c,

    .. math:: \frac{P(\text{confirms} \mid \text{wrong})}
        {P(\text{confirms} \mid \text{right})} = \frac{(1 - c) / (C - 1)}{c}

    or 1 where that is larger. Further confirmations, which may share its reasons, do
    not count.

    Args:
      shared: `SharedErrors` of the experts.
      confidences: float32 `[N, M]`.
      contradicted: bool `[N, M]`, by each expert.
      log_share: float32 `[N]`, the logarithm of s; NaN where the label is the likeliest
        class itself, which says nothing.
      where: bool `[N]`, the first rows: those that count.
      alpha: float32 scalar, one minus the confidence level.
      num_classes: that a label may have.

    Returns:
      `Interval` of arrays `[N]`, at place k - 1; NaN beyond the rows that count.
    """
    place = jnp.arange(1, where.shape[0] + 1, dtype=jnp.int32)

    def add(
        sums: jax.Array, block: tuple[jax.Array, ...], live: jax.Array
    ) -> jax.Array:
        """Sums of the rows between one length and the next, `[G, D]`."""
        segment = jnp.searchsorted(jnp.asarray(_LENGTHS), block[3])
        number = jnp.arange(len(_LENGTHS), dtype=segment.dtype)
        inside = segment[None] == number[:, None]
        found = _errors(shared, *block[:3], num_classes=num_classes)
        return sums + jnp.dot(
            inside.astype(jnp.float32),
            jnp.where(live[:, None], found, 0.0),
            precision=lax.Precision.HIGHEST,
        )

    num_points = shared.share.shape[0]
    none = jnp.zeros((len(_LENGTHS), num_points), jnp.float32)
    rows = confidences, contradicted, log_share, place
    sums = jnp.sum(reduce.fold(add, none, rows, where, entries=num_points), axis=0)
    counted = jnp.sum(where, dtype=jnp.int32)
    length = jnp.maximum(jnp.minimum(_LENGTHS, counted), 1).astype(jnp.float32)
    shares = jax.vmap(shared_errors.share_of_flags, (None, 0, 0, None))(
        shared, jnp.cumsum(sums, axis=0), length, alpha
    )

    def at_every_place(values: jax.Array) -> jax.Array:
        found = jnp.interp(place.astype(jnp.float32), length, values)
        return jnp.where(where, found, jnp.nan)

    return jax.tree.map(at_every_place, shares)


def _errors(
    shared: SharedErrors,
    confidences: jax.Array,
    contradicted: jax.Array,
    log_share: jax.Array,
    *,
    num_classes: int,
) -> jax.Array:
    """Probability that each label of a block is wrong, `[block, D]`."""
    log_error = shared_errors.log_error_of_each(shared.recalibration, confidences)
    number = jnp.sum(contradicted, axis=1, dtype=jnp.float32)
    total = jnp.sum(jnp.where(contradicted, log_error, 0.0), axis=1)
    mean = jnp.where(number > 0, total / jnp.maximum(number, 1.0), log_error.mean(1))
    least = jnp.min(jnp.where(contradicted, log_error, 0.0), axis=1)
    # The logarithm of (1 - e) may be -inf: an expert that is always wrong.
    confirms = (
        log_error - jnp.log(-jnp.expm1(log_error)) - math.log(max(num_classes - 1, 1))
    )
    confirms = jnp.min(jnp.where(contradicted, 0.0, confirms), axis=1)
    wrong, together = shared_errors.rates(
        shared_errors.parameters_of(shared),
        mean[:, None],
        least[:, None],
        jnp.maximum(number, 1.0)[:, None],
    )
    # No expert of an empty group can be wrong about the label.
    together = jnp.where(number[:, None] > 0, together, 1.0)
    times = jnp.where(
        jnp.isnan(log_share), 0.0, -log_share - math.log(max(num_classes - 1, 1))
    )
    times = jnp.clip(times, -_MOST, _MOST)[:, None] * _POWER[None]
    times = times + jnp.where(number[:, None] > 0, _SHIFT[None], 0.0)
    times = jnp.exp(times + jnp.minimum(confirms, 0.0)[:, None])
    likely = wrong * times
    return likely / (likely + (1 - wrong) * together)
