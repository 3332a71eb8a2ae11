"""Scores of sequences: mean logits and log-likelihoods of the chosen tokens.

Shapes: B sequences, T tokens, V vocabulary. bfloat16 and float16 logits are read as
they are and accumulated in float32; float64 ones become float32. Raw logits are those
before temperature, top-k, penalties or a softmax. `log_odds_from_log` turns a
log-likelihood into log-odds.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce, transforms

# Over longer rows XLA writes out the exponentials that it sums on the CPU.
_LONGEST_SUM = 2**15
# Up to this many logits are in the cache when they are read again.
_FEW_LOGITS = 2**20


def sequence_mean_logit(
    logits: ArrayLike, tokens: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Mean raw logit of the chosen tokens: the paper's score of a sequence.

    .. math:: s(x) = \frac{1}{L} \sum_{t=1}^{L} z_t[y_t]

    The score is not a probability; `calib_jax.fit_platt` turns it into one. It changes
    when a constant is added to all logits of a step, so pass raw logits.
    `log(probabilities)` gives a different score.

    Args:
      logits: floating `[B, T, V]`; `logits[:, t]` are the raw logits from which
        `tokens[:, t]` was drawn.
      tokens: integer `[B, T]`; a valid token outside `[0, V)` gives NaN.
      where: optional bool `[B, T]`, the tokens that count.

    Returns:
      float32 `[B]`, in logits; NaN for a sequence without a valid token.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 (confidence of a generated sequence).

    Examples:
      >>> logits = [[[1.0, 3.0], [2.0, 0.0], [9.0, 9.0]]]
      >>> mask = [[True, True, False]]
      >>> print(sequence_mean_logit(logits, [[1, 0, 0]], where=mask))
      [2.5]
    """
    return _sequence_mean_logit(*_sequence_arguments(logits, tokens, where))


def sequence_log_likelihood(
    logits: ArrayLike,
    tokens: ArrayLike,
    *,
    where: ArrayLike | None = None,
    reduction: str = "sum",
) -> jax.Array:
    r"""Log-likelihood of the chosen tokens, in nats.

    .. math:: \ell_t = z_t[y_t] - \log \sum_v \exp(z_t[v])

    reduced over the valid tokens to the sum (joint log-likelihood), the mean (which
    does not favour short sequences) or the minimum (the weakest token). Unlike the mean
    logit it does not change when a constant is added to the logits of a step.

    Args, errors and NaN as for `sequence_mean_logit`, and also:

    Args:
      reduction: `"sum"`, `"mean"` or `"min"`.

    Returns:
      float32 `[B]` in nats, at most 0; -inf if a chosen token has logit -inf.

    Raises:
      ValueError: for a wrong rank, shape, dtype or reduction.

    References:
      Gupta et al., "Language Model Cascades", 2024, arXiv 2404.10136 (Chow-Sum and
      Chow-Average).

    Examples:
      >>> logits = [[[0.0, 0.0], [0.0, 0.0]]]
      >>> print(sequence_log_likelihood(logits, [[1, 0]]).round(3))
      [-1.386]
    """
    if reduction not in ("sum", "mean", "min"):
        raise ValueError(
            f"reduction: expected 'sum', 'mean' or 'min', got {reduction!r}."
        )
    arguments = _sequence_arguments(logits, tokens, where)
    return _sequence_log_likelihood(*arguments, reduction=reduction)


