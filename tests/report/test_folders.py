"""Folders of reports: whole or not there, and nothing of the user's is lost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import made_reports
import pytest

import calib_jax as cj
from calib_jax.report import folders, pages

pytestmark = pytest.mark.once


class Made:
    """Stands for a report: two files beside the page."""

    command = "calibrate"

    def __init__(self, text="new", writer=None):
        self.text, self.writer = text, writer

    def files(self):
        return {"a.csv": self._write, "b.json": self.writer or self._write}

    def _write(self, path):
        path.write_text(self.text)


@pytest.fixture(autouse=True)
def _page(monkeypatch):
    monkeypatch.setattr(pages, "page", lambda report, folder: f"<p>{report.text}</p>")


def check(folder, **more):
    folders.check(folder, **{"command": "calibrate"} | more)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


NEW = {"report.html": "<p>new</p>", "a.csv": "new", "b.json": "new"}


@pytest.mark.parametrize("there", ["nothing", "empty", "parents"])
def test_written(tmp_path, there):
    folder = tmp_path / ("up/and/out" if there == "parents" else "out")
    if there == "empty":
        folder.mkdir()
    written = folders.write(Made(), str(folder) if there == "empty" else folder)
    assert [path.name for path in written] == list(NEW)
    assert all(path.parent == folder for path in written)
    assert content(folder) == NEW
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    mask = os.umask(0)
    os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_folder_that_is_not_empty_stays(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for act in (
        lambda: check(tmp_path, force=False),
        lambda: folders.write(Made(), tmp_path),
    ):
        with pytest.raises(ValueError, match="exists and is not empty. .* --force"):
            act()
    assert content(tmp_path) == {"mine.txt": "mine"}


def test_force_replaces_its_own_files_and_no_others(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("mine.txt", "a.csv", "cascade.json"):
        (folder / name).write_text("old")
    folders.write(Made(), folder, force=True)
    assert content(folder) == {**NEW, "mine.txt": "old", "cascade.json": "old"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("there", ["nothing", "parents", "old"])
def test_a_failure_leaves_what_was_there(tmp_path, error, there):
    def fail(path):
        path.write_text("half")
        raise error

    folder = tmp_path / "up/out" if there == "parents" else tmp_path / "out"
    if there == "old":
        folder.mkdir()
        (folder / "a.csv").write_text("old")
    with pytest.raises(type(error)):
        folders.write(Made(writer=fail), folder, force=True)
    if there == "old":
        assert content(folder) == {"a.csv": "old"}
        folder.joinpath("a.csv").unlink()
        folder.rmdir()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_between_files_puts_all_back(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("old")
    (tmp_path / "mine").write_text("mine")
    moves, replace = [], os.replace

    def fail(source, target):
        moves.append(Path(target).name)
        if moves == ["b.json", "a.csv", "a.csv"]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        folders.write(Made(), tmp_path, force=True)
    assert content(tmp_path) == {"a.csv": "old", "mine": "mine"}
    assert moves[:3] == ["b.json", "a.csv", "a.csv"]


SLOW = """
import sys, time
from pathlib import Path
from calib_jax.report import folders, pages

class Made:
    command = "calibrate"
    def files(self):
        return {"a.csv": self.write}
    def write(self, path):
        path.write_text("half")
        print("half", flush=True)
        time.sleep(60)

pages.page = lambda report, folder: ""
folders.write(Made(), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_output(tmp_path, signal_):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal_)
    assert process.wait(30) != 0
    process.stdout.close()
    left = [path.name for path in tmp_path.iterdir()]
    if signal_ == signal.SIGINT:
        assert left == []
    else:
        # Nobody can tidy up after it; the name says whose it is.
        assert len(left) == 1 and left[0].startswith(".out.")


