"""Thousands of ECEs in one call: `python -m benchmarks.speed.many_errors`."""

import numpy as np

from . import arrays
from .calibration_error import equal_count_error
from .cases import OURS, Call, Candidate, Case, Inputs, Kind, Result, Workload, faster

_LOOP_SHARE = 10
_COUNTS = tuple(range(5, 101, 5))


def make_inputs(
    models: int, rows: int, halves: int, counts: tuple[int, ...] = _COUNTS
) -> Inputs:
    """Scores and outcomes `[models, rows]`, halves `[halves, rows]`, bin counts."""
    rng = np.random.default_rng(10)
    scores, outcomes = arrays.confidences(rng, models, rows)
    half = np.tile(np.arange(rows) < rows // 2, (halves, 1))
    return {
        "scores": scores,
        "outcomes": outcomes,
        "halves": rng.permuted(half, axis=1),
        "counts": np.array(counts, np.int32),
    }


def _ours(inputs: Inputs) -> Call:
    import jax

    import calib_jax as cj

    given = arrays.on_device(inputs)
    max_bins = int(inputs["counts"].max())

    def error(
        scores: jax.Array, outcomes: jax.Array, half: jax.Array, num_bins: jax.Array
    ) -> jax.Array:
        bins = cj.equal_count_bins(scores, num_bins, where=half, max_bins=max_bins)
        return cj.expected_calibration_error(scores, outcomes, bins=bins, where=half)

    over_counts = jax.vmap(error, (None, None, None, 0))
    over_halves = jax.vmap(over_counts, (None, None, 0, None))
    errors = jax.jit(jax.vmap(over_halves, (0, 0, None, None)))

    def call() -> Result:
        names = ("scores", "outcomes", "halves", "counts")
        return {"errors": np.asarray(errors(*(given[name] for name in names)))}

    return call


def _loop(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device({k: v for k, v in inputs.items() if k != "counts"})
    counts = inputs["counts"].tolist()
    shape = (len(inputs["scores"]), len(inputs["halves"]), len(counts))
    some = max(1, shape[1] // _LOOP_SHARE)
    halves = list(given["halves"])[:some]
    models = list(zip(given["scores"], given["outcomes"], strict=True))

    def call() -> Result:
        errors = np.empty((shape[0], some, shape[2]))
        for m, (scores, outcomes) in enumerate(models):
            for h, half in enumerate(halves):
                for b, num_bins in enumerate(counts):
                    errors[m, h, b] = cj.expected_calibration_error(
                        scores, outcomes, num_bins=num_bins, where=half
                    )
        return {"errors": errors}

    return call


def reference(inputs: Inputs) -> Result:
    """float64, one after the other."""
    halves, counts = inputs["halves"], inputs["counts"]
    models = zip(inputs["scores"], inputs["outcomes"], strict=True)
    errors = []
    for scores, outcomes in models:
        for half in halves:
            errors += [
                equal_count_error(scores[half], outcomes[half], num_bins)
                for num_bins in counts
            ]
    shape = (len(inputs["scores"]), len(halves), len(counts))
    return {"errors": np.reshape(errors, shape)}


def error(result: Result, reference: Result) -> float:
    """Largest error of the ECEs that were computed."""
    errors = result["errors"]
    expected = reference["errors"][:, : errors.shape[1]]
    return float(np.max(np.abs(errors - expected)))


_NOTES = f"""\
8 models, 20 random halves of 10,000 examples and 20 bin counts, 5 to 100: 3,200 ECEs in
one jitted call, a `vmap` over models, over halves by `where=`, and over bin counts by
`equal_count_bins(..., max_bins=100)`. The loop calls `expected_calibration_error` for
each; it runs 2 of the 20 halves, and its time is multiplied by {_LOOP_SHARE}."""

WORKLOAD = Workload(
    name="many_errors",
    title="Many ECEs in one call",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "loop of single calls": Candidate(
            make=_loop, kind=Kind.YARDSTICK, scale=_LOOP_SHARE
        ),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="largest error of the ECEs",
    cases=(
        Case(
            name="8 models x 20 halves of 10,000 x 20 bin counts",
            size={"models": 8, "rows": 10_000, "halves": 20},
            small={"models": 2, "rows": 997, "halves": 3, "counts": (7,)},
            targets=(faster("loop of single calls", 5),),
        ),
    ),
    growth=[
        {"models": 8, "rows": rows, "halves": 20} for rows in (2_500, 10_000, 40_000)
    ],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
