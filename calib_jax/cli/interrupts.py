"""Ctrl-C ends the command line with one line, whenever it comes.

Only the command watches for it: a process that imports the library keeps its handlers.
It has no traceback to show, and most of its time it has nothing to tidy, so it ends on
the spot: an exception may get lost in a callback, and one within an extension that is
being loaded comes out as another error.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

NOTHING_WRITTEN, SOME_WRITTEN = "interrupted; nothing was written.", "interrupted."
_STATUS = 2
# The start of the line, and the cursor, which a bar hides.
_OVER_THE_BAR = "\r\x1b[K\x1b[?25h"


class _State:
    watching = False
    came = False
    words = NOTHING_WRITTEN
    # Whether an exception that got lost was the end.
    ends = True


def watch() -> None:
    """From now on Ctrl-C ends the process on the spot."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _State.watching = True
        signal.signal(signal.SIGINT, lambda *_: end())
        sys.unraisablehook = _lost


def is_watching() -> bool:
    """Whether Ctrl-C is looked after here."""
    return _State.watching


def came() -> bool:
    """Whether it came, whatever it was made into."""
    return _State.came


def words() -> str:
    """What to say of it."""
    return _State.words


def end() -> NoReturn:
    """Says so and ends the process."""
    start = ""
    if os.isatty(2):
        start = "\n" if os.environ.get("TERM") in (None, "dumb") else _OVER_THE_BAR
    with contextlib.suppress(OSError):
        os.write(2, f"{start}calib-jax: {_State.words}\n".encode())
    os._exit(_STATUS)


def begin(*, writes_as_it_goes: bool) -> None:
    """A command begins; in one that writes as it goes Ctrl-C is an exception."""
    _State.words = SOME_WRITTEN if writes_as_it_goes else NOTHING_WRITTEN
    if _State.watching and writes_as_it_goes:
        signal.signal(signal.SIGINT, _raise)


def raise_once() -> None:
    """From now on the first is an exception: there is something to tidy."""
    if _State.watching:
        _State.ends = False
        signal.signal(signal.SIGINT, _raise_first)


def ignore() -> None:
    """From now on it is too late: all is done, or will be at once."""
    if _State.watching:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _raise(*_: Any) -> NoReturn:
    _State.came = True
    raise KeyboardInterrupt


def _raise_first(*_: Any) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _raise()


def _lost(lost: Any) -> None:
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
    elif _State.ends:
        end()
