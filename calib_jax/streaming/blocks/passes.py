"""Reading data larger than memory, in passes over blocks of rows.

Shapes: N examples in all, n in a block.
"""

import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core import arrays, checks, domains
from ..._core.domains import Domain

Block = Sequence[ArrayLike] | Mapping[str, ArrayLike]
Blocks = Iterable[Block]


def from_arrays(*arrays: ArrayLike, size: int = 65536) -> Blocks:
    """Blocks of arrays that share their first axis.

    A memory map, or an array on disk that can be sliced, is read one block at a time.

    Args:
      *arrays: arrays `[N, ...]`.
      size: static number of rows of a block; the last one may hold fewer.

    Returns:
      Blocks: each `iter()` gives tuples of slices of the arrays.

    Raises:
      ValueError: without arrays, for a size below 1, or where first axes differ.

    Examples:
      >>> for scores, outcomes in from_arrays(np.arange(3), np.ones(3), size=2):
      ...     print(scores, outcomes)
      [0 1] [1. 1.]
      [2] [1.]
    """
    size = checks.static_int("size", size, minimum=1)
    given: tuple[Any, ...] = tuple(map(_sliceable, arrays))
    if not given or any(not array.shape for array in given):
        raise ValueError("arrays: expected one array [N, ...] or more, got none.")
    checks.same_rows(**{f"arrays[{k}]": array for k, array in enumerate(given)})
    return _ArrayBlocks(arrays=given, size=size)


def _sliceable(array: Any) -> Any:
    """The array itself, which may be on disk; lists and pandas columns as NumPy's."""
    # A slice of a pandas column may mean its index.
    if hasattr(array, "shape") and not hasattr(array, "iloc"):
        return array
    return arrays.from_any("arrays", array, "arrays [N, ...] of numbers or bools")[0]


