"""Why there is no release, and commands whose failure is such a reason."""

import os
import shlex
import subprocess
from pathlib import Path

# Without PYTHONPATH, which would put a checkout before the package that is tried.
_ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


class Refusal(Exception):
    """What was expected, what came, and what to do, in one line."""


def run(command: list[str], folder: Path) -> None:
    """Runs a command, whose output is shown.

    Raises:
      Refusal: if it fails.
    """
    print("+", shlex.join(command), flush=True)
    done = subprocess.run(
        command, cwd=folder, env=_ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise Refusal(
            f"`{shlex.join(command)}` failed with status {done.returncode}: see above"
        )


def output(command: list[str], folder: Path) -> str:
    """What a command prints.

    Raises:
      Refusal: if it fails.
    """
    done = subprocess.run(
        command, cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Refusal(f"`{shlex.join(command)}` failed: {said}")
    return done.stdout.strip()
