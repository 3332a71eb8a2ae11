"""Smooth calibration error: `python -m benchmarks.speed.smooth`."""

import numpy as np

from . import arrays, calibration_error
from .cases import (
    OURS,
    Call,
    Candidate,
    Case,
    Inputs,
    Kind,
    Result,
    Workload,
    error_below,
    faster,
    first_below,
)

# Cells and halvings of the reference.
_NUM_CELLS, _NUM_HALVINGS = 2**16, 30


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)
    scores, outcomes = given["scores"], given["outcomes"]

    def call() -> Result:
        error = cj.metrics.smooth_calibration_error(scores, outcomes)
        return {"error": np.asarray(error)}

    return call


def _relplot(inputs: Inputs) -> Call:
    import relplot

    scores = inputs["scores"].astype(np.float64)
    outcomes = inputs["outcomes"].astype(np.float64)
    return lambda: {"error": np.asarray(relplot.smECE(scores, outcomes))}


def reference(inputs: Inputs) -> Result:
    """The fixed point in float64, on a grid that is eight times as fine."""
    place = inputs["scores"].astype(np.float64) * _NUM_CELLS
    cell = np.minimum(place.astype(int), _NUM_CELLS - 1)
    gap = inputs["scores"].astype(np.float64) - inputs["outcomes"]
    size = _NUM_CELLS + 1
    grid = np.bincount(cell, gap * (cell + 1 - place), size)
    grid += np.bincount(cell + 1, gap * (place - cell), size)
    # Reflected at both ends.
    grid[[0, -1]] *= 2
    waves = np.fft.rfft(np.concatenate([grid, grid[-2:0:-1]]))
    square = (np.pi * np.arange(size)) ** 2

    def error_at(bandwidth: float) -> float:
        smooth = np.fft.irfft(waves * np.exp(-0.5 * bandwidth**2 * square))
        return float(np.sum(np.abs(smooth))) / (2 * len(gap))

    low, high = 0.0, 1.0
    for _ in range(_NUM_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error_at(middle) > middle else (low, middle)
    return {"error": np.asarray(0.5 * (low + high))}


def error(result: Result, reference: Result) -> float:
    """Absolute error of the smooth calibration error."""
    return float(abs(result["error"] - reference["error"]))


def _case(rows: int, times: float) -> Case:
    return Case(
        name=f"{rows:,}",
        size={"rows": rows},
        small={"rows": 4999},
        targets=(
            faster(Kind.LIBRARY, times),
            error_below(1e-5, "error of the smooth ECE"),
            first_below(1.0),
        ),
    )


_NOTES = """\
`smooth_calibration_error`, whose bandwidth is its own fixed point. relplot searches the
bandwidth in steps of 1 / 1024 and returns the error at the upper end of the last one,
on a grid that becomes coarser as the bandwidth grows, so it is up to 1e-3 off. The
reference bisects in float64 on a grid of 65,536 cells."""

WORKLOAD = Workload(
    name="smooth",
    title="Smooth calibration error",
    notes=_NOTES,
    make_inputs=calibration_error.make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "relplot": Candidate(make=_relplot, package="relplot"),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="error of the smooth ECE",
    cases=(_case(50_000, 3), _case(1_000_000, 10)),
    growth=[{"rows": rows} for rows in (625_000, 2_500_000, 10_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
