"""Times and answers of the large model, the small one, and cascades of both."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.kit.timing import timed
from calib_jax.demo.data import Split
from calib_jax.flax import Calibrated, Deferred

from .pair import Pair

LARGE, SMALL, CASCADE = "large model alone", "small model alone", "cascade"

# Accuracy that the calibration half may lose: none, which a single image can decide, or
# a thousandth, for which programs are timed at all batch sizes.
LOSSES = (0.0, 0.001)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """One program on one batch.

    Attributes:
      operations: floating-point operations a row, as the compiler counts them.
      compile: seconds to trace and compile.
      rounds: seconds of a call in each round.
    """

    operations: float
    compile: float
    rounds: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """A program's answers on the test half.

    Attributes:
      correct: bool `[N]`.
      used_large: share of the rows that the large model answered.
      overflow: share of the rows that were sent and did not fit.
    """

    correct: np.ndarray
    used_large: float
    overflow: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One pair of models, by number of bins kept small and by batch size.

    Attributes:
      chosen: each of `LOSSES` to the K that keeps it.
      answers: of the models alone.
      by_batch: batch size to the timings of all three, the cascade at the last K.
      capacities: batch size to that of the cascade.
      by_bins: K to answers of the cascade and its time relative to the large model in
        the same rounds, all at the first batch size.
      small_time: time of the small model relative to the large one.
    """

    chosen: Mapping[float, int]
    answers: Mapping[str, Answers]
    by_batch: Mapping[int, Mapping[str, Timing]]
    capacities: Mapping[int, int]
    by_bins: Mapping[int, tuple[Answers, float]]
    small_time: float


class Program:
    """A module as one compiled function of its arrays and a batch."""

    def __init__(self, module: Calibrated | Deferred, images: jax.Array) -> None:
        # Uncalibrated, since the class is the same and a single model would run so.
        model = module.model if isinstance(module, Calibrated) else module
        structure, self._state = nnx.split(model)

        def run(state: nnx.State, images: jax.Array, where: jax.Array) -> Any:
            model = nnx.merge(structure, state)
            if isinstance(model, Deferred):
                return model(images, where=where)
            return jnp.argmax(model(images), axis=-1)

        where = jnp.ones(len(images), bool)
        start = time.perf_counter()
        self._run = jax.jit(run).lower(self._state, images, where).compile()
        self.compile_seconds = time.perf_counter() - start
        costs = self._run.cost_analysis() or {}
        self.operations = float(costs.get("flops", np.nan)) / len(images)

    def __call__(self, images: jax.Array, where: jax.Array) -> Any:
        return jax.block_until_ready(self._run(self._state, images, where))

    def answers(self, split: Split, batch_size: int) -> Answers:
        """Answers on all images, in batches; the last one is padded."""
        correct, used, overflow = [], 0, 0
        for start in range(0, len(split.labels), batch_size):
            images = split.images[start : start + batch_size]
            labels = split.labels[start : start + batch_size]
            padding = batch_size - len(labels)
            where = np.arange(batch_size) < len(labels)
            result = self(np.pad(images, [(0, padding)] + [(0, 0)] * 3), where)
            if isinstance(result, jax.Array):
                prediction = result
            else:
                prediction = result.prediction
                used += int(result.used_large.sum())
                overflow += int(result.overflow)
            correct.append(np.asarray(prediction)[: len(labels)] == labels)
        num_rows = len(split.labels)
        return Answers(
            correct=np.concatenate(correct),
            used_large=used / num_rows,
            overflow=overflow / num_rows,
        )


def in_turns(
    programs: Mapping[Any, Program], images: jax.Array, num_rounds: int
) -> dict[Any, np.ndarray]:
    """Seconds of a call of each program, one after the other in every round."""
    where = jnp.ones(len(images), bool)
    for program in programs.values():
        program(images, where)
    rounds: dict[Any, list[float]] = {name: [] for name in programs}
    for _ in range(num_rounds):
        for name, program in programs.items():
            seconds, _ = timed(lambda p=program: p(images, where), shortest=0.02)
            rounds[name].append(seconds)
    return {name: np.array(seconds) for name, seconds in rounds.items()}


def batch(split: Split, batch_size: int) -> jax.Array:
    """The first images, starting over if there are fewer."""
    rows = np.arange(batch_size) % len(split.labels)
    return jnp.asarray(split.images[rows])


def measure(
    pair: Pair,
    test: Split,
    batch_sizes: Sequence[int],
    num_rounds: int,
    advance: Callable[[], None],
) -> Measured:
    """Everything about one pair; `advance` is called after every batch size and K."""
    chosen = {loss: pair.most_small_bins(loss) for loss in LOSSES}
    by_batch, capacities = {}, {}
    for batch_size in batch_sizes:
        images = batch(test, batch_size)
        cascade = pair.cascade(chosen[LOSSES[-1]], batch_size)
        modules = {LARGE: pair.large, CASCADE: cascade, SMALL: pair.small}
        programs = {name: Program(module, images) for name, module in modules.items()}
        rounds = in_turns(programs, images, num_rounds)
        by_batch[batch_size] = {
            name: Timing(
                operations=program.operations,
                compile=program.compile_seconds,
                rounds=rounds[name],
            )
            for name, program in programs.items()
        }
        capacities[batch_size] = cascade.capacity
        advance()

    batch_size = batch_sizes[0]
    images = batch(test, batch_size)
    alone = {LARGE: Program(pair.large, images), SMALL: Program(pair.small, images)}
    cascades = {}
    for num_small_bins in range(pair.router.bins.num_bins + 1):
        cascade = pair.cascade(num_small_bins, batch_size)
        cascades[num_small_bins] = Program(cascade, images)
        advance()
    rounds = in_turns({**alone, **cascades}, images, num_rounds)
    relative = {
        name: float(np.median(seconds / rounds[LARGE]))
        for name, seconds in rounds.items()
    }
    return Measured(
        chosen=chosen,
        answers={n: program.answers(test, batch_size) for n, program in alone.items()},
        by_batch=by_batch,
        capacities=capacities,
        by_bins={
            k: (program.answers(test, batch_size), relative[k])
            for k, program in cascades.items()
        },
        small_time=relative[SMALL],
    )
