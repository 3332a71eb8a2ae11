r"""How many flagged labels will turn out wrong, before anybody has looked at one.

What a confidence is calibrated *to* decides what it can say. Calibrated to true labels,
1 - p(g | x) is how probable it is that the given label g is wrong, before the fact that
it was given counts; calibrated to given, noisy labels, it is how probable another label
was to be given. Neither is the precision of a flag. The one that is, under
class-conditional noise, is `label_error_probability`. Without a noise matrix, and with
answers and their confidences only, `expected_false_flags` bounds what is expected.

Nothing here is a guarantee: all of it is as good as the calibration, and as the
assumption that is named. `audited_precision` promises, and needs answers of people.

Shapes: N examples, C classes, M experts.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce
from ..binning import bin_sums
from ..binning.bins import Bins
from .noise import noise_matrix


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ExpectedPrecision:
    """What is expected of flagged labels; by bin, arrays `[num_bins]`.

    Attributes:
      precision: float32 scalar, expected share of wrong labels; NaN of no flag.
      standard_error: float32 scalar, standard deviation of the share of wrong labels
        among these flags around it, if labels are wrong independently of each other.
      num_flagged: int32 scalar.
    """

    precision: jax.Array
    standard_error: jax.Array
    num_flagged: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FalseFlags:
    """How many right labels are expected among the flagged ones.

    Attributes:
      if_independent: float32 scalar, expected number if experts err independently.
      most: float32 scalar, the largest expected number, however they depend.
      precision_if_independent: float32 scalar in `[0, 1]`; NaN without flags.
      least_precision: float32 scalar in `[0, 1]`, likewise.
      standard_error: float32 scalar, standard deviation of the precision around
        `precision_if_independent`, if rows are independent.
      num_flagged: int32 scalar.
      num_candidates: int32 scalar, rows that were flagged or could have been.
      num_masked: int32 scalar, rows that `where` leaves out.
    """

    if_independent: jax.Array
    most: jax.Array
    precision_if_independent: jax.Array
    least_precision: jax.Array
    standard_error: jax.Array
    num_flagged: jax.Array
    num_candidates: jax.Array
    num_masked: jax.Array


def label_error_probability(
    probabilities: ArrayLike, labels: ArrayLike, noise: ArrayLike
) -> jax.Array:
    r"""Probability that each given label is wrong.

    .. math:: P(y \ne g \mid x, \text{given } g) =
        1 - \frac{p(g \mid x) \, T_{gg}}{\sum_y p(y \mid x) \, T_{yg}}

    That a label was given is evidence of its own, the more so the rarer labels are
    wrong: a label of probability 0.01 by a model is more likely right than that. Exact
    where p is calibrated for every class, for x the model's own output, and the noise
    is class-conditional. Not exact, for either reason: probabilities of a model that
    was calibrated on noisy labels (`true_label_probabilities` mends that), a mean over
    models that was not calibrated again, labels that are wrong where models are.

    Of several experts give one matrix: the mean of their probabilities, calibrated
    once more by `fit_temperature` of its logarithm. A product of their probabilities
    takes them to err independently; `expert_dependence` shows whether they do.

    Args:
      probabilities: floating `[N, C]`, p, calibrated to true labels.
      labels: integer `[N]`, as given, in `[0, C)`.
      noise: floating `[C, C]`, the noise matrix T, rows by true class.

    Returns:
      float32 `[N]` in `[0, 1]`; 1 for a label that p and T say is impossible, NaN for
      one outside `[0, C)` and for a row with NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Bayes' rule; the noise model of Northcutt et al., "Confident Learning", 2021,
      arXiv 1911.00068.

    Examples:
      >>> noise = calib_jax.cleaning.uniform_label_noise(0.04, 5)
      >>> print(label_error_probability([[0.9, 0.07, 0.01, 0.01, 0.01]], [1], noise))
      [0.122]
    """
    array = checks.logits("probabilities", probabilities, rank=2, axes="[N, C]")
    label = checks.integers("labels", labels)
    matrix = noise_matrix(noise, array.shape[1])
    checks.same_rows(probabilities=array, labels=label)
    return _label_error_probability(array, label, matrix)


def expected_precision(
    error_probability: ArrayLike, flagged: ArrayLike, *, where: ArrayLike | None = None
) -> ExpectedPrecision:
    r"""Expected precision of flags, from the probability that each label is wrong.

    .. math:: \bar e = \frac1F \sum_{i \in \text{flagged}} e_i, \quad
        s = \frac1F \sqrt{\sum_{i \in \text{flagged}} e_i (1 - e_i)}

    Args:
      error_probability: floating `[N]` in `[0, 1]`, of `label_error_probability`; rows
        that are not flagged may hold anything.
      flagged: bool `[N]`.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `ExpectedPrecision`; NaN where a flagged row's probability is.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Poisson's binomial distribution: the mean and variance of a number of events of
      different probabilities.

    Examples:
      >>> found = expected_precision([0.9, 0.7, 0.1], [True, True, False])
      >>> print(f"{found.precision:.2f}, give or take {found.standard_error:.2f}")
      0.80, give or take 0.27
    """
    error = checks.floats("error_probability", error_probability)
    flags = checks.bools("flagged", flagged)
    mask = checks.mask("where", where)
    checks.same_shape(error_probability=error, flagged=flags, where=mask)
    one_bin = Bins(edges=jnp.zeros(0, jnp.float32))
    found = _expected_precision(one_bin, jnp.zeros_like(error), error, flags, mask)
    return jax.tree.map(lambda entry: entry[0], found)


def expected_precision_by_bin(
    bins: Bins,
    scores: ArrayLike,
    error_probability: ArrayLike,
    flagged: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> ExpectedPrecision:
    """The same in every bin of a score, such as the least confidence of the experts.

    Args:
      bins: `Bins` of the scores.
      scores: floating `[N]`.
      error_probability: floating `[N]`, as for `expected_precision`.
      flagged: bool `[N]`.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `ExpectedPrecision` with arrays `[num_bins]`; NaN in bins without a flag, and in
      all where a flagged row's score is.

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
    error = checks.floats("error_probability", error_probability)
    flags = checks.bools("flagged", flagged)
    mask = checks.mask("where", where)
    checks.same_shape(scores=score, error_probability=error, flagged=flags, where=mask)
    return _expected_precision(bins, score, error, flags, mask)


