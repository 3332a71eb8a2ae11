"""A report as a folder of files, written completely or not at all."""

import os
import shutil
import tempfile
from pathlib import Path

from . import pages
from .records import Report

PAGE = "report.html"


def check(folder: Path, *, force: bool) -> None:
    """Raises `ValueError` if a folder may not be written to, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the output, got a file.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ValueError(
            f"{folder}: the folder exists and is not empty. Choose another with "
            "--output, or replace its files with --force."
        )


def write(report: Report, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Writes the page and the other files of a report.

    They are written to a hidden folder beside it, which is moved into place at the end,
    so that an interrupted run leaves nothing. With `force`, files of the same names are
    replaced one by one; all others stay.

    Args:
      report: any report.
      folder: made with its parents if it does not exist.
      force: whether files that exist may be replaced.

    Returns:
      The paths that were written, the page first.

    Raises:
      ValueError: if the folder is not empty, without `force`.
      OSError: if it cannot be written.
    """
    check(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        names = [PAGE, *report.files()]
        (made / PAGE).write_text(pages.page(report), encoding="utf-8")
        for name, writer in report.files().items():
            writer(made / name)
        # Temporary folders are private.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(made, 0o777 & ~mask)
        if folder.is_dir() and any(folder.iterdir()):
            for name in reversed(names):
                os.replace(made / name, folder / name)
        else:
            # Takes the place of an empty folder too.
            os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return tuple(folder / name for name in names)
