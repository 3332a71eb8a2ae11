"""What `console` blocks show on the README and on the pages is what commands print.

The commands run on the outputs of the demo, whose models are trained anew: on another
machine they differ a little, and so do the numbers.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.once]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(path.read_text("utf-8"))
]
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


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
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": paths, "COLUMNS": "88", "JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_print_what_is_shown(path, folder):
    for command, shown in commands(path):
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
        if not shown.strip():
            continue
        assert words(done.stdout) == words(shown), (command, done.stdout)
        pairs = zip(NUMBER.findall(done.stdout), NUMBER.findall(shown), strict=True)
        for ours, theirs in pairs:
            printed, expected = (float(n.replace(",", "")) for n in (ours, theirs))
            assert abs(printed - expected) <= 0.03 + 0.25 * max(expected, 4), command


def test_the_readme_shows_commands():
    assert any("cascade" in command for command, _ in commands(ROOT / "README.md"))
