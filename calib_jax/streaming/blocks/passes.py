"""Tables of data larger than memory, read block by block.

Shapes: N examples in all, each block holding some of them. Blocks are any object that
gives them anew at each `iter()`: a list, a data loader, `from_arrays` of NumPy arrays
or memory maps. Several passes are made over them, and only one block is held at a
time. The answers are those of the functions on arrays in memory, bit for bit.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ... import binning, metrics
from ..._core import checks, dispatch
from ...binning import bin_sums, order_statistics, search
from ...binning.bin_sums import BinSums
from ...binning.bins import DEFAULT_NUM_BINS, Bins
from ...binning.tables import ReliabilityTable

Blocks = Iterable[Sequence[ArrayLike]]


def from_arrays(*arrays: ArrayLike, size: int = 65536) -> Blocks:
    """Blocks of arrays that share their first axis: NumPy arrays or memory maps.

    A memory map is read block by block, only when the blocks are.

    Args:
      *arrays: arrays `[N, ...]`.
      size: static number of rows of a block; the last one may hold fewer.

    Returns:
      Blocks: each `iter()` of them gives tuples of slices of the arrays.

    Raises:
      ValueError: without arrays, for a size below 1, or where first axes differ.

    Examples:
      >>> for scores, outcomes in from_arrays(np.arange(3), np.ones(3), size=2):
      ...     print(scores, outcomes)
      [0 1] [1. 1.]
      [2] [1.]
    """
    size = checks.static_int("size", size, minimum=1)
    given: tuple[Any, ...] = tuple(
        array if hasattr(array, "shape") else np.asarray(array) for array in arrays
    )
    if not given or any(not array.shape for array in given):
        raise ValueError("arrays: expected one array [N, ...] or more, got none.")
    checks.same_rows(**{f"arrays[{k}]": array for k, array in enumerate(given)})
    return _ArrayBlocks(arrays=given, size=size)


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
    """Passes over blocks that have to hold the same rows each time."""

    def __init__(self, blocks: Blocks, names: Sequence[str], progress: bool) -> None:
        """Arguments as for `each`."""
        self._blocks, self._names, self._progress = blocks, names, progress
        self._num_rows: int | None = None

    def fold(self, step: Callable[..., Any], state: Any, description: str) -> Any:
        """`state = step(state, *arrays, mask)` for each block, one at a time.

        A step is waited for before the next block is read: work that JAX has only
        promised would keep its blocks in memory.

        Raises:
          ValueError: also where this pass saw other rows than the first.
        """
        num_rows = 0
        for *arrays, mask in each(
            self._blocks,
            self._names,
            progress=self._progress,
            description=description,
        ):
            state = jax.block_until_ready(step(state, *arrays, mask))
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


def reliability_table(
    blocks: Blocks,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
    progress: bool = False,
) -> tuple[ReliabilityTable, Bins]:
    """The reliability table of more rows than fit in memory, and its bins.

    Bit for bit that of `calib_jax.reliability_table` with the bins that
    `calib_jax.equal_count_bins` cuts. Blocks are read four times, once where `bins` are
    given; counts are exact beyond 2^31 rows.

    Args:
      blocks: `Blocks` of (scores, outcomes) or (scores, outcomes, where): floating
        `[n]`; bool, integer or floating `[n]` in `[0, 1]`; and bool `[n]`.
      num_bins: static number of fresh equal-count bins; not used where `bins` are
        given.
      bins: optional `Bins` to use as they are.
      progress: whether to show a progress bar; it needs rich.

    Returns:
      `(ReliabilityTable, Bins)`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or for blocks that can be
        read only once.
      ImportError: where a progress bar is asked for and rich is missing.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 and Figure 1.

    Examples:
      >>> blocks = from_arrays(np.array([0.2, 0.6, 0.8]), np.array([0, 1, 0]), size=2)
      >>> table, bins = reliability_table(blocks, num_bins=2)
      >>> print(table.count, table.outcome, bins.edges)
      [2 1] [0.5 0. ] [0.8]
    """
    passes = Passes(blocks, ("scores", "outcomes"), progress)
    if bins is None:
        size = checks.static_int("num_bins", num_bins, minimum=1)
        bins = _equal_count_bins(passes, size)
    checks.instance("bins", bins, Bins)
    given = bins

    def step(state: BinSums, scores: Any, outcomes: Any, mask: Any) -> BinSums:
        rows = _scored(scores, outcomes)
        index = binning.bin_index(given, rows[0])
        return bin_sums.update(state, index, rows, where=mask)

    state = passes.fold(step, bin_sums.init(bins.num_bins, 2), "table")
    means = bin_sums.compute(state)
    table = ReliabilityTable(
        count=means.count,
        weight=means.weight,
        confidence=means.means[0],
        outcome=means.means[1],
    )
    return table, bins


def expected_calibration_error(
    blocks: Blocks,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
    progress: bool = False,
) -> jax.Array:
    """The expected calibration error of more rows than fit in memory.

    That of `calib_jax.expected_calibration_error`, bit for bit.

    Args:
      blocks: `Blocks` of (scores, outcomes) or (scores, outcomes, where), as for
        `reliability_table`, each array `[n]`.
      num_bins: static number of fresh equal-count bins; not used where `bins` are
        given.
      bins: optional `Bins` to use as they are.
      progress: whether to show a progress bar; it needs rich.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or for blocks that can be
        read only once.
      ImportError: where a progress bar is asked for and rich is missing.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3.

    Examples:
      >>> scores, outcomes = np.array([0.9, 0.2, 0.6, 0.4]), np.array([1, 0, 1, 0])
      >>> blocks = from_arrays(scores, outcomes, size=3)
      >>> print(expected_calibration_error(blocks, num_bins=2).round(3))
      0.275
    """
    table, _ = reliability_table(blocks, num_bins, bins=bins, progress=progress)
    return metrics.calibration_error_of_table(table)


def _scored(scores: Any, outcomes: Any) -> tuple[jax.Array, jax.Array]:
    score = checks.floats("scores", scores)
    outcome = checks.outcomes("outcomes", outcomes)
    checks.same_shape(scores=score, outcomes=outcome)
    return score, outcome


def _equal_count_bins(passes: Passes, num_bins: int) -> Bins:
    """Those of `binning.equal_count_bins`: keys found by counting, a pass a round."""
    nothing = np.int64(0), np.full(2, np.inf, np.float32)
    # int64, which JAX may lack: there may be more than 2^31 rows in all.
    count, ends = _fold_scores(
        lambda found, new: (found[0] + new[0], np.minimum(found[1], new[1])),
        _extent_of_block,
        nothing,
        passes,
        "bins, range",
    )
    cuts = np.arange(1, num_bins)
    starts = cuts * (count // num_bins) + np.minimum(cuts, count % num_bins)
    within, prefix = np.minimum(starts, count), np.zeros(num_bins - 1, np.uint32)
    lowest, unknown = map(np.asarray, order_statistics.key_range(jnp.asarray(ends)))
    most = order_statistics.digit_bits(num_bins - 1)
    while num_bins > 1 and unknown > 0:
        counts = _fold_scores(
            np.add,
            functools.partial(_count_block, lowest, prefix, unknown),
            np.zeros((num_bins - 1, 1), np.int64),
            passes,
            f"bins, {unknown} bits left",
        )
        # Ranks that share a prefix share the counts of the first of them.
        upto = np.cumsum(counts, axis=1)[np.searchsorted(prefix, prefix), :-1]
        below = upto <= within[:, None]
        within = within - np.max(np.where(below, upto, 0), axis=1, initial=0)
        bits = np.minimum(unknown, np.uint32(most))
        prefix = (prefix << bits) + np.sum(below, axis=1, dtype=np.uint32)
        unknown = unknown - bits
    edges = search.from_key(jnp.asarray(lowest + prefix))
    return Bins(edges=jnp.where(starts < count, edges, jnp.float32(jnp.inf)))


def _fold_scores(
    add: Callable[[Any, Any], Any],
    function: Callable[[jax.Array, jax.Array], Any],
    initial: Any,
    passes: Passes,
    description: str,
) -> Any:
    """Adds up a function of scores and mask of each block, in NumPy."""

    def step(state: Any, scores: Any, outcomes: Any, mask: Any) -> Any:
        score, _ = _scored(scores, outcomes)
        new = jax.tree.map(np.asarray, function(score, jnp.asarray(mask)))
        return add(state, new)

    return passes.fold(step, initial, description)


@dispatch.core
def _extent_of_block(scores: jax.Array, mask: jax.Array) -> Any:
    return order_statistics.extent((scores, mask))


@dispatch.core
def _count_block(
    lowest: jax.Array,
    prefix: jax.Array,
    unknown: jax.Array,
    scores: jax.Array,
    mask: jax.Array,
) -> jax.Array:
    return order_statistics.count_digits((scores, mask), lowest, prefix, unknown)


def each(
    blocks: Blocks,
    names: Sequence[str],
    *,
    progress: bool = False,
    description: str = "",
) -> Iterator[tuple[Any, ...]]:
    """Blocks of one size, each a tuple of the named arrays and last their mask.

    The first block that holds rows sets the size: a longer one is cut, a shorter one is
    padded with zeros that the mask leaves out, so that all share one trace.

    Args:
      blocks: tuples of arrays `[n, ...]`, one for each name and maybe a bool mask.
      names: what the arrays are, for errors.
      progress: whether to show a progress bar.
      description: what stands before the bar.

    Returns:
      An iterator over tuples of NumPy or JAX arrays `[size, ...]`, last the mask.

    Raises:
      ValueError: for an iterator that can be read only once, or a block that is not
        such a tuple.
    """
    if not isinstance(blocks, Iterable):
        raise ValueError(
            f"blocks: expected an iterable of tuples ({', '.join(names)}[, where]), "
            f"got {type(blocks).__name__}."
        )
    if iter(blocks) is blocks:
        raise ValueError(
            "blocks: expected an object whose every iter() starts anew, since it is "
            f"read several times, got an iterator ({type(blocks).__name__}); pass a "
            "list, from_arrays(...), a data loader, or an object whose __iter__ opens "
            "the file."
        )
    size = 0
    for number, block in enumerate(_shown(blocks, progress, description)):
        arrays, mask = _parts(block, names, number)
        num_rows = arrays[0].shape[0]
        size = size or num_rows
        for start in range(0, num_rows, max(size, 1)):
            rows = slice(start, start + size)
            yield (
                *(_padded(array[rows], size) for array in arrays),
                _padded(mask[rows], size),
            )


def _parts(
    block: Sequence[ArrayLike], names: Sequence[str], number: int
) -> tuple[list[Any], Any]:
    """The arrays of a block and its mask, checked as far as all blocks share it."""
    expected = f"({', '.join(names)}) or ({', '.join(names)}, where)"
    if not isinstance(block, (tuple, list)) or not (
        len(names) <= len(block) <= len(names) + 1
    ):
        size = f" of {len(block)}" if isinstance(block, (tuple, list)) else ""
        raise ValueError(
            f"blocks[{number}]: expected a tuple {expected}, got "
            f"{type(block).__name__}{size}."
        )
    given: list[Any] = [x if hasattr(x, "shape") else np.asarray(x) for x in block]
    if any(not x.shape for x in given):
        raise ValueError(f"blocks[{number}]: expected arrays [n, ...], got a scalar.")
    named = dict(zip((*names, "where"), given, strict=False))
    checks.same_rows(**named)
    mask = named.pop("where", np.ones(given[0].shape[0], bool))
    return list(named.values()), checks.bools("where", mask)


def _padded(rows: Any, size: int) -> Any:
    """Rows with zeros after them, on the host: each length would be a program."""
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
            "progress=True shows its bar with rich: pip install rich, or "
            "calib_jax[demo]."
        ) from error
    return track(blocks, description or "blocks")
