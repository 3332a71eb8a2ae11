r"""Label noise: how given labels arise from true ones, and how to undo it.

Shapes: N examples, C classes. Row y of a noise matrix `[C, C]` holds how often each
label is given to examples of true class y,

.. math:: T_{yg} = P(\text{given } g \mid \text{true } y)

Using one assumes that nothing else about an example affects its label
(class-conditional noise). Its rows sum to 1; cleanlab stores the transpose.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, reduce
from .._core.domains import SHARE, Confidence, Probabilities, Share
from . import label_issues

# Beyond this no digit of a float32 inverse is reliable.
_MOST_CONDITION = 1e6
# Rows sum to 1 up to this: a matrix written by hand has few decimals.
_ROW_ROUNDING = 1e-3


def uniform_label_noise(rate: ArrayLike, num_classes: int) -> jax.Array:
    """The noise matrix of labels wrong at one rate, all other classes equally likely.

    Args:
      rate: floating scalar in `[0, 1]`, share of wrong labels; may be traced.
      num_classes: static number of classes C, at least 2.

    Returns:
      float32 `[C, C]`, rows by true class.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or values on the host outside
        `[0, 1]`; in a device array they count as NaN, here and below.

    References:
      Northcutt et al., "Confident Learning", 2021, arXiv 1911.00068, section 2.

    Examples:
      >>> print(uniform_label_noise(0.2, 3))
      [[0.8 0.1 0.1]
       [0.1 0.8 0.1]
       [0.1 0.1 0.8]]
    """
    share = checks.scalar("rate", rate)
    size = checks.static_int("num_classes", num_classes, minimum=2)
    return _uniform_label_noise(share, num_classes=size)


def estimate_label_noise(
    probabilities: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""The noise matrix as confident learning estimates it.

    The true class of a row is taken to be its best candidate
    (`calib_jax.confident_learning`); rows without a candidate are left out. Counts of
    given and true class are scaled to the number of rows with each given label,

    .. math:: \hat Q_{gy} = \frac{C_{gy}}{\sum_k C_{gk}} \, n_g, \quad
        \hat T_{yg} = \frac{\hat Q_{gy}}{\sum_k \hat Q_{ky}}

    This is a rough estimate. For rows between classes it mistakes the model's
    uncertainty for noise, so it overestimates the noise; `benchmarks/audits` measures
    by how much in a simulation with calibrated probabilities.

    A given label counts as right if none of its rows has a candidate; so do all labels
    of a class that is never a row's true class.

    Args, errors and NaN as for `calib_jax.confident_learning`.

    Returns:
      float32 `[C, C]`, rows by true class.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Northcutt et al., "Confident Learning", 2021, arXiv 1911.00068, section 3.1.

    Examples:
      >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.2, 0.8]]
      >>> print(estimate_label_noise(probabilities, [0, 0, 1, 1]).round(2))
      [[0.67 0.33]
       [0.   1.  ]]
    """
    return _estimate_label_noise(
        *label_issues.checked_rows(probabilities, labels, where)
    )


def true_label_probabilities(probabilities: ArrayLike, noise: ArrayLike) -> jax.Array:
    r"""Probabilities of the true label, from probabilities of the given label.

    A model calibrated on noisy labels says how probable each *given* label is. Under
    class-conditional noise these probabilities are a mixture, which is inverted here:

    .. math:: q(g \mid x) = \sum_y p(y \mid x) \, T_{yg}, \quad p = q \, T^{-1}

    Negative results are set to 0, and each row is scaled to sum to 1.

    Args:
      probabilities: floating `[N, C]` in `[0, 1]`, q, calibrated to given labels.
      noise: floating `[C, C]` in `[0, 1]`, the noise matrix, rows by true class.

    Returns:
      float32 `[N, C]`, p; NaN for a noise matrix without a usable inverse in float32
      (condition number 1e6 or more in the 1-norm).

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss
      Correction Approach", 2017, arXiv 1609.03683, section 3.

    Examples:
      >>> noise = uniform_label_noise(0.2, 3)
      >>> print(true_label_probabilities([[0.66, 0.17, 0.17]], noise).round(2))
      [[0.8 0.1 0.1]]
    """
    array = checks.probabilities("probabilities", probabilities)
    return _true_label_probabilities(array, noise_matrix(noise, array.shape[1]))


