"""The largest workloads on a GPU or TPU: `python -m benchmarks.speed.accelerator`.

Writes accelerator.json, which the next run of `benchmarks.speed` shows in RESULTS.md.
Inputs are made on the device. A call's fraction of the copy bandwidth is the time in
which a copy moves as many bytes as the inputs have, over the time of the call.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import calib_jax as cj
from benchmarks.kit.command import progress
from benchmarks.kit.plain import as_plain
from benchmarks.kit.timing import SHORTEST, timed

from .accelerated import FILE, Accelerated, Row
from .command import add_options, settings_of
from .device_calls import SMALL, WORKLOADS, Meter, Sizes


def _with_cuda() -> Any:
    """torch, where it sees the same kind of device; else None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def _bandwidth(size: int, rounds: int) -> float:
    copy = jax.jit(lambda x: -x)
    array = jnp.zeros(size, jnp.float32)

    def call() -> Any:
        return jax.block_until_ready(copy(array))

    call()
    seconds = [timed(call, SHORTEST)[0] for _ in range(rounds)]
    return 2 * array.nbytes / statistics.median(seconds)


def measure(
    sizes: Sizes,
    rounds: int,
    advance: Callable[[str], None] = lambda step: None,
) -> Accelerated:
    """Measures every workload on the default device of JAX.

    Args:
      sizes: sizes of the workloads.
      rounds: warm calls of each.
      advance: called with what is being done, before each workload.
    """
    torch = _with_cuda() if jax.default_backend() == "gpu" else None
    versions = {"calib_jax": cj.__version__, "jax": jax.__version__}
    if torch is not None:
        versions["torch"] = version("torch")
    advance("bandwidth")
    bandwidth = _bandwidth(sizes.copied, rounds)
    meter = Meter(rounds, bandwidth)
    rows: list[Row] = []
    for workload in WORKLOADS:
        advance(workload.__name__.replace("_", " "))
        rows += workload(sizes, meter, torch)
    device = jax.devices()[0]
    return Accelerated(
        device=device.device_kind,
        platform=device.platform,
        versions=versions,
        bandwidth=bandwidth,
        rows=rows,
        small=sizes == SMALL,
    )


def main() -> None:
    # torch shares the device. JAX reads this when it first looks for a device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.accelerator",
        description="Times the largest workloads on a GPU or TPU.",
    )
    add_options(parser)
    parser.add_argument(
        "--block", type=int, default=Sizes.block, help="sequences at once"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"folder for {FILE} (default: that of this module; with --small nothing "
        "is written)",
    )
    options = parser.parse_args()
    sizes = SMALL if options.small else Sizes(block=options.block)
    with progress() as bars:
        task = bars.add_task("accelerator", total=4, step="")
        measured = measure(
            sizes,
            settings_of(options).rounds,
            lambda step: bars.update(task, advance=1, step=step),
        )
    folder = options.output
    if folder is None and not options.small:
        folder = Path(__file__).parent
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        measured.write(folder / FILE)
    if options.json:
        print(json.dumps(as_plain(measured), allow_nan=False, indent=1))
    else:
        print(*measured.blocks(), sep="\n\n")


if __name__ == "__main__":
    main()