def test_two_at_once(tmp_path):
    """The one that comes second is refused, and leaves nothing."""
    folder, wait = tmp_path / "out", threading.Barrier(2)
    errors = []

    def write(text):
        def writer(path):
            path.write_text(text)
            wait.wait(120)

        try:
            folders.write(Made(text, writer), folder)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    (error,) = errors
    assert isinstance(error, (ValueError, OSError)), error
    assert set(content(folder).values()) in ({"1", "<p>1</p>"}, {"2", "<p>2</p>"})
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="expected a folder for the output, got a"):
        check(tmp_path / "file", force=True)
    with pytest.raises(ValueError, match="file is a file"):
        check(tmp_path / "file" / "out", force=True)
    (tmp_path / "out" / "a.csv").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"a.csv: expected a file to replace, got a"):
        folders.write(Made(), tmp_path / "out", force=True)
    assert content(tmp_path) == {"file": "mine"}


def test_a_parent_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ValueError, match=f"cannot write to {tmp_path}; choose another"):
        check(tmp_path / "new" / "out", force=False)


def test_links(tmp_path):
    """A link to a folder is followed; one that bears a file's name is replaced."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    folders.write(Made(), link)
    assert link.is_symlink() and content(target) == NEW
    outside = tmp_path / "outside.csv"
    outside.write_text("mine")
    (target / "a.csv").unlink()
    (target / "a.csv").symlink_to(outside)
    folders.write(Made("newer"), link, force=True)
    assert outside.read_text() == "mine"
    assert not (target / "a.csv").is_symlink()
    assert content(target)["a.csv"] == "newer"
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to(tmp_path / "made")
    folders.write(Made(), nowhere)
    assert nowhere.is_symlink() and content(tmp_path / "made") == NEW


def test_files_that_are_read_are_not_replaced(tmp_path):
    (tmp_path / "a.csv").write_text("input")
    with pytest.raises(
        ValueError, match=r"a.csv: it is an input and would be overwritten"
    ):
        check(tmp_path, force=True, names=["a.csv"], read=[None, tmp_path / "a.csv"])
    # Another name in the same folder is no matter.
    check(tmp_path, force=True, names=["b"], read=[tmp_path / "a.csv"])


def sheet(path, answer="", remark=False):
    path.unlink(missing_ok=True)
    cj.io.write_review_sheet(path, [0, 1], [0, 1], [[1, 0]], [[0.5, 0.5]])
    head, first, *rest = path.read_text("utf-8-sig").splitlines()
    lines = [head, first + answer, *rest]
    if remark:
        lines = [f"{line},remark" for line in lines]
    path.write_text("\n".join(lines) + "\n")


def test_answers_are_not_replaced(tmp_path):
    path = tmp_path / "review.csv"

    def check_sheet():
        check(tmp_path, force=True, names=["review.csv"])

    sheet(path)
    check_sheet()
    sheet(path, remark=True)
    with pytest.raises(ValueError, match="may hold answers, which --force does not"):
        check_sheet()
    sheet(path, answer="wrong")
    with pytest.raises(ValueError, match="may hold answers, which --force does not"):
        check_sheet()
    # A command that writes no sheet leaves it alone.
    check(tmp_path, force=True, names=["a.csv"])
    path.write_text("what,is,this\n")
    with pytest.raises(ValueError, match="may hold answers"):
        check_sheet()


def test_the_page_of_another_command_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.undo()
    page = tmp_path / "report.html"
    page.write_text(pages.page(made_reports.report("cascade")), encoding="utf-8")
    for command in ("calibrate", "clean", "check"):
        with pytest.raises(ValueError, match="it is the page of calib-jax cascade"):
            check(tmp_path, force=True, command=command)
    check(tmp_path, force=True, command="cascade")
    # What is not a page of ours is asked about by --force alone.
    page.write_text("<!doctype html><title>mine</title>")
    check(tmp_path, force=True, command="check")


def test_answers_given_meanwhile_are_not_replaced(tmp_path):
    path = tmp_path / "review.csv"
    sheet(path)

    class Sheet(Made):
        def files(self):
            return {"review.csv": self._fill}

        def _fill(self, new):
            new.write_text("new")
            sheet(path, answer="both")

    with pytest.raises(ValueError, match="may hold answers"):
        folders.write(Sheet(), tmp_path, force=True)
    assert "both" in path.read_text()
    assert list(content(tmp_path)) == ["review.csv"]
