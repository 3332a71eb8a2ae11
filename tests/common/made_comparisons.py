"""Made-up outputs of several models on several tasks."""

import dataclasses

import numpy as np

from calib_jax.io.outputs import Outputs

LEVEL = 0.9


def truth(task, rows):
    return np.random.default_rng(len(task)).integers(0, 4, rows).astype(np.int32)


def outputs(model, task, skill, *, rows=400, scale=2.0, seed=0, **more):
    """Logits of a model, which are overconfident by `scale`."""
    rng = np.random.default_rng([seed, *map(ord, model + task)])
    labels = truth(task, rows)
    logits = rng.normal(size=(rows, 4)) + skill * np.eye(4)[labels]
    made = Outputs(
        ids=tuple(f"q{i}" for i in range(rows)),
        format="npz",
        kind="logits",
        name=f"{model}/{task}.npz",
        logits=np.float32(scale * logits),
        labels=labels,
        model=model,
        task=task,
    )
    return dataclasses.replace(made, **more)


def scores(model, task, *, rows=400, seed=0, slope=1.0):
    """Scores whose log-odds are `slope` times themselves."""
    rng = np.random.default_rng([seed, *map(ord, model + task)])
    values = np.float32(rng.normal(size=rows))
    right = rng.random(rows) < 1 / (1 + np.exp(-slope * values))
    return Outputs(
        ids=tuple(map(str, range(rows))),
        format="csv",
        kind="scores",
        name=f"{model}-{task}.csv",
        scores=values,
        outcomes=np.float32(right),
        model=model,
        task=task,
    )


TASKS = ("law", "music", "physics")
PRICES = {"small": 1.0, "large": 10.0}


def two_models():
    """A small and a large model on three tasks."""
    return [
        outputs(model, task, skill)
        for model, skill in (("small", 1.0), ("large", 2.5))
        for task in TASKS
    ]