@dataclasses.dataclass(frozen=True, eq=False)
class _ArrayBlocks:
    arrays: tuple[Any, ...]
    size: int

    def __len__(self) -> int:
        return -(-self.arrays[0].shape[0] // self.size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, self.arrays[0].shape[0], self.size):
            yield tuple(array[start : start + self.size] for array in self.arrays)


class Passes:
    """Passes over blocks; each must see the same rows."""

    def __init__(
        self,
        blocks: Blocks,
        names: Sequence[str],
        progress: bool,
        limits: Mapping[str, Domain] = types.MappingProxyType({}),
    ) -> None:
        """Arguments as for `_each`, and domains that the first pass looks at."""
        # In jax.jit this one is traced, and so would be all results.
        checks.on_host("blocks", jnp.zeros(()))
        self._blocks, self._names, self._progress = blocks, names, progress
        self._limits = limits
        self._seen: tuple[int, int] | None = None

    def fold(self, step: Callable[..., Any], state: Any, description: str) -> Any:
        """`state = step(state, *arrays, where=mask)` for each block, one at a time.

        Waits for each step before it reads the next block: pending work would keep its
        blocks in memory.

        Raises:
          ValueError: also if this pass sees a different number of rows than the first,
            or other labels or outcomes.
        """
        num_rows = total = 0
        limits = self._limits if self._seen is None else {}
        shown = _shown(self._blocks, self._names, self._progress, description)
        for number, *rows, mask in _each(shown, self._names, limits):
            with _in_block(number):
                state = jax.block_until_ready(step(state, *rows, where=mask))
            num_rows += int(np.sum(mask))
            # Blocks may be cut in other places.
            total = (total + _sum_of_bits(rows[-1], mask)) % 2**64
        self._seen = self._seen or (num_rows, total)
        if (num_rows, total) != self._seen:
            got = f"{num_rows}" if num_rows != self._seen[0] else "others"
            raise ValueError(
                f"blocks: expected the same {self._seen[0]} rows at every iter(), got "
                f"{got} at a later one; pass a list, from_arrays(...), or an object "
                "whose __iter__ starts anew, and leave no rows out (drop_last)."
            )
        return state


def _sum_of_bits(values: Any, mask: Any) -> int:
    """A sum over the valid values that is exact, and the same in any order."""
    valid = np.ascontiguousarray(np.asarray(values)[np.asarray(mask)])
    return int(np.sum(valid.view(f"u{valid.itemsize}"), dtype=np.uint64))


@contextlib.contextmanager
def _in_block(number: int) -> Iterator[None]:
    """Puts the number of the block before the message of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"blocks[{number}]: {error}") from error


def _each(
    blocks: Iterable[Block], names: Sequence[str], limits: Mapping[str, Domain]
) -> Iterator[tuple[Any, ...]]:
    """Blocks of one size: the number of the block, the named arrays, and their mask.

    The first block that holds rows sets the size. A longer one is cut, a shorter one is
    padded with masked zeros, so that all share one trace.

    Args:
      blocks: tuples of arrays `[n, ...]`, one for each name, and maybe a bool mask; or
        dictionaries of them by name.
      names: names of the arrays, for errors.
      limits: domains of some of them.

    Returns:
      An iterator over tuples of a number and NumPy or JAX arrays `[size, ...]`.

    Raises:
      ValueError: for a block that is not such a tuple, or holds values outside a
        domain.
    """
    size = 0
    for number, block in enumerate(blocks):
        with _in_block(number):
            columns, mask = _parts(block, names)
            named = zip(names, columns, strict=True)
            flat = {name: column for name, column in named if column.ndim == 1}
            domains.check_host({**flat, "where": mask}, limits)
        num_rows = columns[0].shape[0]
        size = size or num_rows
        for start in range(0, num_rows, max(size, 1)):
            rows = slice(start, start + size)
            yield (
                number,
                *(_padded(column[rows], size) for column in columns),
                _padded(mask[rows], size),
            )


def _shown(
    blocks: Any, names: Sequence[str], progress: bool, description: str
) -> Iterable[Block]:
    """The blocks of one pass, with a progress bar if wanted.

    Raises:
      ValueError: for what is not iterable, and for an iterator, which can be read only
        once.
    """
    if not isinstance(blocks, Iterable):
        raise ValueError(
            f"blocks: expected an iterable of tuples ({', '.join(names)}[, where]), "
            f"got {type(blocks).__name__}."
        )
    if isinstance(blocks, Iterator):
        raise ValueError(
            "blocks: expected an object whose every iter() starts anew, because it is "
            f"read several times, got an iterator ({type(blocks).__name__}); pass a "
            "list, from_arrays(...), a data loader, or an object whose __iter__ opens "
            "the file."
        )
    if not progress:
        return blocks
    try:
        from rich.progress import track
    except ImportError as error:
        raise ImportError(
            "progress=True needs rich: pip install 'calib-jax[report]'."
        ) from error
    return track(blocks, description)


def _parts(block: Block, names: Sequence[str]) -> tuple[list[Any], Any]:
    """The arrays of a block and its mask: a tuple of arrays with the same rows."""
    every = (*names, "where")
    got = type(block).__name__
    if isinstance(block, Mapping):
        got = f"{got} of {', '.join(map(str, block))}"
        if set(names) <= set(block) <= set(every):
            block = [block[name] for name in every if name in block]
    elif isinstance(block, (tuple, list)):
        got = f"{got} of {len(block)}"
    if not isinstance(block, (tuple, list)) or not (
        len(names) <= len(block) <= len(every)
    ):
        raise ValueError(
            f"expected a tuple ({', '.join(names)}) or ({', '.join(every)}), or a "
            f"dictionary with these keys, got {got}."
        )
    for name, part in zip(every, block, strict=False):
        checks.on_host(name, part)
    named = {
        name: arrays.from_any(name, part, "an array [n, ...]")[0]
        for name, part in zip(every, block, strict=False)
    }
    if any(not array.shape for array in named.values()):
        raise ValueError("expected arrays [n, ...], got a scalar.")
    checks.same_rows(**named)
    mask = named.pop("where", np.ones(named[names[0]].shape[0], bool))
    return list(named.values()), checks.bools("where", mask)


def _padded(rows: Any, size: int) -> Any:
    """Rows with zeros after them, on the host: no program for each length."""
    missing = size - rows.shape[0]
    if missing == 0:
        return rows
    rows = np.asarray(rows)
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
