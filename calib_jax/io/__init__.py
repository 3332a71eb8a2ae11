"""Files: parameters, cascades, outputs of models, review sheets, checks of values."""

from .answers import answer_positions, choice_log_probabilities
from .cascade_files import save_cascade
from .cascade_records import CascadeRecord, Promise
from .files import load, save
from .log_probabilities import LogProbabilities, read_log_probabilities
from .outputs import (
    Outputs,
    OutputsStream,
    join,
    read_many,
    read_outputs,
    stream_outputs,
)
from .review_sheets import (
    ReviewAnswer,
    ReviewSheet,
    read_review_sheet,
    write_review_sheet,
)
from .scalars import scalars
from .validate import validate_labels, validate_logits, validate_scores

__all__ = [
    "CascadeRecord",
    "LogProbabilities",
    "Outputs",
    "OutputsStream",
    "Promise",
    "ReviewAnswer",
    "ReviewSheet",
    "answer_positions",
    "choice_log_probabilities",
    "join",
    "load",
    "read_log_probabilities",
    "read_many",
    "read_outputs",
    "read_review_sheet",
    "save",
    "save_cascade",
    "scalars",
    "stream_outputs",
    "validate_labels",
    "validate_logits",
    "validate_scores",
    "write_review_sheet",
]


def __dir__() -> list[str]:
    return __all__
