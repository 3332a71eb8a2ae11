r"""Errors that experts share, and how likely a label is wrong that all contradict.

Shapes: M experts, N examples, D possibilities. A label that every expert contradicts is
wrong, or every expert is. Confidences say how often each expert contradicts a given
label, and counting says how often all do. Nothing in the data says which of both it
was: a mistake that all experts make with confidence looks like a wrong label. What is
known of experts goes in as a prior, and what the rows cannot decide stays in the
interval.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy import special
from scipy.stats import qmc

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import Confidence
from ..binning import bin_sums
from ..binning.bins import cut_evenly
from ..calibration import platt
from ..calibration.platt import Platt
from ..stats.intervals import Interval

# Groups of rows, by the product of the experts' errors, whose counts are fitted.
_NUM_GROUPS = 6
# The model's rate of joint contradiction has this squared relative error for each
# expert.
_MISFIT = 1 / 8
# Prior of the log odds of the correlation where the mean log error is `-_CENTRE`, and
# of their slope for each unit by which it falls; `benchmarks/label_errors` has what
# experts on rows that people judged have.
_CENTRE = 1.5
_LOG_ODDS, _LOG_ODDS_SPREAD = 0.1, 0.6
_SLOPE_OF_EXPERT, _MOST_COUNTED, _SLOPE_SPREAD = 0.1, 6, 0.4
# Chance that experts err independently, and the log odds of no correlation.
_INDEPENDENT, _NO_CORRELATION = 0.1, -9.0
# Chance that labels are also wrong at random, and the logarithms of the least and the
# largest share.
_AT_RANDOM, _RANDOM_SHARES = 5 / 6, np.log([2e-4, 0.5])
# Share of an expert's contradictions that are due to wrong labels: a beta distribution
# of parameters 1 and this.
_SHARE_SHAPE = 5.0
# Nothing is more certain than this.
_LEAST_ERROR = np.float32(1e-5)
_LOG_NUM_POINTS = 10
NUM_PARAMETERS = 4


def even_points(num_coordinates: int) -> np.ndarray:
    """Points spread evenly in the unit cube; more coordinates leave the first as is."""
    # A Sobol sequence is spread more evenly than draws, and needs no key.
    even = qmc.Sobol(num_coordinates, scramble=False).random_base2(_LOG_NUM_POINTS).T
    return even + 2.0 ** -(_LOG_NUM_POINTS + 1)


def _prior_points() -> np.ndarray:
    """Points `[4, D]` that represent the prior, less the slope's mean."""
    even = even_points(NUM_PARAMETERS)
    related = np.maximum(even[0] - _INDEPENDENT, 1e-6) / (1 - _INDEPENDENT)
    log_odds = _LOG_ODDS + _LOG_ODDS_SPREAD * special.ndtri(related)
    log_odds = np.where(even[0] < _INDEPENDENT, _NO_CORRELATION, log_odds)
    slope = _SLOPE_SPREAD * special.ndtri(even[1])
    place = (even[2] - (1 - _AT_RANDOM)) / _AT_RANDOM
    constant = np.exp(np.interp(place, [0, 1], _RANDOM_SHARES))
    constant = np.where(place < 0, 0, constant)
    share = 1 - (1 - even[3]) ** (1 / _SHARE_SHAPE)
    return np.stack([log_odds, slope, constant, share]).astype(np.float32)


_POINTS = _prior_points()
# Standard normal draws, evenly spread, with a variance of one.
_NORMAL = special.ndtri((np.arange(9) + 0.5) / 9)
_NORMAL = np.float32(_NORMAL / np.std(_NORMAL))


@records.record(
    "D",
    axes={"recalibration": "M", "num_rows": ""},
    values={"num_rows": records.COUNT},
)
class SharedErrors(records.Result):
    """How experts err together, and how labels are wrong: what is possible, weighted.

    Attributes:
      weight: float32 `[D]`, the probability of each of D possibilities.
      log_odds: float32 `[D]`, log odds of the correlation of the experts' errors where
        the geometric mean of their errors is `exp(-1.5)`.
      slope: float32 `[D]`, by how much they rise when its logarithm falls by one.
      constant: float32 `[D]`, share of labels that are wrong at any confidence.
      share: float32 `[D]`, wrong labels beyond these, as a share of the geometric mean
        of the errors.
      recalibration: `Platt` with entries `[M]`, from the log-odds of each expert's
        confidence.
      num_rows: int32 scalar, rows that count.
    """

    weight: jax.Array
    log_odds: jax.Array
    slope: jax.Array
    constant: jax.Array
    share: jax.Array
    recalibration: Platt
    num_rows: jax.Array


