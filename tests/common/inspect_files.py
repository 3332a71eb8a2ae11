"""Hand-made logs in the shapes of inspect_ai."""

import json
import math
import zipfile

from servers import entry


def answered(probabilities, letters="ABCDEFGH", said="ANSWER: "):
    """An output whose last token is the letter of the largest probability."""
    pairs = [(f" {letters[k]}", math.log(p)) for k, p in enumerate(probabilities)]
    best = max(pairs, key=lambda pair: pair[1])
    return output([entry(said.strip(), -0.01), entry(*best, *pairs)])


def output(content, text=None):
    if text is None:
        text = "".join(one["token"] for one in content)
    message = {"id": "m", "content": text, "role": "assistant"}
    choice = {"message": message, "stop_reason": "stop"}
    if content:
        choice["logprobs"] = {"content": content}
    return {"model": "m", "choices": [choice], "completion": text}


def sample(number, probabilities=(0.7, 0.2), target="A", *, epoch=1, **more):
    return {
        "id": f"q{number}",
        "epoch": epoch,
        "input": f"Question {number}?",
        "choices": [f"option {k}" for k in range(len(probabilities))],
        "target": target,
        "messages": [],
        "output": answered(probabilities),
        "scores": {"choice": {"value": "C" if target == "A" else "I"}},
        "metadata": {},
        "attachments": {},
    } | more


def header(*, model="mockllm/small", task="toy", steps=(), **more):
    return {
        "version": 2,
        "status": "success",
        "eval": {"model": model, "task": task, "created": "2026-11-30"} | more,
        "plan": {"name": "plan", "steps": list(steps)},
    }


def log(*samples, **more):
    return header(**more) | {"samples": list(samples)}


def members(*samples, **more):
    """The members of a zip file, as text."""
    named = {
        f"samples/{one['id']}_epoch_{one['epoch']}.json": json.dumps(one)
        for one in samples
    }
    return {"header.json": json.dumps(header(**more))} | named


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
