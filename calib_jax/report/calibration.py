"""The report of one calibrated model: `calib-jax calibrate`."""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..io import cells, files
from ..io.outputs import Outputs
from . import figures, methods, models, phrases, scoring, selective
from .drawings import Drawing
from .methods import Method
from .models import Model
from .records import Report, Writer, in_python, in_shell
from .selective import Selective

#: Names of the files beside the page.
PARAMETERS, CONFIDENCES = FILES = ("calibration.json", "confidences.csv")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationReport(Report):
    """A model calibrated on one half of its rows and judged on the other.

    Attributes:
      model: what was fitted and how good it is.
      selective: what answering only the most confident rows leaves wrong.
      ids: N texts, of all rows.
      confidence: float32 `[N]`, calibrated, of all rows.
      outcome: float32 `[N]`, whether each answer is right.
      fitted: bool `[N]`, the rows that the calibrator was fitted on.
      can_be_beta: whether each answer has a confidence strictly between 0 and 1.
    """

    command: ClassVar[str] = "calibrate"
    title: ClassVar[str] = "Calibration"

    model: Model
    selective: Selective
    ids: tuple[str, ...] = dataclasses.field(metadata={"plain": False})
    confidence: np.ndarray = dataclasses.field(metadata={"plain": False})
    outcome: np.ndarray = dataclasses.field(metadata={"plain": False})
    fitted: np.ndarray = dataclasses.field(metadata={"plain": False})
    can_be_beta: bool = dataclasses.field(metadata={"plain": False})

    def headline(self) -> dict[str, Any]:
        before, after = self.model.before, self.model.after
        return {
            "num_rows": len(self.ids),
            "accuracy": self.model.accuracy,
            "method": self.model.method,
            "ece_before": None if before is None else before.error.estimate,
            "ece_after": after.error.estimate,
            "ece_after_lower": after.error.lower,
            "ece_after_upper": after.error.upper,
            "ece_floor": after.error.null_error,
        }

    def sentences(self) -> tuple[str, ...]:
        model, error = self.model, self.model.after.error
        level = phrases.level(self.confidence_level)
        found = [
            f"{model.reason} Fitted on {model.num_fitted:,} rows, judged on the other "
            f"{model.num_judged:,}; {phrases.percent(model.accuracy)} of those answers "
            "are right.",
            *model.remarks,
        ]
        if model.before is not None:
            found.append(
                "Before, the mean confidence was "
                f"{phrases.percent(model.before.mean_confidence)} and the ECE "
                f"{model.before.error.estimate:.4f}."
            )
        found.append(
            "After, the mean confidence is "
            f"{phrases.percent(model.after.mean_confidence)} and the ECE "
            f"{error.estimate:.4f} ({level} interval {error.lower:.4f} to "
            f"{error.upper:.4f})."
        )
        found.append(
            f"A perfectly calibrated model would have {error.null_error:.4f} on as "
            "many rows: "
            + (
                "the remaining error is more than chance."
                if error.lower > 0
                else "these rows cannot tell this model from a perfect one."
            )
        )
        if model.before is not None and error.estimate > model.before.error.estimate:
            has_options = self.sources[0].num_options is not None
            others = methods.others(
                model.method, has_options=has_options, stated=self.can_be_beta
            )
            found.append(
                "The ECE is not smaller than before: by chance, or because another "
                "calibrator suits better. Try "
                f"{' or '.join(f'--method {name}' for name in others)}, or keep the "
                "model as it is."
            )
        found += self.selective.sentences(self.confidence_level)
        if model.num_groups > len(model.groups) > 0:
            found.append(
                f"The judged rows are in {model.num_groups:,} groups; the page shows "
                f"the {len(model.groups)} largest."
            )
        return tuple(found)

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        taken = self.model.taken
        if self.model.likeliest is not None and ";" not in taken:
            taken += "; the confidence is the entry of the model's own answer"
        return (
            "Calibrate new outputs: calib-jax apply "
            f"{in_shell(folder, PARAMETERS)} NEW_FILE{self.reading}",
            f"In Python: params = calib_jax.load({in_python(folder, PARAMETERS)}), "
            "then calib_jax.calibrate(params, x), where x is "
            f"{taken}.",
        )

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        level = self.confidence_level
        return {
            "model": figures.reliability(self.model, level, f"{prefix}model"),
            "selective": figures.risk_coverage(self.selective, f"{prefix}selective"),
        }

    def files(self) -> Mapping[str, Writer]:
        return {
            PARAMETERS: lambda path: files.save_with_input(
                path, self.model.params, self.model.taken
            ),
            CONFIDENCES: self._write_confidences,
        }

    def _write_confidences(self, path: Path) -> None:
        rows = zip(
            self.ids,
            # With the digits that sentences and `apply` have.
            self.confidence.astype(str).tolist(),
            self.outcome.tolist(),
            self.fitted.tolist(),
            strict=True,
        )
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "confidence", "outcome", "half"])
            for one, confidence, outcome, fitted in rows:
                half = "fitted" if fitted else "judged"
                writer.writerow([cells.text(one), confidence, f"{outcome:g}", half])


def calibration_report(
    outputs: Outputs,
    *,
    method: Method | None = None,
    max_risk: float | None = None,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> CalibrationReport:
    """Calibrates a model on one random half of its rows and judges it on the other.

    Args:
      outputs: with labels or outcomes, from `calib_jax.io.read_outputs`.
      method: the calibrator, such as `methods.METHODS["isotonic"]`; by default one that
        suits the kind of outputs.
      max_risk: limit in `(0, 1)` on the share of wrong answers among those given, for
        which the report says how many to answer; by default a round number that suits.
      confidence_level: of the intervals and of the promise, in `(0, 1)`.
      seed: of the halves and of the draws of intervals.

    Returns:
      `CalibrationReport`.

    Raises:
      ValueError: if nothing says which answers are right, all of them are or none is,
        there are fewer than 40 rows, or a limit is out of range.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "outputs.csv"
      >>> lines = [f"{i % 10 / 10},{int(i % 10 > 4)}" for i in range(400)]
      >>> _ = path.write_text("\\n".join(["score,correct", *lines]))
      >>> report = calibration_report(cj.io.read_outputs(path))
      >>> print(report.headline()["num_rows"], report.model.method)
      400 platt
    """
    if max_risk is not None and not 0 < max_risk < 1:
        raise ValueError(f"max_risk: expected a limit in (0, 1), got {max_risk}.")
    fitted, judged = models.halves(len(outputs), seed)
    one = models.fit(
        outputs,
        "outputs",
        fitted,
        judged,
        method=method,
        seed=seed,
        confidence_level=confidence_level,
    )
    first = np.zeros(len(outputs), bool)
    first[fitted] = True
    return CalibrationReport(
        sources=(one.model.source,),
        seed=seed,
        confidence_level=confidence_level,
        model=one.model,
        selective=selective.of(
            one.confidence, one.outcome, fitted, judged, confidence_level, max_risk
        ),
        ids=outputs.ids,
        confidence=one.confidence,
        outcome=np.asarray(one.outcome, np.float32),
        fitted=first,
        can_be_beta=scoring.within(outputs),
    )
