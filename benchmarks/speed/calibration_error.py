"""ECE over 15 equal-count bins: `python -m benchmarks.speed.calibration_error`."""

import numpy as np

from . import arrays
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

NUM_BINS = 15
_DECIMALS = 3


def make_inputs(rows: int, decimals: int | None = None) -> Inputs:
    """Scores float32 and outcomes bool `[rows]`; rounded scores tie."""
    scores, outcomes = arrays.confidences(np.random.default_rng(2), rows)
    if decimals is not None:
        scores = np.round(scores, decimals)
    return {"scores": scores, "outcomes": outcomes}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        error = cj.expected_calibration_error(given["scores"], given["outcomes"])
        return {"error": np.asarray(error)}

    return call


def _sklearn(inputs: Inputs) -> Call:
    from sklearn.calibration import calibration_curve

    scores, outcomes = inputs["scores"], inputs["outcomes"]

    def call() -> Result:
        right, mean = calibration_curve(
            outcomes, scores, n_bins=NUM_BINS, strategy="quantile"
        )
        # Its bins have equal counts up to one row, and it does not return the counts.
        return {"error": np.mean(np.abs(right - mean))}

    return call


def _netcal(inputs: Inputs) -> Call:
    from netcal.metrics import ECE

    scores, outcomes = inputs["scores"], inputs["outcomes"].astype(np.int64)
    metric = ECE(bins=NUM_BINS, equal_intervals=False)
    return lambda: {"error": np.asarray(metric.measure(scores, outcomes))}


def _torch_uncertainty(inputs: Inputs) -> Call:
    # The computation of its AdaptiveCalibrationError, after top-1 confidences.
    from torch_uncertainty.metrics.classification.calibration import (
        adaptive_calibration_error as adaptive,
    )

    given = arrays.as_torch(inputs)
    scores, outcomes = given["scores"], given["outcomes"].float()

    def call() -> Result:
        return {"error": adaptive._ace_compute(scores, outcomes, NUM_BINS).numpy()}

    return call


def _argsort(inputs: Inputs) -> Call:
    scores, outcomes = inputs["scores"], inputs["outcomes"]

    def call() -> Result:
        gap = scores - outcomes
        parts = np.add.reduceat(
            gap[np.argsort(scores)],
            arrays.bin_starts(len(scores), NUM_BINS),
            dtype=np.float64,
        )
        return {"error": np.sum(np.abs(parts)) / len(scores)}

    return call


def _packed_sort(inputs: Inputs) -> Call:
    scores, outcomes = inputs["scores"], inputs["outcomes"]

    def call() -> Result:
        # The bits of floats in [0, 1] sort as the floats do, and leave one bit free.
        keys = np.sort((scores.view(np.int32) << 1) | outcomes)
        gap = (keys >> 1).view(np.float32) - (keys & 1).astype(np.float32)
        parts = np.add.reduceat(
            gap, arrays.bin_starts(len(keys), NUM_BINS), dtype=np.float64
        )
        return {"error": np.sum(np.abs(parts)) / len(keys)}

    return call


def equal_count_error(scores: np.ndarray, outcomes: np.ndarray, num_bins: int) -> float:
    """float64 ECE over bins of equal count.

    Tied scores share a bin, and a score equal to an edge goes up.
    """
    edges = np.sort(scores)[arrays.bin_starts(len(scores), num_bins)[1:]]
    index = np.searchsorted(edges, scores, side="right")
    gap = scores.astype(np.float64) - outcomes
    return float(np.sum(np.abs(np.bincount(index, gap))) / len(scores))


def reference(inputs: Inputs) -> Result:
    """The float64 ECE."""
    error = equal_count_error(inputs["scores"], inputs["outcomes"], NUM_BINS)
    return {"error": np.asarray(error)}


def error(result: Result, reference: Result) -> float:
    """Absolute error of the ECE."""
    return float(abs(result["error"] - reference["error"]))


def _cases(rows: int, times: float) -> tuple[Case, Case]:
    targets = (
        faster(Kind.LIBRARY, times),
        error_below(1e-6, "error of the ECE"),
        first_below(0.5),
    )
    return (
        Case(
            name=f"{rows:,}",
            size={"rows": rows},
            small={"rows": 4999},
            targets=targets,
        ),
        Case(
            name=f"{rows:,}, scores rounded to {_DECIMALS} decimals",
            size={"rows": rows, "decimals": _DECIMALS},
            small={"rows": 4999, "decimals": _DECIMALS},
            targets=targets,
            other_quantity=(
                "scikit-learn",
                "torch-uncertainty",
                "NumPy argsort",
                "np.sort of packed keys",
            ),
        ),
    )


_NOTES = """\
`expected_calibration_error` over 15 bins of equal count. Tied scores share a bin, and a
score equal to an edge goes up; netcal agrees where its interpolated edges do not fall
between two scores. The others split ties by the order of the rows, or send them down:
with ties they compute another number, and no error is given. `np.sort` of packed keys,
the bits of score and outcome in one integer, would split them wrong answers first."""

WORKLOAD = Workload(
    name="calibration_error",
    title="Equal-count ECE",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "scikit-learn": Candidate(make=_sklearn, package="sklearn"),
        "netcal": Candidate(make=_netcal, package="netcal"),
        "torch-uncertainty": Candidate(
            make=_torch_uncertainty, package="torch_uncertainty"
        ),
        "NumPy argsort": Candidate(make=_argsort, kind=Kind.YARDSTICK),
        "np.sort of packed keys": Candidate(make=_packed_sort, kind=Kind.YARDSTICK),
        "np.sort": Candidate(make=arrays.sort_scores, kind=Kind.FLOOR),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="error of the ECE",
    cases=(
        *_cases(50_000, 1.5),
        *_cases(1_000_000, 5),
        *_cases(10_000_000, 6),
    ),
    growth=[{"rows": rows} for rows in (625_000, 2_500_000, 10_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
