"""Answers of several models to the same rows, under one numbering of the options.

Shapes: N joined rows, M models.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..io.outputs import Outputs
from . import pairs, scoring
from .records import class_values


class Answers(NamedTuple):
    """What models chose, and what was given; host arrays.

    Attributes:
      outputs: M, without outcomes of their own: right is what the labels say.
      ids: N texts.
      predictions: int32 `[M, N]`.
      labels: int32 `[N]`.
      names: names of the options, or None for numbers.
    """

    outputs: tuple[Outputs, ...]
    ids: tuple[str, ...]
    predictions: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] | None


def answers(outputs: Sequence[Outputs]) -> Answers:
    """The answers of joined outputs.

    Raises:
      ValueError: if two are those of one model, if one has no labels or no
        predictions, if only some name their options, or if their labels differ.
    """
    if not outputs:
        raise ValueError("outputs: expected those of one model or more, got none.")
    pairs.check_different(outputs)
    named = {one.choices is not None for one in outputs}
    if len(named) > 1:
        without = next(one for one in outputs if one.choices is None)
        raise ValueError(
            f"{without.name}: its options have no names, and those of other files do, "
            "so that answers cannot be compared. Give names with --choices."
        )
    # In the order in which they come up.
    every = dict.fromkeys(name for one in outputs for name in one.choices or ())
    place = {name: number for number, name in enumerate(every)}
    predictions, labels, own = [], [], []
    for one in outputs:
        if one.labels is None:
            raise _no_labels(one)
        one = dataclasses.replace(one, outcomes=None)
        prediction = scoring.scored(one).prediction
        numbers = np.array([place[name] for name in one.choices or ()], np.int32)
        both = np.asarray(prediction, np.int32), np.asarray(one.labels, np.int32)
        if numbers.size:
            both = numbers[both[0]], numbers[both[1]]
        predictions.append(both[0])
        labels.append(both[1])
        own.append(one)
    for one, given in zip(own[1:], labels[1:], strict=True):
        if np.any(given != labels[0]):
            row = int(np.argmax(given != labels[0]))
            raise ValueError(
                f"{one.name}: other labels than {own[0].name} in "
                f"{int(np.sum(given != labels[0]))} rows (first: id {one.ids[row]!r}). "
                "Pass the labels to check with --labels."
            )
    return Answers(
        outputs=tuple(own),
        ids=own[0].ids,
        predictions=np.stack(predictions),
        labels=labels[0],
        names=tuple(every) or None,
    )


def _no_labels(outputs: Outputs) -> ValueError:
    if outputs.predictions is not None or class_values(outputs) is not None:
        return ValueError(
            f"{outputs.name}: no labels to check. Pass a file of them with --labels."
        )
    has = "scores alone"
    if outputs.outcomes is not None:
        has = "whether answers are right, and not what they are"
    return ValueError(
        f"{outputs.name}: it says {has}. To check labels, each row needs its given "
        "label and the option that the model chose: add columns label and prediction, "
        "or the labels and the probabilities of all options."
    )
