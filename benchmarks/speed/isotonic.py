"""Isotonic regression of scores: `python -m benchmarks.speed.isotonic`."""

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
    first_below,
)

# The fitted values are compared here.
_AT = np.linspace(-7.0, 9.0, 1601)


def make_inputs(rows: int, weighted: bool = False) -> Inputs:
    """Scores float32 `[rows]`, outcomes bool; or partial credit and weights."""
    rng = np.random.default_rng(3)
    scores = 1 + 2 * rng.standard_normal(rows, np.float32)
    right = rng.random(rows) < arrays.sigmoid(0.8 * scores - 0.5)
    if not weighted:
        return {"scores": scores, "outcomes": right}
    noise = rng.normal(0, 0.2, rows)
    credit = np.clip(right + noise, 0, 1).astype(np.float32)
    weights = rng.random(rows, np.float32) + np.float32(0.1)
    return {"scores": scores, "outcomes": credit, "weights": weights}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        params, _ = cj.calibration.fit_isotonic(**given)
        return {
            name: np.asarray(getattr(params, name)) for name in ("scores", "values")
        }

    return call


def _sklearn(inputs: Inputs) -> Call:
    from sklearn.isotonic import IsotonicRegression

    def call() -> Result:
        fitted = IsotonicRegression(out_of_bounds="clip").fit(
            inputs["scores"], inputs["outcomes"], inputs.get("weights")
        )
        return {"scores": fitted.X_thresholds_, "values": fitted.y_thresholds_}

    return call


def _netcal(inputs: Inputs) -> Call:
    from netcal.binning import IsotonicRegression

    probabilities = arrays.sigmoid(inputs["scores"].astype(np.float64))
    outcomes = inputs["outcomes"].astype(np.int64)

    def call() -> Result:
        fitted = IsotonicRegression().fit(probabilities, outcomes)._iso
        scores = np.log(fitted.X_thresholds_) - np.log1p(-fitted.X_thresholds_)
        return {"scores": scores, "values": fitted.y_thresholds_}

    return call


def _sort(inputs: Inputs) -> Call:
    """Sorts the scores as integers, which is what every method has to do first."""
    import jax

    keys = jax.numpy.asarray(inputs["scores"].view(np.int32))
    sort = jax.jit(lambda keys: jax.lax.sort(keys, is_stable=False))

    def call() -> Result:
        return {"scores": np.asarray(sort(keys))[:1]}

    return call


def reference(inputs: Inputs) -> Result:
    """The float64 optimum, pooled one row after the other."""
    from sklearn.isotonic import IsotonicRegression

    # With float32 scores it would take those closer than 1e-6 as tied.
    fitted = IsotonicRegression(out_of_bounds="clip").fit(
        inputs["scores"].astype(np.float64),
        inputs["outcomes"].astype(np.float64),
        inputs.get("weights"),
    )
    return {"at": fitted.predict(_AT)}


def error(result: Result, reference: Result) -> float:
    """The largest difference of fitted values."""
    used = np.isfinite(result["scores"])
    scores = result["scores"][used].astype(np.float64)
    found = np.interp(_AT, scores, result["values"][used])
    return float(np.max(np.abs(found - reference["at"])))


def _case(rows: int, weighted: bool, *targets: object, without: tuple = ()) -> Case:
    kind = "weights and partial credit" if weighted else "right or wrong"
    return Case(
        name=f"{rows:,}, {kind}",
        size={"rows": rows, "weighted": weighted},
        small={"rows": 2999, "weighted": weighted},
        targets=targets,
        without=without,
    )


_NOTES = """\
`fit_isotonic` on float32 scores, with bool outcomes or with partial credit and weights.
scikit-learn is `IsotonicRegression.fit`, and so is netcal, which is given
probabilities. The floor sorts the scores alone."""

WORKLOAD = Workload(
    name="isotonic",
    title="Isotonic regression",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "scikit-learn": Candidate(make=_sklearn, package="sklearn"),
        "netcal": Candidate(make=_netcal, package="netcal"),
        "floor": Candidate(make=_sort, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="largest difference of fitted values",
    cases=(
        _case(1_000_000, False, faster("scikit-learn", 1), first_below(3)),
        _case(10_000_000, False, faster("scikit-learn", 1), without=("netcal",)),
        _case(1_000_000, True, faster("scikit-learn", 0.4), without=("netcal",)),
    ),
    growth=[{"rows": rows} for rows in (625_000, 2_500_000, 10_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
