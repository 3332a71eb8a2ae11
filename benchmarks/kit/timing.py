"""Wall-clock time of one call."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A shorter call is repeated until this many seconds have passed.
SHORTEST = 0.02


def timed(call: Callable[[], T], shortest: float = 0.0) -> tuple[float, T]:
    """Seconds of a call, the mean of several if it is short, and its result."""
    count, start = 0, time.perf_counter()
    while True:
        result = call()
        count += 1
        seconds = time.perf_counter() - start
        if seconds >= shortest:
            return seconds / count, result
