"""Outputs of models in the files that people have, as one record."""

from .reading import read_outputs
from .record import Outputs, join
from .streams import OutputsStream, stream_outputs

__all__ = ["Outputs", "OutputsStream", "join", "read_outputs", "stream_outputs"]
