"""Times the main calls of calib_jax on arrays made on the spot.

    python benchmarks/throughput.py --examples 50000 --classes 1000

Prints a Markdown table: the first call, which compiles; the median and spread of warm
calls; and the temporary memory of the compiled program, where the backend tells it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from rich.progress import track

import calib_jax as cj

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]


def make_calls(examples: int, classes: int, scores: int) -> list[Call]:
    """The calls to time: name, function, arguments on the device."""
    keys = jax.random.split(jax.random.key(0), 6)
    logits = 3 * jax.random.normal(keys[0], (examples, classes))
    labels = jax.random.categorical(keys[1], logits / 1.5)
    confidence = jax.random.uniform(keys[2], (scores,), minval=0.3)
    large = jnp.sqrt(confidence)
    outcome = jax.random.uniform(keys[3], (scores,)) < confidence**2
    large_outcome = jax.random.uniform(keys[4], (scores,)) < large
    router = cj.fit_router(confidence, large)
    probabilities = cj.scaled_softmax(logits)
    matrix, vector = f"{examples:,} x {classes:,}", f"{scores:,}"
    return [
        (f"top1, {matrix}", cj.top1, (logits,)),
        (
            f"top1, {matrix}, bfloat16",
            cj.top1,
            (logits.astype(jnp.bfloat16),),
        ),
        (f"fit_temperature, {matrix}", cj.fit_temperature, (logits, labels)),
        (
            f"confident_learning, {matrix}",
            cj.confident_learning,
            (probabilities, labels),
        ),
        (f"fit_platt, {vector}", cj.fit_platt, (jnp.log(confidence), outcome)),
        (f"equal_count_bins, {vector}", cj.equal_count_bins, (confidence,)),
        (
            f"expected_calibration_error, {vector}",
            cj.expected_calibration_error,
            (confidence, outcome),
        ),
        (f"fit_router, {vector}", cj.fit_router, (confidence, large)),
        (
            f"cascade_curve, {vector}",
            cj.cascade_curve,
            (router, confidence, outcome, large_outcome),
        ),
    ]


def seconds(function: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Wall-clock seconds of one call, until its results are there."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def temporary_megabytes(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> str:
    """Temporary memory of the compiled program."""
    analysis = jax.jit(function).lower(*arguments).compile().memory_analysis()
    return "-" if analysis is None else f"{analysis.temp_size_in_bytes / 1e6:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=50_000, help="rows of logits")
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--scores", type=int, default=1_000_000, help="rows of scores")
    parser.add_argument("--repeats", type=int, default=7, help="warm calls of each")
    parser.add_argument("--only", default="", help="calls whose name holds this text")
    options = parser.parse_args()
    calls = make_calls(options.examples, options.classes, options.scores)
    calls = [call for call in calls if options.only in call[0]]
    rows = []
    for name, function, arguments in track(calls, "timing"):
        first = seconds(function, arguments)
        warm = [seconds(function, arguments) * 1e3 for _ in range(options.repeats)]
        spread = f"{min(warm):.1f} to {max(warm):.1f}"
        memory = temporary_megabytes(function, arguments)
        rows.append((name, first, statistics.median(warm), spread, memory))
    print(f"\n{jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    print("| call | first (s) | warm median (ms) | warm range (ms) | temporary (MB) |")
    print("|---|---|---|---|---|")
    for name, first, median, spread, memory in rows:
        print(f"| {name} | {first:.2f} | {median:.1f} | {spread} | {memory} |")


if __name__ == "__main__":
    main()
