"""Outputs of models in the files that people have, as one record."""

from .many import read_many
from .reading import read_outputs
from .record import Outputs, join
from .streams import OutputsStream, stream_outputs

__all__ = [
    "Outputs",
    "OutputsStream",
    "join",
    "read_many",
    "read_outputs",
    "stream_outputs",
]
