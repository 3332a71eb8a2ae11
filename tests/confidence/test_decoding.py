"""Scores of a decoding loop equal those of its stacked logits, and of float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import calib_jax as cj

NAN, INF = np.nan, np.inf
NUM_STEPS, NUM_SEQUENCES, NUM_TOKENS = 40, 8, 11


def loop(state, logits, tokens, where):
    """Scores of `[B, T, V]`, one step at a time."""

    def step(state, inputs):
        logits, tokens, where = inputs
        return cj.confidence.update_decoding(state, logits, tokens, where=where), None

    steps = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (logits, tokens, where))
    return cj.confidence.sequence_scores(jax.lax.scan(step, state, steps)[0])


@jax.jit
def scanned(logits, tokens, where):
    return loop(cj.confidence.init_decoding(logits.shape[0]), logits, tokens, where)


def of_all(logits, tokens, where):
    """The same scores by the functions that take all logits."""
    likelihood = functools.partial(
        cj.sequence_log_likelihood, logits, tokens, where=where
    )
    return {
        "mean_logit": cj.sequence_mean_logit(logits, tokens, where=where),
        "sum_log_likelihood": likelihood(),
        "mean_log_likelihood": likelihood(reduction="mean"),
        "min_log_likelihood": likelihood(reduction="min"),
    }


def sequences(num_steps=NUM_STEPS, offset=0.0, seed=0):
    """Sequences at least half as long as the array, with garbage after their end."""
    rng = np.random.default_rng(seed)
    shape = NUM_SEQUENCES, num_steps
    logits = offset + 3 * rng.normal(size=(*shape, NUM_TOKENS)).astype(np.float32)
    tokens = rng.integers(0, NUM_TOKENS, shape)
    where = np.arange(num_steps) < rng.integers(num_steps // 2, num_steps, (8, 1))
    logits[~where] = np.resize([NAN, INF, -INF, 1e30], logits[~where].shape)
    tokens[~where] = np.resize([-1, 2**31 - 1], tokens[~where].shape)
    return logits, tokens.astype(np.int32), where


def ulps(actual, expected, size):
    """Greatest difference, in units in the last place of numbers of a size."""
    difference = np.asarray(actual, float) - np.asarray(expected, float)
    return np.max(np.abs(difference) / np.spacing(np.abs(size).astype(np.float32)))


def test_a_loop_equals_the_batch():
    logits, tokens, where = sequences()
    actual = scanned(logits, tokens, where)
    for name, expected in of_all(logits, tokens, where).items():
        np.testing.assert_allclose(getattr(actual, name), expected, rtol=1e-6)
    np.testing.assert_array_equal(actual.num_tokens, where.sum(1))


def test_half_precision_logits_are_their_values():
    logits, tokens, where = sequences()
    half = jnp.asarray(logits, jnp.bfloat16)
    actual = scanned(half, tokens, where)
    expected = scanned(half.astype(jnp.float32), tokens, where)
    for got, wanted in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert got.dtype == wanted.dtype and got.dtype in (jnp.float32, jnp.int32)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("offset", [0.0, 1e4, -3e4])
def test_long_sequences_of_far_logits_lose_no_digits(offset):
    logits, tokens, where = sequences(4096, offset)
    actual = scanned(logits, tokens, where)
    clean = np.where(where[..., None], logits, 0.0), np.where(where, tokens, 0), where
    expected = {"mean_logit": reference.sequence_mean_logit(*clean)}
    for reduction in ("sum", "mean", "min"):
        name = f"{reduction}_log_likelihood"
        expected[name] = reference.sequence_log_likelihood(*clean, reduction)
    for name, score in expected.items():
        assert ulps(getattr(actual, name), score, score) <= 1.5, name
    # The functions of all logits sum in pieces. Their rounding is relative to the size
    # of the terms, which can cancel.
    chosen = np.take_along_axis(clean[0], clean[1][..., None], axis=-1)[..., 0]
    size = expected | {"mean_logit": np.mean(np.abs(chosen), axis=1, where=where)}
    for name, score in of_all(logits, tokens, where).items():
        assert ulps(getattr(actual, name), score, size[name]) <= 3, name


def test_infinite_and_nan_logits():
    """Infinite and NaN logits in the first step; later tokens do not hide them."""
    logits = np.zeros((NUM_SEQUENCES, NUM_STEPS, NUM_TOKENS), np.float32)
    tokens = np.ones((NUM_SEQUENCES, NUM_STEPS), np.int32)
    where = np.ones((NUM_SEQUENCES, NUM_STEPS), bool)
    logits[0, 0, 1] = -INF  # The chosen token is impossible.
    logits[1, 0, 2] = -INF  # Another token is.
    logits[2, 0, 1] = INF
    logits[3, 0, 2] = NAN
    logits[4, 0] = -INF
    tokens[5, 0], tokens[6, 0] = -1, NUM_TOKENS
    where[7] = False
    actual = scanned(logits, tokens, where)
    for name, expected in of_all(logits, tokens, where).items():
        np.testing.assert_allclose(getattr(actual, name), expected, rtol=1e-6)
    np.testing.assert_array_equal(actual.min_log_likelihood[0], -INF)
    np.testing.assert_array_equal(np.isnan(actual.min_log_likelihood[2:]), True)
    np.testing.assert_array_equal(
        np.isnan(actual.mean_logit), np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    )


@pytest.mark.once
def test_while_loop_under_vmap_stops_where_all_have_ended():
    """Greedy decoding of two models at once; the carry is of constant type."""
    end, most = 0, NUM_STEPS

    def decode(table, prompt):
        def unfinished(carry):
            step, _, finished, *_ = carry
            return (step < most) & ~jnp.all(finished)

        def body(carry):
            step, token, finished, state, said = carry
            logits = table[token]
            token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
            state = cj.confidence.update_decoding(state, logits, token, where=~finished)
            said = said.at[:, step].set(jnp.where(finished, -1, token))
            return step + 1, token, finished | (token == end), state, said

        size = prompt.shape[0]
        blank = jnp.full((size, most), -1, jnp.int32)
        start = (jnp.int32(0), prompt, jnp.zeros(size, bool))
        start = (*start, cj.confidence.init_decoding(size), blank)
        *_, state, said = jax.lax.while_loop(unfinished, body, start)
        return cj.confidence.sequence_scores(state), said

    rng = np.random.default_rng(2)
    tables = rng.normal(size=(2, NUM_TOKENS, NUM_TOKENS)).astype(np.float32)
    tables[..., end] += np.linspace(0, 2, NUM_TOKENS, dtype=np.float32)
    prompts = np.arange(2 * NUM_SEQUENCES, dtype=np.int32).reshape(2, -1) % NUM_TOKENS
    scores, said = jax.jit(jax.vmap(decode))(tables, prompts)
    said = np.asarray(said)
    for model in range(2):
        before = np.column_stack([prompts[model], said[model, :, :-1]])
        logits, where = tables[model][np.maximum(before, 0)], said[model] >= 0
        assert 1 < where.sum(1).min() + 1 and where.sum() < where.size
        tokens = np.where(where, said[model], 0)
        for reduction in ("sum", "mean", "min"):
            expected = reference.sequence_log_likelihood(
                logits, tokens, where, reduction
            )
            actual = getattr(scores, f"{reduction}_log_likelihood")[model]
            np.testing.assert_allclose(actual, expected, rtol=1e-6)
        expected = reference.sequence_mean_logit(logits, tokens, where)
        np.testing.assert_allclose(scores.mean_logit[model], expected, rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["Auto", "Explicit", "Manual"])
def test_sequences_over_8_devices(kind):
    logits, tokens, where = sequences(seed=3)
    expected = scanned(logits, tokens, where)
    axis = AxisType.Explicit if kind == "Explicit" else AxisType.Auto
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(axis,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    given = cj.confidence.init_decoding(NUM_SEQUENCES), logits, tokens, where
    run = loop
    if kind == "Manual":
        spec = PartitionSpec("rows")
        run = jax.shard_map(loop, mesh=mesh, in_specs=spec, out_specs=spec)
    actual = jax.jit(run)(*jax.device_put(given, rows))
    for got, wanted in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert got.sharding.is_equivalent_to(rows, 1)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.once
def test_scores_survive_donation_of_their_summary():
    logits, tokens, _ = sequences(seed=4)
    logits, tokens = jnp.asarray(logits[:, 0]), jnp.asarray(tokens[:, 0])
    update = jax.jit(cj.confidence.update_decoding, donate_argnums=0)
    state = update(cj.confidence.init_decoding(NUM_SEQUENCES), logits, tokens)
    scores = cj.confidence.sequence_scores(state)
    kept = jax.tree.map(np.array, scores)
    update(state, logits, tokens)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    np.testing.assert_array_equal(scores.num_tokens, kept.num_tokens)
    np.testing.assert_array_equal(scores.mean_logit, kept.mean_logit)
    assert np.isfinite(logits).all() and not tokens.is_deleted()


@pytest.mark.once
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_update_holds_nothing_of_the_size_of_its_logits(dtype):
    shape = 16, 50_257
    given = (
        jax.eval_shape(lambda: cj.confidence.init_decoding(shape[0])),
        jax.ShapeDtypeStruct(shape, dtype),
        jax.ShapeDtypeStruct(shape[:1], jnp.int32),
    )
    compiled = jax.jit(cj.confidence.update_decoding).lower(*given).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**12


def test_likelihood_scores_of_saved_tokens():
    logits, tokens, where = sequences(seed=5)
    safe = np.where(where, tokens, 0)
    logits = np.where(where[..., None], logits, 0.0)
    saved = reference.token_log_probs(logits, safe)
    expected = {
        f"{reduction}_log_likelihood": reference.sequence_log_likelihood(
            logits, safe, where, reduction
        )
        for reduction in ("sum", "mean", "min")
    }
    saved[~where] = np.resize([NAN, 5.0, -INF], (~where).sum())
    scores = cj.confidence.likelihood_scores(saved, where=where)
    for name, score in expected.items():
        np.testing.assert_allclose(getattr(scores, name), score, rtol=1e-6)
    np.testing.assert_array_equal(scores.num_tokens, where.sum(1))
    assert not hasattr(scores, "mean_logit")


def test_invalid_likelihoods():
    nothing = [[-1.0, 0.5], [-1.0, NAN], [-1.0, -INF], [-1.0, 0.0], [0.0, 0.0]]
    where = [[True, True]] * 4 + [[False, False]]
    with pytest.raises(ValueError, match=r"log_likelihoods: .* \[0, 1\] holds 0.5"):
        cj.confidence.likelihood_scores(nothing, where=where)
    scores = cj.confidence.likelihood_scores(jnp.array(nothing), where=where)
    for name, expected in (
        ("sum_log_likelihood", [NAN, NAN, -INF, -1.0, NAN]),
        ("mean_log_likelihood", [NAN, NAN, -INF, -0.5, NAN]),
        ("min_log_likelihood", [NAN, NAN, -INF, -1.0, NAN]),
        ("num_tokens", [2, 2, 2, 2, 0]),
    ):
        np.testing.assert_array_equal(getattr(scores, name), expected)
    no_tokens = cj.confidence.likelihood_scores(np.zeros((3, 0)))
    np.testing.assert_array_equal(no_tokens.mean_log_likelihood, [NAN] * 3)


def test_parts_that_do_not_fit():
    state = cj.confidence.init_decoding(3)
    with pytest.raises(ValueError, match=r"state \[3\]"):
        cj.confidence.update_decoding(state, np.zeros((2, 4)), np.zeros(2, int))
    with pytest.raises(ValueError, match="state: expected DecodingSummary, got tuple"):
        cj.confidence.sequence_scores((1, 2))
