"""The rows that a small and a large model share, and whether their outcomes say it."""

import itertools
from collections.abc import Sequence

import numpy as np

from ..io.outputs import Outputs
from ..io.outputs.record import join


def joined(small: Outputs, large: Outputs) -> tuple[Outputs, Outputs]:
    """Both on the rows that they share.

    Raises:
      ValueError: if they share none, or for outputs that `check` or `check_different`
        refuses.
    """
    check(small)
    check(large)
    first, second = join(small, large)
    check_different((first, second))
    return first, second


def check(outputs: Outputs) -> None:
    """Raises `ValueError` if outcomes are the labels, the same whatever is answered."""
    if not outputs.of_class_one or outputs.kind != "scores":
        return
    raise ValueError(
        f"{outputs.name}: labels of 0 and 1 beside one score a row do not say whether "
        "the model's answers are right: pass --kind probabilities if a score is the "
        "probability of class 1, call the labels correct if a 1 says that the answer "
        "is right, or add a column prediction with the class that was answered."
    )


def check_different(outputs: Sequence[Outputs]) -> None:
    """Raises `ValueError` if two joined outputs are those of one model.

    A model beside itself adds nothing, and would look like one that agrees.
    """
    for one, other in itertools.combinations(outputs, 2):
        if (what := _what_is_equal(one, other)) is None:
            continue
        names = " and ".join(dict.fromkeys((one.name, other.name)))
        raise ValueError(
            f"{names}: the same {what} in all {len(one):,} rows, so that both outputs "
            "are of one model. Give the other model's file, or name each model with "
            "--model if one file holds several. (--column is for all files: columns of "
            "two models need a file each.)"
        )


def _what_is_equal(one: Outputs, other: Outputs) -> str | None:
    """The name of the values, if they, answers and outcomes are equal in every row."""
    values = ("logits", "log_probabilities", "scores")
    found = [name for name in values if getattr(one, name) is not None]
    if any(_differ(one, other, name) is not False for name in found):
        return None
    # Stated confidences may all be 1, of right answers or wrong ones.
    if any(_differ(one, other, name) for name in ("predictions", "outcomes")):
        return None
    return found[0].replace("_", "-")


def _differ(one: Outputs, other: Outputs, name: str) -> bool | None:
    """Whether arrays differ, or None where one has none."""
    first, second = getattr(one, name), getattr(other, name)
    if first is None or second is None:
        return None
    return not np.array_equal(first, second)
