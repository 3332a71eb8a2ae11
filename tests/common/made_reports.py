"""Reports of real commands on made-up outputs, with texts of the caller's choice."""

import dataclasses
import functools
import pathlib
import tempfile

import numpy as np

import calib_jax as cj
from calib_jax.io.outputs import Outputs
from calib_jax.report import calibration, cascade, checking, cleaning, comparing, models

# Texts that a page must show as they are, or in another way that does no harm.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(2)">',
    "</script><script>alert(3)</script>",
    "</style><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- & &lt; -->",
    "right\u202eleft\u2066\u200f",
    "nul\x00 bell\x07 line\nbreak\ttab \ud800",
    "$\\frac{1}{0}$",
    "x" * 3000,
    "שלום",
)
NUM_ROWS = 2000
COMMANDS = ("calibrate", "cascade", "clean", "check", "compare")
SUBJECTS = ("law", "maths", "history", "physics")


@functools.cache
def _truth(seed: int, wrong: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, NUM_ROWS)
    moved = (labels + 1) % 4
    return np.where(rng.random(NUM_ROWS) < wrong, moved, labels).astype(np.int32)


def _outputs(skill: float, seed: int = 0, wrong: float = 0.0) -> Outputs:
    """Answers of a model, more often right with more skill."""
    rng = np.random.default_rng([seed, int(10 * skill)])
    logits = rng.normal(size=(NUM_ROWS, 4)) + skill * np.eye(4)[_truth(seed)]
    return Outputs(
        ids=tuple(f"question-{i}" for i in range(NUM_ROWS)),
        format="lm-eval",
        kind="log_probabilities",
        name=f"skill-{skill:g}.jsonl",
        logits=np.float32(3 * logits),
        labels=_truth(seed, wrong),
        choices=("A", "B", "C", "D"),
        groups=tuple(SUBJECTS[i % 4] for i in range(NUM_ROWS)),
        dropped={"no log-probabilities": 12, "same id as before": 3},
        dropped_at={"no log-probabilities": ("line 3", "line 17")},
        notes=("2 probabilities are 0, which is -inf here.",),
    )


@functools.cache
def report(command: str, text: str = ""):
    """The report of a command; `text` takes the place of all texts from files."""
    made = _made(command)
    return made if not text else _told(made, text)


@functools.cache
def _made(command: str):
    if command == "calibrate":
        return calibration.calibration_report(_outputs(1.0))
    if command == "cascade":
        small, large = _outputs(2.0), _outputs(3.0)
        return cascade.cascade_report(
            small, large, max_drop=0.02, small_cost=1, large_cost=10
        )
    if command == "clean":
        some = [_outputs(skill, wrong=0.2) for skill in (3.0, 3.5, 4.0)]
        return cleaning.cleaning_report(*some)
    if command == "compare":
        return comparing.comparison_report(
            [
                dataclasses.replace(_outputs(skill, seed), model=name, task=task)
                for name, skill in (("small", 1.0), ("middle", 2.0), ("large", 3.0))
                for seed, task in enumerate(SUBJECTS)
                if (name, task) != ("middle", "law")
            ],
            prices={"small": 1.0, "middle": 3.0, "large": 10.0},
        )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "cascade.json"
        _made("cascade").files()["cascade.json"](path)
        record = cj.load(path)
    return checking.check_report(record, _outputs(2.0, seed=1), _outputs(3.0, seed=1))


@functools.cache
def impossible():
    """A cascade that cannot promise so large a gain, without costs."""
    return cascade.cascade_report(_outputs(2.0), _outputs(3.0), max_drop=-0.5)


@functools.cache
def of_scores():
    """A model of which the file has scores of any size, and nothing else."""
    scores = np.random.default_rng(5).normal(size=NUM_ROWS)
    outputs = Outputs(
        ids=tuple(map(str, range(NUM_ROWS))),
        format="npz",
        kind="scores",
        name="scores.npz",
        scores=np.float32(scores),
        outcomes=np.float32(scores + np.roll(scores, 1) > 0),
    )
    return calibration.calibration_report(outputs)


def _told(made, text: str):
    sources = tuple(_source(one, text) for one in made.sources)
    more = {}
    if isinstance(made, calibration.CalibrationReport):
        more = {"model": _model(made.model, text), "ids": (text,) * len(made.ids)}
    if isinstance(made, cascade.CascadeReport):
        more = {name: _model(getattr(made, name), text) for name in ("small", "large")}
        more |= {"cost_unit": text, "cost_reason": text}
    if isinstance(made, cleaning.CleaningReport):
        answers = {"option": text}
        suspects = tuple(
            dataclasses.replace(
                one,
                id=text,
                given=text,
                suggestion=text,
                answers=tuple(dataclasses.replace(a, **answers) for a in one.answers),
            )
            for one in made.suspects
        )
        some = tuple(_model(one, text) for one in made.models)
        more = {"models": some, "suspects": suspects}
    if isinstance(made, comparing.ComparisonReport):
        more = {
            name: tuple(
                dataclasses.replace(one, **_named(one, text))
                for one in getattr(made, name)
            )
            for name in (
                *("on_tasks", "pairs", "mean_pairs", "best", "alone"),
                *("shared", "shared_on_tasks"),
            )
        }
        more["not_compared"] = (text,)
        more["prices"] = {text: 1.0}
        more["tasks_together"] = (text,) * len(made.tasks_together)
    return dataclasses.replace(made, sources=sources, **more)


def _named(row, text: str):
    """All names of a row of a comparison as the text."""
    names = ("model", "task", "file", "small", "large", "first", "then", "single")
    return {name: text for name in names if getattr(row, name, None) is not None}


def _source(source, text: str):
    return dataclasses.replace(
        source,
        name=text,
        dropped={text: 12},
        dropped_at={text: (text, text)},
        notes=(text,),
    )


def _model(model: models.Model, text: str) -> models.Model:
    groups = tuple(dataclasses.replace(group, name=text) for group in model.groups)
    return dataclasses.replace(
        model, source=_source(model.source, text), reason=text, groups=groups
    )