def expected_false_flags(
    confidences: ArrayLike,
    candidates: ArrayLike,
    flagged: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> FalseFlags:
    r"""Right labels to expect among flags, from the experts' confidences alone.

    A right label that all experts contradict is an example on which all are wrong. An
    expert of confidence c is wrong with probability 1 - c, if c is calibrated to true
    labels, and all of them with one between those of the two sums

    .. math:: \sum_i \prod_m (1 - c_{mi}), \quad \sum_i \min_m (1 - c_{mi})

    over the rows that would be flagged if every expert contradicted their label: all
    rows for `top1_disagreement`, and for `high_confidence_disagreement` those of which
    every expert is in one of its K best bins,
    `high_confidence_disagreement(experts, predictions, confidences, -jnp.ones_like(
    labels), K)`. The first sum is right if experts err independently of each other
    where their confidences are these, and too small if they share errors; the second
    holds for any experts and any noise of the labels. What is wrong of F flags is the
    rest of them.

    Of confidences that are calibrated to given, noisy labels the sums count nearly all
    flags: take `true_label_confidence` of them first.

    Args:
      confidences: floating `[M, N]`, calibrated to true labels, in `[0, 1]`.
      candidates: bool `[N]`, rows that would be flagged if all experts contradicted
        their label.
      flagged: bool `[N]`, those that are; rows that are no candidates do not count.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `FalseFlags`; NaN where a candidate's confidence is.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      The bounds of Fréchet on the probability that several events happen together.

    Examples:
      >>> confidences = jnp.full((2, 1000), 0.9)
      >>> row = jnp.arange(1000)
      >>> found = expected_false_flags(confidences, row >= 0, row < 200)
      >>> print(f"{found.if_independent:.0f} to {found.most:.0f} false flags")
      10 to 100 false flags
      >>> print(f"{found.least_precision:.2f}, {found.precision_if_independent:.2f}")
      0.50, 0.95
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


@dispatch.core(rows_of="labels")
def _label_error_probability(
    probabilities: jax.Array, labels: jax.Array, noise: jax.Array
) -> jax.Array:
    num_classes = noise.shape[0]

    def of_block(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        array, label = rows
        array = array.astype(jnp.float32)
        inside = (label >= 0) & (label < num_classes)
        # Column g: how often each true class is given as g.
        given = jnp.take(noise.T, jnp.where(inside, label, 0), axis=0)
        joint = array * given
        # Not 1 less the rest: few labels are wrong.
        own = jnp.arange(num_classes, dtype=jnp.int32)[None] == label[:, None]
        wrong = jnp.sum(jnp.where(own, 0.0, joint), axis=1)
        total = wrong + jnp.sum(jnp.where(own, joint, 0.0), axis=1)
        error = jnp.where(total == 0, 1.0, wrong / total)
        return jnp.where(inside, error, jnp.nan)

    return reduce.map_rows(of_block, (probabilities, labels))


@dispatch.core
def _expected_precision(
    bins: Bins,
    scores: jax.Array,
    error: jax.Array,
    flagged: jax.Array,
    where: jax.Array | None,
) -> ExpectedPrecision:
    valid = flagged if where is None else flagged & where
    table = bin_sums.bin_means(bins, scores, (error, error * (1 - error)), valid, None)
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
    confidences: jax.Array,
    candidates: jax.Array,
    flagged: jax.Array,
    where: jax.Array | None,
) -> FalseFlags:
    valid = masking.valid_rows(flagged.shape[0], where, None)

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
        num_masked=jnp.sum(~valid, dtype=jnp.int32),
    )
