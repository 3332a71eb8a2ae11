"""Platt scaling of scores: `python -m benchmarks.speed.platt`."""

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

_SLOPE, _INTERCEPT = 0.8, -0.5


def make_inputs(rows: int) -> Inputs:
    """Scores float32 `[rows]` and outcomes bool, right at slope 0.8, intercept -0.5."""
    rng = np.random.default_rng(3)
    scores = 1 + 2 * rng.standard_normal(rows, np.float32)
    probabilities = arrays.sigmoid(_SLOPE * scores + _INTERCEPT)
    return {"scores": scores, "outcomes": rng.random(rows) < probabilities}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        params, _ = cj.fit_platt(given["scores"], given["outcomes"])
        return {
            "slope": np.asarray(params.slope),
            "intercept": np.asarray(params.intercept),
        }

    return call


def _sklearn(inputs: Inputs) -> Call:
    from sklearn.linear_model import LogisticRegression

    scores, outcomes = inputs["scores"][:, None], inputs["outcomes"]

    def call() -> Result:
        fitted = LogisticRegression(C=np.inf, tol=1e-6).fit(scores, outcomes)
        return {"slope": fitted.coef_[0, 0], "intercept": fitted.intercept_[0]}

    return call


def _torch(inputs: Inputs) -> Call:
    import torch

    given = arrays.as_torch(inputs)
    scores, outcomes = given["scores"], given["outcomes"].float()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def call() -> Result:
        params = torch.tensor([1.0, 0.0], requires_grad=True)
        solver = torch.optim.LBFGS(
            [params], lr=1.0, max_iter=50, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            solver.zero_grad()
            value = entropy(scores * params[0] + params[1], outcomes)
            value.backward()
            return value

        solver.step(loss)
        slope, intercept = params.detach().numpy()
        return {"slope": slope, "intercept": intercept}

    return call


def _probmetrics(inputs: Inputs) -> Call:
    from probmetrics.calibrators import BinaryLogisticCalibrator

    scores, outcomes = inputs["scores"], inputs["outcomes"].astype(np.int64)
    columns = [arrays.sigmoid(-scores), arrays.sigmoid(scores)]
    probabilities = np.stack(columns, axis=1).astype(np.float32)

    def call() -> Result:
        fitted = BinaryLogisticCalibrator(type="affine").fit(probabilities, outcomes)
        intercept, slope = fitted.cal_.coef_[0]
        return {"slope": slope, "intercept": intercept}

    return call


def _netcal(inputs: Inputs) -> Call:
    from netcal.scaling import LogisticCalibration

    probabilities = arrays.sigmoid(inputs["scores"].astype(np.float64))
    outcomes = inputs["outcomes"].astype(np.int64)

    def call() -> Result:
        fitted = LogisticCalibration().fit(probabilities, outcomes, tensorboard=False)
        return {"slope": fitted.weights[0], "intercept": fitted.intercept[0]}

    return call


def reference(inputs: Inputs) -> Result:
    """The float64 optimum by Newton's method."""
    params = np.array([1.0, 0.0])
    for _ in range(50):
        gradient, hessian = np.zeros(2), np.zeros((2, 2))
        for rows in arrays.blocks(len(inputs["scores"])):
            scores = inputs["scores"][rows].astype(np.float64)
            design = np.stack([scores, np.ones(len(scores))])
            p = arrays.sigmoid(params @ design)
            gradient += design @ (p - inputs["outcomes"][rows])
            hessian += (design * (p * (1 - p))) @ design.T
        step = np.linalg.solve(hessian, gradient)
        params = params - step
        if np.max(np.abs(step)) < 1e-12:
            break
    return {"slope": params[0], "intercept": params[1]}


def error(result: Result, reference: Result) -> float:
    """The larger relative error of slope and intercept."""
    return max(float(abs(result[name] / reference[name] - 1)) for name in reference)


def _case(rows: int, *without: str) -> Case:
    return Case(
        name=f"{rows:,}",
        size={"rows": rows},
        small={"rows": 2999},
        targets=(faster("scikit-learn", 20), first_below(0.4)),
        without=without,
    )


_NOTES = """\
`fit_platt` on float32 scores and bool outcomes, without regularisation. scikit-learn is
`LogisticRegression(C=inf, tol=1e-6)`; torch minimises the binary cross-entropy with
L-BFGS; probmetrics (its affine calibrator) and netcal are given probabilities, which is
what they take."""

WORKLOAD = Workload(
    name="platt",
    title="Platt fit",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "scikit-learn": Candidate(make=_sklearn, package="sklearn"),
        "torch": Candidate(make=_torch, package="torch"),
        "probmetrics": Candidate(make=_probmetrics, package="probmetrics"),
        "netcal": Candidate(make=_netcal, package="netcal"),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="larger relative error of slope and intercept",
    cases=(_case(100_000), _case(10_000_000, "netcal")),
    growth=[{"rows": rows} for rows in (625_000, 2_500_000, 10_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
