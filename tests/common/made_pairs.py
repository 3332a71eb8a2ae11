"""Pairs of models whose truth is known, and files of them."""

import csv

import numpy as np

from calib_jax.io.outputs import Outputs

NUM_ROWS = 3000


def confidences(rows=NUM_ROWS, seed=0):
    """Calibrated confidences of a small model, and whether both models are right.

    The large one is right as often where the small one is sure, and more often
    elsewhere.
    """
    rng = np.random.default_rng(seed)
    small = rng.beta(4, 2, rows)
    large = np.maximum(small, 0.75)
    chance = rng.random(rows)
    return small, chance < small, chance < large, large


def pair(rows=NUM_ROWS, seed=0, decimals=None, **more):
    """`Outputs` of both, scores with outcomes."""
    small, small_right, large_right, large = confidences(rows, seed)
    if decimals is not None:
        small, large = small.round(decimals), large.round(decimals)
    first = {
        "ids": tuple(f"q{i}" for i in range(rows)),
        "format": "csv",
        "kind": "scores",
    } | more
    return tuple(
        Outputs(
            **first,
            name=name,
            scores=np.float32(score),
            outcomes=np.float32(right),
        )
        for name, score, right in (
            ("small.csv", small, small_right),
            ("large.csv", large, large_right),
        )
    )


def write(path, outputs, **columns):
    """A CSV file of scores and outcomes, with more columns."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "score", "correct", *columns])
        writer.writerows(
            zip(
                outputs.ids,
                outputs.scores.tolist(),
                outputs.outcomes.tolist(),
                *columns.values(),
                strict=True,
            )
        )
    return path


def files(folder, **more):
    """Paths of both files."""
    return tuple(write(folder / one.name, one) for one in pair(**more))


def two_large(rows=NUM_ROWS, seed=0, first="first.npz", second="second.npz"):
    """Two models that are sure of what they know, and know other things.

    Options and scores, so that the files say where the answers differ.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rows)
    confidence = rng.beta(4, 1.5, (2, rows))
    right = rng.random((2, rows)) < confidence
    answers = np.where(right, labels, (labels + rng.integers(1, 4, (2, rows))) % 4)
    return tuple(
        Outputs(
            ids=tuple(f"q{i}" for i in range(rows)),
            format="npz",
            kind="scores",
            name=name,
            scores=np.float32(score),
            labels=np.int32(labels),
            predictions=np.int32(answer),
        )
        for name, score, answer in zip(
            (first, second), confidence, answers, strict=True
        )
    )


def write_answers(path, outputs, rows=slice(None)):
    """A file of arrays of outputs with answers."""
    np.savez(
        path,
        ids=np.array(outputs.ids[rows]),
        scores=outputs.scores[rows],
        labels=outputs.labels[rows],
        predictions=outputs.predictions[rows],
    )
    return path