def fit_shared_errors(
    confidences: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> SharedErrors:
    r"""How often all experts are wrong together, and how often labels are.

    Confidences are calibrated to the given labels by Platt scaling of their log-odds,
    for they have to be right on the surest rows. With :math:`e_m` the chance that
    expert m contradicts the label, e their geometric mean, and
    :math:`e'_m = (e_m - \epsilon) / (1 - \epsilon)` its errors on right labels,

    .. math:: P(\text{all contradict}) = \epsilon + (1 - \epsilon) h, \quad
        \epsilon = a + b \, e, \quad
        h = \left(\prod_m e'_m\right)^{1 / (1 + (M - 1) \rho)}

    but h at most the smallest :math:`e'_m`. M experts whose errors have the correlation
    :math:`\rho` count as :math:`M / (1 + (M - 1) \rho)` independent ones, the design
    effect of cluster samples. The log odds of :math:`\rho` are linear in
    :math:`\ln e`. Labels are wrong at any confidence (a) or in proportion to the
    experts' errors (b).

    The four parameters have a posterior distribution, as weights of 1024 points of the
    prior. Its likelihood is of the counts in six groups of rows, negative binomial of
    size 8 / M for a model that is only nearly right; its prior says that correlations
    are moderate and few contradictions are due to wrong labels. Rows decide little
    between shared errors and wrong labels: expect wide intervals. With one expert they
    decide nothing.

    Args:
      confidences: floating `[M, N]` in `[0, 1]`, of each expert's answer.
      outcomes: bool `[M, N]`, whether the answer agrees with the given label.
      where: optional bool `[N]`.

    Returns:
      `SharedErrors`; NaN without rows and with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, no expert, or a confidence on the
        host outside `[0, 1]`; in a device array it counts as NaN, here and below.

    References:
      Kish, "Survey Sampling", 1965, section 5.4 (design effect); Miller and Dunson,
      "Robust Bayesian Inference via Coarsening", 2019, arXiv 1506.06101 (models that
      are nearly right); Hao et al. 2026, arXiv 2601.07965, section 2.3, where experts
      err independently.

    Examples:
      >>> import numpy as np
      >>> rng = np.random.default_rng(0)
      >>> confidences = np.float32(rng.uniform(0.5, 0.99, (2, 4000)))
      >>> wrong = rng.random(4000) < 0.05
      >>> outcomes = ~wrong & (rng.random((2, 4000)) < confidences)
      >>> flagged = ~outcomes.any(axis=0)
      >>> shared = fit_shared_errors(confidences, outcomes)
      >>> found = expected_precision_interval(shared, confidences, flagged)
      >>> print(f"{found.lower:.1f} to {found.upper:.1f}")
      0.0 to 0.8
      >>> print(f"in truth {wrong[flagged].mean():.1f}")
      in truth 0.5
    """
    confidence = _confidences(confidences)
    right = checks.bools("outcomes", outcomes, rank=2, axes="[M, N]")
    mask = checks.mask("where", where)
    checks.same_shape(confidences=confidence, outcomes=right)
    checks.same_columns(confidences=confidence, where=mask)
    return _fit_shared_errors(confidence, right, mask)


def joint_error_probability(shared: SharedErrors, confidences: ArrayLike) -> jax.Array:
    r"""Probability that a label is wrong if all experts contradict it, for each row.

    .. math:: P(\text{wrong} \mid \text{all contradict}) =
        \frac{\epsilon}{\epsilon + (1 - \epsilon) h}

    as in `fit_shared_errors`, averaged over what is possible. It says nothing about
    labels that some expert confirms.

    Args:
      shared: `SharedErrors` of the M experts.
      confidences: floating `[M, N]` in `[0, 1]`, of the same kind as in the fit.

    Returns:
      float32 `[N]` in `[0, 1]`; NaN where a confidence is.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or another number of experts.

    References:
      Bayes' rule.

    Examples:
      >>> import numpy as np
      >>> rng = np.random.default_rng(0)
      >>> confidences = np.float32(rng.uniform(0.5, 0.99, (2, 4000)))
      >>> outcomes = rng.random((2, 4000)) < confidences - 0.05
      >>> shared = fit_shared_errors(confidences, outcomes)
      >>> print(joint_error_probability(shared, [[0.6, 0.98], [0.6, 0.98]]).round(1))
      [0.2 0.7]
    """
    confidence = _of_experts(shared, confidences)
    return _joint_error_probability(shared, confidence, confidence[0])


def expected_precision_interval(
    shared: SharedErrors,
    confidences: ArrayLike,
    flagged: ArrayLike,
    *,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> Interval:
    """Share of flagged labels that is expected to be wrong, with an interval.

    The interval is for the share among these flags: it holds both what the fit leaves
    open and the luck of so many flags. It is only as good as the prior of
    `fit_shared_errors`; `audit_bounds` gives a guarantee, from people's answers.

    Args:
      shared: `SharedErrors` of the M experts.
      confidences: floating `[M, N]` in `[0, 1]`, of the same kind as in the fit; rows
        that are not flagged may hold anything.
      flagged: bool `[N]`, labels that every expert contradicts, all or some of them.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`.

    Returns:
      `Interval` of a scalar; NaN without flags, and where a flagged row's confidence
      is.

    Raises:
      ValueError: for a wrong rank, shape or dtype, another number of experts, or a
        confidence level on the host outside `(0, 1)`.

    References:
      Gelman et al., "Bayesian Data Analysis", third edition, 2013, section 1.3
      (posterior predictive distribution).

    Examples:
      >>> confidences = jnp.full((2, 1000), 0.9)
      >>> row = jnp.arange(1000)
      >>> outcomes = jnp.stack([row % 10 > 0, row % 20 > 0])
      >>> shared = fit_shared_errors(confidences, outcomes)
      >>> flagged = row % 20 == 0
      >>> found = expected_precision_interval(shared, confidences, flagged)
      >>> print(f"{found.estimate:.1f}, from {found.lower:.1f} to {found.upper:.1f}")
      0.5, from 0.0 to 1.0
    """
    confidence = _of_experts(shared, confidences)
    flags = checks.bools("flagged", flagged)
    alpha = checks.error_rate("confidence_level", confidence_level)
    mask = checks.mask("where", where)
    checks.same_columns(confidences=confidence, flagged=flags, where=mask)
    return _expected_precision_interval(shared, confidence, flags, alpha, mask)


def _confidences(confidences: ArrayLike) -> jax.Array:
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    if confidence.shape[0] == 0:
        raise ValueError("confidences: expected at least one expert, got [0, N].")
    return confidence


def _of_experts(shared: SharedErrors, confidences: ArrayLike) -> jax.Array:
    checks.instance("shared", shared, SharedErrors)
    confidence = _confidences(confidences)
    size = shared.recalibration.slope.shape[0]
    if confidence.shape[0] != size:
        raise ValueError(
            f"confidences: expected a row for each of the {size} experts, got "
            f"{list(confidence.shape)}."
        )
    return confidence


def _log_odds(confidences: jax.Array) -> jax.Array:
    least = np.float32(2.0**-24)
    confidence = jnp.clip(confidences.astype(jnp.float32), least, 1 - least)
    return jnp.log(confidence) - jnp.log1p(-confidence)


def log_error_of_each(recalibration: Platt, confidences: jax.Array) -> jax.Array:
    """Logarithm of each expert's error, `[block, M]`, as the confidences."""
    score = _log_odds(confidences)
    logit = recalibration.slope[None] * score + recalibration.intercept[None]
    return jnp.maximum(jax.nn.log_sigmoid(-logit), np.log(_LEAST_ERROR))


def _log_errors(
    recalibration: Platt, confidences: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and least over experts, `[block, M]`, of the logarithms of their errors."""
    log_error = log_error_of_each(recalibration, confidences)
    return jnp.mean(log_error, axis=1), jnp.min(log_error, axis=1)


def rates(
    parameters: tuple[jax.Array, ...],
    mean: jax.Array,
    least: jax.Array,
    num_experts: int | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Rates of wrong labels and of shared errors on right ones, broadcast."""
    log_odds, slope, constant, share = parameters
    wrong = jnp.minimum(constant + share * jnp.exp(mean), 0.95)
    correlation = jax.nn.sigmoid(log_odds - slope * (mean + _CENTRE))

    def on_right_labels(log_error: jax.Array) -> jax.Array:
        rest = (jnp.exp(log_error) - wrong) / (1 - wrong)
        return jnp.log(jnp.maximum(rest, 0.1 * _LEAST_ERROR))

    effective = num_experts / (1 + (num_experts - 1) * correlation)
    shared = effective * on_right_labels(mean)
    return wrong, jnp.exp(jnp.minimum(shared, on_right_labels(least)))


@dispatch.core(
    rows=["confidences M N", "outcomes M N", "where"], passes=dispatch.Passes.FEW
)
def _fit_shared_errors(
    confidences: Confidence, outcomes: jax.Array, where: jax.Array | None
) -> SharedErrors:
    num_experts = confidences.shape[0]
    valid = masking.valid_rows(outcomes.shape[1], where)

    def calibrate(rows: tuple[jax.Array, jax.Array]) -> Platt:
        # Smooth targets, for an expert that never contradicts a label.
        score, outcome = _log_odds(rows[0]), rows[1].astype(jnp.float32)
        return platt.fit_rows(score, outcome, valid, None, smooth=True, solver=None)[0]

    recalibration = jax.lax.map(calibrate, (confidences, outcomes))
    mean, least = _log_errors(recalibration, confidences.T)
    joint = ~jnp.any(outcomes, axis=0)
    cut = cut_evenly(mean, _NUM_GROUPS, valid)
    parts = (mean, least, joint.astype(jnp.float32))
    table = bin_sums.bin_means(cut, mean, parts, valid, None)
    rows = table.weight
    group_mean, group_least, rate = table.means
    slope = _POINTS[1] + _SLOPE_OF_EXPERT * min(num_experts, _MOST_COUNTED)
    points = [jnp.asarray(one) for one in (_POINTS[0], slope, *_POINTS[2:])]
    wrong, shared = rates(
        tuple(one[:, None] for one in points),
        group_mean[None],
        group_least[None],
        num_experts,
    )
    rows, count = rows[None], (rows * rate)[None]
    expected = jnp.maximum(rows * (wrong + (1 - wrong) * shared), 1e-9)
    # Both logarithms of the negative binomial distribution, without a cancellation.
    size = 1 / (_MISFIT * num_experts)
    fit = count * jnp.log1p(size / expected) + size * jnp.log1p(expected / size)
    weight = jax.nn.softmax(-jnp.sum(jnp.where(rows > 0, fit, 0.0), axis=1))
    unknown = jnp.any(jnp.isnan(confidences) & valid[None]) | (jnp.sum(rows) == 0)

    def if_known(leaf: jax.Array) -> jax.Array:
        return jnp.where(unknown, jnp.nan, leaf)

    return SharedErrors(
        weight=if_known(weight),
        log_odds=points[0],
        slope=points[1],
        constant=points[2],
        share=points[3],
        recalibration=jax.tree.map(if_known, recalibration),
        num_rows=jnp.sum(valid, dtype=jnp.int32),
    )


def parameters_of(shared: SharedErrors) -> tuple[jax.Array, ...]:
    """The parameters of all points, as `rates` takes them, float32 `[1, D]`."""
    parameters = shared.log_odds, shared.slope, shared.constant, shared.share
    return tuple(one[None] for one in parameters)


def _errors(shared: SharedErrors, confidences: jax.Array) -> jax.Array:
    """Probability that a contradicted label is wrong, `[block, D]`, of `[block, M]`."""
    mean, least = _log_errors(shared.recalibration, confidences)
    wrong, together = rates(
        parameters_of(shared),
        mean[:, None],
        least[:, None],
        confidences.shape[1],
    )
    error = wrong / (wrong + (1 - wrong) * together)
    # The minimum of NaN and a number is not NaN in every compiled program.
    return jnp.where(jnp.isnan(mean)[:, None], jnp.nan, error)


@dispatch.core(rows=["confidences M N", "first"], rows_of="first")
def _joint_error_probability(
    shared: SharedErrors, confidences: Confidence, first: jax.Array
) -> jax.Array:
    """The argument `first` says how the rows are placed."""
    del first

    def of_block(block: jax.Array) -> jax.Array:
        return jnp.sum(shared.weight[None] * _errors(shared, block), axis=1)

    return reduce.map_rows(of_block, confidences.T)


@dispatch.core(rows=["confidences M N", "flagged", "where"])
def _expected_precision_interval(
    shared: SharedErrors,
    confidences: Confidence,
    flagged: jax.Array,
    alpha: jax.Array,
    where: jax.Array | None,
) -> Interval:
    counted = masking.valid_rows(flagged.shape[0], where) & flagged

    def of_block(block: jax.Array, live: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(live[:, None], _errors(shared, block), 0.0), axis=0)

    sums = reduce.sum_blocks(of_block, shared.share.shape, confidences.T, counted)
    flags = jnp.sum(counted, dtype=jnp.float32)
    return share_of_flags(shared, sums, flags, alpha)


def share_of_flags(
    shared: SharedErrors, sums: jax.Array, flags: jax.Array, alpha: jax.Array
) -> Interval:
    """Share of wrong labels among flags, from their expected number, float32 `[D]`."""
    some = jnp.where(flags > 0, flags, jnp.nan)
    each = sums / some
    spread = jnp.sqrt(jnp.maximum(each * (1 - each), 0.0) / some)
    luck = jnp.clip(each[:, None] + spread[:, None] * _NORMAL[None], 0.0, 1.0)
    weight = jnp.broadcast_to(shared.weight[:, None] / len(_NORMAL), luck.shape)
    order = jnp.argsort(luck, axis=None)
    value, weight = jnp.ravel(luck)[order], jnp.ravel(weight)[order]
    below = jnp.cumsum(weight) - weight / 2
    known = jnp.where(jnp.isfinite(value[-1] + below[-1]), 1.0, jnp.nan)
    return Interval(
        estimate=jnp.sum(shared.weight * each),
        lower=known * jnp.interp(alpha / 2, below, value),
        upper=known * jnp.interp(1 - alpha / 2, below, value),
    )
