"""First calls in a process of its own: `python -m benchmarks.speed.cold_calls NAME`.

Prints JSON: CPU seconds of the first calls of the two reference programs and then of
the call, and how many programs the call compiled. The references are what a task needs
at the least: short programs without masks, ties or checks.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from . import arrays

NUM_BINS = 15
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows answered by two models, the small one first; all NumPy.

    Attributes:
      labels: int32 `[N]`.
      logits: two of float32 `[N, C]`.
      probabilities: two of float32 `[N, C]`.
      confidence: float32 `[2, N]`.
      correct: bool `[2, N]`.
    """

    labels: np.ndarray
    logits: Sequence[np.ndarray]
    probabilities: Sequence[np.ndarray]
    confidence: np.ndarray
    correct: np.ndarray


def made_up(rows: int, classes: int, *, seed: int = 11) -> Rows:
    """Labels, and two models that know them more or less well."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows, np.int32)
    logits = []
    for skill in (5, 7):
        logits.append(3 * rng.standard_normal((rows, classes), np.float32))
        logits[-1][np.arange(rows), labels] += skill
    probabilities = [arrays.softmax(z) for z in logits]
    return Rows(
        labels=labels,
        logits=logits,
        probabilities=probabilities,
        confidence=np.stack([p.max(1) for p in probabilities]),
        correct=np.stack([z.argmax(1) == labels for z in logits]),
    )


def reference_error(scores: jax.Array, outcomes: jax.Array) -> jax.Array:
    """An ECE over bins of equal count, by a sort and one-hot sums."""
    scores, outcomes = lax.sort((scores, outcomes), num_keys=1)
    rows = scores.shape[0]
    bins = jax.nn.one_hot(jnp.arange(rows) * NUM_BINS // rows, NUM_BINS)
    return jnp.sum(jnp.abs((scores - outcomes) @ bins)) / rows


def reference_fit(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The logarithm of a temperature, by Newton's method."""

    def loss(log_t: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(logits * jnp.exp(-log_t))
        return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], 1))

    def step(state: Any) -> Any:
        log_t, _, count = state
        moved = jax.grad(loss)(log_t) / jax.grad(jax.grad(loss))(log_t)
        return log_t - moved, jnp.abs(moved), count + 1

    start = (0.0, 1.0, 0)
    return lax.while_loop(lambda s: (s[1] > 1e-6) & (s[2] < 50), step, start)[0]


def references(given: Rows) -> list[Call]:
    """The first calls of both, at the sizes of the rows."""
    outcomes = given.correct[0].astype(np.float32)
    return [
        functools.partial(jax.jit(reference_error), given.confidence[0], outcomes),
        functools.partial(jax.jit(reference_fit), given.logits[0], given.labels),
    ]


def _error(given: Rows) -> Call:
    return lambda: cj.expected_calibration_error(given.confidence[0], given.correct[0])


def _router(given: Rows) -> Call:
    return lambda: cj.fit_router(*given.confidence)


def _curve(given: Rows) -> Call:
    router = cj.fit_router(*given.confidence)
    return lambda: cj.cascade_curve(router, given.confidence[0], *given.correct)


def _temperature(given: Rows) -> Call:
    return lambda: cj.fit_temperature(given.logits[0], given.labels)


def _platt(given: Rows) -> Call:
    return lambda: cj.fit_platt(given.confidence[0], given.correct[0])


def _experts(given: Rows) -> Call:
    return lambda: cj.fit_expert_bins(given.confidence, given.correct)


def _confident_learning(given: Rows) -> Call:
    return lambda: cj.confident_learning(given.probabilities[0], given.labels)


def _error_interval(given: Rows) -> Call:
    key, bins = jax.random.key(0), cj.equal_count_bins(given.confidence[0])
    rows = given.confidence[0], given.correct[0]
    return lambda: cj.calibration_error_interval(key, bins, *rows)


def _cascade_interval(given: Rows) -> Call:
    key, router = jax.random.key(0), cj.fit_router(*given.confidence)
    rows = given.confidence[0], *given.correct
    return lambda: cj.cascade_interval(key, router, *rows)


