"""Fitting a temperature to class logits: `python -m benchmarks.speed.temperature`."""

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
    error_below,
    faster,
    first_below,
    memory_below,
)

_TRUE = 1.7


def make_inputs(rows: int, classes: int) -> Inputs:
    """Logits float32 `[rows, classes]`, and labels that are right at T = 1.7."""
    rng = np.random.default_rng(1)
    logits = 3 * rng.standard_normal((rows, classes), np.float32)
    return {"logits": logits, "labels": arrays.draw_labels(rng, logits, _TRUE)}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        params, _ = cj.fit_temperature(given["logits"], given["labels"])
        return {"temperature": np.asarray(params.temperature)}

    return call


def _sklearn(inputs: Inputs) -> Call:
    # The fit of CalibratedClassifierCV(method="temperature"), without its overhead.
    from sklearn.calibration import _TemperatureScaling

    logits, labels = inputs["logits"], inputs["labels"]

    def call() -> Result:
        fitted = _TemperatureScaling().fit(logits, labels)
        return {"temperature": 1 / np.asarray(fitted.beta_)}

    return call


def torch_fit(logits: Any, labels: Any) -> np.ndarray:
    """The temperature that minimises torch's cross-entropy, by L-BFGS."""
    import torch

    temperature = torch.ones((), device=logits.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [temperature], lr=1.0, max_iter=50, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / temperature, labels)
        value.backward()
        return value

    solver.step(loss)
    return temperature.detach().cpu().numpy()


def _torch(inputs: Inputs) -> Call:
    given = arrays.as_torch(inputs)
    return lambda: {"temperature": torch_fit(given["logits"], given["labels"])}


def _probmetrics(inputs: Inputs) -> Call:
    from probmetrics.calibrators import TemperatureScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    given = arrays.as_torch(inputs)

    def call() -> Result:
        fitted = TemperatureScalingCalibrator(opt="bisection").fit_torch(
            CategoricalLogits(given["logits"]), given["labels"]
        )
        return {"temperature": 1 / np.asarray(fitted.invtemp_)}

    return call


def _netcal(inputs: Inputs) -> Call:
    from netcal.scaling import TemperatureScaling

    # With float32 its finite differences vanish, and it returns T = 1.
    probabilities = arrays.softmax(inputs["logits"].astype(np.float64))
    labels = inputs["labels"].astype(np.int64)

    def call() -> Result:
        fitted = TemperatureScaling().fit(probabilities, labels, tensorboard=False)
        return {"temperature": 1 / np.asarray(fitted.temperature).reshape(())}

    return call


def _torch_uncertainty(inputs: Inputs) -> Call:
    from torch_uncertainty.post_processing import TemperatureScaler

    given = arrays.as_torch(inputs)
    batches = [(given["logits"], given["labels"])]

    def call() -> Result:
        scaler = TemperatureScaler()
        scaler.fit(batches, progress=False)
        return {"temperature": scaler.temperature[0].detach().numpy().reshape(())}

    return call


def _floor(inputs: Inputs) -> Call:
    return arrays.max_and_exponentials(inputs, "logits", (0.5, 1.0))


def derivatives(
    logits: np.ndarray, labels: np.ndarray, inverse: float
) -> tuple[float, float]:
    """float64 first and second derivative of the negative log-likelihood by 1 / T."""
    first = second = 0.0
    for rows in arrays.blocks(*logits.shape):
        z = logits[rows].astype(np.float64)
        chosen = z[np.arange(len(z)), labels[rows]]
        p = arrays.softmax(z * inverse)
        mean = np.einsum("nc,nc->n", p, z)
        first += np.sum(mean - chosen)
        second += np.sum(np.einsum("nc,nc,nc->n", p, z, z) - mean**2)
    return first, second


def reference(inputs: Inputs) -> Result:
    """The float64 optimum: Newton's method on 1 / T within a bracket."""
    low, high, inverse = 1e-3, 1e3, 1.0
    for _ in range(100):
        first, second = derivatives(inputs["logits"], inputs["labels"], inverse)
        low, high = (inverse, high) if first < 0 else (low, inverse)
        new = inverse - first / second
        new = new if low < new < high else np.sqrt(low * high)
        if abs(new - inverse) < 1e-12 * inverse:
            break
        inverse = new
    return {"temperature": np.asarray(1 / new)}


def error(result: Result, reference: Result) -> float:
    """Relative error of the temperature."""
    return float(abs(result["temperature"] / reference["temperature"] - 1))


def _case(rows: int, classes: int, times: float, *without: str) -> Case:
    return Case(
        name=f"{rows:,} x {classes:,}",
        size={"rows": rows, "classes": classes},
        small={"rows": 1237, "classes": 11},
        targets=(
            faster("scikit-learn", times),
            at_most("floor", 2.5),
            error_below(1e-5, "relative error of T"),
            memory_below(150),
            first_below(0.6),
        ),
        without=without,
    )


_NOTES = """\
`fit_temperature` on float32 logits. The floor reads the logits three times, for their
maximum and two sums of exponentials. torch minimises the cross-entropy with L-BFGS,
learning rate 1 and a strong Wolfe line search; netcal is given float64 probabilities,
without which it does not move; the others run as they come. A peer is left out of a
size that takes it longer than 20 s a call."""

WORKLOAD = Workload(
    name="temperature",
    title="Temperature fit",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        "scikit-learn": Candidate(make=_sklearn, package="sklearn"),
        "torch": Candidate(make=_torch, package="torch"),
        "probmetrics": Candidate(make=_probmetrics, package="probmetrics"),
        "netcal": Candidate(make=_netcal, package="netcal"),
        "torch-uncertainty": Candidate(
            make=_torch_uncertainty, package="torch_uncertainty"
        ),
        "floor": Candidate(make=_floor, kind=Kind.FLOOR),
    },
    reference=reference,
    error=error,
    error_text="relative error of T",
    cases=(
        _case(50_000, 1_000, 40),
        _case(10_000, 100, 10),
        _case(1_000_000, 10, 30, "netcal", "torch-uncertainty"),
    ),
    growth=[{"rows": rows, "classes": 1_000} for rows in (6_250, 25_000, 100_000)],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