def _sequence_arguments(
    logits: ArrayLike, tokens: ArrayLike, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    array = checks.logits("logits", logits, rank=3, axes="[B, T, V]")
    chosen = checks.integers("tokens", tokens, rank=2, axes="[B, T]")
    mask = checks.mask("where", where, rank=2, axes="[B, T]")
    if array.shape[:2] != chosen.shape:
        raise ValueError(
            f"tokens: expected shape [B, T] = {list(array.shape[:2])} to match logits "
            f"{list(array.shape)}, got {list(chosen.shape)}."
        )
    checks.same_shape(tokens=chosen, where=mask)
    return array, chosen, mask


@dispatch.core(rows=["logits N T V", "tokens N T", "where N T"], rows_of="logits")
def _sequence_mean_logit(
    logits: jax.Array, tokens: jax.Array, where: jax.Array | None
) -> jax.Array:
    return mean_tokens(masking.take_last(logits, tokens), where)


@dispatch.core(
    static=["reduction"],
    rows=["logits N T V", "tokens N T", "where N T"],
    rows_of="logits",
)
def _sequence_log_likelihood(
    logits: jax.Array, tokens: jax.Array, where: jax.Array | None, *, reduction: str
) -> jax.Array:
    chosen = masking.take_last(logits, tokens)
    reduce = {
        "sum": sum_tokens,
        "mean": mean_tokens,
        "min": least_token,
    }[reduction]
    return reduce(log_likelihoods(logits, chosen, where), where)


@jax.custom_jvp
def log_likelihoods(
    logits: jax.Array, chosen: jax.Array, where: jax.Array | None
) -> jax.Array:
    """Log of the softmax at the chosen tokens, float32 `[...]`.

    Exponentials of many logits are taken less the chosen one, so that they are read
    once. Only if a chosen token is so unlikely, below 1e-38, that their sum overflows,
    or its logit is not finite, are the largest logits looked for.

    Args:
      logits: `[..., V]`; nothing of their size is written.
      chosen: float32 `[...]`, the logits of the chosen tokens.
      where: optional bool `[...]`; where it is False the result is arbitrary.
    """
    if transforms.at_most(logits.size, _FEW_LOGITS):
        return _less_largest(logits, chosen, where)
    totals = _sum_of_exponentials(logits, chosen)
    found = jnp.isfinite(totals) & jnp.isfinite(chosen)
    known = found if where is None else found | ~where

    # A loop of at most one step: under `jax.vmap` both sides of a `cond` would run.
    def look_for_largest(state: Any) -> Any:
        done, likelihoods = state
        exact = _less_largest(logits, chosen)
        return done | True, jnp.where(found, likelihoods, exact)

    state = jnp.all(known), -jnp.log(totals)
    state = transforms.carry(look_for_largest, state)
    return lax.while_loop(lambda state: ~state[0], look_for_largest, state)[1]


@log_likelihoods.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    logits, chosen, where = primals
    return jax.jvp(
        lambda logits, chosen: _less_largest(logits, chosen, where),
        (logits, chosen),
        tangents[:2],
    )


def _less_largest(
    logits: jax.Array, chosen: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """`log_likelihoods` of any logits, which are read twice."""
    # Without blocks: reductions over the last axis hold nothing of the size of the
    # logits and read them at the speed of memory, while a block would be copied. The
    # shift cancels, so it needs no derivative.
    maximum = lax.stop_gradient(masking.class_maximum(logits, None))
    maximum = lax.optimization_barrier(maximum)
    total = _sum_of_exponentials(logits, maximum, where)
    # NaN, not -inf, if all logits are -inf or one is +inf.
    likelihood = (chosen - maximum) - jnp.log(total)
    return jnp.where(jnp.isfinite(maximum), likelihood, jnp.nan)


def _sum_of_exponentials(
    logits: jax.Array, shift: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """Sum over the vocabulary of the exponentials of the logits less a shift."""
    pieces = _cut_vocabulary(logits).astype(jnp.float32)
    if where is not None:
        # Both branches are the same numbers, so XLA drops the choice; it only keeps the
        # gradient of padding, which may be NaN, at 0.
        fixed = lax.stop_gradient(pieces)
        pieces = jnp.where(where[..., None, None], pieces, fixed)
    totals = jnp.sum(jnp.exp(pieces - shift[..., None, None]), axis=-1)
    return jnp.sum(lax.optimization_barrier(totals), axis=-1)


def _cut_vocabulary(logits: jax.Array) -> jax.Array:
    """Logits `[..., V]` as `[..., pieces, V / pieces]`.

    One piece if V is small or no divisor of it leaves long pieces.
    """
    size = logits.shape[-1]
    least = -(-size // _LONGEST_SUM)
    counts = (k for k in range(least, 16 * least) if size % k == 0)
    num_pieces = next(counts, 1) if least > 1 else 1
    pieces = logits.reshape(*logits.shape[:-1], num_pieces, size // num_pieces)
    # Without the barrier 16-bit floats would be converted before the cut; with it a
    # single piece would be copied.
    return pieces if num_pieces == 1 else lax.optimization_barrier(pieces)


def valid_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """The mask, or all True, in the shape of `values`."""
    return jnp.ones(values.shape, bool) if where is None else where


def sum_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Sum over the last axis; NaN without a valid token, as in the functions below."""
    valid = valid_tokens(values, where)
    total = reduce.pairwise_sum(jnp.where(valid, values, 0.0))
    return jnp.where(jnp.any(valid, axis=-1), total, jnp.nan)


def mean_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Mean over the last axis."""
    count = jnp.sum(valid_tokens(values, where), axis=-1, dtype=jnp.float32)
    return sum_tokens(values, where) / jnp.maximum(count, 1.0)


def least_token(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Minimum over the last axis."""
    valid = valid_tokens(values, where)
    counted = jnp.where(valid, values, jnp.inf)
    # Over a long sequence XLA's minimum on the CPU ignores NaN.
    hidden = jnp.any(jnp.isnan(counted), axis=-1)
    least = jnp.min(counted, axis=-1, initial=jnp.inf)
    missing = hidden | ~jnp.any(valid, axis=-1)
    return jnp.where(missing, jnp.nan, least)
