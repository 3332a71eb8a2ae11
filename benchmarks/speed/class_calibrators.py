"""What the workloads of scales, matrices and biases of classes share.

The error of a result is how far its objective is above the least: probabilities are
what is promised, and parameters that hardly matter may differ.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import arrays, temperature
from .cases import (
    Call,
    Case,
    Inputs,
    Kind,
    Result,
    error_below,
    faster,
    first_below,
    memory_below,
)

STRENGTH = 1.0


def make_inputs(rows: int, classes: int) -> Inputs:
    """Logits float32 `[rows, classes]` and labels, as for a temperature."""
    return temperature.make_inputs(rows, classes)


def floor(inputs: Inputs) -> Call:
    """One pass of a softmax over the logits."""
    return arrays.max_and_exponentials(inputs, "logits", (0.5, 1.0))


def parameters(slope: Any, bias: Any) -> Result:
    return {"slope": np.asarray(slope), "bias": np.asarray(bias)}


def torch_uncertainty(name: str, **more: Any) -> Callable[[Inputs], Call]:
    def make(inputs: Inputs) -> Call:
        from torch_uncertainty import post_processing

        given = arrays.as_torch(inputs)
        batches = [(given["logits"], given["labels"])]
        size = inputs["logits"].shape[1]

        def call() -> Result:
            scaler = getattr(post_processing, name)(size, **more)
            scaler.fit(batches, progress=False)
            slope, *bias = (part.detach().numpy() for part in scaler.inv_temperature)
            return parameters(slope, bias[0] if bias else np.zeros(size))

        return call

    return make


def _objective(inputs: Inputs, result: Result) -> float:
    """The loss in float64: of a matrix with its penalty, on log-probabilities."""
    slope, bias = (result[name].astype(np.float64) for name in ("slope", "bias"))
    total, matrix = 0.0, slope.ndim == 2
    for rows in arrays.blocks(*inputs["logits"].shape):
        x = inputs["logits"][rows].astype(np.float64)
        moved = x * slope if not matrix else np.log(arrays.softmax(x)) @ slope.T
        moved = moved + bias
        top = moved.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(moved - top).sum(axis=1)) + top[:, 0]
        own = moved[np.arange(len(x)), inputs["labels"][rows]]
        total += np.sum(normaliser - own)
    value = total / len(inputs["logits"])
    if matrix:
        size = len(bias)
        off = np.sum(slope**2) - np.sum(np.diag(slope) ** 2)
        value += STRENGTH * (off / (size * (size - 1)) + np.mean(bias**2))
        value += STRENGTH * np.var(np.diag(slope))
    return value


def reference(fit: Callable[[Inputs], Call]) -> Callable[[Inputs], Result]:
    """The objective at the optimum: from the fit, float64 steps of L-BFGS."""

    def least(inputs: Inputs) -> Result:
        from scipy import optimize

        start = fit(inputs)()
        slope, bias = (start[name].astype(np.float64) for name in ("slope", "bias"))
        x = inputs["logits"].astype(np.float64)
        if slope.ndim == 2:
            x = np.log(arrays.softmax(x))
        rows, size = np.arange(len(x)), len(bias)
        off = 1 - np.eye(size) if slope.ndim == 2 else 0.0
        pull = 2 * STRENGTH * (slope.ndim == 2)

        def value(params: np.ndarray) -> tuple[float, np.ndarray]:
            slope_, bias_ = params[:-size].reshape(slope.shape), params[-size:]
            moved = x @ slope_.T if slope.ndim == 2 else x * slope_
            p = arrays.softmax(moved + bias_)
            loss = -np.mean(np.log(p[rows, inputs["labels"]]))
            p[rows, inputs["labels"]] -= 1
            p /= len(x)
            first = p.T @ x if slope.ndim == 2 else np.sum(p * x, axis=0)
            first = first + pull / (size * (size - 1)) * off * slope_
            second = p.sum(axis=0) + pull / size * bias_
            loss += pull / 2 * np.sum(off * slope_**2) / (size * (size - 1))
            loss += pull / 2 * np.mean(bias_**2)
            if slope.ndim == 2:
                apart = np.diag(slope_) - np.mean(np.diag(slope_))
                first = first + pull / size * np.diag(apart)
                loss += pull / 2 * np.mean(apart**2)
            return loss, np.concatenate([first.ravel(), second])

        found = optimize.minimize(
            value,
            np.concatenate([slope.ravel(), bias]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20, "ftol": 1e-14, "gtol": 1e-12},
        )
        return {"loss": np.asarray(found.fun), **inputs}

    return least


def error(result: Result, reference: Result) -> float:
    """By how much the objective is above its least, relative to that."""
    value = _objective(reference, result)
    return float(value / reference["loss"] - 1)


def _case(rows: int, classes: int, times: float) -> Case:
    return Case(
        name=f"{rows:,} x {classes:,}",
        size={"rows": rows, "classes": classes},
        small={"rows": 1237, "classes": 11},
        targets=(
            faster(str(Kind.LIBRARY), times),
            error_below(1e-6, "objective above the least by"),
            memory_below(150),
            first_below(4),
        ),
    )


CASES = (_case(50_000, 100, 5), _case(50_000, 10, 5))
GROWTH = [{"rows": rows, "classes": 100} for rows in (6_250, 25_000, 100_000)]
