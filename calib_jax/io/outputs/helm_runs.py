"""Runs of HELM: their names, and the statistics beside their states.

Source: helm/benchmark/runner.py and helm/benchmark/metrics/metric.py of
stanford-crfm/helm.
"""

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import json_lines, responses
from ..responses import MalformedError, shown
from . import helm_states as states

FILES = re.compile(r"scenario_state\.json(\.gz)?")
STATISTICS = "per_instance_stats.json"
# Whether an answer is right: the first that the statistics have is taken.
METRICS = (
    *("exact_match", "quasi_exact_match", "prefix_exact_match"),
    *("quasi_prefix_exact_match", "quasi_leave_articles_exact_match"),
    *("exact_match_indicator", "final_number_exact_match", "exact_set_match"),
    *("math_equiv", "math_equiv_chain_of_thought", "chain_of_thought_correctness"),
    "code_eval_acc",
)
# What tells runs of a scenario apart, in the names of runs.
_SUBJECTS = (
    *("subject", "subset", "dataset", "task", "category", "demographic", "mode"),
    *("language_pair", "language"),
)
# No specification of a run is longer.
_LONGEST_SPEC = 2**24
# Means of metrics by the id of the question and the trial.
_Statistics = dict[tuple[str, int], dict[str, float]]


class Run(NamedTuple):
    """One file; `is_plain` if a prediction is the text of an answer, and no part."""

    method: str
    is_plain: bool
    model: str
    task: str
    subject: str
    statistics: _Statistics

    @property
    def label(self) -> str:
        return "/".join(filter(None, (self.task, self.subject)))


def is_state(line: Mapping[str, Any]) -> bool:
    """Whether an object looks like one of these."""
    return isinstance(line.get("request_states"), list)


def task_of(path: Path) -> str | None:
    """The scenario of a run and its subject."""
    return "/".join(filter(None, _named(path))) or None


def _named(path: Path) -> tuple[str, str]:
    """Scenario and subject of a run, which its folder or its specification is called.

    Such as `mmlu:subject=anatomy,model=openai_gpt2`.
    """
    name = Path(os.path.abspath(path)).parent.name
    if ":" not in name:
        name = _name_in_spec(path.with_name("run_spec.json"))
    scenario, _, rest = name.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
    return scenario, next((given[one] for one in _SUBJECTS if one in given), "")


def _name_in_spec(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST_SPEC:
            return ""
        name = json.loads(path.read_bytes())["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def run_of(line: Mapping[str, Any], path: Path, metrics: Collection[str]) -> Run:
    if not is_state(line):
        raise MalformedError("not a state of HELM: it has no list request_states")
    spec = states.mapping("adapter_spec", line.get("adapter_spec"))
    method = states.text("adapter_spec.method", spec.get("method"))
    model = spec.get("model") or spec.get("model_deployment") or ""
    task, subject = _named(path)
    pattern = spec.get("output_mapping_pattern")
    return Run(
        method=method,
        is_plain=not pattern and "chain_of_thought" not in method,
        model=states.text("adapter_spec.model", model),
        task=task,
        subject=subject,
        statistics=_statistics(path, metrics),
    )


def _statistics(path: Path, metrics: Collection[str]) -> _Statistics:
    """Metrics of each question, of the file that HELM writes beside the states."""
    found: _Statistics = {}
    names = (STATISTICS, f"{STATISTICS}.gz")
    files = [one for name in names if (one := path.with_name(name)).is_file()]
    if not files or not FILES.fullmatch(path.name):
        return found
    for _, line in json_lines.of_file(files[0]):
        try:
            for entry in responses.values_of_line(line):
                _add_entry(found, states.mapping("an entry", entry), metrics)
        except MalformedError as error:
            raise ValueError(
                f"{files[0]}: {error}: it is damaged; copy it again, or move it away."
            ) from None
    return found


def _add_entry(
    found: _Statistics, entry: Mapping[str, Any], metrics: Collection[str]
) -> None:
    if entry.get("perturbation") is not None:
        return
    key = key_of(entry.get("instance_id"), entry)
    for statistic in states.items("stats", entry.get("stats")):
        statistic = states.mapping("stats", statistic)
        name = states.mapping("name", statistic.get("name")).get("name")
        mean = statistic.get("mean")
        if isinstance(name, str) and name in metrics and isinstance(mean, int | float):
            # What is no share is kept as -1.
            found.setdefault(key, {})[name] = float(mean) if 0 <= mean <= 1 else -1.0


def key_of(identity: Any, given: Mapping[str, Any]) -> tuple[str, int]:
    trial = given.get("train_trial_index", 0)
    if type(trial) is not int:
        raise MalformedError(f"train_trial_index: expected one, got {shown(trial)}")
    return states.text("instance_id", identity), trial
