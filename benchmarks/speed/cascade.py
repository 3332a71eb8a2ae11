"""Curves of cascades for several bin counts: `python -m benchmarks.speed.cascade`.

K bins are kept on the small model, 0 to the number of bins.
"""

from collections.abc import Sequence

import numpy as np

from . import arrays
from .cases import OURS, Call, Candidate, Case, Inputs, Kind, Result, Workload, at_most

_COUNTS = (15, 50, 100, 200, 500, 1000)
_UNION = "NumPy, one sort"


def make_inputs(rows: int, counts: tuple[int, ...] = _COUNTS) -> Inputs:
    """Confidences float32 and outcomes bool `[rows]` of two models; bin counts."""
    rng = np.random.default_rng(9)
    small, small_ok = arrays.confidences(rng, rows)
    noise = 0.2 * rng.standard_normal(rows, np.float32)
    large = np.clip(0.45 + 0.5 * small + noise, 0.01, 0.99).astype(np.float32)
    return {
        "scores": small,
        "large": large,
        "small_ok": small_ok,
        "large_ok": rng.random(rows) < large,
        "counts": np.array(counts, np.int32),
    }


def _ours(inputs: Inputs) -> Call:
    import jax

    import calib_jax as cj

    given = arrays.on_device(inputs)
    max_bins = int(inputs["counts"].max())

    @jax.jit
    def curves(given: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        small, large = given["scores"], given["large"]

        def curve(num_bins: jax.Array) -> tuple[jax.Array, jax.Array]:
            bins = cj.equal_count_bins(small, num_bins, max_bins=max_bins)
            router = cj.fit_router(small, large, bins=bins)
            curve = cj.cascade_curve(
                router, small, given["small_ok"], given["large_ok"]
            )
            return curve.accuracy, cj.average_performance_gap_recovered(curve)

        return jax.vmap(curve)(given["counts"])

    def call() -> Result:
        accuracy, recovered = curves(given)
        return {"accuracy": np.asarray(accuracy), "apgr": np.asarray(recovered)}

    return call


def _curve(
    count: np.ndarray, sums: Sequence[np.ndarray], size: int
) -> tuple[np.ndarray, float]:
    """Accuracy when 0 to `size` bins are kept small, and APGR.

    Computed from each bin's rows, sum of gaps and sums of both models' outcomes.

    Bins of least mean gap are kept first; among equals, the one of higher confidence.
    """
    gap, small, large = sums
    rows = np.sum(count)
    mean = np.where(count > 0, gap / np.maximum(count, 1), np.inf)
    order = np.lexsort((-np.arange(len(mean)), mean))

    def upto(sums: np.ndarray) -> np.ndarray:
        return np.append(0, np.cumsum(sums[order]))

    accuracy = (upto(small) + np.sum(large) - upto(large)) / rows
    recovered = (accuracy - accuracy[-1]) / (accuracy[0] - accuracy[-1])
    apgr = np.trapezoid(recovered, upto(count) / rows)
    return np.pad(accuracy, (0, size + 1 - len(accuracy)), "edge"), float(apgr)


def _all_curves(per_count: list[tuple[np.ndarray, float]]) -> Result:
    accuracy, recovered = zip(*per_count, strict=True)
    return {"accuracy": np.stack(accuracy), "apgr": np.array(recovered)}


def _one_sort(inputs: Inputs) -> Call:
    small, counts = inputs["scores"], inputs["counts"]

    def call() -> Result:
        order = np.argsort(small)
        ordered = small[order]
        starts = [
            np.searchsorted(ordered, ordered[arrays.bin_starts(len(small), num_bins)])
            for num_bins in counts
        ]
        cells = np.unique(np.concatenate(starts))
        columns = (inputs["large"] - small, inputs["small_ok"], inputs["large_ok"])
        sums = np.stack(
            [
                np.add.reduceat(column[order], cells, dtype=np.float64)
                for column in columns
            ]
        )
        upto = np.pad(np.cumsum(sums, axis=1), [(0, 0), (1, 0)])
        curves = []
        for start in starts:
            ends = np.append(start, len(small))
            cuts = np.append(np.searchsorted(cells, start), len(cells))
            parts = np.diff(upto[:, cuts], axis=1)
            curves.append(_curve(np.diff(ends), list(parts), counts.max()))
        return _all_curves(curves)

    return call


def reference(inputs: Inputs) -> Result:
    """float64, each bin count by itself."""
    small, counts = inputs["scores"], inputs["counts"]
    ordered = np.sort(small)
    columns = (
        inputs["large"].astype(np.float64) - small,
        inputs["small_ok"],
        inputs["large_ok"],
    )
    curves = []
    for num_bins in counts:
        edges = ordered[arrays.bin_starts(len(small), num_bins)[1:]]
        index = np.searchsorted(edges, small, side="right")
        sums = [np.bincount(index, column, num_bins) for column in columns]
        count = np.bincount(index, minlength=num_bins)
        curves.append(_curve(count, sums, counts.max()))
    return _all_curves(curves)


def error(result: Result, reference: Result) -> float:
    """Largest difference of any accuracy or APGR."""
    return max(float(np.max(np.abs(result[n] - reference[n]))) for n in reference)


_NOTES = f"""\
Accuracy for every K, 0 to the number of bins, and APGR, for
{", ".join(map(str, _COUNTS))} bins, in one jitted call: a `vmap` over the bin counts of
`equal_count_bins(..., max_bins=1000)`, `fit_router`, `cascade_curve` and
`average_performance_gap_recovered`. No library does this. The yardstick sorts once,
sums between the edges of all bin counts, and reads every curve off these sums. The
error is the largest over all accuracies and APGRs; where the advantages of two bins
differ by less than float32 tells, they may change places, which moves one point of a
curve by at most the difference of the two."""

WORKLOAD = Workload(
    name="cascade",
    title="Cascade curves",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        _UNION: Candidate(make=_one_sort, kind=Kind.YARDSTICK),
        "np.sort": Candidate(make=arrays.sort_scores, kind=Kind.FLOOR),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="largest error of accuracies and APGR",
    cases=(
        Case(
            name="1,000,000, six bin counts",
            size={"rows": 1_000_000},
            small={"rows": 4999, "counts": (15, 50)},
            targets=(at_most(_UNION, 3), at_most(_UNION, 1.5, " (the wish)")),
        ),
    ),
    growth=[{"rows": rows} for rows in (62_500, 250_000, 1_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