def _pipeline(given: Rows) -> Call:
    """All of the README's steps and three more, from logits."""
    test = made_up(*given.logits[0].shape, seed=12)
    key = jax.random.key(0)

    def call() -> Any:
        fits = [cj.fit_temperature(z, given.labels)[0] for z in given.logits]
        predictions, confidence, right, errors = [], [], [], []
        for rows in (given, test):
            best = [
                cj.top1(z, params.temperature)
                for z, params in zip(rows.logits, fits, strict=True)
            ]
            predictions.append(np.stack([one.prediction for one in best]))
            confidence.append(np.stack([one.confidence for one in best]))
            right.append(predictions[-1] == rows.labels)
            errors += map(cj.expected_calibration_error, confidence[-1], right[-1])
        router = cj.fit_router(*confidence[0])
        seen, curve = (
            cj.cascade_curve(router, small, *both)
            for (small, _), both in zip(confidence, right, strict=True)
        )
        least = float(seen.large_accuracy) - 0.005
        chosen = cj.choose_num_small_bins(seen, min_accuracy=least)
        keep = cj.use_small(router, confidence[1][0], chosen.num_small_bins)
        experts = cj.fit_expert_bins(confidence[0], right[0])
        answers = predictions[1], confidence[1], test.labels
        flagged = cj.high_confidence_disagreement(experts, *answers, num_top_bins=12)
        suggestion = cj.suggest_labels(*answers, flagged)
        probabilities = cj.scaled_softmax(test.logits[1], fits[1].temperature)
        bins = cj.equal_count_bins(confidence[1][0])
        return (
            errors,
            keep,
            cj.average_performance_gap_recovered(curve),
            cj.repair_labels(test.labels, flagged, suggestion),
            cj.confident_learning(probabilities, test.labels),
            cj.calibration_error_interval(key, bins, confidence[1][0], right[1][0]),
            cj.cascade_interval(key, router, confidence[1][0], *right[1]),
        )

    return call


def _groups(given: Rows) -> Call:
    most = len(given.labels) // 10
    sizes = np.linspace(most // 5, most, 20).astype(int)

    def call() -> Any:
        errors = []
        for size in sizes:
            logits, labels = given.logits[0][:size], given.labels[:size]
            params, _ = cj.fit_temperature(logits, labels)
            best = cj.top1(logits, params.temperature)
            right = np.asarray(best.prediction) == labels
            errors.append(cj.expected_calibration_error(best.confidence, right))
        return errors

    return call


def _plans(given: Rows) -> Call:
    router = cj.fit_router(*given.confidence)
    curve = cj.cascade_curve(router, given.confidence[0], *given.correct)
    jax.block_until_ready(curve)

    def call() -> Any:
        cj.stats.clopper_pearson(45, 50)
        cj.stats.binomial_p_value(45, 50, 0.95)
        cj.cleaning.audit_size(0.8, 0.9)
        cj.cleaning.audit_bounds(45, 50, num_flagged=200)
        return (
            cj.stats.hoeffding_bentkus_p_value(10.0, 200, 0.1),
            cj.performance_gap_recovered(curve),
            cj.average_performance_gap_recovered(curve),
            cj.call_performance_threshold(curve, 0.9),
            cj.random_curve(curve),
            cj.choose_num_small_bins(curve, min_accuracy=0.5),
        )

    return call


# By name, as in the table of results; each makes its call, and what that starts from.
CALLS: dict[str, Callable[[Rows], Call]] = {
    "expected_calibration_error": _error,
    "fit_router": _router,
    "cascade_curve": _curve,
    "fit_temperature": _temperature,
    "fit_platt": _platt,
    "fit_expert_bins": _experts,
    "confident_learning": _confident_learning,
    "calibration_error_interval": _error_interval,
    "cascade_interval": _cascade_interval,
    "pipeline": _pipeline,
    "groups": _groups,
    "plans": _plans,
}


def measure(name: str, rows: int, classes: int) -> dict[str, Any]:
    """CPU `seconds` of a first call here, of the `references`, and `programs`."""
    compiled: list[str] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def seconds(call: Call) -> float:
        start = time.process_time()
        jax.block_until_ready(call())
        return time.process_time() - start

    given = made_up(rows, classes)
    # JAX has started, and everything that a call starts from is there.
    jax.block_until_ready(jax.jit(lambda x: x + 1)(jnp.zeros(3)))
    spent = [seconds(reference) for reference in references(given)]
    call = CALLS[name](given)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        taken = seconds(call)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return {"references": spent, "seconds": taken, "programs": len(compiled)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
