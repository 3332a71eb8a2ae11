"""Confident learning: `python -m benchmarks.speed.confident_learning`."""

import functools

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
    faster,
)

_WRONG = 0.1
_FLAGS = f"{OURS}, flags alone"


def make_inputs(rows: int, classes: int) -> Inputs:
    """Probabilities float32 `[rows, classes]`; every tenth label is made wrong."""
    rng = np.random.default_rng(7)
    true = rng.integers(0, classes, rows)
    logits = 1.5 * rng.standard_normal((rows, classes), np.float32)
    # More classes mean more thresholds to exceed.
    logits[np.arange(rows), true] += np.float32(np.log(classes) + 1.5)
    probabilities = np.empty_like(logits)
    for part in arrays.blocks(rows, classes):
        probabilities[part] = arrays.softmax(logits[part])
    shift = np.where(rng.random(rows) < _WRONG, rng.integers(1, classes, rows), 0)
    labels = ((true + shift) % classes).astype(np.int32)
    return {"probabilities": probabilities, "labels": labels}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        issues = cj.confident_learning(given["probabilities"], given["labels"])
        return {
            "flagged": np.asarray(issues.flagged),
            "suggestion": np.asarray(issues.suggestion),
        }

    return call


def _ours_flags(inputs: Inputs) -> Call:
    import jax

    import calib_jax as cj

    given = arrays.on_device(inputs)

    @jax.jit
    def flagged(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
        return cj.confident_learning(probabilities, labels).flagged

    def call() -> Result:
        return {"flagged": np.asarray(flagged(given["probabilities"], given["labels"]))}

    return call


def _cleanlab(num_jobs: int | None, inputs: Inputs) -> Call:
    from cleanlab.filter import find_label_issues

    probabilities, labels = inputs["probabilities"], inputs["labels"]

    def call() -> Result:
        flagged = find_label_issues(
            labels, probabilities, filter_by="confident_learning", n_jobs=num_jobs
        )
        return {"flagged": flagged}

    return call


def _thresholds(inputs: Inputs) -> np.ndarray:
    """float64 mean probability of each class among its rows; +inf without a row."""
    probabilities, labels = inputs["probabilities"], inputs["labels"]
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    count = np.bincount(labels, minlength=classes)
    total = np.bincount(labels, own, classes)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def _numpy(inputs: Inputs) -> Call:
    probabilities, labels = inputs["probabilities"], inputs["labels"]

    def call() -> Result:
        thresholds = _thresholds(inputs).astype(np.float32)
        # -1 where not a candidate: a row without one has its maximum there.
        masked = np.where(probabilities > thresholds, probabilities, np.float32(-1))
        best = np.argmax(masked, axis=1)
        some = masked[np.arange(len(labels)), best] >= 0
        suggestion = np.where(some, best, labels)
        return {"flagged": suggestion != labels, "suggestion": suggestion}

    return call


def reference(inputs: Inputs) -> Result:
    """Method 3 in float64."""
    labels, thresholds = inputs["labels"], _thresholds(inputs)
    suggestion = labels.astype(np.int64)
    for rows in arrays.blocks(*inputs["probabilities"].shape):
        p = inputs["probabilities"][rows].astype(np.float64)
        candidates = np.where(p > thresholds, p, -np.inf)
        some = np.any(candidates > -np.inf, axis=1)
        suggestion[rows] = np.where(some, np.argmax(candidates, axis=1), labels[rows])
    return {"flagged": suggestion != labels, "suggestion": suggestion}


def error(result: Result, reference: Result) -> float:
    """Number of flags and suggestions that differ."""
    return float(sum(np.sum(result[name] != reference[name]) for name in result))


_NOTES = """\
`confident_learning` on float32 probabilities, with the flags and suggested labels it
gives; `flags alone` is a jitted function of its flags, in which XLA drops the
suggestions. cleanlab is `find_label_issues` with `filter_by="confident_learning"`,
which gives flags only, and counts a probability equal to its threshold as above it. The
error is the number of rows whose flag or suggestion differs from float64."""

WORKLOAD = Workload(
    name="confident_learning",
    title="Confident learning",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        _FLAGS: Candidate(make=_ours_flags, kind=Kind.OURS),
        "cleanlab": Candidate(make=functools.partial(_cleanlab, 1), package="cleanlab"),
        "cleanlab, default jobs": Candidate(
            make=functools.partial(_cleanlab, None), package="cleanlab"
        ),
        "NumPy with suggestions": Candidate(make=_numpy, kind=Kind.YARDSTICK),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="rows that differ",
    cases=(
        Case(
            name="50,000 x 1,000",
            size={"rows": 50_000, "classes": 1_000},
            small={"rows": 1237, "classes": 11},
            targets=(faster(Kind.LIBRARY, 8, by=_FLAGS), faster(Kind.LIBRARY, 6)),
        ),
    ),
    growth=[{"rows": rows, "classes": 1_000} for rows in (6_250, 25_000, 100_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
