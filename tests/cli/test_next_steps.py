"""The commands that reports name next take what new files need."""

import json
import pathlib

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
    reading, labelling = options.again(how)
    assert reading == (
        " --kind scores --column 'scores=a b' --column scores=c --choices A,B "
        "--smoothing 0.001"
    )
    assert labelling == " --labels NEW_LABELS --column outcomes=ok"
    assert options.again(dict.fromkeys(how)) == ("", "")
