"""Dirichlet calibration of one strength: `python -m benchmarks.speed.dirichlet`."""

from . import arrays, class_calibrators
from .cases import OURS, Call, Candidate, Inputs, Kind, Result, Workload
from .class_calibrators import STRENGTH, torch_uncertainty


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        params, _ = cj.calibration.fit_dirichlet(
            given["logits"], given["labels"], strength=STRENGTH
        )
        return class_calibrators.parameters(params.matrix, params.bias)

    return call


WORKLOAD = Workload(
    name="dirichlet",
    title="Dirichlet calibration",
    notes="""\
`fit_dirichlet` on float32 logits, with the penalty's strength 1 for both.
torch-uncertainty stops after 200 steps of L-BFGS at a fixed rate.""",
    make_inputs=class_calibrators.make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "torch-uncertainty": Candidate(
            make=torch_uncertainty(
                "DirichletScaler",
                lambda_reg=STRENGTH,
                mu_reg=STRENGTH,
            ),
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
