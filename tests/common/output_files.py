"""Files of outputs in the shapes of the tools that write them."""

import json

import numpy as np
import pytest

import calib_jax as cj


def read(path, **more):
    return cj.io.read_outputs(path, **more)


def one_line(path, **more):
    """The message of the error, which is one line."""
    with pytest.raises(ValueError) as error:
        read(path, **more)
    message = str(error.value)
    assert "\n" not in message and len(message) < 900
    return message


def write(path, content):
    """A file of bytes, of text, or of a JSON line for each object."""
    if isinstance(content, list):
        content = "".join(json.dumps(line) + "\n" for line in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sample(number, values, target, *, options=None, contexts=None, **more):
    """A line of a multiple-choice task."""
    options = options or [f" {letter}" for letter in "ABCD"[: len(values)]]
    contexts = contexts or [f"Q{number}?\nAnswer:"] * len(values)
    best = int(np.argmax(values))
    pairs = [[str(value), str(k == best)] for k, value in enumerate(values)]
    return {
        "doc_id": number,
        "doc": {"question": f"Q{number}?", "answer": 0},
        "target": str(target),
        "arguments": {
            f"gen_args_{k}": {"arg_0": context, "arg_1": option}
            for k, (context, option) in enumerate(zip(contexts, options, strict=True))
        },
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": "7f06",
        "prompt_hash": "16ab",
        "target_hash": "5fec",
        "acc": float(str(target) in (str(best), options[best].strip())),
        "acc_norm": 0.0,
    } | more


def choice(name, probabilities, chosen=None, confidence=0.5):
    """A choice in the shape of OpenAI's types."""
    return {
        "type": "choice",
        "name": name,
        "choice": max(probabilities, key=probabilities.get)
        if chosen is None
        else chosen,
        "probabilities": [
            {"value": value, "probability": p} for value, p in probabilities.items()
        ],
        "confidence": confidence,
    }


def decision(*answers):
    return {"model": "m", "answers": list(answers), "usage": {"input_tokens": 3}}


ALL = [
    {
        "id": "x",
        "response": decision(
            choice("topic", {"law": 0.07, "art": 0.93}),
            {"type": "predicate", "name": "ok", "probability": 0.25},
            {
                "type": "score",
                "name": "stars",
                "score": 8.1,
                "probabilities": [
                    {"value": 10, "label": "great", "probability": 0.33},
                    {"value": 2, "label": "poor", "probability": 0.33},
                    {"value": 9, "label": "good", "probability": 0.33},
                ],
                "confidence": 0.4,
            },
        ),
    },
    {"id": "y", "response": decision({"type": "refusal", "name": "topic"})},
]
SYSTEM_ONE = [
    {
        "id": "x",
        "model": "m",
        "answers": {
            "topic": {
                "type": "choice",
                "choice": "art",
                "confidence": 0.5,
                "probabilities": {"art": 0.93, "law": 0.07},
            },
            "ok": {"type": "noul", "noul": 0.25},
            "stars": {
                "type": "score",
                "score": 8.1,
                "legend": {"2": "poor", "9": "good", "10": "great"},
                "probabilities": {"2": 0.33, "10": 0.33, "9": 0.33},
                "confidence": 0.4,
            },
        },
    }
]
