"""The scripts of docs/clusters.md, run as the page says."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/clusters.md"
ROOT = PAGE.parents[1]
# What `report` is given is kept, to compare its bits.
KEEP = """
_print = report

def report(params, state):
    import os
    _print(params, state)
    cj.save(os.environ["STATE"], state)
"""


def write(folder: Path) -> None:
    """Logs, the module of the workers, and the scripts with their names."""
    text = PAGE.read_text("utf-8")
    make, module, *_ = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    run(folder, make)
    (folder / "summaries.py").write_text(module + KEEP, "utf-8")
    for name, code in re.findall(r"^```py\n# (\w+\.py)\n(.*?)^```", text, re.M | re.S):
        (folder / name).write_text(code, "utf-8")


def run(folder: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen:
    """A script of the page; its summary is kept beside it."""
    number = len(list(folder.glob("*.started")))
    (folder / f"{number}.started").touch()
    return subprocess.Popen(
        [sys.executable, name, *arguments],
        cwd=folder,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT))),
            "STATE": str(folder / f"{number}.json"),
            "XLA_FLAGS": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def in_one_process(folder: Path) -> tuple[str, bytes]:
    """What the page prints, and the bits of its summary."""
    text = PAGE.read_text("utf-8")
    *_, code = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (folder / "one.py").write_text("from summaries import *\n" + code, "utf-8")
    return finish(folder, [start(folder, "one.py")])[0]


def finish(folder: Path, processes: list) -> list[tuple[str, bytes]]:
    """What each process printed last, and the summary that it kept."""
    try:
        found = [process.communicate(timeout=900) for process in processes]
    finally:
        # Engines leave workers behind where a script did not end.
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    for process, (_, errors) in zip(processes, found, strict=True):
        assert process.returncode == 0, errors[-3000:]
    last = len(list(folder.glob("*.started"))) - len(processes)
    return [
        (
            "".join(output.splitlines(keepends=True)[-2:]),
            (folder / f"{last + number}.json").read_bytes(),
        )
        for number, (output, _) in enumerate(found)
    ]
