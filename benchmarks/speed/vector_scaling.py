"""A scale and a bias for each class: `python -m benchmarks.speed.vector_scaling`."""

from . import arrays, class_calibrators
from .cases import OURS, Call, Candidate, Inputs, Kind, Result, Workload
from .class_calibrators import torch_uncertainty


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        params, _ = cj.calibration.fit_vector(given["logits"], given["labels"])
        return class_calibrators.parameters(params.scale, params.bias)

    return call


def _probmetrics(inputs: Inputs) -> Call:
    from probmetrics.calibrators import VectorScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    given = arrays.as_torch(inputs)

    def call() -> Result:
        fitted = VectorScalingCalibrator().fit_torch(
            CategoricalLogits(given["logits"]), given["labels"]
        )
        return class_calibrators.parameters(1 / fitted.temp_, fitted.bias_)

    return call


WORKLOAD = Workload(
    name="vector_scaling",
    title="Vector scaling",
    notes="""\
`fit_vector` on float32 logits of 50,000 rows, without a penalty. The other libraries
run as they come, with L-BFGS or BFGS; torch-uncertainty's scaler has no bias, so its
least loss is larger.""",
    make_inputs=class_calibrators.make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "probmetrics": Candidate(make=_probmetrics, package="probmetrics"),
        "torch-uncertainty": Candidate(
            make=torch_uncertainty("VectorScaler"),
            package="torch_uncertainty",
        ),
        "floor": Candidate(make=class_calibrators.floor, kind=Kind.FLOOR),
    },
    reference=class_calibrators.reference(_ours),
    error=class_calibrators.error,
    error_text="objective above the least, relative",
    cases=class_calibrators.CASES,
    growth=class_calibrators.GROWTH,
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
