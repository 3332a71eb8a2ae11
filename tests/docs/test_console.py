"""What `console` blocks show on the README and on the pages is what commands print.

The commands run on the outputs of the demo, whose models are trained anew: on another
machine they differ a little, and so do the numbers, each by a share of itself.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(path.read_text("utf-8"))
]
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
# Numbers may differ by this share, and by so many units of the last digit shown.
SHARE, UNITS = 0.1, 5


# A reader has none of the devices, modes and compiler options of the tests.
OF_TESTS = ("JAX_ENABLE_X64", "JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")


def commands(path: Path) -> list[tuple[str, str]]:
    """Commands of a page and what they print, in order."""
    found = []
    for block in BLOCK.findall(path.read_text("utf-8")):
        assert block.startswith("$ ")
        for part in block.split("\n$ "):
            lines = part.removeprefix("$ ").split("\n")
            command = [lines.pop(0)]
            while command[-1].endswith("\\"):
                command.append(lines.pop(0))
            found.append(("\n".join(command), "\n".join(lines)))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the demo was run."""
    made = tmp_path_factory.mktemp("reader")
    assert run("calib-jax demo", made).returncode == 0
    return made


def run(command: str, folder: Path) -> subprocess.CompletedProcess:
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    others = {name: one for name, one in os.environ.items() if name not in OF_TESTS}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**others, "PATH": paths, "COLUMNS": "88"},
        capture_output=True,
        text=True,
        check=False,
    )


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def agree(printed: str, shown: str) -> bool:
    """Whether a number that was printed is near one that a page shows."""
    ours, theirs = (float(text.replace(",", "")) for text in (printed, shown))
    if theirs.is_integer() and "." not in shown:
        # K, a row's number, or rows, which are counted.
        return abs(ours - theirs) <= max(1, SHARE * theirs)
    unit = 10.0 ** -len(shown.partition(".")[2])
    return abs(ours - theirs) <= SHARE * theirs + UNITS * unit


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("89.9", "89.5", True),
        ("61.0", "89.5", False),
        ("0.0230", "0.0214", True),
        ("0.0400", "0.0214", False),
        ("0.0214", "0.1365", False),
        ("0.0004", "0.0000", True),
        ("0.0100", "0.0000", False),
        ("0.70", "0.89", False),
        ("12", "11", True),
        ("8", "11", False),
        ("3,000", "3,000", True),
        ("1,500", "3,000", False),
    ],
)
def test_numbers_agree(printed, shown, same):
    assert agree(printed, shown) == same


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_print_what_is_shown(path, folder):
    if path.stem == "languages" and not importlib.util.find_spec("lingua"):
        pytest.skip("needs the extra calib-jax[languages]")
    for command, shown in commands(path):
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
        if not shown.strip():
            continue
        assert words(done.stdout) == words(shown), (command, done.stdout)
        pairs = zip(NUMBER.findall(done.stdout), NUMBER.findall(shown), strict=True)
        for printed, expected in pairs:
            assert agree(printed, expected), (command, printed, expected)


def test_the_readme_shows_commands():
    assert any("cascade" in command for command, _ in commands(ROOT / "README.md"))
