"""How fits end, in plain sentences."""

from ..calibration.reports import FitStatus

_MEANING = {
    FitStatus.MAX_STEPS: "The solver ran out of steps, so that a better fit exists.",
    FitStatus.ZERO_LIMIT: "Every answer of the half to fit on is right, and no "
    "temperature is low enough: confidence became 1. More rows may have wrong ones.",
    FitStatus.INFINITE_LIMIT: "The answers do no better than chance, so that "
    "confidence became the same for all. Check that the labels belong to the rows.",
    FitStatus.CONSTANT: "All scores are equal, so that they cannot tell right answers "
    "from wrong ones.",
    FitStatus.SEPARABLE: "A threshold on the score separates right from wrong answers "
    "without an error, so that confidence became 0 or 1. Bring more rows, and check "
    "that the score does not know the labels.",
    FitStatus.ONE_CLASS: "All answers of the half to fit on are alike.",
    FitStatus.REVERSED: "Higher scores mean worse answers, and the calibrator turned "
    "them round. Check the sign of the scores, and the labels.",
}


def sentences(status: str, role: str = "") -> tuple[str, ...]:
    """What to know of a fit that ended in a status, by name; nothing if all is well.

    Args:
      status: name of a `FitStatus`.
      role: of the model, if there are several.
    """
    meaning = _MEANING.get(FitStatus[status])
    if meaning is None:
        return ()
    which = f" of the {role}" if role else ""
    return (f"The fit{which} ended as {status}. {meaning}",)


def invalid(kind: str) -> str:
    """Why values cannot be fitted, in a sentence."""
    if kind in ("probabilities", "log_probabilities"):
        return "the right option of a row has a probability of 0."
    return (
        "a value is not finite, or lies so far from the others that it looks like a "
        "mask's."
    )
