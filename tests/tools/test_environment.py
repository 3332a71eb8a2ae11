"""The tools that the other tests here need can be installed side by side."""

import importlib.util
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.once, pytest.mark.slow]

TOOLS = ("apache_beam", "inspect_ai", "mlflow", "wandb")


def test_the_tools_and_the_library_have_no_conflicting_requirements():
    missing = [name for name in TOOLS if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    command = [sys.executable, "-m", "pip", "check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
