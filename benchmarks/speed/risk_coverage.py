"""Area under the risk-coverage curve: `python -m benchmarks.speed.risk_coverage`."""

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

_DECIMALS = 3


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)
    scores, outcomes = given["scores"], given["outcomes"]

    def call() -> Result:
        area = cj.metrics.area_under_risk_coverage(scores, outcomes)
        return {"area": np.asarray(area)}

    return call


def _torch_uncertainty(inputs: Inputs) -> Call:
    # The computation of its AURC, after top-1 confidences.
    from torch_uncertainty.metrics.classification import AURC

    given = arrays.as_torch(inputs)
    scores, errors = given["scores"], 1.0 - given["outcomes"].float()

    def call() -> Result:
        metric = AURC()
        metric.scores.append(scores)
        metric.errors.append(errors)
        risk = metric.partial_compute()
        return {"area": risk.mean().numpy()}

    return call


def _packed_sort(inputs: Inputs) -> Call:
    scores, outcomes = inputs["scores"], inputs["outcomes"]

    def call() -> Result:
        # The bits of floats in [0, 1] sort as the floats do, and leave one bit free.
        keys = np.sort((scores.view(np.int32) << 1) | outcomes)[::-1]
        wrong = np.cumsum((keys & 1) == 0)
        return {"area": np.mean(wrong / np.arange(1, len(keys) + 1))}

    return call


def reference(inputs: Inputs) -> Result:
    """The mean risk in float64; tied rows count with the mean error of their tie."""
    _, tie, size = np.unique(-inputs["scores"], return_inverse=True, return_counts=True)
    wrong = np.bincount(tie, ~inputs["outcomes"]) / size
    risk = np.cumsum(np.repeat(wrong, size)) / np.arange(1, len(tie) + 1)
    return {"area": np.mean(risk)}


def error(result: Result, reference: Result) -> float:
    """Absolute error of the area."""
    return float(abs(result["area"] - reference["area"]))


def _cases(rows: int, times: float) -> tuple[Case, Case]:
    targets = (
        faster(Kind.LIBRARY, times),
        error_below(1e-6, "error of the area"),
        first_below(1.0),
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
            other_quantity=("torch-uncertainty", "np.sort of packed keys"),
        ),
    )


_NOTES = """\
`area_under_risk_coverage` of right and wrong answers: the mean over k of the error rate
of the k most confident ones. Tied rows count with the mean error of their tie. The
others take tied rows in the order that their sort leaves: with ties they compute
another number, and no error is given. torch-uncertainty's own result is the area of a
trapezoid between the first and the last point; here its rates are averaged."""

WORKLOAD = Workload(
    name="risk_coverage",
    title="Area under the risk-coverage curve",
    notes=_NOTES,
    make_inputs=calibration_error.make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "torch-uncertainty": Candidate(
            make=_torch_uncertainty, package="torch_uncertainty"
        ),
        "np.sort of packed keys": Candidate(make=_packed_sort, kind=Kind.YARDSTICK),
        "np.sort": Candidate(make=arrays.sort_scores, kind=Kind.FLOOR),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="error of the area",
    cases=(*_cases(50_000, 1), *_cases(1_000_000, 5), *_cases(10_000_000, 5)),
    growth=[{"rows": rows} for rows in (625_000, 2_500_000, 10_000_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
