"""The commands that reports name next take what new files need."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
import servers
from made_outputs import one_line, run
from servers import entry

from calib_jax.cli import options

pytestmark = pytest.mark.once


def test_commands_to_come_have_the_options_they_need(capsys, tmp_path):
    rng = np.random.default_rng(0)
    right, values = rng.integers(0, 2, 300), rng.normal(size=(300, 2))
    values[np.arange(300), right] += 1.5
    values -= np.logaddexp(*values.T)[:, None]
    lines = [
        servers.chat("x", [entry("AB"[int(np.argmax(row))], max(row), *top)])
        | {"custom_id": f"q{number}"}
        for number, row in enumerate(values.tolist())
        for top in [list(zip("AB", row, strict=True))]
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "\n".join(["id,label", *(f"q{k},{'AB'[one]}" for k, one in enumerate(right))])
    )
    out = tmp_path / "out"
    _, text, _ = run(
        *(capsys, "calibrate", path, "--labels", labels, "--choices", "A,B"),
        *("--output", out),
    )
    command = f"calib-jax apply {out / 'calibration.json'} NEW_FILE --choices A,B"
    assert f"{command}\n" in text and command in (out / "report.html").read_text()
    # Without them it says what to pass.
    message = one_line(capsys, "apply", out / "calibration.json", path)
    assert message.endswith(
        "pass --choices with the texts of the options that it was fitted on."
    )


def test_options_to_repeat():
    how = {
        "labels": (pathlib.Path("x.csv"),),
        "kind": "scores",
        "columns": {"scores": ["a b", "c"], "outcomes": "ok", "cost": "price"},
        "choices": ["A", "B"],
        "smoothing": 0.001,
    }
    reading, second, labelling = options.again(how)
    assert reading == (
        " --kind scores --column 'scores=a b' --column scores=c --choices A,B "
        "--smoothing 0.001"
    )
    assert labelling == " --labels NEW_LABELS --column outcomes=ok" and not second
    assert options.again(dict.fromkeys(how)) == ("", "", "")


@pytest.mark.parametrize("models", [("small net", "large"), ("small net",)])
def test_commands_to_come_name_the_models(capsys, tmp_path, models):
    """Of one file and of both, each with several models."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    names = np.array(["small net", "large"])
    paths = []
    for part, skill in zip(("first", "second"), (1.0, 3.0), strict=True):
        logits = rng.normal(size=(2, 400, 3)) + skill * np.eye(3)[labels]
        paths.append(tmp_path / f"{part}.npz")
        np.savez(paths[-1], logits=np.float32(logits), labels=labels, models=names)
    out = tmp_path / "out"
    given = [word for name in models for word in ("--model", name)]
    status, text, _ = run(
        *(capsys, "cascade", *paths, "--output", out, "--max-drop", "0.5", *given)
    )
    assert status == 0
    steps = re.findall("calib-jax ((?:apply|check) .*)", text)
    assert len(steps) in (2, 3)
    new = {
        "NEW_FILE": paths[:1],
        "NEW_SMALL": paths[:1],
        "NEW_LARGE": paths[1:],
        "NEW_LABELS": [],
    }
    for step in steps:
        words = [new.get(word, [word]) for word in shlex.split(step)]
        command = [str(word) for several in words for word in several]
        if command[0] == "check":
            command += ["--output", str(tmp_path / "check")]
        status, _, err = run(capsys, *command)
        assert status in (0, 1) and not err, (step, err)
        both = len(models) == 2 and "NEW_LARGE" in step
        assert command.count("--model") == 1 + both