def true_label_confidence(
    confidence: ArrayLike, rate: ArrayLike, num_classes: int
) -> jax.Array:
    r"""Probability that an answer is the true label, from its confidence.

    Like `true_label_probabilities`, where only a model's answer and confidence are
    known. Labels are wrong at one rate, all other classes equally likely:

    .. math:: c = \frac{c' - e}{1 - \epsilon - e}, \quad e = \frac{\epsilon}{C - 1}

    Args:
      confidence: floating `[N]` in `[0, 1]`, calibrated to given labels; any other
        shape is taken too.
      rate: floating scalar in `[0, 1]`, share of wrong labels; may be traced.
      num_classes: static number of classes C, at least 2.

    Returns:
      float32 in `[0, 1]`, of the confidence's shape; NaN at a rate within 1e-6 of
      (C - 1) / C, where the given label says nothing about the true one.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      As for `true_label_probabilities`.

    Examples:
      >>> print(true_label_confidence([0.05, 0.5, 0.95], 0.05, 20).round(3))
      [0.05  0.526 1.   ]
    """
    array = checks.floats("confidence", confidence, rank=range(8), axes="[...]")
    share = checks.scalar("rate", rate)
    size = checks.static_int("num_classes", num_classes, minimum=2)
    return _true_label_confidence(array, share, num_classes=size)


def noise_matrix(noise: ArrayLike, num_classes: int) -> jax.Array:
    """Checks that a noise matrix has the given number of classes."""
    matrix = checks.floats("noise", noise, rank=2, axes="[C, C]")
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(
            f"noise: expected a row and a column for each of the {num_classes} "
            f"classes, got {list(matrix.shape)}."
        )
    checks.in_domain(SHARE, noise=matrix)
    if isinstance(matrix, np.ndarray):
        sums = matrix.sum(axis=1)
        wrong = np.flatnonzero(np.abs(sums - 1) > _ROW_ROUNDING)
        if wrong.size:
            hint = ""
            if np.abs(matrix.sum(axis=0) - 1).max() <= _ROW_ROUNDING:
                hint = " Its columns do: pass noise.T."
            raise ValueError(
                f"noise: expected rows, by true class, that sum to 1, row {wrong[0]} "
                f"sums to {sums[wrong[0]]:.7g}.{hint}"
            )
    return matrix


def known_rows(noise: jax.Array) -> jax.Array:
    """A noise matrix with NaN in rows that do not sum to 1."""
    sums = jnp.sum(noise, axis=1, keepdims=True)
    return jnp.where(jnp.abs(sums - 1) <= _ROW_ROUNDING, noise, jnp.nan)


@dispatch.core(static=["num_classes"])
def _uniform_label_noise(rate: Share, *, num_classes: int) -> jax.Array:
    others = jnp.full((num_classes, num_classes), rate / (num_classes - 1))
    return jnp.fill_diagonal(others, 1 - rate, inplace=False)


@dispatch.core(rows=["probabilities N C", "labels", "where"])
def _estimate_label_noise(
    probabilities: jax.Array, labels: jax.Array, where: jax.Array | None
) -> jax.Array:
    num_classes = probabilities.shape[1]
    _, usable, candidates = label_issues.issues_and_candidates(
        probabilities, labels, where
    )

    def cell(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        label, candidate = rows
        return label * (num_classes + 1) + candidate

    size = num_classes * (num_classes + 1)
    counts = reduce.count_rows(cell, (labels, candidates), size, usable)
    counts = counts.reshape(num_classes, num_classes + 1).astype(jnp.float32)
    given, counts = jnp.sum(counts, axis=1), counts[:, :-1]
    found = jnp.sum(counts, axis=1)
    right = jnp.eye(num_classes, dtype=jnp.float32)
    share = jnp.where(found[:, None] > 0, counts, right)
    share = share / jnp.maximum(found, 1.0)[:, None]
    joint = (share * given[:, None]).T
    of_class = jnp.sum(joint, axis=1)[:, None]
    return jnp.where(
        of_class > 0, joint / jnp.where(of_class > 0, of_class, 1.0), right
    )


@dispatch.core(rows=["probabilities N C"], rows_of="probabilities")
def _true_label_probabilities(probabilities: Probabilities, noise: Share) -> jax.Array:
    noise = known_rows(noise)
    identity = jnp.eye(noise.shape[0], dtype=jnp.float32)
    inverse = jnp.linalg.solve(noise, identity)
    condition = jnp.linalg.norm(noise, ord=1) * jnp.linalg.norm(inverse, ord=1)
    # The inverse of a singular matrix may hold NaN.
    inverse = jnp.where(condition < _MOST_CONDITION, inverse, jnp.nan)
    given = probabilities.astype(jnp.float32)
    true = jnp.matmul(given, inverse, precision=lax.Precision.HIGHEST)
    # Not jnp.maximum, so that NaN stays NaN.
    true = jnp.where(true < 0, 0.0, true)
    return true / jnp.sum(true, axis=1, keepdims=True)


@dispatch.core(static=["num_classes"], rows=["confidence N ..."], rows_of="confidence")
def _true_label_confidence(
    confidence: Confidence, rate: Share, *, num_classes: int
) -> jax.Array:
    other = rate / (num_classes - 1)
    kept = 1 - rate - other
    kept = jnp.where(jnp.abs(kept) * _MOST_CONDITION > 1, kept, jnp.nan)
    return jnp.clip((confidence - other) / kept, 0.0, 1.0)
