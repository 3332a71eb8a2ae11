"""Many bootstrap draws of an ECE: `python -m benchmarks.speed.bootstrap`."""

import functools
from collections.abc import Callable
from typing import Any

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
    at_most,
    faster,
)

_NUM_BINS = 15
_NETCAL_SHARE = 20
_REFERENCE_DRAWS = 4000
_BATCH = 20


def make_inputs(rows: int, draws: int) -> Inputs:
    """Scores float32 and outcomes bool `[rows]`; `num_draws` int32."""
    scores, outcomes = arrays.confidences(np.random.default_rng(4), rows)
    return {
        "scores": scores,
        "outcomes": outcomes,
        "num_draws": np.array(draws, np.int32),
    }


def _ours(inputs: Inputs) -> Call:
    import jax

    import calib_jax as cj

    num_draws = int(inputs["num_draws"])
    given = arrays.on_device(inputs)
    bins = cj.equal_count_bins(given["scores"], _NUM_BINS)
    key = jax.random.key(0)

    @jax.jit
    def errors(
        key: jax.Array, bins: cj.Bins, scores: jax.Array, outcomes: jax.Array
    ) -> jax.Array:
        tables = cj.stats.bootstrap_reliability(key, bins, scores, outcomes, num_draws)
        return jax.vmap(cj.metrics.calibration_error_of_table)(tables)

    def call() -> Result:
        draws = errors(key, bins, given["scores"], given["outcomes"])
        return {"draws": np.asarray(draws)}

    return call


def _sorted_gaps(inputs: Inputs, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Score minus outcome, rows in order of the score, and where each bin starts."""
    scores = inputs["scores"]
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = arrays.bin_starts(len(scores), _NUM_BINS)
    # The position of the first of tied scores.
    starts = np.searchsorted(ordered, ordered[starts])
    gaps = scores.astype(dtype) - inputs["outcomes"]
    return gaps[order], starts


def _by_counts(rng: np.random.Generator, gaps: np.ndarray, starts: np.ndarray) -> float:
    taken = rng.integers(0, len(gaps), len(gaps))
    weighted = np.bincount(taken, minlength=len(gaps)) * gaps
    return np.sum(np.abs(np.add.reduceat(weighted, starts))) / len(gaps)


def _numpy(draw_all: Callable[..., np.ndarray], inputs: Inputs) -> Call:
    gaps, starts = _sorted_gaps(inputs, np.float32)
    num_draws = int(inputs["num_draws"])

    def call() -> Result:
        rng = np.random.default_rng(5)
        return {"draws": draw_all(rng, gaps, starts, num_draws)}

    return call


def _draw_counts(
    rng: np.random.Generator, gaps: np.ndarray, starts: np.ndarray, num_draws: int
) -> np.ndarray:
    """Each draw as counts of the rows."""
    return np.array([_by_counts(rng, gaps, starts) for _ in range(num_draws)])


def _draw_bins(
    rng: np.random.Generator, gaps: np.ndarray, starts: np.ndarray, num_draws: int
) -> np.ndarray:
    """Each draw as the bins and gaps of the rows taken."""
    size = len(gaps)
    bins = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, size)))
    errors = np.empty(num_draws)
    for number in range(num_draws):
        taken = rng.integers(0, size, size)
        sums = np.bincount(bins[taken], gaps[taken], len(starts))
        errors[number] = np.sum(np.abs(sums)) / size
    return errors


def _draw_sorted(
    rng: np.random.Generator, gaps: np.ndarray, starts: np.ndarray, num_draws: int
) -> np.ndarray:
    """Draws of several resamples at once, sorted, so that bins are runs."""
    size = len(gaps)
    dtype = np.uint16 if size < 2**16 else np.int32
    errors = np.empty(num_draws)
    for first in range(0, num_draws, _BATCH):
        count = min(_BATCH, num_draws - first)
        taken = rng.integers(0, size, (count, size), dtype=dtype)
        taken.sort(axis=1)
        drawn = gaps[taken]
        for number in range(count):
            cuts = np.searchsorted(taken[number], starts.astype(dtype))
            sums = np.add.reduceat(drawn[number], cuts)
            errors[first + number] = np.sum(np.abs(sums)) / size
    return errors


def _netcal(inputs: Inputs) -> Call:
    from netcal.metrics import ECE

    scores, outcomes = inputs["scores"], inputs["outcomes"].astype(np.int64)
    num_draws = max(1, int(inputs["num_draws"]) // _NETCAL_SHARE)
    metric = ECE(bins=_NUM_BINS, equal_intervals=False)

    def call() -> Result:
        rng = np.random.default_rng(5)
        errors = []
        for _ in range(num_draws):
            taken = rng.integers(0, len(scores), len(scores))
            errors.append(metric.measure(scores[taken], outcomes[taken]))
        return {"draws": np.array(errors)}

    return call


def reference(inputs: Inputs) -> Result:
    """float64 draws from another random stream, and more of them."""
    gaps, starts = _sorted_gaps(inputs, np.float64)
    return {
        "draws": _draw_counts(np.random.default_rng(6), gaps, starts, _REFERENCE_DRAWS)
    }


def error(result: Result, reference: Result) -> float:
    """Difference of the means or standard deviations, in standard errors."""
    some, many = result["draws"].astype(np.float64), reference["draws"]
    spread = np.std(many) * np.sqrt(1 / len(some) + 1 / len(many))
    mean = abs(np.mean(some) - np.mean(many)) / spread
    # The error of a standard deviation is smaller by the root of 2.
    deviation = abs(np.std(some, ddof=1) - np.std(many)) / (spread / np.sqrt(2))
    return float(max(mean, deviation))


_NOTES = f"""\
1,000 paired draws of the ECE of one model with bins frozen beforehand: in one jitted
call, `calibration_error_of_table` of the tables of `bootstrap_reliability`. There are
three ways of NumPy, all on rows sorted beforehand; the target counts from the fastest.
netcal cuts its bins anew in every resample, which is another quantity, and runs
{1000 // _NETCAL_SHARE} resamples: its time is multiplied by {_NETCAL_SHARE}. The error
is that of mean and standard deviation of the draws against {_REFERENCE_DRAWS:,} float64
draws, in Monte-Carlo standard errors: up to 3 is chance."""

WORKLOAD = Workload(
    name="bootstrap",
    title="Bootstrap of an ECE",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "netcal": Candidate(make=_netcal, package="netcal", scale=_NETCAL_SHARE),
        "NumPy, counts": Candidate(
            make=functools.partial(_numpy, _draw_counts), kind=Kind.YARDSTICK
        ),
        "NumPy, bins": Candidate(
            make=functools.partial(_numpy, _draw_bins), kind=Kind.YARDSTICK
        ),
        "NumPy, sorted draws": Candidate(
            make=functools.partial(_numpy, _draw_sorted), kind=Kind.YARDSTICK
        ),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="difference in standard errors",
    cases=(
        Case(
            name="1,000 draws of 10,000",
            size={"rows": 10_000, "draws": 1_000},
            small={"rows": 997, "draws": 203},
            targets=(at_most(Kind.YARDSTICK, 1.3), faster("netcal", 10)),
            other_quantity=("netcal",),
        ),
    ),
    growth=[{"rows": rows, "draws": 1_000} for rows in (2_500, 10_000, 40_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
