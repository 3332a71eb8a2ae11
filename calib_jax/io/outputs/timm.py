"""Files of timm's inference.py: what their columns say.

In https://github.com/huggingface/pytorch-image-models, `main` and `save_results`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .left_out import LeftOut

_COLUMNS = {"filename", "index", "label", "prob", "logit"}
# With fewer numbers it may be chance that each row is sorted.
_FEW = 10


def is_row(cells: Iterable[str]) -> bool:
    """Whether it gave a row these names; some have a number behind."""
    stems = {name.rstrip("0123456789").rstrip("_") for name in cells}
    return stems <= _COLUMNS and bool({"prob", "logit"} & stems)


def _is_ours(given: Sequence[str]) -> bool:
    """Whether it wrote these columns: the name is first, or in parquet last."""
    return is_row(given) and "filename" in (given[0], given[-1])


def predicts(given: Sequence[str]) -> bool:
    """Whether it wrote the number of the predicted class: the label is its name."""
    return {"filename", "index"} <= set(given) <= _COLUMNS and _is_ours(given)


def names_prediction(given: Sequence[str], labels: Sequence[Any]) -> bool:
    """Whether labels are the names of predicted classes: it knows no right ones."""
    if not _is_ours(given) or set(given) not in (
        {"filename", "label", "prob"},
        {"filename", "label", "logit"},
    ):
        return False
    return all(isinstance(one, str) and not _is_number(one) for one in labels)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in ("", "true", "false")
    return True


def check(
    left_out: LeftOut,
    given: Sequence[str],
    values: np.ndarray,
    logits: bool,
    beside: Any,
) -> None:
    """Raises `ValueError` if values `[N, C]` are those of the most likely classes.

    Their labels are lists too; without labels, they are sorted in each row, and as
    probabilities do not add up to 1.
    """
    if values.ndim != 2 or values.shape[1] < 2 or not _is_ours(given):
        return
    if beside is not None and len(beside) and _is_list(beside[0]):
        raise top_few(left_out.path, f"{values.shape[1]} numbers in a row")
    numbers = np.asarray(values, np.float64)
    whole = np.abs(numbers.sum(axis=1) - 1) < 1e-3
    counts = {
        "steps": numbers.size - len(numbers),
        "rises": int((~(np.diff(numbers, axis=1) <= 0)).sum()),
        "parts": int((~whole).sum()),
    }
    few = top_few(left_out.path, f"{values.shape[1]} numbers in each row, all sorted,")

    def judge(of_all: Mapping[str, int]) -> str | None:
        chance = of_all["steps"] < _FEW if logits else not of_all["parts"]
        return None if of_all["rises"] or chance else str(few)

    left_out.judge("sorted numbers", counts, judge)


def _is_list(cell: Any) -> bool:
    return np.ndim(cell) == 1 or (isinstance(cell, str) and cell.startswith("["))


def top_few(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path}: {what} are those of the most likely classes, not one for each class: "
        "write all of them (--topk 0), or the first alone (--topk 1)."
    )
