"""The rows that a small and a large model share, and whether their outcomes say it."""

from ..io.outputs import Outputs
from ..io.outputs.record import join


def joined(small: Outputs, large: Outputs) -> tuple[Outputs, Outputs]:
    """Both on the rows that they share.

    Raises:
      ValueError: if they share none, or for outputs that `check` refuses.
    """
    check(small)
    check(large)
    first, second = join(small, large)
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
