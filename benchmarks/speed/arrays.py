"""Made-up inputs, their conversion, and the floors: the least a machine must do.

Libraries are imported where they are used, so that a process loads only its own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .cases import Call, Inputs, Result

BLOCK_ELEMENTS = 2**22


def blocks(num_rows: int, row_size: int = 1) -> Iterator[slice]:
    """Slices of rows of a few million elements, for float64 that fits in memory."""
    step = max(1, BLOCK_ELEMENTS // row_size)
    for start in range(0, num_rows, step):
        yield slice(start, min(num_rows, start + step))


def bin_starts(rows: int, num_bins: int) -> np.ndarray:
    """Rank at which each bin of equal count starts, as `numpy.array_split` cuts."""
    k = np.arange(num_bins)
    return k * (rows // num_bins) + np.minimum(k, rows % num_bins)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    e /= e.sum(-1, keepdims=True)
    return e


def draw_labels(
    rng: np.random.Generator, logits: np.ndarray, temperature: float
) -> np.ndarray:
    """Labels int32 `[N]` drawn from `softmax(logits / temperature)`."""
    labels = np.empty(len(logits), np.int32)
    for rows in blocks(*logits.shape):
        upto = np.cumsum(softmax(logits[rows] / np.float32(temperature)), axis=1)
        goal = rng.random((len(upto), 1), np.float32) * upto[:, -1:]
        labels[rows] = np.argmax(upto > goal, axis=1)
    return labels


def confidences(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 in (0, 1), and outcomes; the gap changes sign along the scores."""
    scores = np.sqrt(rng.random(shape, np.float32)) * np.float32(0.998) + 1e-3
    gap = 0.08 * np.sin(9 * scores)
    outcomes = rng.random(shape, np.float32) < np.clip(scores + gap, 0, 1)
    return scores.astype(np.float32), outcomes


def on_device(inputs: Inputs) -> dict[str, Any]:
    """JAX arrays by name, on a device that has computed something before."""
    import jax
    import jax.numpy as jnp
    import ml_dtypes

    arrays = {
        name: jnp.asarray(
            array.view(ml_dtypes.bfloat16) if array.dtype == np.uint16 else array
        )
        for name, array in inputs.items()
    }
    jax.block_until_ready((arrays, jnp.zeros(8) + 1.0))
    return arrays


def as_torch(inputs: Inputs) -> dict[str, Any]:
    """torch tensors by name; integers become labels as torch expects them."""
    import torch

    tensors = {}
    for name, array in inputs.items():
        if array.dtype == np.uint16:
            tensors[name] = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        elif array.dtype == np.int32:
            tensors[name] = torch.from_numpy(array.astype(np.int64))
        else:
            tensors[name] = torch.from_numpy(array)
    return tensors


def read_once(inputs: Inputs) -> Call:
    """Floor: a sum over every input, which reads each once."""
    import jax
    import jax.numpy as jnp

    arrays = on_device(inputs)

    @jax.jit
    def sums(arrays: dict[str, jax.Array]) -> list[jax.Array]:
        dtypes = {"f": jnp.float32, "V": jnp.float32}
        return [
            jnp.sum(array.astype(dtypes.get(array.dtype.kind, jnp.int32)))
            for array in arrays.values()
        ]

    return lambda: {"sums": np.array(sums(arrays))}


def max_and_exponentials(inputs: Inputs, name: str, scales: tuple[float, ...]) -> Call:
    """Floor: the largest number, and a sum of exponentials for each scale.

    Each is a pass of its own, since one program would fuse them as it pleases.
    """
    import jax
    import jax.numpy as jnp

    logits = on_device({name: inputs[name]})[name]
    # A full reduction is fastest over long rows.
    width = 1000 if logits.size % 1000 == 0 else logits.shape[-1]
    logits = logits.reshape(-1, width)
    largest = jax.jit(lambda z: jnp.max(jnp.max(z, axis=1)).astype(jnp.float32))

    @jax.jit
    def exponentials(z: jax.Array, scale: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sum(jnp.exp(z.astype(jnp.float32) * scale), axis=1))

    factors = [jnp.float32(scale) for scale in scales]

    def call() -> Result:
        parts = [largest(logits), *(exponentials(logits, scale) for scale in factors)]
        return {"parts": np.array(parts)}

    return call


def rows_of_exponentials(inputs: Inputs) -> Call:
    """Floor: largest logit and sum of exponentials of each row, in one program."""
    import jax
    import jax.numpy as jnp

    logits = on_device({"logits": inputs["logits"]})["logits"]

    @jax.jit
    def reduce(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Converted inside each reduction: if it were shared, XLA would write the whole
        # array.
        exponentials = jnp.exp(z.astype(jnp.float32))
        return jnp.max(z, axis=-1).astype(jnp.float32), jnp.sum(exponentials, axis=-1)

    return lambda: {"rows": np.array(reduce(logits))}


def sort_scores(inputs: Inputs) -> Call:
    """Floor for workloads that sort: `np.sort` of the scores."""
    scores = inputs["scores"]

    def call() -> Result:
        np.sort(scores)
        return {}

    return call
