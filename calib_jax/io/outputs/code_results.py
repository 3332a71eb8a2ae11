"""Results of EvalPlus and BigCodeBench: which samples of a task passed its tests."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..responses import shown
from .joining import Given

# Older ones of EvalPlus have the longer words.
_PASSED = {
    **dict.fromkeys(("pass", "success"), True),
    **dict.fromkeys(("fail", "failed", "timeout", "timed out"), False),
}
_BOTH = "Answers are right if they passed the base tests and the extra ones."
_BASE = "Answers are right if they passed the base tests: the extra ones were not run."


def are_results(first: Mapping[str, Any]) -> bool:
    """Whether an object has a list of samples, with what they passed, for each task."""
    tasks = first.get("eval")
    return (
        isinstance(tasks, Mapping)
        and bool(tasks)
        and all(
            isinstance(one, list) or (isinstance(one, Mapping) and "base" in one)
            for one in tasks.values()
        )
    )


def read(path: Path, results: Iterable[Mapping[str, Any]]) -> Given:
    """The outcomes of all samples.

    A sample's id is that of its task, if each has one, else with its number behind:
    `task/0`, `task/1`.

    Raises:
      ValueError: if a task is there twice, or a sample says neither pass nor fail.

    References:
      evalplus/evalplus, `evaluate.py`; bigcode-project/bigcodebench, `evaluate.py`.
    """
    outcomes: dict[str, list[bool]] = {}
    kinds: set[str] = set()
    for one in results:
        if not are_results(one):
            raise ValueError(f"{path}: expected results of one run, got more lines.")
        for task, samples in one["eval"].items():
            if task in outcomes:
                raise ValueError(f"{path}: task {shown(task)} is there twice.")
            outcomes[task] = []
            for number, statuses in enumerate(_statuses(samples)):
                place = f"{path}: task {shown(task)}, sample {number}"
                kind, passed = _verdict(place, statuses)
                kinds.add(kind)
                outcomes[task].append(passed)
    if len(kinds) > 1:
        raise ValueError(
            f"{path}: some samples have results of the extra tests, and others have "
            "none: evaluate all in one way."
        )
    several = any(len(passed) > 1 for passed in outcomes.values())
    return Given(
        path,
        [
            f"{task}/{number}" if several else task
            for task, passed in outcomes.items()
            for number in range(len(passed))
        ],
        [one for passed in outcomes.values() for one in passed],
        are_outcomes=True,
        samples={task: len(passed) for task, passed in outcomes.items()},
        notes=[note for note in kinds if note],
    )


def _statuses(samples: Any) -> Iterator[tuple[Any, ...]]:
    """Of each sample the only status, or those of the base and of the extra tests."""
    if isinstance(samples, Mapping):
        # As EvalPlus wrote them at first.
        base, plus = (_listed(samples.get(name)) for name in ("base", "plus"))
        for number, one in enumerate(base):
            more = plus[number] if number < len(plus) else None
            yield _first(one), _first(more)
        return
    for sample in samples:
        if not isinstance(sample, Mapping):
            yield (None,)
        elif "status" in sample:
            yield (sample["status"],)
        else:
            yield sample.get("base_status"), sample.get("plus_status")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _verdict(place: str, statuses: tuple[Any, ...]) -> tuple[str, bool]:
    """What the verdict is on, as a note, and whether the sample passed."""
    if len(statuses) == 1:
        return "", _passed(place, statuses[0])
    base = _passed(place, statuses[0])
    if statuses[1] is None:
        return _BASE, base
    return _BOTH, _passed(place, statuses[1]) and base


def _passed(place: str, status: Any) -> bool:
    if not isinstance(status, str) or status not in _PASSED:
        raise ValueError(
            f"{place}: expected a status pass, fail or timeout, got {shown(status)}."
        )
    return _PASSED[status]
