"""Reading data larger than memory, in passes over blocks of rows.

Shapes: N examples in all, n in a block.
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
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
        self._blocks, self._names, self._progress = blocks, names, progress
        self._limits = limits
        self._num_rows: int | None = None

    def fold(self, step: Callable[..., Any], state: Any, description: str) -> Any:
        """`state = step(state, *arrays, where=mask)` for each block, one at a time.

        Waits for each step before it reads the next block: pending work would keep its
        blocks in memory.

        Raises:
          ValueError: also if this pass sees a different number of rows than the first.
        """
        num_rows = 0
        passed = _each(self._blocks, self._names, self._progress, description)
        for *rows, mask in passed:
            if self._num_rows is None:
                named = dict(zip(self._names, rows, strict=True))
                domains.check_host({**named, "where": mask}, self._limits)
            state = jax.block_until_ready(step(state, *rows, where=mask))
            num_rows += int(np.sum(mask))
        if self._num_rows is None:
            self._num_rows = num_rows
        if num_rows != self._num_rows:
            raise ValueError(
                f"blocks: expected the same {self._num_rows} rows at every iter(), got "
                f"{num_rows} at a later one; pass a list, from_arrays(...), or an "
                "object whose __iter__ starts anew."
            )
        return state


def _each(
    blocks: Blocks,
    names: Sequence[str],
    progress: bool,
    description: str,
) -> Iterator[tuple[Any, ...]]:
    """Blocks of one size, each a tuple of the named arrays with their mask last.

    The first block that holds rows sets the size. A longer one is cut, a shorter one is
    padded with masked zeros, so that all share one trace.

    Args:
      blocks: tuples of arrays `[n, ...]`, one for each name, and maybe a bool mask; or
        dictionaries of them by name.
      names: names of the arrays, for errors.
      progress: whether to show a progress bar.
      description: the text before the bar.

    Returns:
      An iterator over tuples of NumPy or JAX arrays `[size, ...]`.

    Raises:
      ValueError: for an iterator, which can be read only once, or a block that is not
        such a tuple.
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
    size = 0
    for number, block in enumerate(_shown(blocks, progress, description)):
        columns, mask = _parts(block, names, number)
        num_rows = columns[0].shape[0]
        size = size or num_rows
        for start in range(0, num_rows, max(size, 1)):
            rows = slice(start, start + size)
            yield (
                *(_padded(column[rows], size) for column in columns),
                _padded(mask[rows], size),
            )


def _parts(block: Block, names: Sequence[str], number: int) -> tuple[list[Any], Any]:
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
            f"blocks[{number}]: expected a tuple ({', '.join(names)}) or "
            f"({', '.join(every)}), or a dictionary with these keys, got {got}."
        )
    named = {
        name: arrays.from_any(name, part, "an array [n, ...]")[0]
        for name, part in zip(every, block, strict=False)
    }
    if any(not array.shape for array in named.values()):
        raise ValueError(f"blocks[{number}]: expected arrays [n, ...], got a scalar.")
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


def _shown(blocks: Blocks, progress: bool, description: str) -> Iterable[Any]:
    if not progress:
        return blocks
    try:
        from rich.progress import track
    except ImportError as error:
        raise ImportError(
            "progress=True needs rich: pip install rich, or calib_jax[demo]."
        ) from error
    return track(blocks, description)
