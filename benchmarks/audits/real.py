"""Real experts' flags on labels that people judged.

Shapes: M models of a group, N examples, F examples flagged and judged.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit import flags
from benchmarks.kit.halves import split
from benchmarks.kit.outputs import Outputs

# Rates of wrong labels that are assumed where the rate is unknown.
RATES = (0.01, 0.03, 0.1)
NUM_AUDITED = (50, 100, 200)
DELTA, CHANCE, _LESS = 0.05, 0.9, 0.05
_BATCH = 100
# Flags are padded to a multiple of this; at most so many are audited.
_PADDED, _MOST = 4096, 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """Labels that every expert of a group contradicts.

    Attributes:
      experts: names.
      num_flagged: flags.
      num_judged: flags whose label people judged.
      precision: share of these that is wrong.
      error_rate: share of all labels that is wrong if people judged most of them, else
        NaN.
      naive: mean over the flags of the least confidence of the experts, which is 1
        minus the largest probability that an expert is wrong.
      expected: expected precision of independent experts for each of `RATES`, from
        answers and confidences, where labels are wrong at that rate with any other
        class.
      least: the least expected precision, likewise.
      by_class: expected from probabilities of all classes and noise estimated by
        confident learning; NaN without such probabilities.
      lift: given confidence, on labels that people did not find wrong: estimate, lower
        and upper end.
      audits: for each of `NUM_AUDITED` with twice as many flags judged: share of audits
        whose lower bound exceeds the precision, mean lower bound, and both again by
        Clopper and Pearson.
      planned: how many to audit for a lower bound five points below the precision, and
        in which share of audits it was reached; NaN where impossible.
    """

    experts: tuple[str, ...]
    num_flagged: int
    num_judged: int
    precision: float
    error_rate: float
    naive: float
    expected: tuple[float, ...]
    least: tuple[float, ...]
    by_class: float
    lift: tuple[float, ...]
    audits: tuple[tuple[float, ...], ...]
    planned: tuple[float, float]


def judge(outputs: Outputs, *, seed: int, num_audits: int) -> list[Judged]:
    """Every group of experts of a task."""
    fitted = flags.cross_fit(outputs, split(outputs, seed, 1))
    log_probabilities = None
    if outputs.logits is not None:
        by_half = jax.vmap(jax.vmap(_log_softmax), (None, 0))(
            outputs.logits, fitted.temperature
        )
        first = fitted.in_first[None, :, None]
        log_probabilities = np.where(first, by_half[1], by_half[0])
    return [
        _judge(outputs, fitted.confidence, log_probabilities, group, seed, num_audits)
        for group in outputs.experts
    ]


def _log_softmax(logits: jax.Array, temperature: jax.Array) -> jax.Array:
    """Finite where a softmax in float32 is 0."""
    return jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)


def _judge(
    outputs: Outputs,
    confidence: np.ndarray,
    log_probabilities: np.ndarray | None,
    group: tuple[int, ...],
    seed: int,
    num_audits: int,
) -> Judged:
    label, members = outputs.label, list(group)
    prediction, confidence = outputs.prediction[members], confidence[members]
    flagged = np.asarray(cj.top1_disagreement(prediction, label))
    judged = flagged & outputs.is_judged
    wrong = outputs.is_error[judged]
    num_classes = int(label.max()) + 1
    expected, least = map(
        np.asarray, _expect(confidence, flagged, RATES, num_classes=num_classes)
    )
    by_class = np.nan
    if log_probabilities is not None:
        by_class = float(_expect_classes(log_probabilities[members], label, flagged))
    known = ~outputs.is_error
    if outputs.is_judged.mean() > 0.5:
        known = known & outputs.is_judged
    lift = cj.cleaning.expert_dependence(
        prediction == label, confidence, where=known
    ).lift_given_confidence
    audits, planned = _audit(jax.random.key(seed), wrong, num_audits)
    return Judged(
        experts=tuple(outputs.models[k] for k in group),
        num_flagged=int(flagged.sum()),
        num_judged=int(judged.sum()),
        precision=float(wrong.mean()),
        error_rate=float(outputs.is_error[outputs.is_judged].mean())
        if outputs.is_judged.mean() > 0.5
        else np.nan,
        naive=float(confidence[:, flagged].min(axis=0).mean()),
        expected=tuple(expected.tolist()),
        least=tuple(least.tolist()),
        by_class=by_class,
        lift=tuple(float(x) for x in (lift.estimate, lift.lower, lift.upper)),
        audits=audits,
        planned=planned,
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def _expect(
    confidence: jax.Array,
    flagged: jax.Array,
    rates: tuple[float, ...],
    *,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    """Expected precision of independent experts, and the least one, for each rate."""

    def of_rate(rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        true = jax.vmap(
            lambda c: cj.cleaning.true_label_confidence(c, rate, num_classes)
        )
        found = cj.cleaning.expected_false_flags(
            true(confidence), jnp.ones_like(flagged), flagged
        )
        return found.precision_if_independent, found.least_precision

    return jax.vmap(of_rate)(jnp.asarray(rates, jnp.float32))


@jax.jit
def _expect_classes(
    log_probabilities: jax.Array, label: jax.Array, flagged: jax.Array
) -> jax.Array:
    # Of the mean over the experts; temperature scaling ignores their number.
    logits = jax.nn.logsumexp(log_probabilities, axis=0)
    params, report = cj.fit_temperature(logits, label)
    given = cj.calibrate(params, logits)
    noise = cj.cleaning.estimate_label_noise(given, label)
    true = cj.cleaning.true_label_probabilities(given, noise)
    error = cj.cleaning.label_error_probability(true, label, noise)
    expected = cj.cleaning.expected_precision(error, flagged).precision
    return jnp.where(report.converged, expected, jnp.nan)


def _audit(
    key: jax.Array, wrong: np.ndarray, num_audits: int
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, float]]:
    """The values of `Judged.audits` and `Judged.planned`."""
    precision = float(wrong.mean())
    wanted = max(precision - _LESS, 0.0)
    plan = cj.cleaning.audit_size(
        wanted, precision, 1 - DELTA, CHANCE, num_flagged=len(wrong), max_audited=_MOST
    )
    # One shape for all groups; the last size is the planned one.
    sizes = np.array([*NUM_AUDITED, max(plan.num_audited, 1)], np.int32)
    padded = np.zeros(-(-len(wrong) // _PADDED) * _PADDED, bool)
    padded[: len(wrong)] = wrong
    there = np.arange(len(padded)) < len(wrong)
    found = np.asarray(_num_found(key, padded, there, sizes, num_audits=num_audits))
    lower, beyond = (
        cj.cleaning.audit_bounds(found, sizes, 1 - DELTA, num_flagged=total).lower
        for total in (len(wrong), None)
    )
    # A bound equal to the precision up to rounding neither misses nor falls short.
    misses, others = (bound > precision + 1e-6 for bound in (lower, beyond))
    audits = tuple(
        (
            float(size),
            float(misses[:, k].mean()),
            float(lower[:, k].mean()),
            float(others[:, k].mean()),
            float(beyond[:, k].mean()),
        )
        for k, size in enumerate(NUM_AUDITED)
        if 2 * size <= len(wrong)
    )
    if not plan.feasible:
        return audits, (np.nan, np.nan)
    reached = float(np.mean(lower[:, -1] >= wanted - 1e-6))
    return audits, (float(sizes[-1]), reached)


@functools.partial(jax.jit, static_argnames="num_audits")
def _num_found(
    key: jax.Array,
    wrong: jax.Array,
    flagged: jax.Array,
    sizes: jax.Array,
    *,
    num_audits: int,
) -> jax.Array:
    """Wrong labels found by random audits, int32 `[num_audits, sizes]`."""

    def one(key: jax.Array) -> jax.Array:
        rows = cj.cleaning.sample_audit(key, flagged, _MOST)
        # The first rows of a sample are a sample too.
        return jnp.cumsum((rows >= 0) & wrong[rows], dtype=jnp.int32)[sizes - 1]

    return lax.map(one, jax.random.split(key, num_audits), batch_size=_BATCH)
