"""Which questions are for choosing and which for judging, padded to common lengths.

Shapes: P problems, each a split of some task; M models, L questions to choose on, T to
judge on, N questions of a task.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from benchmarks.kit import halves, outputs
from benchmarks.kit.outputs import Outputs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Questions of one side of every problem.

    Attributes:
      confidence: float32 `[P, M, L]`, calibrated on the side to choose on.
      correct: bool `[P, M, L]`.
      cost: float32 `[P, M, L]`, US dollars.
      where: bool `[P, L]`, False on padding.
      number: int32 `[P, L]`, index of the question.
    """

    confidence: np.ndarray
    correct: np.ndarray
    cost: np.ndarray
    where: np.ndarray
    number: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """The problems of one task and one way to split it.

    Attributes:
      name: of its figure.
      title: to print.
      models: names to print, in the order in which they are asked.
      num_chosen_on: questions to choose on.
      num_judged_on: questions to judge on.
      num_questions: questions of the task.
      problems: which of the P belong to it.
    """

    name: str
    title: str
    models: tuple[str, ...]
    num_chosen_on: int
    num_judged_on: int
    num_questions: int
    problems: slice


def read(
    folder: Path, seed: int, num_halves: int
) -> tuple[list[Setting], tuple[Rows, Rows]]:
    """The settings of all tasks whose prices are known, and both sides of all problems.

    Raises:
      FileNotFoundError: if the folder lacks the files of all such tasks.
    """
    parts = []
    described = outputs.descriptions()
    for task in outputs.read_all(folder, lambda task: task["reader"] == "correct"):
        if "other_files" in described[task.name]:
            published = outputs.read(folder, task.name, published=True)
            parts.append(_published(task, published))
        sides = halves.random_rows(seed, task.num_examples, num_halves)
        title = f"{task.title}, random halves"
        parts.append((f"{task.name}-halves", title, task, *sides))
    settings, first = [], 0
    for name, title, task, chosen_on, judged_on in parts:
        last = first + len(chosen_on)
        settings.append(
            Setting(
                name=name,
                title=title,
                models=task.models,
                num_chosen_on=chosen_on.shape[1],
                num_judged_on=judged_on.shape[1],
                num_questions=task.num_examples,
                problems=slice(first, last),
            )
        )
        first = last
    fitted = [halves.fit(task, chosen_on)[0] for _, _, task, chosen_on, _ in parts]
    return settings, tuple(
        _join(
            [
                (task, confidence, part[side])
                for (_, _, task, *part), confidence in zip(parts, fitted, strict=True)
            ]
        )
        for side in (0, 1)
    )


def _published(task: Outputs, other: Outputs) -> tuple:
    """The published split to choose on, all other questions to judge on."""
    both = dataclasses.replace(
        task,
        **{
            name: np.concatenate([getattr(other, name), getattr(task, name)], axis=1)
            for name in ("confidence", "score", "correct", "cost")
        },
    )
    rows = np.arange(both.num_examples, dtype=np.int32)[None]
    sides = rows[:, : other.num_examples], rows[:, other.num_examples :]
    return f"{task.name}-published", f"{task.title}, published split", both, *sides


def _join(parts: Sequence[tuple[Outputs, np.ndarray, np.ndarray]]) -> Rows:
    length = max(rows.shape[1] for _, _, rows in parts)

    def pad(values: np.ndarray) -> np.ndarray:
        widths = [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])]
        return np.pad(values, widths)

    def join(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([pad(value) for value in values])

    return Rows(
        confidence=join([halves.take(fitted, rows) for _, fitted, rows in parts]),
        correct=join([halves.take(task.correct, rows) for task, _, rows in parts]),
        cost=join([halves.take(task.cost, rows) for task, _, rows in parts]),
        where=join([np.ones(rows.shape, bool) for _, _, rows in parts]),
        number=join([rows for _, _, rows in parts]),
    )
