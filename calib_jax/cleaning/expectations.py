r"""How many flagged labels will turn out wrong, before anybody looks at one.

Shapes: N examples, C classes, M experts. Calibrated to true labels, 1 - p(g | x) is the
probability that the given label g is wrong, ignoring that it was given; calibrated to
given labels, that another label would have been given. Neither is the precision of a
flag: `label_error_probability` is, under class-conditional noise. Without a noise
matrix, `expected_false_flags` limits the expected number of false flags. Both are only
as good as the calibration and the stated assumption; `audit_bounds` gives a guarantee,
from people's answers.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records, reduce
from .._core.domains import Confidence, Share
from ..binning import bin_sums
from ..binning.bins import Bins
from ..stats import intervals
from ..stats.intervals import Counts
from . import label_issues
from . import noise as label_noise


@records.record()
class ExpectedPrecision(records.Result):
    """Expected precision of flags; arrays `[num_bins]` where it is by bin.

    Attributes:
      precision: float32 scalar, expected share of wrong labels; NaN without flags.
      standard_error: float32 scalar, standard deviation of the actual share around it,
        if labels are wrong independently of each other.
      num_flagged: int32 scalar.
    """

    precision: jax.Array
    standard_error: jax.Array
    num_flagged: jax.Array


@records.record()
class FalseFlags(records.Result):
    """How many right labels to expect among the flagged ones.

    Attributes:
      if_independent: float32 scalar, expected number if experts err independently.
      most: float32 scalar, largest expected number under any dependence.
      precision_if_independent: float32 scalar in `[0, 1]`; NaN without flags.
      least_precision: float32 scalar in `[0, 1]`, with `most` false flags; NaN without
        flags.
      standard_error: float32 scalar, standard deviation of the precision around
        `precision_if_independent`, if rows are independent.
      num_flagged: int32 scalar.
      num_candidates: int32 scalar, rows that were flagged or could have been.
      counts: `Counts` of the rows.
    """

    if_independent: jax.Array
    most: jax.Array
    precision_if_independent: jax.Array
    least_precision: jax.Array
    standard_error: jax.Array
    num_flagged: jax.Array
    num_candidates: jax.Array
    counts: Counts


def label_error_probability(
    probabilities: ArrayLike, labels: ArrayLike, noise: ArrayLike
) -> jax.Array:
    r"""Probability that each given label is wrong.

    .. math:: P(y \ne g \mid x, \text{given } g) =
        1 - \frac{p(g \mid x) \, T_{gg}}{\sum_y p(y \mid x) \, T_{yg}}

    That a label was given is evidence in itself, and stronger evidence the rarer wrong
    labels are: a label to which a model gives probability 0.01 is more likely right
    than that. The formula is exact if p is calibrated for every class, with x the
    model's own output, and the noise is class-conditional. It is not exact for a model
    calibrated on noisy labels (apply `true_label_probabilities` first), for a mean over
    models that was not recalibrated, or where labels tend to be wrong on the same
    examples as models.

    For several experts pass one matrix: the mean of their probabilities, recalibrated
    by `fit_temperature` of its logarithm. A product of their probabilities would assume
    independent errors; `expert_dependence` shows whether they are.

    Args:
      probabilities: floating `[N, C]` in `[0, 1]`, p, calibrated to true labels.
      labels: integer `[N]`, as given, in `[0, C)`.
      noise: floating `[C, C]` in `[0, 1]`, the noise matrix T, rows by true class.

    Returns:
      float32 `[N]` in `[0, 1]`; 1 for a label that is impossible under p and T, NaN for
      a label outside `[0, C)` and for a row with NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a value on the host outside
        `[0, 1]`; in a device array it counts as NaN, here and below.

    References:
      Bayes' rule; the noise model of Northcutt et al., "Confident Learning", 2021,
      arXiv 1911.00068.

    Examples:
      >>> from calib_jax.cleaning import uniform_label_noise
      >>> noise = uniform_label_noise(0.04, 5)
      >>> print(label_error_probability([[0.9, 0.07, 0.01, 0.01, 0.01]], [1], noise))
      [0.122]
    """
    array, label, _ = label_issues.checked_rows(probabilities, labels)
    matrix = label_noise.noise_matrix(noise, array.shape[1])
    return _label_error_probability(array, label, matrix)


def expected_precision(
    label_error_probability: ArrayLike,
    flagged: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> ExpectedPrecision:
    r"""Expected precision of flags, from the probability that each label is wrong.

    .. math:: \bar e = \frac1F \sum_{i \in \text{flagged}} e_i, \quad
        s = \frac1F \sqrt{\sum_{i \in \text{flagged}} e_i (1 - e_i)}

    Args:
      label_error_probability: floating `[N]` in `[0, 1]`, as the function of that name
        returns; rows that are not flagged may hold anything.
      flagged: bool `[N]`.
      where: optional bool `[N]`.

    Returns:
      `ExpectedPrecision`; NaN where a flagged row's probability is, such as that of a
      label that is not a class.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a flagged row's probability on
        the host outside `[0, 1]`.

    References:
      The Poisson binomial distribution: mean and variance of the number of independent
      events with different probabilities.

    Examples:
      >>> found = expected_precision([0.9, 0.7, 0.1], [True, True, False])
      >>> print(f"{found.precision:.2f}, give or take {found.standard_error:.2f}")
      0.80, give or take 0.27
    """
    error = checks.floats("label_error_probability", label_error_probability)
    flags = checks.bools("flagged", flagged)
    mask = checks.mask("where", where)
    checks.same_shape(label_error_probability=error, flagged=flags, where=mask)
    return _expected_precision(error, flags if mask is None else flags & mask)


def expected_precision_by_bin(
    bins: Bins,
    scores: ArrayLike,
    label_error_probability: ArrayLike,
    flagged: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> ExpectedPrecision:
    """`expected_precision` in each bin of a score.

    The score may be the smallest confidence of the experts, for example.

    Args, errors and NaN as for `expected_precision`, and also:

    Args:
      bins: `Bins` of the scores.
      scores: floating `[N]`.

    Returns:
      `ExpectedPrecision` with arrays `[num_bins]`; NaN in bins without flags, and in
      all bins where a flagged row's score is NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      As for `expected_precision`.

    Examples:
      >>> import calib_jax
      >>> bins, flagged = calib_jax.equal_width_bins(2), [True, True, True]
      >>> found = expected_precision_by_bin(
      ...     bins, [0.2, 0.9, 0.8], [0.5, 0.9, 0.8], flagged
      ... )
      >>> print(found.precision, found.num_flagged)
      [0.5  0.85] [1 2]
    """
    checks.instance("bins", bins, Bins)
    score = checks.floats("scores", scores)
    error = checks.floats("label_error_probability", label_error_probability)
    flags = checks.bools("flagged", flagged)
    mask = checks.mask("where", where)
    checks.same_shape(
        scores=score, label_error_probability=error, flagged=flags, where=mask
    )
    valid = flags if mask is None else flags & mask
    return _expected_precision_by_bin(bins, score, error, valid)


def expected_false_flags(
    confidences: ArrayLike,
    candidates: ArrayLike,
    flagged: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> FalseFlags:
    r"""Right labels to expect among flags, from the experts' confidences alone.

    If all experts contradict a right label, all of them are wrong. An expert with
    confidence c, calibrated to true labels, is wrong with probability 1 - c. The
    expected number of rows on which all are wrong is

    .. math:: \sum_i \prod_m (1 - c_{mi}) \text{ if independent}, \quad
        \sum_i \min_m (1 - c_{mi}) \text{ at most}

    summed over the candidates, the rows that would be flagged if every expert
    contradicted their label. For `top1_disagreement` these are all rows; for
    `high_confidence_disagreement` those on which every expert is in one of its K best
    bins: what it flags with labels that no expert predicts, such as
    `jnp.full_like(labels, num_classes)`.

    The first sum holds if experts err independently given their confidences. It is too
    small if they share errors, and too large if they avoid each other's: it is not a
    lower bound, which would be :math:`\sum_i \max(0, \sum_m (1 - c_{mi}) - (M - 1))`
    and is usually 0. The second sum is an upper bound for any experts and any label
    noise. The remaining flags are wrong labels.

    With confidences calibrated to given, noisy labels the sums count nearly all flags:
    pass them through `true_label_confidence` first.

    Args:
      confidences: floating `[M, N]`, calibrated to true labels, in `[0, 1]`.
      candidates: bool `[N]`, rows that would be flagged if all experts contradicted
        their label.
      flagged: bool `[N]`, rows that are flagged; only candidates among them count.
      where: optional bool `[N]`.

    Returns:
      `FalseFlags`; NaN where a candidate's confidence is NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Fréchet's bounds on the probability that several events occur together.

    Examples:
      >>> confidences = jnp.full((2, 1000), 0.9)
      >>> row = jnp.arange(1000)
      >>> found = expected_false_flags(confidences, row >= 0, row < 200)
      >>> print(f"{found.if_independent:.0f} if independent, at most {found.most:.0f}")
      10 if independent, at most 100
      >>> print(f"{found.precision_if_independent:.2f}, {found.least_precision:.2f}")
      0.95, 0.50
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    candidate = checks.bools("candidates", candidates)
    flags = checks.bools("flagged", flagged)
    mask = checks.mask("where", where)
    checks.same_shape(candidates=candidate, flagged=flags, where=mask)
    checks.same_columns(confidences=confidence, candidates=candidate)
    if confidence.shape[0] == 0:
        raise ValueError("confidences: expected at least one expert, got [0, N].")
    return _expected_false_flags(confidence, candidate, flags, mask)


