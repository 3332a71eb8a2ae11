"""Raw logits, which vLLM writes with --logprobs-mode raw_logits, as outputs."""

import numpy as np
import pytest
import servers
from native_bodies import step, vllm
from output_files import one_line, read, write

import calib_jax as cj

pytestmark = pytest.mark.once

CHOICES = ["A", "B", "C"]
LETTERS = [" A", " B", " C"]
NAMES = ["q0", "q1", "q2"]


def test_raw_logits(tmp_path):
    """vLLM with --logprobs-mode raw_logits: the mean raw logit of the paper."""
    rng = np.random.default_rng(0)
    logits = rng.normal(12.0, 4.0, (3, 3)).astype(np.float32)
    chats = [
        servers.chat(
            "c",
            [
                servers.entry("The", 21.5),
                servers.entry(" answer", -1.25),
                servers.entry(" is", 8.0),
                servers.entry(*step(row, LETTERS)[0], *step(row, LETTERS)[1:]),
            ],
            custom_id=name,
        )
        for name, row in zip(NAMES, logits, strict=True)
    ]
    path = write(tmp_path / "a", chats)
    for more in ({}, {"choices": CHOICES}, {"kind": "scores"}):
        # The lines without a number above 0 would pass for log-probabilities.
        for drop in (False, True):
            message = one_line(path, drop_malformed=drop, **more)
            assert "line 1: " in message and "with kind='logits'" in message
    outputs = read(path, kind="logits")
    assert (outputs.kind, outputs.scale) == ("scores", "logit")
    expected = (21.5 - 1.25 + 8.0 + logits.max(axis=1)) / 4
    np.testing.assert_allclose(outputs.scores, expected, rtol=1e-6)
    assert "mean raw logits" in outputs.notes[0]
    outputs = read(path, kind="logits", choices=CHOICES)
    assert outputs.kind == "logits" and outputs.log_probabilities is None
    np.testing.assert_array_equal(outputs.logits, logits)
    assert outputs.predictions.tolist() == logits.argmax(axis=1).tolist()


def test_logits_of_several_spellings_are_added(tmp_path):
    top = [("A", 3.0), (" A", 3.5), ("B", 2.0), ("C", -9999.0)]
    line = servers.chat("c", [servers.entry("A", 3.0, *top)], custom_id="a")
    outputs = read(write(tmp_path / "a", [line]), kind="logits", choices=CHOICES)
    expected = [np.logaddexp(3.0, 3.5), 2.0, -np.inf]
    np.testing.assert_allclose(outputs.logits, [expected], rtol=1e-6)
    share = np.exp(3.0) + np.exp(3.5)
    share /= share + np.exp(2.0)
    top1 = cj.top1(outputs.logits)
    np.testing.assert_allclose(top1.confidence, [share], rtol=1e-6)
    entry = line["choices"][0]["logprobs"]["content"][0]
    for bad in (float("nan"), float("inf"), "3", None, 10**400):
        entry["logprob"] = bad
        message = one_line(write(tmp_path / "a", [line]), kind="logits")
        assert "malformed line 1" in message


def test_log_probabilities_read_as_logits_are_named(tmp_path):
    path = write(tmp_path / "a", [{"id": "q0", **vllm([step([-0.5, -1.5, -2.5])])}])
    outputs = read(path, kind="logits")
    assert "none is above 0" in outputs.notes[0]
