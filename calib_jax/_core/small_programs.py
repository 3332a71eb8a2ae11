"""What a plain call does to compile little and seldom.

A call outside any transformation, on arrays of the host or of one device, is *plain*.

- Few rows are padded to one of a few sizes, so that a new number of rows does not
  compile a new program. The rows added are masked, or their results are cut off again.
- A function of a few numbers runs on the host, by NumPy.
- On a CPU, few entries are read by a program that was compiled with few optimisations:
  in a third of the time, and it runs at most about 2 ms longer.
"""

import contextlib
import dataclasses
import enum
import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

from . import domains, records, transforms

# Larger arrays are neither padded nor read by programs with few optimisations.
_MOST_ROWS, MOST_ENTRIES = 2**15, 2**19
# Where each row is visited once, copying more than this would take as long as that.
_MOST_COPIED = 2**18
# Longer arrays are read by optimised programs: others would take half as long again.
_MOST_LIGHT_ROWS = 2**14
# Up to this many entries a program is run as it is written, without any optimisation.
_FEW_ENTRIES = 25_600
# Up to this many rows that is true of a fit, too.
_FEW_ROWS_OF_FITS = 2**9
# The same where entries are of tables and draws, of which little is computed.
_FEW_TABLE_ENTRIES = 2**17
# The least number of rows after padding, and up to which it is a power of two.
_LEAST, _POWERS_UP_TO = 16, 512

Options = tuple[tuple[str, Any], ...]


class Passes(enum.Enum):
    """How often a core visits its rows."""

    #: Once, so that a copy of many rows would take as long.
    ONE = enum.auto()
    #: A few times, as a fit does.
    FEW = enum.auto()
    #: A few times, by a program so large that optimising it for a few thousand entries
    #: would take longer than its loops.
    FEW_BY_MUCH = enum.auto()
    #: Many times, as resampling does: unoptimised loops would cost more than they save.
    MANY = enum.auto()
    #: Many times, in loops that only the newer code generator vectorises.
    ALL_OPTIMISED = enum.auto()


# Compiles with the older and quicker code generator, all kernels as one module of LLVM
# (each module takes a few milliseconds), and without optimisations.
_LIGHT: Options = (
    ("xla_cpu_use_fusion_emitters", False),
    ("xla_cpu_parallel_codegen_split_count", 1),
)
_LIGHTEST: Options = (*_LIGHT, ("xla_backend_optimization_level", 0))

# Older versions of JAX have it in another place.
_trace_state = getattr(jax.extend.core, "get_opaque_trace_state", None) or (
    jax.core.get_opaque_trace_state
)


