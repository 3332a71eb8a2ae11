"""The report of suspect labels: `calib-jax clean`.

Shapes: N joined rows, M models.
"""

import dataclasses
from typing import ClassVar

from .models import Model
from .records import Report


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """A model's answer to a suspect row.

    Attributes:
      option: its name, or its number as a text.
      confidence: calibrated, in `[0, 1]`.
    """

    option: str
    confidence: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Suspect:
    """A label that every model contradicts with confidence.

    Attributes:
      rank: 1 for the most suspect.
      id: of the row.
      given: the given label's name, or its number as a text.
      suggestion: the most confident other answer, by name.
      score: label issue score, in `[0, 1]`; larger is more suspect.
      answers: of each model.
    """

    rank: int
    id: str
    given: str
    suggestion: str
    score: float
    answers: tuple[Answer, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CleaningReport(Report):
    """Labels that calibrated models contradict, the most suspect first.

    Attributes:
      models: the models, calibrated.
      num_rows: joined rows.
      num_flagged: suspects.
      num_top_bins: most accurate bins of each model that count, the paper's K.
      suspects: all of them.
      expected_precision: share of suspects expected to be wrong, if models err
        independently of each other.
      least_precision: the same under any dependence.
      num_to_audit: how many suspects a person should look at, chosen at random, to
        know their precision; None if no audit can.
      audit_target: the precision that such an audit would show.
    """

    command: ClassVar[str] = "clean"
    title: ClassVar[str] = "Suspect labels"

    models: tuple[Model, ...]
    num_rows: int
    num_flagged: int
    num_top_bins: int
    suspects: tuple[Suspect, ...]
    expected_precision: float | None
    least_precision: float | None
    num_to_audit: int | None
    audit_target: float
