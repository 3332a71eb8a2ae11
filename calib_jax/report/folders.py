"""A report as a folder of files, written completely or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..io import host, review_sheets
from . import pages
from .records import Report

PAGE = "report.html"


def check(
    folder: Path,
    *,
    force: bool,
    command: str,
    names: Iterable[str] = (),
    read: Iterable[Path | None] = (),
) -> None:
    """Checks that a folder may be written to, before any work is done.

    Args:
      folder: of the output.
      force: whether files that exist may be replaced.
      command: whose page will be written; that of another is not replaced.
      names: of the files that will be written beside the page.
      read: files that are read, which are never replaced.

    Raises:
      ValueError: if it may not; a file that a person filled in or that is read, and
        the page of another command, are not replaced, not even with `force`.
      OSError: if the folder cannot be looked into.
    """
    try:
        exists = folder.exists()
    except OSError as error:
        raise ValueError(
            f"{folder}: {error.strerror}; choose another with --output."
        ) from error
    if exists and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the output, got a file.")
    if not folder.is_dir():
        _check_parent(folder)
        return
    if not any(folder.iterdir()):
        return
    if not force:
        raise ValueError(
            f"{folder}: the folder exists and is not empty. Choose another with "
            "--output, or replace its files with --force."
        )
    inputs = [path for path in read if path is not None and path.exists()]
    for path in (folder / name for name in (PAGE, *names)):
        if path.is_dir():
            raise ValueError(f"{path}: expected a file to replace, got a folder.")
        if path.exists() and any(path.samefile(one) for one in inputs):
            raise ValueError(
                f"{path}: it is an input and would be overwritten. Choose another "
                "folder with --output."
            )
        if path.name == PAGE and path.exists():
            other = pages.made_by(path)
            if other not in (None, command):
                raise ValueError(
                    f"{path}: it is the page of calib-jax {other}, which calib-jax "
                    f"{command} does not replace. Choose another folder with --output."
                )
        if path.name == review_sheets.NAME and path.exists() and _filled_in(path):
            raise ValueError(
                f"{path}: it may hold answers, which --force does not replace. Choose "
                "another folder with --output, or move the sheet elsewhere."
            )


def _check_parent(folder: Path) -> None:
    """Raises `ValueError` if no folder can be made."""
    above = Path(os.path.realpath(folder)).parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{folder}: {above} is a file; choose another with --output.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(
            f"{folder}: cannot write to {above}; choose another with --output."
        )
    try:
        # Some places refuse in spite of their permissions, and some names.
        os.rmdir(tempfile.mkdtemp(dir=above, prefix=f".{folder.name}."))
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot make a folder there ({error.strerror}); choose another "
            "with --output."
        ) from error


def _filled_in(path: Path) -> bool:
    """Whether a review sheet holds more than was written."""
    try:
        return not review_sheets.is_blank(path)
    except (ValueError, OSError):
        # Somebody made it what it is.
        return True


def write(
    report: Report,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> tuple[Path, ...]:
    """Writes the page and the other files of a report.

    They are written to a hidden folder beside it, which is moved into place at the end,
    so that an interrupted run leaves nothing. (A killed one leaves the hidden folder,
    whose name begins with a dot.) With `force`, files of the same names are replaced,
    all or none of them; all others stay. Files of answers that a person gave and the
    page of another command are never replaced.

    Args:
      report: any report.
      folder: made with its parents if it does not exist; a link is followed.
      force: whether files that exist may be replaced.
      ready: called when all files are made, before they are moved into place.

    Returns:
      The paths that were written, the page first.

    Raises:
      ValueError: if the folder is not empty, without `force`, if a file of it holds
        answers or another command's page, or for what is not a path.
      OSError: if it cannot be written.
    """
    output = host.path("folder", folder)
    files = report.files()
    names = [PAGE, *files]
    check(output, force=force, command=report.command, names=files)
    place = Path(os.path.realpath(output))
    with _parents(place), _beside(place) as made:
        (made / PAGE).write_text(pages.page(report, output), encoding="utf-8")
        for name, writer in files.items():
            writer(made / name)
        # Somebody may have written there meanwhile.
        check(output, force=force, command=report.command, names=files)
        ready()
        if force and place.is_dir() and any(place.iterdir()):
            _replace(made, place, names)
        else:
            # Temporary folders are private.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(made, 0o777 & ~mask)
            # Takes the place of an empty folder too; one that another run has filled
            # since the last look is an error of the system.
            os.replace(made, place)
    return tuple(output / name for name in names)


@contextlib.contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Makes the folders above; those that were made go again after a failure."""
    missing = [above for above in place.parents if not above.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for above in missing:
            # One that is not empty stays.
            with contextlib.suppress(OSError):
                above.rmdir()
        raise


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(made: Path, place: Path, names: list[str]) -> None:
    """Moves new files into a folder, and the old ones back after a failure."""
    old = made / "old"
    old.mkdir()
    moved: list[str] = []
    try:
        for name in reversed(names):
            moved.append(name)
            if os.path.lexists(place / name):
                os.replace(place / name, old / name)
            os.replace(made / name, place / name)
    except BaseException:
        for name in moved:
            if os.path.lexists(old / name):
                os.replace(old / name, place / name)
            elif not os.path.lexists(made / name):
                (place / name).unlink(missing_ok=True)
        raise
