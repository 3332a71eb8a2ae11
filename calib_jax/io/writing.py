"""Files that are written completely or not at all."""

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, in one step.

    A temporary file next to it is moved into place, so a failure or an interruption
    leaves an existing file unchanged.

    Args:
      path: of the file; an existing one is replaced and keeps its permissions.
      text: what it will hold.

    Raises:
      OSError: if the file cannot be written.

    Examples:
      >>> path = Path(tempfile.mkdtemp()) / "note.txt"
      >>> write_text(path, "kept\\n")
      >>> path.read_text(encoding="utf-8")
      'kept\\n'
    """
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Temporary files are private: give it the permissions of the old or a new file.
        mask = os.umask(0)
        os.umask(mask)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
