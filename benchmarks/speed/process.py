"""A session in a child process, driven through its standard streams."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Failure(Exception):
    """A candidate that could not be measured; the text says why."""


def environment() -> dict[str, str]:
    """The variables of a process that is measured."""
    variables = dict(os.environ)
    # The first call must compile, as it does for a user without a cache.
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    # A GPU is measured by benchmarks.speed.accelerator.
    variables["JAX_PLATFORMS"] = "cpu"
    # A process must not spin while it waits for its turn.
    variables["OMP_WAIT_POLICY"] = "PASSIVE"
    variables["GOMP_SPINCOUNT"] = variables["KMP_BLOCKTIME"] = "0"
    return variables


class ChildSession:
    """`child.Session` in a fresh process.

    Args:
      workload: name of its module.
      candidate: name of the candidate.
      folder: folder of the inputs.
      limit: seconds after which a request is given up.
    """

    def __init__(self, workload: str, candidate: str, folder: Path, limit: float):
        self._limit = limit
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8")
        command = [sys.executable, "-m", f"{__package__}.child"]
        self._process = subprocess.Popen(
            [*command, workload, candidate, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self._read()

    def first(self) -> dict[str, Any]:
        """As `child.Session.first`."""
        return self._ask(do="first")

    def warm(self) -> dict[str, Any]:
        """As `child.Session.warm`."""
        return self._ask(do="warm")

    def save(self, folder: str, prefix: str) -> dict[str, Any]:
        """As `child.Session.save`."""
        return self._ask(do="save", folder=folder, prefix=prefix)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    # The process ended before it had read its last request.
                    pass

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # Reading says why.
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(self._limit, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        in_time = timer.is_alive()
        timer.cancel()
        if line:
            reply = json.loads(line)
            if "failure" not in reply:
                return reply
            failure = reply["failure"]
        elif in_time:
            self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            failure = " ".join([f"ended with {self._process.returncode}", *last])
        else:
            failure = f"took longer than {self._limit:g} s"
        self.close()
        raise Failure(failure)
