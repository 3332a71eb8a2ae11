"""Answers of a local server and logs of inspect_ai give the page that arrays give."""

import json

import inspect_files
import numpy as np
import pytest
from made_outputs import as_json, logits
from servers import chat, entry

import calib_jax as cj

pytestmark = pytest.mark.once

LETTERS = "ABCD"
ROWS = 600


def ollama(name, content):
    """A body of Ollama's own endpoint, which has no id."""
    message = {"role": "assistant", "content": "".join(one["token"] for one in content)}
    return {
        "model": "small",
        "created_at": "2026-11-30T12:00:00Z",
        "message": message,
        "done": True,
        "done_reason": "stop",
        "logprobs": content,
    }


def openai(name, content):
    return chat(f"chatcmpl-{name}", content)


BODIES = {"openai": openai, "ollama": ollama}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Log-probabilities of both models `[2, N, C]`, labels, and files of arrays."""
    values, labels = logits(rows=ROWS)
    rng = np.random.default_rng(1)
    signal = 3.0 * np.eye(len(LETTERS))[labels]
    values = np.stack([values / 2, signal + rng.normal(size=values.shape)])
    values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
    values = values.astype(np.float32)
    folder = tmp_path_factory.mktemp("arrays")
    names = [f"q{number:03}" for number in range(ROWS)]
    for one, of_model in zip(("small", "large"), values, strict=True):
        np.savez(
            folder / f"{one}.npz",
            log_probabilities=of_model,
            labels=labels,
            ids=np.array(names),
            choices=np.array(list(LETTERS)),
        )
    lines = [
        json.dumps({"id": name, "label": LETTERS[label]})
        for name, label in zip(names, labels, strict=True)
    ]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    return values.astype(float), labels, names, folder


def tokens(values):
    """The tokens of an answer that is the likeliest letter."""
    pairs = list(zip(LETTERS, values.tolist(), strict=True))
    return [entry(*max(pairs, key=lambda pair: pair[1]), *pairs)]


def page(capsys, small, large, folder, labels):
    """What the command says, and the cascade that it writes."""
    found = as_json(
        *(capsys, "cascade", small, large, "--labels", labels, "--choices", "A,B,C,D"),
        *("--cost", "1:10", "--max-drop", "0.05", "--output", folder, "--force"),
    )
    written = json.loads((folder / "cascade.json").read_text())
    html = (folder / "report.html").read_text(encoding="utf-8")
    return found, written, html


def without(value, *names):
    """A value of JSON without what says where it is from."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in names}
        return {key: without(one, *names) for key, one in kept.items()}
    return [without(one, *names) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("server", BODIES)
def test_a_folder_of_answers_and_one_of_logs(capsys, tmp_path, made, server):
    values, labels, names, arrays = made
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    for name, of_row in zip(names, values[0], strict=True):
        body = BODIES[server](name, tokens(of_row))
        (small / f"{name}.json").write_text(json.dumps(body))
    samples = [
        inspect_files.sample(0, (0.1,) * len(LETTERS), LETTERS[label], id=name)
        | {"output": inspect_files.output(tokens(of_row)), "scores": None}
        for name, of_row, label in zip(names, values[1], labels, strict=True)
    ]
    # The order of members is that in which samples ended.
    found = inspect_files.members(*samples[::-1])
    inspect_files.zipped(large / "toy.eval", found)

    pairs = (arrays / "small.npz", arrays / "large.npz"), (small, large)
    for one, other in zip(*pairs, strict=True):
        expected, outputs = (
            cj.io.read_outputs(p, choices=list(LETTERS)) for p in (one, other)
        )
        assert outputs.ids == expected.ids and outputs.choices == expected.choices
        np.testing.assert_array_equal(
            outputs.log_probabilities, expected.log_probabilities
        )
    (expected, cascade, html), (found, other_cascade, other_html) = (
        page(capsys, *pair, tmp_path / "out", arrays / "labels.jsonl") for pair in pairs
    )
    formats = [[one["format"] for one in each["sources"]] for each in (expected, found)]
    assert formats == [["npz"] * 2, ["answers", "inspect"]]
    assert without(found, "name", "format") == without(expected, "name", "format")
    assert other_cascade == cascade
    for one, format in (("small", "answers"), ("large", "inspect")):
        html = html.replace(f"{one}.npz", one)
        html = html.replace("<td>npz</td>", f"<td>{format}</td>", 1)
    assert other_html == html
