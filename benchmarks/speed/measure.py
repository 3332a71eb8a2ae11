"""Times the candidates of a case, in turns.

Every candidate lives in its own process and makes its first call there alone. Then they
take turns, one warm call each, A B C A B C ..., while the others wait: a machine that
slows down slows all of them, and ratios are taken within a round.
"""

import dataclasses
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .cases import Case, CaseResult, Kind, Measurement, Workload
from .child import Session, load_arrays, save_arrays
from .process import ChildSession, Failure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How much to measure.

    Attributes:
      rounds: warm calls of each candidate.
      budget: seconds; a candidate whose warm calls have taken this long makes no more
        after its second.
      slow: seconds; a candidate whose first call takes longer makes no other.
      limit: seconds after which a call is given up.
      starts: fresh processes of calib_jax, to take the median of its first call.
    """

    rounds: int = 9
    budget: float = 9.0
    slow: float = 20.0
    limit: float = 180.0
    starts: int = 3


class AnySession(Protocol):
    """A candidate that is ready for its first call; see `child.Session`."""

    def first(self) -> dict[str, Any]: ...
    def warm(self) -> dict[str, Any]: ...
    def save(self, folder: str, prefix: str) -> dict[str, Any]: ...
    def close(self) -> None: ...


# From workload, candidate, folder of inputs and limit in seconds.
Start = Callable[[str, str, Path, float], AnySession]
Advance = Callable[[str], None]


def here(workload: str, candidate: str, folder: Path, limit: float) -> AnySession:
    """A session in this process, where times do not matter."""
    del limit
    return Session(workload, candidate, folder)


def installed(package: str) -> bool:
    """Whether a module can be imported."""
    return not package or importlib.util.find_spec(package) is not None


class _Turns:
    """Measurements of a candidate so far."""

    def __init__(
        self,
        session: AnySession,
        firsts: list[dict[str, Any]],
        error: float | None,
    ):
        self.session = session
        self.firsts = firsts
        self.error = error
        self.warm: list[dict[str, Any]] = []

    def due(self, settings: Settings) -> bool:
        first = self.firsts[-1]["seconds"] or 0.0
        spent = sum(warm["seconds"] for warm in self.warm)
        enough = spent >= settings.budget and len(self.warm) >= 2
        return first <= settings.slow and not enough

    def measurement(self, name: str, kind: Kind) -> Measurement:
        firsts = [first["seconds"] for first in self.firsts]
        first = None if None in firsts else statistics.median(firsts)
        # The call is too slow to repeat, so only its first time is known.
        warm = [warm["seconds"] for warm in self.warm] or firsts
        return Measurement(
            name=name,
            kind=kind,
            first=first,
            warm=warm,
            peak=_largest(self.firsts + self.warm),
            warm_peak=_largest(self.warm),
            error=self.error,
        )


def _largest(timed: Sequence[Mapping[str, Any]]) -> int | None:
    peaks = [part["peak"] for part in timed]
    return max(peaks) if peaks and None not in peaks else None


def run_case(
    workload: Workload,
    case: Case,
    settings: Settings,
    *,
    only: Sequence[str] | None = None,
    start: Start = ChildSession,
    advance: Advance = lambda step: None,
) -> CaseResult:
    """Measures one case.

    Args:
      workload: workload of the case.
      case: case to measure.
      settings: how much to measure.
      only: names of candidates to run, else all.
      start: starts a session.
      advance: called before each step with its description.

    Returns:
      `CaseResult`, in the order of the candidates.
    """
    chosen = {
        name: candidate
        for name, candidate in workload.candidates.items()
        if name not in case.without and (only is None or name in only)
    }
    missing = [n for n, candidate in chosen.items() if not installed(candidate.package)]
    names = [name for name in chosen if name not in missing]
    failures: dict[str, str] = {}
    turns: dict[str, _Turns] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks_speed_") as temporary:
        folder = Path(temporary)
        advance("inputs")
        inputs = workload.make_inputs(**case.size)
        input_bytes = sum(array.nbytes for array in inputs.values())
        save_arrays(folder, "input", inputs)
        advance("reference")
        reference = workload.reference(inputs)
        del inputs

        def open_one(name: str) -> _Turns:
            kind, firsts = chosen[name].kind, []
            for number in reversed(range(settings.starts if kind == Kind.OURS else 1)):
                session = start(workload.name, name, folder, settings.limit)
                firsts.append(session.first())
                if number:
                    session.close()
            session.save(temporary, "result")
            result = load_arrays(folder, "result")
            for path in folder.glob("result-*.npy"):
                path.unlink()
            compared = kind != Kind.FLOOR and name not in case.other_quantity
            error = float(workload.error(result, reference)) if compared else None
            return _Turns(session, firsts, error)

        try:
            for name in names:
                advance(name)
                try:
                    turns[name] = open_one(name)
                except Failure as failure:
                    failures[name] = str(failure)
            for number in range(settings.rounds):
                advance(f"round {number + 1}")
                for name, turn in list(turns.items()):
                    if not turn.due(settings):
                        continue
                    try:
                        turn.warm.append(turn.session.warm())
                    except Failure as failure:
                        failures[name] = str(failure)
                        del turns[name]
        finally:
            for turn in turns.values():
                turn.session.close()
    rows = [
        turns[name].measurement(name, chosen[name].kind)
        if name in turns
        else Measurement(name=name, kind=chosen[name].kind, failure=failures[name])
        for name in names
    ]
    return CaseResult(
        name=case.name, input_bytes=input_bytes, rows=rows, missing=missing
    )


def num_steps(workload: Workload, case: Case, settings: Settings) -> int:
    """At most how often `run_case` calls `advance`."""
    return 2 + len(workload.candidates) + settings.rounds
