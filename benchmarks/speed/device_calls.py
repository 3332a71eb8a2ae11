"""The workloads that run on an accelerator, and torch beside them where it can."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from benchmarks.kit.timing import SHORTEST, timed

from . import calibration_error, sequences, temperature
from .accelerated import Row
from .cases import OURS

T = TypeVar("T")
# Seconds of the first call, and of each warm one.
Times = tuple[float, Sequence[float]]

_TRUE = 1.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the workloads.

    Attributes:
      rows, classes: sizes of the temperature fit.
      scores: scores of the ECE.
      sequences, tokens, vocabulary: sizes of the sequence scores.
      block: sequences that are on the device at once.
      copied: float32 numbers to copy when measuring the bandwidth.
    """

    rows: int = 1_000_000
    classes: int = 1_000
    scores: int = 100_000_000
    sequences: int = 256
    tokens: int = 512
    vocabulary: int = 128_000
    block: int = 16
    copied: int = 2**28


SMALL = Sizes(
    rows=1237,
    classes=11,
    scores=4999,
    sequences=10,
    tokens=7,
    vocabulary=1009,
    block=5,
    copied=2**16,
)


class Meter:
    """Times calls, and makes rows of them."""

    def __init__(self, rounds: int, bandwidth: float):
        self._rounds, self._bandwidth = rounds, bandwidth

    def seconds(self, call: Callable[[], T]) -> tuple[Times, T]:
        """Times, and the result."""
        first, result = timed(call)
        warm = [timed(call, SHORTEST)[0] for _ in range(self._rounds)]
        return (first, warm), result

    def row(
        self,
        workload: str,
        candidate: str,
        times: Times,
        input_bytes: int,
        error: float,
    ) -> Row:
        """The row of a candidate."""
        first, warm = times
        least = input_bytes / self._bandwidth
        return Row(
            workload=workload,
            candidate=candidate,
            first=first,
            warm=list(warm),
            input_bytes=input_bytes,
            fraction=least / statistics.median(warm),
            error=error,
        )


def temperature_fit(sizes: Sizes, meter: Meter, torch: Any) -> Iterator[Row]:
    @jax.jit
    def make(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(key)
        logits = 3.0 * jax.random.normal(first, (sizes.rows, sizes.classes))
        labels = jax.random.categorical(second, logits / _TRUE)
        return logits, labels.astype(jnp.int32)

    logits, labels = jax.block_until_ready(make(jax.random.key(1)))
    name = f"temperature fit, {sizes.rows:,} x {sizes.classes:,}"

    on_host = np.asarray(logits), np.asarray(labels)

    def error(fitted: float) -> float:
        """The step that Newton's method would still take in float64."""
        inverse = 1 / fitted
        first, second = temperature.derivatives(*on_host, inverse)
        return abs(first / second) / inverse

    def call() -> float:
        params, _ = cj.fit_temperature(logits, labels)
        return float(params.temperature)

    times, fitted = meter.seconds(call)
    yield meter.row(name, OURS, times, logits.nbytes, error(fitted))
    if torch is not None:
        given = [torch.from_dlpack(logits), torch.from_dlpack(labels).long()]
        times, fitted = meter.seconds(lambda: float(temperature.torch_fit(*given)))
        yield meter.row(name, "torch", times, logits.nbytes, error(fitted))


def equal_count_error(sizes: Sizes, meter: Meter, torch: Any) -> Iterator[Row]:
    num_bins = calibration_error.NUM_BINS

    @jax.jit
    def make(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(key)
        scores = jnp.sqrt(jax.random.uniform(first, (sizes.scores,)))
        chance = jnp.clip(scores + 0.08 * jnp.sin(9.0 * scores), 0.0, 1.0)
        return scores, jax.random.uniform(second, (sizes.scores,)) < chance

    scores, outcomes = jax.block_until_ready(make(jax.random.key(2)))
    name = f"equal-count ECE, {sizes.scores:,}"
    size = scores.nbytes + outcomes.nbytes
    wanted = calibration_error.equal_count_error(
        np.asarray(scores), np.asarray(outcomes), num_bins
    )

    def call() -> float:
        return float(cj.expected_calibration_error(scores, outcomes))

    times, found = meter.seconds(call)
    yield meter.row(name, OURS, times, size, abs(found - wanted))
    if torch is not None:
        # As integers: not every version exchanges bool.
        right = torch.from_dlpack(outcomes.astype(jnp.float32))
        given = torch.from_dlpack(scores)

        def by_torch() -> float:
            ordered, index = torch.sort(given)
            gap = (ordered - right[index]).tensor_split(num_bins)
            return float(sum(abs(part.sum()) for part in gap)) / len(ordered)

        times, found = meter.seconds(by_torch)
        yield meter.row(name, "torch", times, size, abs(found - wanted))


def _scores(
    candidate: str, logits: jax.Array, tokens: jax.Array, torch: Any
) -> Callable[[], np.ndarray]:
    if candidate == OURS:
        return lambda: np.asarray(cj.sequence_log_likelihood(logits, tokens))
    given = [torch.from_dlpack(logits), torch.from_dlpack(tokens).long()]
    return lambda: sequences.torch_log_likelihood(*given)


def sequence_scores(sizes: Sizes, meter: Meter, torch: Any) -> Iterator[Row]:
    shape = (sizes.block, sizes.tokens)

    @jax.jit
    def make(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second, third = jax.random.split(key, 3)
        logits = 3.0 * jax.random.normal(
            first, (*shape, sizes.vocabulary), jnp.bfloat16
        )
        best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        other = jax.random.randint(second, shape, 0, sizes.vocabulary, jnp.int32)
        return logits, jnp.where(jax.random.uniform(third, shape) < 0.8, best, other)

    name = (
        f"sequence scores, {sizes.sequences} x {sizes.tokens} x {sizes.vocabulary:,} "
        f"bfloat16 in blocks of {sizes.block}"
    )
    candidates = [OURS] if torch is None else [OURS, "torch"]
    firsts: dict[str, float] = {}
    totals: dict[str, list[float]] = {}
    errors: dict[str, float] = {}
    size = 0
    for number in range(sizes.sequences // sizes.block):
        logits, tokens = jax.block_until_ready(make(jax.random.key(number)))
        size += logits.nbytes
        for candidate in candidates:
            call = _scores(candidate, logits, tokens, torch)
            (first, warm), scores = meter.seconds(call)
            firsts.setdefault(candidate, first)
            sums = totals.setdefault(candidate, [0.0] * len(warm))
            totals[candidate] = [a + b for a, b in zip(sums, warm, strict=True)]
            if candidate not in errors:
                bits = np.asarray(logits[:1]).view(np.uint16)
                checked = {"logits": bits, "tokens": np.asarray(tokens[:1])}
                found = {"log_likelihood": scores[:1]}
                reference = sequences.reference(checked)
                errors[candidate] = sequences.error(found, reference)
    for candidate in candidates:
        times = (firsts[candidate], totals[candidate])
        yield meter.row(name, candidate, times, size, errors[candidate])


WORKLOADS = (temperature_fit, equal_count_error, sequence_scores)
