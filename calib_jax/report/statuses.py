"""How fits end, in plain sentences."""

import numpy as np

from ..calibration.reports import FitStatus
from . import phrases

_MEANING = {
    FitStatus.MAX_STEPS: "The solver ran out of steps, so a better fit may exist.",
    FitStatus.ZERO_LIMIT: "All answers in the fitting half are right, and no "
    "temperature is low enough: confidence became 1. More rows may have wrong ones.",
    FitStatus.INFINITE_LIMIT: "The answers do no better than chance, so confidence "
    "became the same for all. Check that the labels belong to the rows.",
    FitStatus.CONSTANT: "All scores are equal, so they cannot tell right answers from "
    "wrong ones.",
    FitStatus.SEPARABLE: "A threshold on the score separates right from wrong answers "
    "without an error, so confidence became 0 or 1. Use more rows, and check that the "
    "score was not computed from the labels.",
    FitStatus.ONE_CLASS: "All answers in the fitting half are right, or all are wrong.",
    FitStatus.REVERSED: "Higher scores mean worse answers: the calibrator reversed "
    "them, or made them equal if its curve cannot fall. Check the sign of the scores, "
    "and the labels.",
}
# Of calibrators with parameters for each option.
_OF_OPTIONS = {
    FitStatus.SEPARABLE: "An option is the label of no row in the fitting half, or the "
    "options' values tell the labels without an error, so some parameters stopped at "
    "the end of their range. Use more rows, or --method temperature.",
    FitStatus.ONE_CLASS: "All labels in the fitting half are the same option.",
}


def sentences(
    status: str, role: str = "", *, of_options: bool = False
) -> tuple[str, ...]:
    """What to know of a fit that ended in a status, by name; nothing if all is well.

    Args:
      status: name of a `FitStatus`.
      role: of the model, if there are several.
      of_options: whether the calibrator takes values of the options.
    """
    meanings = _MEANING | (_OF_OPTIONS if of_options else {})
    meaning = meanings.get(FitStatus[status])
    if meaning is None:
        return ()
    return (f"The fit{phrases.of_role(role)} ended as {status}. {meaning}",)


# From good to bad.
_ORDER = (
    *(FitStatus.CONVERGED, FitStatus.REVERSED, FitStatus.MAX_STEPS),
    *(FitStatus.SEPARABLE, FitStatus.ZERO_LIMIT, FitStatus.ONE_CLASS),
    *(FitStatus.INFINITE_LIMIT, FitStatus.CONSTANT, FitStatus.INVALID_VALUES),
)


def worst(*names: str) -> str:
    """The status, by name, of the fit that ended worst."""
    return max(names, key=lambda name: _ORDER.index(FitStatus[name]))


def invalid(kind: str) -> str:
    """Why values cannot be fitted, and what to do, in sentences."""
    why = (
        "a value is not finite, or so far from the others that it looks like a masking "
        "value."
    )
    if kind in ("probabilities", "log_probabilities"):
        why = "the right option of a row has a probability of 0."
    return f"{why} Use another --method."


def certain(confidence: np.ndarray, kind: str) -> str:
    """Why confidences cannot be fitted, and what to do, in sentences."""
    number = int(np.sum((confidence <= 0) | (confidence >= 1)))
    if not number:
        return invalid("scores")
    those = "confidence is" if number == 1 else "confidences are"
    found = f"{number:,} {those} exactly 0 or 1, whose logarithms are not finite."
    if kind == "probabilities":
        return f"{found} --smoothing avoids them. Use another --method."
    return (
        f"{found} Use another --method, clip them, such as to 0.001 and 0.999, or "
        "leave these rows out."
    )
