"""Ctrl-C: one line and status 2 at any time, or a folder that is complete."""

import json
import signal
import subprocess
import sys

import made_outputs
import numpy as np
import pytest

import calib_jax as cj

# Each starts a process, which imports everything.
pytestmark = [pytest.mark.once, pytest.mark.slow]

LINE = "calib-jax: interrupted; nothing was written.\n"
FILES = {"report.html", "calibration.json", "confidences.csv"}

# `interrupt` sends the signal from inside, so that no test depends on the time.
START = """
import os, signal, sys
from calib_jax.cli import main, options, running
from calib_jax.report import applying, folders, pages

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.npz"
    values, labels = made_outputs.logits(rows=200)
    np.savez(path, logits=values, labels=labels)
    return path


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "calibration.json"
    params = cj.Platt(slope=np.float32(2.0), intercept=np.float32(0.0))
    cj.save(path, params)
    return path


def start(*arguments, code=None, **more):
    command = [sys.executable, *(["-c", START + code] if code else ["-m", "calib_jax"])]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        **{"stdin": subprocess.DEVNULL} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calibrate(file, code):
    """What the command ends with, and the files that it leaves beside its input."""
    out = file.parent / "out"
    process = start("calibrate", file, "--output", out, code=code)
    _, err = process.communicate(timeout=120)
    assert not [one for one in file.parent.iterdir() if one.name.startswith(".")]
    names = {one.name for one in out.iterdir()} if out.exists() else None
    return process.returncode, err, names


def test_while_reading(file):
    code = "options.read = lambda *_, **__: interrupt()\nsys.exit(main())"
    assert calibrate(file, code) == (2, LINE, None)


def test_while_writing(file):
    code = "pages.page = lambda *_: interrupt()\nsys.exit(main())"
    assert calibrate(file, code) == (2, LINE, None)


def test_while_writing_as_another_error(file):
    code = """
def page(*_):
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("an extension could not be loaded")

pages.page = page
sys.exit(main())
"""
    assert calibrate(file, code) == (2, LINE, None)


def test_one_that_gets_lost_stops_no_writing(file):
    code = """
class Lost:
    def __del__(self):
        interrupt()

page = pages.page

def made(*arguments):
    Lost()
    return page(*arguments)

pages.page = made
sys.exit(main())
"""
    assert calibrate(file, code) == (0, "", FILES)


@pytest.mark.parametrize("late", ["running.read_sentences", "sys.exit"])
def test_too_late(file, late):
    code = f"""
before = {late}

def after(*arguments):
    interrupt()
    return before(*arguments)

{late} = after
sys.exit(main())
"""
    assert calibrate(file, code) == (0, "", FILES)


def test_a_stream(record):
    process = start("apply", record, "-", stdin=subprocess.PIPE)
    process.stdin.write('{"id": "a", "score": 0.5}\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "a"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (2, "", "calib-jax: interrupted.\n")


def test_one_that_gets_lost_ends_a_stream(record):
    code = """
class Lost:
    def __del__(self):
        interrupt()

def load(_):
    Lost()

applying.load = load
sys.exit(main())
"""
    process = start("apply", record, "-", code=code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (2, "", "calib-jax: interrupted.\n")


def test_the_library_leaves_the_signal_alone():
    code = (
        "import signal, sys, calib_jax; handler = signal.getsignal(signal.SIGINT); "
        "sys.exit(handler is not signal.default_int_handler)"
    )
    process = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert process.returncode == 0
