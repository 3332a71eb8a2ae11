"""A folder of made-up outputs in the format that benchmarks/paper reads.

Models of different strength answer the same examples and share how hard each is.
Confidences are rounded, so that some tie, and every model is over- or under-confident
by a factor of its own.
"""

import tomllib
from pathlib import Path

import numpy as np

TASKS = Path(__file__).parents[2] / "benchmarks" / "kit" / "tasks.toml"


# One or two of every kind; more would only add compiling.
NAMES = ("imagenet", "cifar10", "mmlu", "medmcqa", "emotion")
# Those that one section alone reads.
FURTHER = ("mmlu_redux", "mmlu_paper_pair")


def write(folder, num_examples=240, seed=0, names=NAMES):
    """Writes the files that tasks.toml names for some tasks, and returns the folder."""
    tasks = tomllib.loads(TASKS.read_text(encoding="utf-8"))
    for number, (name, task) in enumerate(tasks.items()):
        if name not in names:
            continue
        rng = np.random.default_rng((seed, number))
        for file in task["files"] + task.get("other_files", []):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **ARRAYS[task["reader"]](rng, task, num_examples))
    return folder


def _logits(rng, label, num_classes, strength):
    """Logits `[N, C]` that favour the label, more so on easy examples."""
    easy = rng.uniform(0.3, 1.5, len(label))[:, None]
    noise = rng.normal(size=(len(label), num_classes))
    return strength * easy * np.eye(num_classes)[label] + noise


def _models(rng, task, num_examples, num_classes):
    label = rng.integers(0, num_classes, num_examples)
    strengths = np.linspace(1.5, 3.0, len(task["models"]))
    scales = rng.permutation(np.linspace(0.6, 2.0, len(task["models"])))
    logits = {
        key: np.round(scale * _logits(rng, label, num_classes, strength), 1)
        for key, strength, scale in zip(task["models"], strengths, scales, strict=True)
    }
    # Some labels are wrong; the models do not know which.
    wrong = rng.uniform(size=num_examples) < 0.1
    given = np.where(wrong, (label + 1) % num_classes, label)
    return logits, given, label, wrong


def _softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def _probabilities(rng, task, num_examples):
    logits, given, label, wrong = _models(rng, task, num_examples, 10)
    votes = np.full((num_examples, 4), -1)
    asked = wrong | (rng.uniform(size=num_examples) < 0.3)
    votes[asked] = [4, 1, 0, 0]
    votes[asked & wrong] = [1, 3, 1, 0]
    return {
        "label": given.astype(np.int16),
        "rater_votes": votes.astype(np.int8),
        "rater_guess": np.where(asked, label, -1).astype(np.int16),
    } | {f"{key}_probs": _softmax(value) for key, value in logits.items()}


def _top1(rng, task, num_examples):
    logits, given, label, wrong = _models(rng, task, num_examples, 20)
    real = np.full((num_examples, 9), -1)
    real[:, 0] = label
    real[rng.uniform(size=num_examples) < 0.05] = -1
    arrays = {"label": given.astype(np.int16), "real_labels": real.astype(np.int16)}
    for key, value in logits.items():
        arrays[f"{key}_pred"] = value.argmax(-1).astype(np.int16)
        arrays[f"{key}_conf"] = np.round(_softmax(value).max(-1), 3)
    return arrays


def _options(rng, task, num_examples):
    logits, given, _, _ = _models(rng, task, num_examples, task["num_options"])
    other = rng.normal(size=(num_examples, 2))
    return {"label": given.astype(np.int8)} | {
        f"{key}_logits": np.concatenate([value, other], axis=1).astype(np.float32)
        for key, value in logits.items()
    }


def _correct(rng, task, num_examples):
    logits, given, _, _ = _models(rng, task, num_examples, 4)
    values = list(logits.values())
    confidence = np.stack([_softmax(value).max(-1) for value in values])
    cost = np.geomspace(1e-5, 1e-3, len(values))[:, None]
    return {
        "models": np.array(list(logits)),
        "log_confidence": np.round(np.log(confidence), 3).astype(np.float32),
        "correct": np.stack([value.argmax(-1) == given for value in values]),
        "cost_usd": (cost * rng.uniform(1, 2, (1, num_examples))).astype(np.float32),
    }


def _answered(rng, task, num_examples):
    # One more, which is left out since a raw logit is missing.
    logits, given, _, wrong = _models(rng, task, num_examples + 1, 4)
    values = np.stack(list(logits.values()))
    max_logit = (values.max(-1) + 20.0).astype(np.float32)
    names = list(logits)
    max_logit[[name.startswith("gpt") for name in names]] = np.nan
    max_logit[0, 5] = np.nan
    verdict = np.where(wrong, 1, 0)
    verdict[rng.uniform(size=num_examples + 1) < 0.2] = -1
    return {
        "models": np.array(names),
        "confidence": np.round(_softmax(values).max(-1), 3),
        "correct": values.argmax(-1) == given,
        "max_logit": max_logit,
        "verdict": verdict.astype(np.int8),
        "verdict_names": np.array(["ok", "wrong_groundtruth"]),
    }


ARRAYS = {
    "top1": _top1,
    "probabilities": _probabilities,
    "options": _options,
    "correct": _correct,
    "answered": _answered,
}
