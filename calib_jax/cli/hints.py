"""What messages say to do, in the words of the command line. It imports no package."""

import re
import shlex

EXTRA = "commands need an extra: pip install 'calib-jax[report]'"

# Arguments of the readers that are options of the commands. They stand at the start of
# a message or after a space, unlike those in a file's name or `top_logprobs=20`.
FLAGS = {
    "choices": "--choices",
    "columns": "--column",
    "drop_malformed": "--drop-malformed",
    "kind": "--kind",
    "labels": "--labels",
    "model": "--model",
    "pattern": "--pattern",
    "repeats": "--repeats",
    "skip_unreadable": "--skip-unreadable",
    "smoothing": "--smoothing",
    "task": "--task",
}
_NAME = "|".join(FLAGS)
_AT_START = re.compile(rf"^({_NAME})(?=: )")
_QUOTED = r"""(?:'[^']*'|"[^"]*")"""
_COLUMN = re.compile(rf"(?<= )columns=\{{({_QUOTED}): ({_QUOTED}|\.\.\.)\}}")
_VALUE = re.compile(rf"(?<= )({_NAME})=(?:({_QUOTED})|True|(\d[\d.]*\d)|(?!\w))")


def as_options(message: str) -> str:
    """A message that names arguments in Python, with the options for them instead."""
    message = _AT_START.sub(lambda found: FLAGS[found[1]], message)
    message = _COLUMN.sub(_column, message)
    return _VALUE.sub(_option, message)


def _column(found: re.Match[str]) -> str:
    name = "NAME" if found[2] == "..." else found[2][1:-1]
    return f"--column {shlex.quote(f'{found[1][1:-1]}={name}')}"


def _option(found: re.Match[str]) -> str:
    value = found[3] if found[2] is None else shlex.quote(found[2][1:-1])
    return FLAGS[found[1]] + ("" if value is None else f" {value}")
