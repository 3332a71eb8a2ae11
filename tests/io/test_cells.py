"""Text that a spreadsheet program would run."""

import csv
import io
import re

import pytest

from calib_jax.io import cells

# Text, and what is written for it.
RUN = {
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    "@SUM(1)": "'@SUM(1)",
    "+1+cmd": "'+1+cmd",
    "-a": "'-a",
    "- 1": "'- 1",
    "\uff1d1": "'\uff1d1",
    " =1": "' =1",
    "\ufeff\t=1": "'\ufeff\t'=1",
    "\t1": "'\t1",
    "\n": "'\n",
    # Where cells end at semicolons or tabs, or quotes are not looked at.
    "a;=1": "a;'=1",
    "a; -1": "a;' -1",
    "a\n@b": "a\n'@b",
    "a\tb\r\n=c": "a\tb\r'\n'=c",
}
HARMLESS = ["", "cat", "-1", "+1", "-1.5e-3", ".5", "a=b", "a-b; c", "O'Neill", '"=1"']


@pytest.mark.parametrize("given", RUN)
def test_what_would_run_is_text(given):
    assert cells.text(given) == RUN[given]


@pytest.mark.parametrize("given", HARMLESS)
def test_the_rest_stays(given):
    assert cells.text(given) == given


@pytest.mark.parametrize("given", [*RUN, *HARMLESS])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("first", [True, False])
def test_no_cell_of_a_line_begins_a_formula(given, delimiter, first):
    """However a program splits the line, quotes or not."""
    line = [cells.text(given), "1"] if first else ["1", cells.text(given)]
    text = io.StringIO(newline="")
    csv.writer(text).writerow(line)
    found = [
        cell
        for row in csv.reader(text.getvalue().splitlines(), delimiter=delimiter)
        for cell in row
    ]
    found += re.split(f"[{delimiter}\r\n]", text.getvalue())
    # A number may be a cell, or begin a line that is not split at commas.
    number = r"[-+]?[\d.]+(e-?\d+)?(,.*)?"
    begin = [one for one in found if re.match(r"[\s\ufeff]*[-=+@\uff1d]", one)]
    assert [one for one in begin if not re.fullmatch(number, one)] == []


def test_text_that_utf_8_cannot_write():
    assert cells.text("a\ud800") == "a\\ud800"
