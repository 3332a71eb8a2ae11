"""One candidate of one case, in a process of its own.

`python -m benchmarks.speed.child WORKLOAD CANDIDATE FOLDER` loads the inputs from
FOLDER and then answers requests, one JSON object a line, on its standard streams.
Between two requests it waits without using a core.
"""

import gc
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kit import timing

from . import memory
from .cases import Workload


def load(name: str) -> Workload:
    """The workload of a module of this package."""
    return importlib.import_module(f"{__package__}.{name}").WORKLOAD


def save_arrays(folder: Path, prefix: str, arrays: Any) -> None:
    """Writes arrays by name as `prefix-name.npy`."""
    for name, array in arrays.items():
        np.save(folder / f"{prefix}-{name}.npy", array)


def load_arrays(folder: Path, prefix: str) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote."""
    paths = sorted(folder.glob(f"{prefix}-*.npy"))
    return {path.stem.removeprefix(f"{prefix}-"): np.load(path) for path in paths}


class Session:
    """A candidate with its inputs, ready for its first call.

    Args:
      workload: name of its module.
      candidate: name of the candidate.
      folder: folder of the inputs.
    """

    def __init__(self, workload: str, candidate: str, folder: Path):
        chosen = load(workload).candidates[candidate]
        self._scale = chosen.scale
        self._call = chosen.make(load_arrays(folder, "input"))
        gc.collect()
        self._before = memory.resident()

    def first(self) -> dict[str, Any]:
        """The first call: its `seconds`, None for a part, and `peak` in bytes."""
        timed = self._timed(0.0)
        return timed if self._scale == 1 else timed | {"seconds": None}

    def warm(self) -> dict[str, Any]:
        """One more call, or the mean of several short ones: as `first`."""
        return self._timed(timing.SHORTEST)

    def save(self, folder: str, prefix: str) -> dict[str, Any]:
        """Writes the result of the last call."""
        save_arrays(Path(folder), prefix, self._result)
        return {}

    def close(self) -> None:
        """Releases everything."""
        del self._call

    def _timed(self, shortest: float) -> dict[str, Any]:
        was_reset, old_peak = memory.reset_peak(), memory.peak()
        seconds, self._result = timing.timed(self._call, shortest)
        peak = memory.peak()
        if peak is not None and self._before is not None:
            # A peak that was not reset may be that of loading the inputs.
            known = was_reset or peak != old_peak
            peak = max(0, peak - self._before) if known else None
        return {"seconds": self._scale * seconds, "peak": peak}


def main() -> None:
    # Output of libraries must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    workload, candidate, folder = sys.argv[1:]
    try:
        session = Session(workload, candidate, Path(folder))
        answer({})
        for line in sys.stdin:
            request = json.loads(line)
            answer(getattr(session, request.pop("do"))(**request))
    except Exception as error:
        # The parent reports it with the other candidates.
        answer({"failure": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
