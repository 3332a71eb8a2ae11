"""Text in the cells of CSV files that spreadsheet programs open.

A cell that begins like a formula is run by them, whoever wrote it, so text from files
gets an apostrophe in front, which they show as text.
"""

import re

# Spreadsheets drop spaces and control characters, and widths of characters, in front.
_START = r"[\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[-=+@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(rf"[\t\r\n]|{_START}")
# Programs that separate cells otherwise than by commas begin new ones inside a text.
_LATER = re.compile(rf"([;\t\r\n|])(?={_START})")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def text(value: str) -> str:
    """The text of a cell; a number such as -1 stays a number."""
    if _NUMBER.fullmatch(value):
        return value
    text = _LATER.sub(r"\1'", unicode(value))
    return f"'{text}" if _FORMULA.match(value) else text


def unicode(value: str) -> str:
    """Text that UTF-8 can write: halves of surrogate pairs are spelt out."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