def _outside_any_trace() -> Any:
    """The state of a new thread: this module may be imported while JAX traces."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(_trace_state()))
    thread.start()
    thread.join()
    return found[0]


_TOP = _outside_any_trace()


@dataclasses.dataclass(frozen=True)
class RowArgument:
    """An argument whose rows may be padded, an array or a tree of arrays.

    Attributes:
      name: of the argument.
      axis: the axis that is the examples.
      rank: its number of axes; of another rank it is not padded.
      more: whether it may have more axes than that.
    """

    name: str
    axis: int
    rank: int
    more: bool

    @classmethod
    def parse(cls, text: str) -> "RowArgument":
        """From its name and axes, such as `"logits N ... C"`, by default `N`."""
        name, *axes = text.split()
        axes = axes or ["N"]
        more = "..." in axes
        return cls(name, axes.index("N"), len(axes) - more, more)

    def fits(self, array: Any) -> bool:
        """Whether an array has the axes."""
        return array.ndim == self.rank or (self.more and array.ndim > self.rank)

    @property
    def masks(self) -> bool:
        """Whether it says which rows count, and not which tokens."""
        return self.name == "where" and self.rank == 1


def is_large(leaves: Sequence[Any]) -> bool:
    """Whether any array is too large to be padded or read by a quick program."""
    return any(
        leaf.size > MOST_ENTRIES or max(leaf.shape, default=0) > _MOST_ROWS
        for leaf in leaves
        if hasattr(leaf, "shape")
    )


def is_plain(leaves: Sequence[Any]) -> bool:
    """Whether arrays are on the host or on one device, outside any transformation."""
    if (
        _trace_state() != _TOP
        or jax.config.jax_disable_jit  # type: ignore[attr-defined]
        or not jax.sharding.get_abstract_mesh().empty
    ):
        return False
    return all(
        not isinstance(leaf, jax.core.Tracer) and len(leaf.devices()) == 1
        for leaf in leaves
        if isinstance(leaf, jax.Array)
    )


def run_on_host(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    limits: Mapping[str, domains.Domain],
) -> Any:
    """The results of a function of NumPy arrays, as arrays where the arguments are."""
    given = jax.tree.map(_of_32_bits, arguments)
    for name, domain in limits.items():
        if given[name] is not None:
            given[name] = domain.confine(given[name])
    # As in XLA, a division by 0 is no error.
    with np.errstate(all="ignore"):
        results = function(**given)
    results = jax.tree.map(_of_32_bits, results)
    return jax.device_put(results, _committed_device(jax.tree.leaves(arguments)))


def _of_32_bits(value: Any) -> np.ndarray:
    """A copy: the result may outlive the argument that it was read from."""
    array = np.array(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float32, copy=False)
    if jnp.issubdtype(array.dtype, jnp.signedinteger):
        return array.astype(np.int32, copy=False)
    return array


def _committed_device(leaves: Sequence[Any]) -> Any:
    """The device on which arrays were put on purpose; None for the default one."""
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            if leaf.committed:
                return next(iter(leaf.sharding.addressable_devices), None)
    return None


def where_arrays_are(leaves: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """Makes the device of arrays the default one, if it is of another platform.

    What is traced meanwhile knows for which platform (`transforms.platform`); JAX
    traces once more for another default device.
    """
    device = _committed_device(leaves)
    if device is None or device.platform == transforms.platform():
        return contextlib.nullcontext()
    return jax.default_device(device)


def bucket(num_rows: int) -> int:
    """The number of rows after padding: a power of two, then eight sizes an octave."""
    if num_rows <= _LEAST:
        return _LEAST
    octave = (num_rows - 1).bit_length()
    step = 1 if num_rows <= _POWERS_UP_TO else 8
    unit = 2**octave // 2 // step
    return -(-num_rows // unit) * unit


def pad(
    arguments: dict[str, Any],
    leaves: Sequence[Any],
    rows: Sequence[RowArgument],
    passes: Passes,
) -> tuple[dict[str, Any], int | None]:
    """Arguments with their rows padded, and the number of rows before.

    The number is None where nothing was padded: arrays were put on a device on purpose,
    are on an accelerator, are large, or have no rows.

    Args:
      arguments: by name.
      leaves: the arrays among them.
      rows: what may be padded.
      passes: how often rows are visited.
    """
    if not rows or not all(map(_may_pad, leaves)):
        return arguments, None
    num_rows, entries = None, 0
    for row in rows:
        for array in _arrays(arguments.get(row.name)):
            if row.fits(array):
                num_rows = array.shape[row.axis] if num_rows is None else num_rows
                entries += array.size
            elif num_rows is None:
                return arguments, None
    most = _MOST_COPIED if passes is Passes.ONE else MOST_ENTRIES
    if not num_rows or num_rows > _MOST_ROWS or entries > most:
        return arguments, None
    padded, size = dict(arguments), bucket(num_rows)
    for row in rows:
        value = arguments.get(row.name)
        if value is not None:
            padded[row.name] = _padded(value, row, num_rows, size)
        elif row.masks:
            padded[row.name] = np.arange(size) < num_rows
    if _guarded() and any(isinstance(leaf, jax.Array) for leaf in leaves):
        # These were on the device, and go back there explicitly.
        padded = jax.device_put(padded)
    return padded, num_rows


def _guarded() -> bool:
    """Whether `jax.transfer_guard` watches what goes to the device."""
    guard = jax.config.jax_transfer_guard_host_to_device  # type: ignore[attr-defined]
    return guard not in (None, "allow")


def _arrays(value: Any) -> Sequence[Any]:
    return (value,) if hasattr(value, "ndim") else jax.tree.leaves(value)


def _may_pad(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array):
        return True
    return not leaf.committed and next(iter(leaf.devices())).platform == "cpu"


def _padded(value: Any, row: RowArgument, num_rows: int, size: int) -> Any:
    """A copy of an array, or of each of a tree, with more rows.

    They repeat the last one, so that they cause no NaN where there was none; a mask
    leaves them out.
    """
    if not hasattr(value, "ndim"):
        return jax.tree.map(lambda leaf: _padded(leaf, row, num_rows, size), value)
    if size == num_rows or not row.fits(value) or value.shape[row.axis] != num_rows:
        return value
    array, shape, axis = np.asarray(value), [*value.shape], row.axis
    shape[axis] = size
    padded = np.empty(shape, array.dtype)
    before = (slice(None),) * axis
    padded[(*before, slice(num_rows))] = array
    last = False if row.masks else array[(*before, slice(-1, None))]
    padded[(*before, slice(num_rows, None))] = last
    return padded


def cut(results: Any, rows: Sequence[RowArgument], num_rows: int) -> Any:
    """Results without the entries of the rows that were added.

    Where a mask left these out, only records have entries for each row, in the fields
    whose first axis is `N`; otherwise every array has.
    """
    if not any(row.masks for row in rows):
        return _first(results, num_rows)
    if not records.is_record(results):
        return results
    of_rows = {name: getattr(results, name) for name in records.per_row(results)}
    if not of_rows:
        return results
    return dataclasses.replace(results, **_first(of_rows, num_rows))


def _first(arrays: Any, num_rows: int) -> Any:
    """The first entries of arrays, which all have equally many."""
    if len(jax.tree.leaves(arrays)[0]) == num_rows:
        return arrays
    # Slicing on the device, and `jnp.asarray`, compile a program for each size.
    return jax.device_put(
        jax.tree.map(lambda array: np.asarray(array)[:num_rows], arrays)
    )


def shortened(results: Any, length: int, given: Any) -> Any:
    """The first entries of the results of a plain call, on the device of its arrays."""
    # Slicing on the device would compile a program for each size.
    return jax.device_put(
        jax.tree.map(lambda array: np.asarray(array)[:length], results),
        _committed_device(jax.tree.leaves(given)),
    )


def options(
    leaves: Sequence[Any], rows: Sequence[RowArgument], passes: Passes
) -> Options:
    """Options of the compiler for the program of a plain call (`where_arrays_are`)."""
    shapes = [np.shape(leaf) for leaf in leaves]
    longest = max((max(shape, default=1) for shape in shapes), default=1)
    entries = sum(map(math.prod, shapes))
    if (
        longest > _MOST_LIGHT_ROWS
        or entries > MOST_ENTRIES
        or passes is Passes.ALL_OPTIMISED
        or transforms.platform() != "cpu"
    ):
        return ()
    few = _FEW_ENTRIES if rows else _FEW_TABLE_ENTRIES
    if (
        entries > few
        or passes is Passes.MANY
        or (passes is Passes.FEW and longest > _FEW_ROWS_OF_FITS)
    ):
        return _LIGHT
    return _LIGHTEST


@functools.cache
def accepted(wanted: Options) -> dict[str, Any] | None:
    """The options that this version of XLA knows; an unknown one would fail a call."""
    known = {}
    for name, value in wanted:
        try:
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except jax.errors.JaxRuntimeError:
            continue
        known[name] = value
    return known or None
