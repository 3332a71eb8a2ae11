"""Text in the cells of CSV files that spreadsheet programs open.

A cell that begins like a formula is run by them, whoever wrote it, so text from files
gets an apostrophe in front, which they show as text.
"""

import re

# Spreadsheets drop spaces and control characters, and widths of characters, in front.
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[-=+@\uff1d\uff0b\uff0d\uff20]"
)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def text(value: str) -> str:
    """The text of a cell; a number such as -1 stays a number."""
    runs = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if runs else value
