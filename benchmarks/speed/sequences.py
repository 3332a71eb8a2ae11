"""Scores of generated sequences: `python -m benchmarks.speed.sequences`."""

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
    faster,
    memory_below,
)

_CHECKED = 4
_LIKELIEST = 0.8


def make_inputs(sequences: int, tokens: int, vocabulary: int, dtype: str) -> Inputs:
    """Logits `[sequences, tokens, vocabulary]`; four in five tokens are the likeliest.

    bfloat16 logits are passed as their bits, uint16.
    """
    import ml_dtypes

    rng = np.random.default_rng(8)
    shape = (sequences, tokens)
    bits = dtype == "bfloat16"
    logits = np.empty((*shape, vocabulary), np.uint16 if bits else np.float32)
    best = np.empty(shape, np.int32)
    for number in range(sequences):
        drawn = 3 * rng.standard_normal((tokens, vocabulary), np.float32)
        best[number] = np.argmax(drawn, axis=1)
        logits[number] = (
            drawn.astype(ml_dtypes.bfloat16).view(np.uint16) if bits else drawn
        )
    other = rng.integers(0, vocabulary, shape, np.int32)
    chosen = np.where(rng.random(shape) < _LIKELIEST, best, other)
    return {"logits": logits, "tokens": chosen}


def _ours(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        scores = cj.sequence_log_likelihood(given["logits"], given["tokens"])
        return {"log_likelihood": np.asarray(scores)}

    return call


def _ours_mean_logit(inputs: Inputs) -> Call:
    import calib_jax as cj

    given = arrays.on_device(inputs)

    def call() -> Result:
        scores = cj.sequence_mean_logit(given["logits"], given["tokens"])
        return {"mean_logit": np.asarray(scores)}

    return call


def torch_log_likelihood(logits: Any, tokens: Any) -> np.ndarray:
    """Log-likelihood of each sequence in torch, in float32, one after the other.

    One sequence at a time saves memory and is faster than all at once.
    """
    import torch

    scores = []
    for z, chosen in zip(logits, tokens, strict=True):
        z = z.float()
        own = z.gather(-1, chosen[:, None])[:, 0]
        scores.append(torch.sum(own - torch.logsumexp(z, -1)))
    return torch.stack(scores).cpu().numpy()


def _torch_logsumexp(inputs: Inputs) -> Call:
    given = arrays.as_torch(inputs)
    return lambda: {
        "log_likelihood": torch_log_likelihood(given["logits"], given["tokens"])
    }


def _torch_cross_entropy(inputs: Inputs) -> Call:
    import torch

    given = arrays.as_torch(inputs)
    tokens = given["tokens"]
    logits = given["logits"].reshape(-1, given["logits"].shape[-1])

    def call() -> Result:
        losses = torch.nn.functional.cross_entropy(
            logits, tokens.reshape(-1), reduction="none"
        )
        scores = -losses.float().reshape(tokens.shape).sum(-1)
        return {"log_likelihood": scores.numpy()}

    return call


def reference(inputs: Inputs) -> Result:
    """float64 scores of the first few sequences."""
    import ml_dtypes

    logits, tokens = inputs["logits"][:_CHECKED], inputs["tokens"][:_CHECKED]
    if logits.dtype == np.uint16:
        logits = logits.view(ml_dtypes.bfloat16)
    likelihood, mean = [], []
    for z, chosen in zip(logits, tokens, strict=True):
        z = z.astype(np.float64)
        own = np.take_along_axis(z, chosen[:, None], axis=1)[:, 0]
        top = z.max(axis=1)
        total = top + np.log(np.sum(np.exp(z - top[:, None]), axis=1))
        likelihood.append(np.sum(own - total))
        mean.append(np.mean(own))
    return {"log_likelihood": np.array(likelihood), "mean_logit": np.array(mean)}


def error(result: Result, reference: Result) -> float:
    """Largest relative error over the sequences checked."""
    ((name, scores),) = result.items()
    wanted = reference[name]
    return float(np.max(np.abs(scores[: len(wanted)] / wanted - 1)))


def _case(dtype: str) -> Case:
    size = {"sequences": 64, "tokens": 128, "vocabulary": 32_000, "dtype": dtype}
    return Case(
        name=f"64 x 128 x 32,000, {dtype}",
        size=size,
        small={"sequences": 5, "tokens": 7, "vocabulary": 1009, "dtype": dtype},
        targets=(faster(Kind.LIBRARY, 2), memory_below(64)),
    )


_NOTES = f"""\
`sequence_log_likelihood` of sequences of tokens; `mean logit` is `sequence_mean_logit`,
which reads one logit a token. torch computes the logsumexp of one sequence at a time in
float32, or the cross-entropy of all tokens at once, which sums bfloat16 logits in
bfloat16. The floors: a sum over the logits, and the largest logit and sum of
exponentials of each token. The error is relative, of the first {_CHECKED} sequences."""

WORKLOAD = Workload(
    name="sequences",
    title="Sequence scores",
    notes=_NOTES,
    make_inputs=make_inputs,
    candidates={
        OURS: Candidate(make=_ours, kind=Kind.OURS),
        f"{OURS}, mean logit": Candidate(make=_ours_mean_logit, kind=Kind.OURS),
        "torch logsumexp": Candidate(make=_torch_logsumexp, package="torch"),
        "torch cross-entropy": Candidate(make=_torch_cross_entropy, package="torch"),
        "floor": Candidate(make=arrays.read_once, kind=Kind.FLOOR),
        "maximum and exponentials": Candidate(
            make=arrays.rows_of_exponentials, kind=Kind.FLOOR
        ),
    },
    reference=reference,
    error=error,
    error_text="relative error",
    cases=(_case("float32"), _case("bfloat16")),
    growth=[
        {"sequences": count, "tokens": 128, "vocabulary": 32_000, "dtype": "float32"}
        for count in (4, 16, 64)
    ],
)

if __name__ == "__main__":
    from .command import run_one

    run_one(WORKLOAD)
