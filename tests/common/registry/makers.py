"""Example arguments, by the names that they have in the library.

A maker takes a NumPy generator and the number of examples N. Arrays are NumPy arrays;
parameters, tables and states are the library's records.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj

NUM_BINS, NUM_CLASSES, NUM_MODELS, NUM_TOKENS = 5, 4, 2, 6
ROWS = 24  # Most tests share this number of examples, and so their programs.


def tied(rng, n):
    """Scores in [0, 1], most of them several times."""
    return rng.choice(rng.random(max(1, n // 2)), n)


def partial(rng, n):
    """Outcomes in [0, 1]: wrong, right and partly right."""
    return rng.choice([0.0, 1.0, 1.0, 0.3], n)


def flags(rng, n):
    return rng.random(n) < 0.5


def by_model(maker, num_models=NUM_MODELS):
    """Maker of `[M, N]`: the rows of each model in turn."""
    return lambda rng, n: np.stack([maker(rng, n) for _ in range(num_models)])


def integers(low, high):
    """Maker of one integer in [low, high)."""
    return lambda rng, n: rng.integers(low, high)


def _labels(rng, n):
    return rng.integers(0, 3, n)


def bins(rng, n=ROWS):
    return cj.Bins(edges=jnp.asarray(np.sort(rng.random(NUM_BINS - 1)), jnp.float32))


def router(rng, n=ROWS):
    blank = jnp.zeros(NUM_BINS, jnp.float32)
    table = cj.AdvantageTable(
        count=jnp.zeros(NUM_BINS, jnp.int32),
        weight=blank,
        small_confidence=blank,
        large_confidence=blank,
        advantage=blank,
    )
    order = jnp.asarray(rng.permutation(NUM_BINS), jnp.int32)
    return cj.Router(bins=bins(rng), table=table, order=order)


def arbiter(rng, n=ROWS):
    slopes, intercept = rng.uniform(0.5, 1.0, 2), rng.normal()
    return cj.cascade.Arbiter(
        small_slope=jnp.float32(slopes[0]),
        large_slope=jnp.float32(slopes[1]),
        intercept=jnp.float32(intercept),
    )


def chain(rng, n=ROWS):
    """For three models, two of them stages."""
    stages = [router(rng) for _ in range(2)]
    return cj.cascade.Chain(
        routers=jax.tree.map(lambda *leaves: jnp.stack(leaves), *stages)
    )


def chain_curve(rng, n=ROWS):
    shares = rng.dirichlet(np.ones(3), (NUM_BINS + 1,) * 2)
    accuracy, cost = rng.choice([0.5, 0.75, 1.0], (2, *shares.shape[:2]))
    share = jnp.asarray(np.moveaxis(shares, -1, 0), jnp.float32)
    return cj.cascade.ChainCurve(
        accuracy=jnp.asarray(accuracy, jnp.float32),
        cost=jnp.asarray(cost, jnp.float32),
        share=share,
        right_share=share * 0.5,
    )


def table(rng, n=ROWS):
    count = rng.integers(0, 3, NUM_BINS)
    confidence, outcome = rng.choice([0.2, 0.4, 0.6, 0.8], (2, NUM_BINS))
    return cj.ReliabilityTable(
        count=jnp.asarray(count, jnp.int32),
        weight=jnp.asarray(count, jnp.float32),
        confidence=jnp.asarray(confidence, jnp.float32),
        outcome=jnp.asarray(outcome, jnp.float32),
        squared_error=jnp.asarray(outcome * (1 - outcome), jnp.float32),
    )


def experts(rng, n=ROWS):
    size = (NUM_MODELS, NUM_BINS)
    edges = np.sort(rng.random((NUM_MODELS, NUM_BINS - 1)))
    blank = jnp.zeros(size, jnp.float32)
    order = np.stack([rng.permutation(NUM_BINS) for _ in range(NUM_MODELS)])
    return cj.ExpertBins(
        bins=cj.Bins(edges=jnp.asarray(edges, jnp.float32)),
        table=cj.ReliabilityTable(
            count=jnp.zeros(size, jnp.int32),
            weight=blank,
            confidence=blank,
            outcome=blank,
            squared_error=blank,
        ),
        order=jnp.asarray(order, jnp.int32),
    )


def shared(rng, n=ROWS):
    """Two possibilities for two experts."""
    return cj.cleaning.SharedErrors(
        weight=jnp.asarray([0.7, 0.3], jnp.float32),
        log_odds=jnp.asarray(rng.normal(size=2), jnp.float32),
        slope=jnp.asarray([0.2, 0.5], jnp.float32),
        constant=jnp.asarray([0.0, 0.02], jnp.float32),
        share=jnp.asarray([0.2, 0.1], jnp.float32),
        recalibration=cj.Platt(
            slope=jnp.asarray([1.0, 0.8], jnp.float32),
            intercept=jnp.asarray([0.0, 0.1], jnp.float32),
        ),
        num_rows=jnp.int32(n),
    )


def curve(rng, n=ROWS):
    share = np.sort(rng.random(NUM_BINS + 1))
    share[0], share[-1] = 0, 1
    accuracy = np.linspace(0.9, 0.6, NUM_BINS + 1) + 0.05 * rng.random(NUM_BINS + 1)
    return cj.CascadeCurve(
        small_share=jnp.asarray(share, jnp.float32),
        accuracy=jnp.asarray(accuracy, jnp.float32),
        small_accuracy=jnp.float32(accuracy[-1]),
        large_accuracy=jnp.float32(accuracy[0]),
    )


def risk_curve(rng, n=ROWS):
    """Of whole outcomes and scores that tie."""
    return cj.metrics.risk_coverage_curve(tied(rng, n), flags(rng, n))


def class_rows(rng, n):
    """Logits, and labels drawn at temperature 2, so that the optimum is interior."""
    logits = 3 * rng.normal(size=(n, NUM_CLASSES))
    noise = rng.gumbel(size=logits.shape)
    return logits, np.argmax(logits / 2 + noise, axis=1)


def _class_rows(rng, n):
    return dict(zip(("logits", "labels"), class_rows(rng, n), strict=True))


def _probabilities(rng, n):
    logits, labels = class_rows(rng, n)
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return {"probabilities": probabilities, "labels": labels}


def platt_rows(rng, n):
    scores = rng.normal(size=n)
    outcomes = rng.random(n) < 1 / (1 + np.exp(-2 * scores + 0.5))
    return {"scores": scores, "outcomes": np.where(scores > 1.5, 0.7, outcomes)}


def pair_rows(rng, n):
    """Two models that are right, or partly right, where they are surer."""
    confidence = rng.choice(np.r_[0.0, rng.random(n // 2 + 1), 1.0], (2, n))
    right = rng.random((2, n)) < confidence
    outcomes = np.where(rng.random((2, n)) < 0.1, 0.3, right)
    names = ("small_confidence", "large_confidence", "small_outcome", "large_outcome")
    return dict(zip(names, (*confidence, *outcomes), strict=True))


def _beta_rows(rng, n):
    rows = platt_rows(rng, n)
    return {"confidence": 1 / (1 + np.exp(-rows.pop("scores"))), **rows}


def _token_rows(rng, n):
    return {
        "logits": 2 * rng.normal(size=(n, NUM_TOKENS, NUM_CLASSES)),
        "tokens": rng.integers(0, NUM_CLASSES, (n, NUM_TOKENS)),
    }


def label_noise(rng, n=ROWS):
    return 0.7 * np.eye(NUM_CLASSES) + 0.3 * rng.dirichlet(
        np.ones(NUM_CLASSES), NUM_CLASSES
    )


def reliability_state(rng, n=ROWS):
    state = cj.streaming.init_reliability(bins(rng))
    return cj.streaming.update_reliability(state, tied(rng, n), partial(rng, n))


def cascade_state(rng, n=ROWS):
    state = cj.streaming.init_cascade(bins(rng))
    confidences, outcomes = tied(rng, 2 * n), partial(rng, 2 * n)
    return cj.streaming.update_cascade(
        state, confidences[:n], confidences[n:], outcomes[:n], outcomes[n:]
    )


def temperature_state(rng, n=ROWS):
    state = cj.streaming.init_temperature([-1.0, 0.0, 1.0, 2.0])
    return cj.streaming.update_temperature(state, *class_rows(rng, n))


def class_loss_state(rng, n=ROWS):
    state = cj.streaming.init_class_losses()
    return cj.streaming.update_class_losses(state, *class_rows(rng, n))


def platt_state(rng, n=ROWS):
    state = cj.streaming.init_platt(512)
    return cj.streaming.update_platt(state, **platt_rows(rng, n))


def monitor(rng, n=ROWS):
    """A monitor after some rows like the reference and some unlike it."""
    state = cj.monitoring.init_monitor(
        jax.random.key(1), tied(rng, n), num_bins=NUM_BINS
    )
    return cj.monitoring.update_monitor(jax.random.key(2), state, tied(rng, n))


def decoding_state(rng, n=ROWS):
    """A state after one token of each sequence."""
    return cj.confidence.update_decoding(
        cj.confidence.init_decoding(n),
        2 * rng.normal(size=(n, NUM_CLASSES)),
        rng.integers(0, NUM_CLASSES, n),
    )


def a_share(rng, n=ROWS):
    """Traced: how many of the bins, at least one and not all."""
    return jnp.int32(rng.integers(1, NUM_BINS))


# The maker, or the value, of an argument by name.
BY_NAME = {
    # Rows
    **dict.fromkeys(["scores", "score", "reference_scores", "confidence"], tied),
    **dict.fromkeys(["small_confidence", "large_confidence"], tied),
    **dict.fromkeys(["first_confidence", "second_confidence"], tied),
    **dict.fromkeys(["reference_confidence", "label_error_probability"], tied),
    **dict.fromkeys(["outcomes", "small_outcome", "large_outcome", "losses"], partial),
    **dict.fromkeys(["reference_small_outcome", "reference_large_outcome"], partial),
    **dict.fromkeys(["conferred_outcome", "first_conferred_outcome"], partial),
    "is_error": partial,
    **dict.fromkeys(["flagged"], flags),
    "differ": lambda rng, n: rng.random(n) < 0.9,
    "candidates": lambda rng, n: rng.random(n) < 0.8,
    **dict.fromkeys(["labels", "suggestion"], _labels),
    "logits": lambda rng, n: class_rows(rng, n)[0],
    "probabilities": lambda rng, n: _probabilities(rng, n)["probabilities"],
    "confidences": by_model(tied),
    "small_cost": lambda rng, n: rng.choice([0.0, 0.25], n),
    "large_cost": lambda rng, n: rng.choice([1.0, 1.5], n),
    # Records
    **dict.fromkeys(["bins", "buckets"], bins),
    **dict.fromkeys(["router", "first", "second"], router),
    "chain": chain,
    "arbiter": arbiter,
    "curve": curve,
    "table": table,
    "experts": experts,
    "shared": shared,
    "noise": label_noise,
    # Numbers
    "key": jax.random.key(0),
    "temperature": 1.7,
    "num_bins": NUM_BINS,
    "max_bins": NUM_BINS,
    "num_buckets": 7,
    "num_classes": NUM_CLASSES,
    "num_small_bins": a_share,
    "num_top_bins": jnp.int32(4),
    "num_draws": 3,
    "num_resamples": 3,
    "confidence_level": 0.9,
    "num_successes": integers(0, 9),
    "num_wrong": integers(0, 9),
    "num_trials": integers(9, 20),
    "num_rows": integers(9, 20),
    "num_audited": integers(9, 20),
    "num_flagged": integers(40, 60),
}

# Arguments that are drawn together: their names and one maker.
TOGETHER = {
    "class_rows": (["logits", "labels"], _class_rows),
    "token_rows": (["logits", "tokens"], _token_rows),
    "platt_rows": (["scores", "outcomes"], platt_rows),
    "beta_rows": (["confidence", "outcomes"], _beta_rows),
    "pair_rows": (
        ["small_confidence", "large_confidence", "small_outcome", "large_outcome"],
        pair_rows,
    ),
    "probability_rows": (["probabilities", "labels"], _probabilities),
}

# The axis of the examples, for arguments that have one.
AXES = {
    **dict.fromkeys(["scores", "score", "outcomes", "is_error", "losses"], 0),
    **dict.fromkeys(["small_confidence", "large_confidence", "confidence"], 0),
    **dict.fromkeys(["small_outcome", "large_outcome", "label_error_probability"], 0),
    **dict.fromkeys(["conferred_outcome", "differ"], 0),
    **dict.fromkeys(["small_cost", "large_cost", "logits", "tokens", "labels"], 0),
    **dict.fromkeys(["probabilities", "flagged", "suggestion", "candidates"], 0),
    **dict.fromkeys(["confidences", "predictions"], 1),
}

# The same for arguments whose examples are not moved or removed.
FIXED_AXES = {
    **dict.fromkeys(["reference", "reference_scores", "reference_outcomes", "x"], 0),
    **dict.fromkeys(["reference_small_outcome", "reference_large_outcome"], 0),
    **dict.fromkeys(["reference_confidence"], 0),
    **dict.fromkeys(["first_confidence", "second_confidence"], 0),
    **dict.fromkeys(["first_conferred_outcome"], 0),
}

STATIC = set(
    """
    key num_bins max_bins num_buckets num_classes num_draws num_resamples num_sequences
    max_audited capacity reduction smooth_targets consensus drop betting lower upper
    small large leave_out_edges num_folds
    """.split()
)


def find(word: str) -> Any:
    """The maker or value of an argument, or of arguments that are drawn together."""
    return TOGETHER[word][1] if word in TOGETHER else BY_NAME[word]
