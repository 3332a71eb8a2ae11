"""Labels whose errors are known, and the models that judge them.

Shapes: M models, N examples, C classes.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.kit import outputs
from benchmarks.kit.outputs import Outputs

# Share of the labels that are flipped, and the streams of random numbers.
FLIPPED, _SEED = 0.05, 2020
_VERDICTS = {"mmlu_redux": "language/mmlu_redux.npz"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Some models that judge some labels.

    Attributes:
      title: the labels, and who says which are wrong.
      outputs: of the models; `is_error` and `is_judged` say what is known.
      num_options: classes, or options of a question.
      is_complete: whether all labels were judged, so that recall is known.
      made: whether the errors were made by flipping labels.
    """

    title: str
    outputs: Outputs
    num_options: int
    is_complete: bool
    made: bool = False


def read(folder: Path, seed: int) -> Iterator[Case]:
    """The cases whose files the folder has."""
    present = outputs.descriptions(without_pairs=True)
    for name in ("imagenet", "cifar10", "cifar100", "mmlu_redux", "emotion"):
        if outputs.present(folder, present[name]):
            yield from _OF_TASK[name](folder, outputs.read(folder, name), seed)


def _imagenet(folder: Path, task: Outputs, seed: int) -> Iterator[Case]:
    for members in task.experts:
        yield Case(
            title="ImageNet, ReaL",
            outputs=_some(task, members),
            num_options=1000,
            is_complete=True,
        )


def _cifar(folder: Path, task: Outputs, seed: int) -> Iterator[Case]:
    num_options = task.logits.shape[-1]
    people = folder / "vision/cifar10h.npz"
    for members in task.experts:
        some = _some(task, members)
        if task.name == "cifar10" and people.is_file():
            with np.load(people, allow_pickle=False) as file:
                votes = file["votes"]
            yield Case(
                title="CIFAR-10H, majority",
                outputs=dataclasses.replace(
                    some,
                    is_error=votes.argmax(axis=1) != task.label,
                    is_judged=np.ones(task.num_examples, bool),
                ),
                num_options=num_options,
                is_complete=True,
            )
        yield Case(
            title=f"{task.title}, votes",
            outputs=some,
            num_options=num_options,
            is_complete=False,
        )
        yield _flipped(some, num_options, seed)


def _emotion(folder: Path, task: Outputs, seed: int) -> Iterator[Case]:
    for members in task.experts:
        yield _flipped(_some(task, members), task.logits.shape[-1], seed)


def _redux(folder: Path, task: Outputs, seed: int) -> Iterator[Case]:
    """The best two, five, and all."""
    with np.load(folder / _VERDICTS[task.name], allow_pickle=False) as file:
        verdict, names = file["verdict"], file["verdict_names"].tolist()
    task = dataclasses.replace(
        task,
        is_judged=verdict >= 0,
        is_error=(verdict >= 0) & (verdict != names.index("ok")),
    )
    best = np.argsort(-task.correct.mean(axis=1), kind="stable")
    for number in (2, 5, len(best)):
        yield Case(
            title="MMLU-Redux, not ok",
            outputs=_some(task, tuple(sorted(best[:number].tolist()))),
            num_options=4,
            is_complete=True,
        )


_OF_TASK = {
    "imagenet": _imagenet,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "emotion": _emotion,
    "mmlu_redux": _redux,
}


def _flipped(task: Outputs, num_options: int, seed: int) -> Case:
    rng = np.random.default_rng((seed, _SEED))
    wrong = rng.random(task.num_examples) < FLIPPED
    moved = rng.integers(1, num_options, task.num_examples)
    label = np.where(wrong, (task.label + moved) % num_options, task.label)
    label = label.astype(np.int32)
    return Case(
        title=f"{task.title}, flipped",
        outputs=dataclasses.replace(
            task,
            label=label,
            correct=task.prediction == label,
            is_error=wrong,
            is_judged=np.ones_like(wrong),
        ),
        num_options=num_options,
        is_complete=True,
        made=True,
    )


def _some(task: Outputs, members: tuple[int, ...]) -> Outputs:
    """The outputs of some of the models."""
    rows = list(members)

    def of(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[rows]

    return dataclasses.replace(
        task,
        models=tuple(task.models[m] for m in rows),
        confidence=task.confidence[rows],
        score=task.score[rows],
        correct=task.correct[rows],
        prediction=of(task.prediction),
        logits=of(task.logits),
    )
