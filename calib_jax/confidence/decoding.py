r"""Scores of sequences while they are decoded, and from saved log-likelihoods.

Shapes: B sequences, T tokens, V vocabulary. A decoding loop need not keep its logits
`[B, T, V]`: a summary of a few numbers per sequence, updated in each step, gives the
scores of `sequences`. It is a pytree of constant shapes and dtypes, so it can be the
carry of a `jax.lax.scan` or `jax.lax.while_loop`. `likelihood_scores` takes what
`calib_jax.io.read_log_probabilities` reads from a server's file.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, records
from .._core.domains import LogProbability
from . import sequences


@records.record("B")
class DecodingSummary(records.Result):
    """What a decoding loop keeps for each sequence.

    Attributes:
      num_tokens: int32 `[B]`, number of valid tokens so far.
      sum_logit: float32 `[B]`, rounded sum of the chosen tokens' raw logits.
      logit_error: float32 `[B]`, the rounding error of that sum.
      sum_log_likelihood: float32 `[B]`, rounded sum of log-likelihoods, in nats.
      log_likelihood_error: float32 `[B]`, the rounding error of that sum.
      min_log_likelihood: float32 `[B]`, the least so far; +inf before the first token.
    """

    num_tokens: jax.Array
    sum_logit: jax.Array
    logit_error: jax.Array
    sum_log_likelihood: jax.Array
    log_likelihood_error: jax.Array
    min_log_likelihood: jax.Array


@records.record("B")
class LikelihoodScores(records.Result):
    """Scores that need log-likelihoods only; NaN for a sequence without a valid token.

    Attributes:
      num_tokens: int32 `[B]`, number of valid tokens.
      sum_log_likelihood: float32 `[B]`, in nats.
      mean_log_likelihood: float32 `[B]`, in nats per token.
      min_log_likelihood: float32 `[B]`, that of the least likely token, in nats.
    """

    num_tokens: jax.Array
    sum_log_likelihood: jax.Array
    mean_log_likelihood: jax.Array
    min_log_likelihood: jax.Array


@records.record("B")
class SequenceScores(LikelihoodScores):
    """`LikelihoodScores` and the mean logit, which needs raw logits.

    Attributes:
      mean_logit: float32 `[B]`, mean raw logit of the chosen tokens.
    """

    mean_logit: jax.Array


def init_decoding(num_sequences: int) -> DecodingSummary:
    """The summary that a decoding loop starts with.

    Args:
      num_sequences: static number of sequences B, at least 0.

    Returns:
      `DecodingSummary` of new arrays `[B]`, which a loop may donate. Over Explicit mesh
      axes or inside `jax.shard_map` the carry must be sharded like the first axis of
      the logits: `jax.device_put` it so before the loop.

    Raises:
      ValueError: for a wrong count.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 (confidence of a generated sequence).

    Examples:
      >>> print(init_decoding(2).num_tokens)
      [0 0]
    """
    size = checks.static_int("num_sequences", num_sequences, minimum=0)
    return DecodingSummary(
        num_tokens=jnp.zeros(size, jnp.int32),
        sum_logit=jnp.zeros(size, jnp.float32),
        logit_error=jnp.zeros(size, jnp.float32),
        sum_log_likelihood=jnp.zeros(size, jnp.float32),
        log_likelihood_error=jnp.zeros(size, jnp.float32),
        min_log_likelihood=jnp.full(size, jnp.inf, jnp.float32),
    )


def update_decoding(
    state: DecodingSummary,
    logits: ArrayLike,
    tokens: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> DecodingSummary:
    r"""Adds one token to each sequence that is not finished.

    .. math:: \ell_t = z_t[y_t] - \log \sum_v \exp(z_t[v])

    One sum takes :math:`\ell_t` and another :math:`z_t[y_t]`. Both keep their rounding
    errors, so that long sequences lose no digits. Nothing of the size of the logits is
    written.

    Args:
      state: `DecodingSummary` of the tokens so far.
      logits: floating `[B, V]`, the raw logits from which `tokens` were drawn, before
        temperature, top-k and penalties.
      tokens: integer `[B]`, the chosen tokens; a valid one outside `[0, V)` gives NaN.
      where: optional bool `[B]`, the sequences that were not finished before this step.

    Returns:
      `DecodingSummary` that includes these tokens.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2; Knuth, "The Art of Computer
      Programming" 2, section 4.2.2, for the error of a sum.

    Examples:
      >>> def step(state, logits):
      ...     tokens = jnp.argmax(logits, axis=-1)
      ...     return update_decoding(state, logits, tokens), tokens
      >>> logits = jnp.array([[[1.0, 3.0]], [[2.0, 0.0]]])  # [T, B, V]
      >>> state, tokens = jax.lax.scan(step, init_decoding(1), logits)
      >>> print(tokens[:, 0], sequence_scores(state).mean_logit)
      [1 0] [2.5]
    """
    checks.instance("state", state, DecodingSummary)
    array = checks.logits("logits", logits, rank=2, axes="[B, V]")
    chosen = checks.integers("tokens", tokens, axes="[B]")
    mask = checks.mask("where", where, axes="[B]")
    checks.same_rows(logits=array, tokens=chosen, where=mask, state=state.num_tokens)
    return _update(state, array, chosen, mask)


def sequence_scores(state: DecodingSummary) -> SequenceScores:
    """Scores of the sequences so far, to be calibrated by `calib_jax.fit_platt`.

    They equal those of `calib_jax.sequence_mean_logit` and
    `calib_jax.sequence_log_likelihood` up to rounding; here each sum is rounded once.

    Args:
      state: `DecodingSummary` with arrays `[B]`.

    Returns:
      `SequenceScores` with arrays `[B]`; NaN for a sequence with a NaN or without a
      valid token.

    Raises:
      ValueError: if `state` is not a `DecodingSummary`.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2; Gupta et al., "Language Model
      Cascades", 2024, arXiv 2404.10136.

    Examples:
      >>> state = update_decoding(init_decoding(1), [[0.0, 0.0]], [1])
      >>> print(sequence_scores(state).sum_log_likelihood.round(3))
      [-0.693]
    """
    checks.instance("state", state, DecodingSummary)
    return _scores(**vars(state))


def likelihood_scores(
    log_likelihoods: ArrayLike, *, where: ArrayLike | None = None
) -> LikelihoodScores:
    """Scores of sequences from the saved log-likelihoods of their tokens.

    They do not include the mean raw logit, which cannot be recovered after a softmax.
    To calibrate the sum over a short answer, take its `log_odds_from_log`.

    Args:
      log_likelihoods: floating `[B, T]`, in nats, at most 0; -inf is an impossible
        token.
      where: optional bool `[B, T]`, the tokens that count.

    Returns:
      `LikelihoodScores` with arrays `[B]`; NaN for a sequence without a valid token, or
      with a valid one that is NaN or above 0.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a valid host value above 0.

    References:
      Gupta et al., "Language Model Cascades", 2024, arXiv 2404.10136 (Chow-Sum and
      Chow-Average).

    Examples:
      >>> scores = likelihood_scores([[-0.5, -1.5]])
      >>> print(scores.mean_log_likelihood, scores.min_log_likelihood)
      [-1.] [-1.5]
    """
    axes = "[B, T]"
    values = checks.floats("log_likelihoods", log_likelihoods, rank=2, axes=axes)
    mask = checks.mask("where", where, rank=2, axes=axes)
    checks.same_shape(log_likelihoods=values, where=mask)
    return _likelihood_scores(values, mask)


@dispatch.core(rows_of="logits")
def _update(
    state: DecodingSummary,
    logits: jax.Array,
    tokens: jax.Array,
    where: jax.Array | None,
) -> DecodingSummary:
    chosen = masking.take_last(logits, tokens)
    likelihood = sequences.log_likelihoods(logits, chosen, where)
    valid = sequences.valid_tokens(chosen, where)

    def add(
        total: jax.Array, rest: jax.Array, value: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        total, error = exact.two_sum(total, jnp.where(valid, value, 0.0))
        # The error of an infinite sum would be inf - inf.
        return total, rest + jnp.where(jnp.isfinite(total), error, 0.0)

    sum_logit, logit_error = add(state.sum_logit, state.logit_error, chosen)
    sum_log_likelihood, log_likelihood_error = add(
        state.sum_log_likelihood, state.log_likelihood_error, likelihood
    )
    least = jnp.where(valid, likelihood, jnp.inf)
    return DecodingSummary(
        num_tokens=state.num_tokens + valid.astype(jnp.int32),
        sum_logit=sum_logit,
        logit_error=logit_error,
        sum_log_likelihood=sum_log_likelihood,
        log_likelihood_error=log_likelihood_error,
        min_log_likelihood=jnp.minimum(state.min_log_likelihood, least),
    )


@dispatch.core(rows_of="num_tokens")
def _scores(
    num_tokens: jax.Array,
    sum_logit: jax.Array,
    logit_error: jax.Array,
    sum_log_likelihood: jax.Array,
    log_likelihood_error: jax.Array,
    min_log_likelihood: jax.Array,
) -> SequenceScores:
    some = num_tokens > 0
    count = jnp.maximum(num_tokens, 1).astype(jnp.float32)
    logit = jnp.where(some, sum_logit + logit_error, jnp.nan)
    likelihood = sum_log_likelihood + log_likelihood_error
    likelihood = jnp.where(some, likelihood, jnp.nan)
    return SequenceScores(
        # A copy, because a loop may donate the summary's own array.
        num_tokens=jnp.array(num_tokens, copy=True),
        sum_log_likelihood=likelihood,
        mean_log_likelihood=likelihood / count,
        min_log_likelihood=jnp.where(some, min_log_likelihood, jnp.nan),
        mean_logit=logit / count,
    )


@dispatch.core(rows=["log_likelihoods N T", "where N T"], rows_of="log_likelihoods")
def _likelihood_scores(
    log_likelihoods: LogProbability, where: jax.Array | None
) -> LikelihoodScores:
    valid = sequences.valid_tokens(log_likelihoods, where)
    return LikelihoodScores(
        num_tokens=jnp.sum(valid, axis=-1, dtype=jnp.int32),
        sum_log_likelihood=sequences.sum_tokens(log_likelihoods, where),
        mean_log_likelihood=sequences.mean_tokens(log_likelihoods, where),
        min_log_likelihood=sequences.least_token(log_likelihoods, where),
    )
