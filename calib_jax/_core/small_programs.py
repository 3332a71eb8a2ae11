"""What a plain call does to compile little and seldom.

A call outside any transformation, on arrays of the host or of one CPU, is *plain*.

- Few rows are padded to one of a few sizes, so that a new number of rows does not
  compile a new program. The rows added are masked, or their results are cut off again.
- On a CPU, few entries are read by a program that was compiled with few optimisations:
  in a third of the time, and it runs at most about 2 ms longer.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from . import records

# Larger arrays are neither padded nor read by programs with few optimisations.
_MOST_ROWS, _MOST_ENTRIES = 2**16, 2**20
# Up to this many entries a program is run as it is written, without any optimisation.
_FEW_ENTRIES = 2**15
# The least number of rows after padding, and up to which it is a power of two.
_LEAST, _POWERS_UP_TO = 16, 512

Options = tuple[tuple[str, Any], ...]

# Compiles with the older and quicker code generator, all kernels as one module of LLVM
# (each module takes a few milliseconds), and without optimisations.
_LIGHT: Options = (
    ("xla_cpu_use_fusion_emitters", False),
    ("xla_cpu_parallel_codegen_split_count", 1),
)
_LIGHTEST: Options = (*_LIGHT, ("xla_backend_optimization_level", 0))

_TOP = jax.extend.core.get_opaque_trace_state()


@dataclasses.dataclass(frozen=True)
class Rows:
    """An argument whose rows may be padded.

    Attributes:
      name: of the argument.
      axis: the axis that is the examples.
      rank: its number of axes; of another rank it is not padded.
    """

    name: str
    axis: int
    rank: int

    @classmethod
    def parse(cls, text: str) -> "Rows":
        """From its name and axes, such as `"logits N C"`, which are `N` if not
        given."""
        name, *axes = text.split()
        axes = axes or ["N"]
        return cls(name=name, axis=axes.index("N"), rank=len(axes))


def is_plain(arguments: Any) -> bool:
    """Whether arguments are on the host or on one device, outside any trace."""
    if jax.extend.core.get_opaque_trace_state() != _TOP:
        return False
    return all(
        not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) == 1
        for leaf in jax.tree.leaves(arguments)
        if isinstance(leaf, jax.Array)
    )


def bucket(num_rows: int) -> int:
    """The number of rows after padding: a power of two, then eight sizes an octave."""
    if num_rows <= _LEAST:
        return _LEAST
    octave = (num_rows - 1).bit_length()
    step = 1 if num_rows <= _POWERS_UP_TO else 8
    unit = 2**octave // 2 // step
    return -(-num_rows // unit) * unit


def pad(
    arguments: dict[str, Any], rows: Sequence[Rows]
) -> tuple[dict[str, Any], int | None]:
    """Arguments with their rows padded, and the number of rows before.

    The number is None where nothing was padded: arrays were put on a device on purpose,
    are on an accelerator, or are large.
    """
    given = [row for row in rows if arguments[row.name] is not None]
    if not given or not all(_may_pad(leaf) for leaf in jax.tree.leaves(arguments)):
        return arguments, None
    first = arguments[given[0].name]
    if first.ndim != given[0].rank:
        return arguments, None
    num_rows = first.shape[given[0].axis]
    size = bucket(num_rows)
    entries = sum(arguments[row.name].size for row in given)
    if num_rows > _MOST_ROWS or entries > _MOST_ENTRIES:
        return arguments, None
    padded = dict(arguments)
    for row in rows:
        array = arguments[row.name]
        if array is None:
            if row.name == "where":
                padded["where"] = np.arange(size) < num_rows
        elif array.ndim == row.rank and array.shape[row.axis] == num_rows:
            padded[row.name] = _padded(np.asarray(array), row.axis, size)
    return padded, num_rows


def _may_pad(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array):
        return True
    return not leaf.committed and next(iter(leaf.devices())).platform == "cpu"


def _padded(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """A copy of an array with zeros after its rows."""
    shape = [*array.shape]
    num_rows, shape[axis] = shape[axis], size
    padded = np.zeros(shape, array.dtype)
    padded[(slice(None),) * axis + (slice(num_rows),)] = array
    return padded


def cut(results: Any, num_rows: int) -> Any:
    """Results of one entry per row, without those of the rows that were added."""

    def cut_array(array: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(array)[:num_rows])

    def cut_result(result: Any) -> Any:
        if not records.is_record(result):
            return cut_array(result)
        return dataclasses.replace(
            result,
            **{
                name: cut_array(getattr(result, name))
                for name in records.per_row(result)
            },
        )

    return jax.tree.map(cut_result, results, is_leaf=records.is_record)


def options(arguments: Any, *, loops: bool) -> Options:
    """Options of the compiler for the program of a plain call."""
    leaves = jax.tree.leaves(arguments)
    devices = {
        device
        for leaf in leaves
        if isinstance(leaf, jax.Array)
        for device in leaf.devices()
    }
    platforms = {device.platform for device in devices} or {jax.default_backend()}
    entries = sum(np.size(leaf) for leaf in leaves)
    if platforms != {"cpu"} or entries > _MOST_ENTRIES:
        return ()
    return _LIGHT if loops or entries > _FEW_ENTRIES else _LIGHTEST


@functools.cache
def accepted(wanted: Options) -> Mapping[str, Any] | None:
    """The options that this version of XLA knows; an unknown one would fail a call."""
    known = {}
    for name, value in wanted:
        try:
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except jax.errors.JaxRuntimeError:
            continue
        known[name] = value
    return known or None
