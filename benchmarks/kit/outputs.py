"""Saved outputs of real models, one `Outputs` for each task.

`tasks.toml` says which files make a task, what they hold and which models are a pair.
The files are read with NumPy, without pickles.
"""

import dataclasses
import itertools
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import calib_jax as cj

Description = Mapping[str, Any]
Pair = tuple[int, int]

_TASKS = Path(__file__).with_name("tasks.toml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """The answers of M models to the N examples of a task.

    Attributes:
      name: name of the task in tasks.toml.
      title: title to print.
      models: names to print, in order.
      confidence: float32 `[M, N]`, as the models state it.
      score: float32 `[M, N]`, log-odds of that confidence, which Platt scaling takes.
      correct: bool `[M, N]`, whether the answer is the given label.
      prediction: int32 `[M, N]`, or None where only correctness was saved.
      label: int32 `[N]`, or None likewise.
      logits: float32 `[M, N, C]`, or None where only the answers were saved.
      cost: float32 `[M, N]`, US dollars per question, or None.
      max_logit: float32 `[M, N]`, raw maximal logit, NaN where unknown, or None.
      is_error: bool `[N]`, whether people found the label wrong, or None.
      is_judged: bool `[N]`, whether they were asked about it, or None.
      small_large: pairs of models, the small one first.
      large_large: pairs of two large models.
      experts: groups of models that clean together.
      pictured: the small-large pair with a figure of its own, or None.
    """

    name: str
    title: str
    models: tuple[str, ...]
    confidence: np.ndarray
    score: np.ndarray
    correct: np.ndarray
    prediction: np.ndarray | None = None
    label: np.ndarray | None = None
    logits: np.ndarray | None = None
    cost: np.ndarray | None = None
    max_logit: np.ndarray | None = None
    is_error: np.ndarray | None = None
    is_judged: np.ndarray | None = None
    small_large: tuple[Pair, ...] = ()
    large_large: tuple[Pair, ...] = ()
    experts: tuple[tuple[int, ...], ...] = ()
    pictured: Pair | None = None

    @property
    def num_examples(self) -> int:
        return self.confidence.shape[1]


def descriptions(*, without_pairs: bool = False) -> dict[str, Description]:
    """The contents of tasks.toml: tasks with pairs of models, and all others too."""
    found = tomllib.loads(_TASKS.read_text(encoding="utf-8"))
    if without_pairs:
        return found
    return {name: task for name, task in found.items() if not _is_alone(task)}


def _is_alone(description: Description) -> bool:
    """Whether a task has models that no pair is made of."""
    return not {"ladder", "small_large"} & description.keys()


def present(folder: Path, description: Description) -> bool:
    """Whether the folder holds all files of a task."""
    return all((folder / name).is_file() for name in description["files"])


def find(
    folder: Path,
    wanted: Callable[[Description], bool] = lambda description: True,
    *,
    without_pairs: bool = False,
) -> list[str]:
    """Names of the requested tasks whose files are in the folder.

    Raises:
      FileNotFoundError: if there are none.
    """
    every = descriptions(without_pairs=without_pairs)
    described = {name: task for name, task in every.items() if wanted(task)}
    found = [name for name, task in described.items() if present(folder, task)]
    if not found:
        files = sorted({file for task in described.values() for file in task["files"]})
        raise FileNotFoundError(
            f"{folder}: expected at least one of {', '.join(files)}; "
            "benchmarks/paper/README.md says where to get them."
        )
    return found


def read_all(
    folder: Path, wanted: Callable[[Description], bool] = lambda description: True
) -> list[Outputs]:
    """The outputs of every task that `find` finds."""
    return [read(folder, name) for name in find(folder, wanted)]


def read(folder: Path, name: str, *, published: bool = False) -> Outputs:
    """The outputs of one task.

    Args:
      folder: where the files named in tasks.toml are.
      name: of the task.
      published: read `other_files`, the split published for calibration, instead.

    Raises:
      FileNotFoundError: if a file is missing.
      KeyError: if a file lacks an array that its reader needs.
    """
    description = descriptions(without_pairs=True)[name]
    files = description["other_files" if published else "files"]
    # Examples are the last axis of arrays saved model by model, else the first.
    axis = -1 if description["reader"] in ("correct", "answered") else 0
    arrays = _load([folder / file for file in files], axis)
    keys = tuple(description["models"])
    answers = _READERS[description["reader"]](arrays, keys, description)
    _check(files, answers)
    return Outputs(
        name=name,
        title=description["title"],
        models=tuple(description["models"].values()),
        **answers,
        **_judgements(arrays, description),
        small_large=_pairs(keys, description, "small_large"),
        large_large=_pairs(keys, description, "large_large"),
        experts=tuple(
            tuple(keys.index(key) for key in group)
            for group in description.get("experts", ())
        ),
        pictured=tuple(keys.index(key) for key in description["pictured"])
        if "pictured" in description
        else None,
    )


def _load(paths: list[Path], axis: int) -> dict[str, np.ndarray]:
    """The arrays of all files, joined along the axis of the examples."""
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            parts.append({key: file[key] for key in file.files})
    return {
        key: parts[0][key]
        if key == "models" or len(parts) == 1
        else np.concatenate([part[key] for part in parts], axis)
        for key in parts[0]
    }


def _check(files: list[str], answers: Mapping[str, Any]) -> None:
    """Rejects values that are not confidences, and arrays of different examples."""
    confidence = answers["confidence"]
    if not np.all((confidence >= 0) & (confidence <= 1)):
        raise ValueError(
            f"{', '.join(files)}: expected confidences in [0, 1], got "
            f"{confidence.min()} to {confidence.max()}."
        )
    for name in ("correct", "prediction", "cost", "max_logit"):
        found = answers.get(name)
        if found is not None and found.shape != confidence.shape:
            raise ValueError(
                f"{', '.join(files)}: expected {name} of shape {confidence.shape}, as "
                f"the confidences, got {found.shape}."
            )


def _pairs(keys: tuple[str, ...], description: Description, kind: str) -> tuple:
    if kind == "small_large" and "ladder" in description:
        pairs = itertools.combinations(description["ladder"], 2)
    else:
        pairs = description.get(kind, ())
    return tuple((keys.index(first), keys.index(second)) for first, second in pairs)


def _from_logits(logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    best = [cj.top1(model) for model in logits]
    confidence = np.stack([model.confidence for model in best])
    prediction = np.stack([model.prediction for model in best])
    return {
        "confidence": confidence,
        "score": np.asarray(cj.log_odds(confidence)),
        "correct": prediction == label,
        "prediction": prediction,
        "label": label,
        "logits": logits,
    }


def _read_probabilities(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], _: Description
) -> dict[str, Any]:
    # Log-probabilities are valid logits: they differ by a constant per row.
    with np.errstate(divide="ignore"):
        logits = np.stack([np.log(arrays[f"{key}_probs"]) for key in keys])
    return _from_logits(logits, arrays["label"].astype(np.int32))


def _read_options(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], description: Description
) -> dict[str, Any]:
    options = np.arange(description["num_options"])
    logits = np.stack(
        [cj.choice_logits(arrays[f"{key}_logits"], options) for key in keys]
    )
    return _from_logits(logits, arrays["label"].astype(np.int32))


def _read_top1(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], _: Description
) -> dict[str, Any]:
    confidence = np.stack([arrays[f"{key}_conf"] for key in keys])
    prediction = np.stack([arrays[f"{key}_pred"] for key in keys]).astype(np.int32)
    label = arrays["label"].astype(np.int32)
    return {
        "confidence": confidence,
        "score": np.asarray(cj.log_odds(confidence)),
        "correct": prediction == label,
        "prediction": prediction,
        "label": label,
    }


def _read_correct(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], _: Description
) -> dict[str, Any]:
    rows = [arrays["models"].tolist().index(key) for key in keys]
    log_confidence = arrays["log_confidence"][rows]
    # On the device: what is no confidence is refused later, with the names of files.
    score = cj.confidence.log_odds_from_log(jnp.asarray(log_confidence, jnp.float32))
    return {
        "confidence": np.exp(log_confidence),
        "score": np.asarray(score),
        "correct": arrays["correct"][rows],
        "cost": arrays["cost_usd"][rows],
    }


def _read_answered(
    arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], _: Description
) -> dict[str, Any]:
    rows = [arrays["models"].tolist().index(key) for key in keys]
    confidence = arrays["confidence"][rows]
    return {
        "confidence": confidence,
        "score": np.asarray(cj.log_odds(confidence)),
        "correct": arrays["correct"][rows],
        "max_logit": arrays["max_logit"][rows],
    }


_READERS: Mapping[
    str,
    Callable[[Mapping[str, np.ndarray], tuple[str, ...], Description], dict[str, Any]],
] = {
    "top1": _read_top1,
    "probabilities": _read_probabilities,
    "options": _read_options,
    "correct": _read_correct,
    "answered": _read_answered,
}


def _judgements(
    arrays: Mapping[str, np.ndarray], description: Description
) -> dict[str, np.ndarray]:
    truth = description.get("truth")
    if truth == "real_labels":
        # An empty set: no label fits, which says nothing about the given one.
        judged = arrays["real_labels"].max(axis=1) >= 0
        fits = np.any(arrays["real_labels"] == arrays["label"][:, None], axis=1)
        return {"is_judged": judged, "is_error": judged & ~fits}
    if truth == "rater_votes":
        votes = arrays["rater_votes"]
        judged = votes.min(axis=1) >= 0
        # Columns: given label, guessed label, neither, both. Five people were asked.
        kept = votes[:, 0] + votes[:, 3]
        return {"is_judged": judged, "is_error": judged & (kept < 3)}
    if truth == "verdict":
        judged = arrays["verdict"] >= 0
        ok = arrays["verdict_names"].tolist().index("ok")
        return {"is_judged": judged, "is_error": judged & (arrays["verdict"] != ok)}
    return {}
