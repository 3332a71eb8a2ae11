"""Checks of values on the host that name the first bad row.

Compiled functions never raise on values. Call these once where data enters, outside
`jax.jit`. Arrays are copied to the host; masked rows may hold anything.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, masking
from . import host


def validate_logits(
    logits: ArrayLike,
    *,
    where: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
) -> None:
    """Raises unless every valid row of logits gives a confidence.

    Args:
      logits: floating `[N, C]`; -inf is an impossible class.
      where: optional bool `[N]`.
      class_where: optional bool `[C]` or `[N, C]`.

    Raises:
      ValueError: for NaN, +inf, or a row without a class, naming the first bad row; for
        a wrong rank, shape or dtype, or traced arrays.

    Examples:
      >>> validate_logits([[1.0, 2.0], [0.0, float("nan")]])
      Traceback (most recent call last):
        ...
      ValueError: logits: row 1 holds NaN at class 1; mask it with where=, or fix it.
    """
    _on_host(logits=logits, where=where, class_where=class_where)
    array = checks.logits("logits", logits, rank=2, axes="[N, C]")
    mask = checks.mask("where", where)
    checks.same_rows(logits=array, where=mask)
    classes = checks.class_mask(class_where, array)
    values = np.asarray(masking.fill(array, classes, -np.inf)).astype(np.float32)
    for bad, what in (
        (np.isnan(values), "holds NaN"),
        (values == np.inf, "holds +inf"),
    ):
        rows = _rows(bad.any(axis=1), mask)
        if rows.size:
            place = f"{what} at class {int(np.argmax(bad[rows[0]]))}"
            raise ValueError(_row("logits", rows, place))
    rows = _rows((values == -np.inf).all(axis=1), mask)
    if rows.size:
        raise ValueError(_row("logits", rows, "has no class: all are -inf or masked"))


def validate_scores(
    scores: ArrayLike,
    *,
    where: ArrayLike | None = None,
    lower: float = 0.0,
    upper: float = 1.0,
) -> None:
    """Raises unless every valid score is a number in a range.

    Args:
      scores: bool, integer or floating `[N]`: confidences, or a verifier's outcomes.
      where: optional bool `[N]`.
      lower: smallest score allowed; -inf for scores that are not probabilities.
      upper: largest score allowed.

    Raises:
      ValueError: for NaN, inf or a score out of range, naming the first bad row; for a
        wrong rank, shape or dtype, traced arrays, or a limit that is no number.

    Examples:
      >>> validate_scores([0.2, 1.5])
      Traceback (most recent call last):
        ...
      ValueError: scores: row 1 is 1.5, outside [0, 1]; mask it with where=, or fix it.
    """
    _on_host(scores=scores, where=where)
    least, most = _limit("lower", lower), _limit("upper", upper)
    array = checks.outcomes("scores", scores)
    mask = checks.mask("where", where)
    checks.same_shape(scores=array, where=mask)
    values = np.asarray(array)
    rows = _rows(~np.isfinite(values), mask)
    if rows.size:
        raise ValueError(_row("scores", rows, f"is {values[rows[0]]}"))
    rows = _rows((values < least) | (values > most), mask)
    if rows.size:
        what = f"is {values[rows[0]]}, outside [{least:g}, {most:g}]"
        raise ValueError(_row("scores", rows, what))


def validate_labels(
    labels: ArrayLike, num_classes: int, *, where: ArrayLike | None = None
) -> None:
    """Raises unless every valid label is a class.

    Args:
      labels: integer `[N]`.
      num_classes: C, at least 1.
      where: optional bool `[N]`.

    Raises:
      ValueError: for a label outside `[0, C)`, naming the first bad row; for a wrong
        rank, shape or dtype, or traced arrays.

    Examples:
      >>> validate_labels([0, 3], num_classes=3)
      Traceback (most recent call last):
        ...
      ValueError: labels: row 1 is 3, outside [0, 3); mask it with where=, or fix it.
    """
    size = checks.static_int("num_classes", num_classes, minimum=1)
    _on_host(labels=labels, where=where)
    values = host.integers("labels", labels)
    mask = checks.mask("where", where)
    checks.same_shape(labels=values, where=mask)
    rows = _rows((values < 0) | (values >= size), mask)
    if rows.size:
        raise ValueError(
            _row("labels", rows, f"is {values[rows[0]]}, outside [0, {size})")
        )


def _on_host(**named: Any) -> None:
    for name, value in named.items():
        checks.on_host(name, value)
    # In jax.jit this one is traced, whatever was given.
    checks.on_host(next(iter(named)), jnp.zeros(()))


def _limit(name: str, value: Any) -> float:
    """A number, which may be infinite."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{name}: expected a number, got {value!r}.")
    return number


def _rows(bad: Any, mask: jax.Array | None) -> np.ndarray:
    """Numbers of the rows that are bad and valid."""
    return np.flatnonzero(bad if mask is None else bad & np.asarray(mask))


def _row(name: str, rows: np.ndarray, what: str) -> str:
    more = f" ({rows.size - 1} more rows too)" if rows.size > 1 else ""
    return f"{name}: row {rows[0]} {what}{more}; mask it with where=, or fix it."