@dispatch.core(rows=["probabilities N C", "labels"], rows_of="labels")
def _label_error_probability(
    probabilities: jax.Array, labels: jax.Array, noise: Share
) -> jax.Array:
    num_classes, noise = noise.shape[0], label_noise.known_rows(noise)

    def of_block(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        array, label = rows
        # Block by block, so that nothing of the size of the probabilities is made.
        array = domains.CONFIDENCE.confine(array.astype(jnp.float32))
        inside = (label >= 0) & (label < num_classes)
        # Row g: how often each true class is given as g.
        given = jnp.take(noise.T, jnp.where(inside, label, 0), axis=0)
        joint = array * given
        # Not 1 minus the rest, which would cancel where few labels are wrong.
        own = jnp.arange(num_classes, dtype=jnp.int32)[None] == label[:, None]
        wrong = jnp.sum(jnp.where(own, 0.0, joint), axis=1)
        total = wrong + jnp.sum(jnp.where(own, joint, 0.0), axis=1)
        error = jnp.where(total == 0, 1.0, wrong / total)
        return jnp.where(inside, error, jnp.nan)

    return reduce.map_rows(of_block, (probabilities, labels))


@dispatch.core(rows=["label_error_probability", "where"])
def _expected_precision(
    label_error_probability: Share, where: jax.Array
) -> ExpectedPrecision:
    """The argument `where` holds the flagged rows; the others are not looked at."""
    one_bin, error = Bins(edges=jnp.zeros(0, jnp.float32)), label_error_probability
    found = _expected_precision_by_bin(one_bin, jnp.zeros_like(error), error, where)
    return jax.tree.map(lambda entry: entry[0], found)


@dispatch.core(rows=["scores", "label_error_probability", "where"])
def _expected_precision_by_bin(
    bins: Bins, scores: jax.Array, label_error_probability: Share, where: jax.Array
) -> ExpectedPrecision:
    error = label_error_probability
    table = bin_sums.bin_means(bins, scores, (error, error * (1 - error)), where, None)
    mean, spread = table.means
    none = table.count == 0
    some = jnp.where(none, 1.0, table.weight)
    return ExpectedPrecision(
        precision=jnp.where(none, jnp.nan, mean),
        standard_error=jnp.where(none, jnp.nan, jnp.sqrt(spread / some)),
        num_flagged=table.count,
    )


@dispatch.core
def _expected_false_flags(
    confidences: Confidence,
    candidates: jax.Array,
    flagged: jax.Array,
    where: jax.Array | None,
) -> FalseFlags:
    valid = masking.valid_rows(flagged.shape[0], where)

    def sums(rows: tuple[jax.Array, jax.Array], live: jax.Array) -> list:
        wrong, flag = 1 - rows[0], rows[1].astype(jnp.float32)
        all_wrong = jnp.prod(wrong, axis=1)
        least = jnp.where(jnp.isnan(all_wrong), jnp.nan, jnp.min(wrong, axis=1))
        parts = [all_wrong, least, all_wrong * (1 - all_wrong), flag]
        return [jnp.where(live, part, 0.0) for part in parts]

    chosen = valid & candidates
    independent, most, spread, count = reduce.sum_rows(
        sums, (confidences.T, flagged), chosen
    )
    some = jnp.maximum(count, 1.0)

    def of_flags(share: jax.Array) -> jax.Array:
        return jnp.where(count > 0, share, jnp.nan)

    return FalseFlags(
        if_independent=independent,
        most=most,
        precision_if_independent=of_flags(jnp.clip(1 - independent / some, 0.0, 1.0)),
        least_precision=of_flags(jnp.clip(1 - most / some, 0.0, 1.0)),
        standard_error=of_flags(jnp.sqrt(spread) / some),
        num_flagged=jnp.sum(chosen & flagged, dtype=jnp.int32),
        num_candidates=jnp.sum(chosen, dtype=jnp.int32),
        counts=intervals.count_rows(valid),
    )
