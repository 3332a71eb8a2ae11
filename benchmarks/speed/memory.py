"""Resident memory of this process, and its peak, where `/proc` tells it."""

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    kilobytes = next(found, None)
    return None if kilobytes is None else int(kilobytes) * 1024


def resident() -> int | None:
    """Bytes of resident memory now."""
    return _status("VmRSS")


def peak() -> int | None:
    """Most bytes of resident memory since the start, or the last `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Starts a new peak; False where the system does not allow it."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
