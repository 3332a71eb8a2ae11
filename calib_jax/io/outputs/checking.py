"""What is asked of all rows: an id once, and values of their kind."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..responses import shown
from .left_out import LeftOut
from .rows import ROUNDING, Rows

# So many entries are looked at together.
_BLOCK = 2**22
PERCENT = "write percentages as shares, 0.93 for 93."


def unique(rows: Rows, repeats: str | None, left_out: LeftOut) -> Rows:
    """Rows with each id once.

    Raises:
      ValueError: if rows of one id differ and `repeats` does not say which to keep.
    """
    if len(set(rows.ids)) == len(rows):
        return rows
    by_id: dict[str, list[int]] = {}
    for row, one in enumerate(rows.ids):
        by_id.setdefault(one, []).append(row)
    equal, dropped = np.zeros((2, len(rows)), bool)
    differ: list[list[int]] = []
    for same_id in by_id.values():
        if all(_same(rows, row, same_id[0]) for row in same_id[1:]):
            equal[same_id[1:]] = True
        else:
            differ.append(same_id)
            dropped[same_id[:-1] if repeats == "last" else same_id[1:]] = True
    if differ and repeats is None:
        first, *others = differ[0]
        other = next(row for row in others if not _same(rows, row, first))
        why = "reruns, epochs or several answers?"
        if rows.places.file(first) != rows.places.file(other):
            why = "two models? Then read one at a time; if these are reruns,"
        raise ValueError(
            f"{left_out.path}: id {shown(rows.ids[first])} has different values in "
            f"{rows.places.name(first)} and {rows.places.name(other)} ({len(differ)} "
            f"such ids): {why} keep one of each with "
            'repeats="first" or repeats="last".'
        )
    which = "an earlier" if repeats == "last" else "a later"
    rows.drop(equal, "the same row once more", left_out)
    rows.drop(dropped, f"{which} row of the same id, with other values", left_out)
    return rows.take(np.flatnonzero(~equal & ~dropped))


def _same(rows: Rows, row: int, first: int) -> bool:
    numbers = (rows.values, rows.outcomes)
    others = (rows.labels, rows.predictions, rows.texts)
    return all(
        part is None or np.array_equal(part[row], part[first], equal_nan=True)
        for part in numbers
    ) and all(part is None or part[row] == part[first] for part in others)


def checked(rows: Rows, left_out: LeftOut, smoothing: float | None) -> Rows:
    """Rows whose values are what their kind says.

    Raises:
      ValueError: for values outside the kind's domain, naming the first row.
    """
    if left_out.keeps_missing and rows.values.size and _none(rows.values):
        # Without a number nothing tells how many classes there would be.
        rows.kind, rows.values = "scores", np.full(len(rows), np.nan, np.float32)
        rows.scale, rows.of_class_one = None, False
        smoothing = None
    values = rows.values
    if smoothing is not None and rows.kind != "probabilities":
        raise ValueError(f"smoothing: is for probabilities, and these are {rows.kind}.")
    if rows.kind == "scores":
        with np.errstate(over="ignore"):
            rows.values = np.asarray(values, np.float32)
        bad = ~np.isfinite(rows.values)
        return _without(rows, bad, "a score that is NaN or infinite", left_out)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"{left_out.path}: expected {rows.kind} [N, C] with a column for each of "
            f"two classes or more, got {list(values.shape)}; one number a row is "
            "kind='scores'."
        )
    bad = _any(values, np.isnan)
    rows = _without(rows, bad, "a NaN among the values", left_out)
    _check_domain(rows, left_out)
    if rows.kind == "logits":
        if rows.values.dtype.itemsize > 4 or rows.values.dtype.kind in "iub":
            with np.errstate(over="ignore"):
                rows.values = rows.values.astype(np.float32)
        bad = _any(rows.values, np.isposinf)
        rows = _without(rows, bad, "a logit of +inf", left_out)
    nothing = {
        "probabilities": 0.0,
        # What is below becomes -inf.
        "log_probabilities": float(np.finfo(np.float32).min),
    }.get(rows.kind, -np.inf)
    bad = ~_any(rows.values, lambda block: (block > nothing) | np.isnan(block))
    rows = _without(rows, bad, "no option has a probability", left_out)
    if rows.kind != "logits":
        rows.values = _log_probabilities(rows, smoothing)
    return rows


def _none(values: np.ndarray) -> bool:
    """Whether there is no number at all."""
    rows = values.reshape(len(values), -1)
    return not _any(rows, lambda block: ~np.isnan(block)).any()


def _without(rows: Rows, bad: np.ndarray, reason: str, left_out: LeftOut) -> Rows:
    """Without rows that are bad, or with NaN in them where each row is kept."""
    kept = rows.drop(bad, reason, left_out)
    if not left_out.keeps_missing or not bad.any():
        return kept
    rows.values = np.array(rows.values)
    rows.values[bad] = np.nan
    return rows


def _check_domain(rows: Rows, left_out: LeftOut) -> None:
    if rows.kind == "logits" or not len(rows):
        return
    if rows.kind == "log_probabilities":
        bad, expected = _any(rows.values, lambda x: x > ROUNDING), "at most 0"
    else:
        bad = _any(rows.values, lambda x: (x < -ROUNDING) | (x > 1 + ROUNDING))
        expected = "in [0, 1]"
    if bad.any():
        row = int(np.argmax(bad))
        values = np.asarray(rows.values[row], float)
        text = np.array2string(values, precision=4, threshold=6)
        percent = values.min() >= 0 and 99 <= values.sum() <= 101
        raise ValueError(
            f"{left_out.path}: expected {rows.kind} {expected}, got "
            f"{' '.join(text.split())} ({rows.row_name(row)}); "
            + (PERCENT if percent else "if they are another kind, say so with kind=.")
        )
    if rows.kind == "probabilities":
        _check_sums(rows, left_out)


def _check_sums(rows: Rows, left_out: LeftOut) -> None:
    """Probabilities of one answer each add up to 1, or to less if some are not kept."""
    num_classes = rows.values.shape[1]
    sums = np.concatenate(
        [np.asarray(part, float).sum(axis=1) for part in _blocks(rows.values)]
    )
    # Of rows that are kept without values.
    sums[np.isnan(sums)] = 1.0
    # Two decimals are off by 0.005 each.
    slack = 0.01 + 0.005 * min(num_classes, 8)
    row = int(np.argmax(sums))
    if sums[row] > 1 + slack:
        raise ValueError(
            f"{left_out.path}: expected probabilities that add up to 1, got a sum of "
            f"{sums[row]:.4g} ({rows.row_name(row)}); if several labels may be "
            "right at once, read one column at a time, with kind='scores'."
        )
    few = sums < 1 - slack
    if few.any():
        row = int(np.argmax(few))
        rows.notes.append(
            f"The probabilities of {int(few.sum())} of {len(rows)} rows add up to less "
            f"than 1 (first: {sums[row]:.3g} in {rows.row_name(row)}); they are kept "
            "as they are."
        )


def _log_probabilities(rows: Rows, smoothing: float | None) -> np.ndarray:
    """float32 `[N, C]`; notes say how many are -inf, or how they were smoothed."""
    found = np.empty(rows.values.shape, np.float32)
    start, where = 0, rows.class_where
    for block in _blocks(rows.values):
        wide = np.asarray(block, np.float64)
        if rows.kind == "probabilities":
            wide = np.clip(wide, 0.0, 1.0)
            if smoothing is not None:
                real = np.ones(wide.shape) if where is None else where[start:]
                real = real[: len(wide)]
                even = real / real.sum(axis=1, keepdims=True)
                wide = (1 - smoothing) * wide + smoothing * even
            with np.errstate(divide="ignore"):
                wide = np.log(wide)
        with np.errstate(over="ignore"):
            found[start : start + len(block)] = np.minimum(wide, 0.0)
        start += len(block)
    if smoothing is not None:
        rows.notes.append(
            f"{smoothing:g} of each row's probability is spread evenly over its "
            "options."
        )
    zero = found == -np.inf
    if where is not None:
        zero &= where
    bad = zero.any(axis=1)
    if bad.any():
        rows.notes.append(
            f"{int(bad.sum())} of {len(rows)} rows have {rows.zeros} (first: "
            f"{rows.row_name(int(np.argmax(bad)))}); its log-probability is -inf, "
            "which a fit refuses where it is the label's."
        )
    return found


def _any(values: np.ndarray, test: Callable[[Any], np.ndarray]) -> np.ndarray:
    """bool `[N]`: rows with a value for which the test holds."""
    parts = [test(block).any(axis=1) for block in _blocks(values)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each: an array of a file's bytes stays on the disk."""
    size = max(1, _BLOCK // max(1, values[:1].size))
    return [values[start : start + size] for start in range(0, len(values), size)]
