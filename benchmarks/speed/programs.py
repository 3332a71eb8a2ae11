"""Checks whether compiled programs hold a buffer of the size of the logits."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import calib_jax as cj

# As a share of the logits' bytes: a copy in any type would take at least a quarter.
LARGEST_SHARE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled program.

    Attributes:
      name: name of the call and its logits.
      logits: bytes of the logits.
      temporary: bytes that the program allocates beside arguments and results; None
        where the compiler does not tell.
    """

    name: str
    logits: int
    temporary: int | None

    @property
    def share(self) -> float | None:
        """Temporary memory as a share of the logits."""
        return None if self.temporary is None else self.temporary / self.logits


def _compile(
    name: str, function: Callable[..., Any], dtype: Any, *shape: int
) -> Program:
    logits = jax.ShapeDtypeStruct(shape, dtype)
    labels = jax.ShapeDtypeStruct(shape[:-1], jnp.int32)
    compiled = jax.jit(function).lower(logits, labels).compile()
    analysis = compiled.memory_analysis()
    sizes = " x ".join(f"{size:,}" for size in shape)
    return Program(
        name=f"`{name}`, {sizes} {jnp.dtype(dtype)}",
        logits=logits.size * jnp.dtype(dtype).itemsize,
        temporary=None if analysis is None else analysis.temp_size_in_bytes,
    )


def compile_all(
    rows: int = 50_000, classes: int = 1_000, sequences: int = 64
) -> list[Program]:
    """Compiles for the CPU the calls that read logits, without making arrays.

    Args:
      rows: N of `[N, C]`.
      classes: C.
      sequences: of 128 tokens each, from a vocabulary of 32,000.
    """
    matrix, tokens = (rows, classes), (sequences, 128, 32_000)
    with jax.default_device(jax.devices("cpu")[0]):
        return [
            _compile("fit_temperature", cj.fit_temperature, jnp.float32, *matrix),
            _compile("top1", lambda z, _: cj.top1(z), jnp.float32, *matrix),
            _compile("confident_learning", cj.confident_learning, jnp.float32, *matrix),
            *(
                _compile("sequence_log_likelihood", _likelihood, dtype, *tokens)
                for dtype in (jnp.float32, jnp.bfloat16)
            ),
        ]


def _likelihood(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    return cj.sequence_log_likelihood(logits, tokens)
