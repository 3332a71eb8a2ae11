"""Blocks of the answers of one of several models."""

import numpy as np
import pytest
from output_files import read, write
from servers import chat, entry

import calib_jax as cj

pytestmark = pytest.mark.once


def fails(path, size):
    with pytest.raises(ValueError) as error:
        list(cj.io.stream_outputs(path, size=size))
    return str(error.value)


def test_answers_of_one_of_several_models(tmp_path):
    lines = [
        chat("a", [entry("A", -1 - k)], custom_id=f"n{k}", model=f"m{k // 5}")
        for k in range(10)
    ]
    path = write(tmp_path / "a.jsonl", lines)
    message = fails(path, 5)
    assert "the model: only all rows tell" in message and "with model=" in message
    assert "say which, with model=" in fails(path, 10)
    for size in (1, 3, 10):
        stream = cj.io.stream_outputs(path, size=size, model="m1")
        scores = np.concatenate([one.scores for one in stream])
        assert scores.tolist() == read(path, model="m1").scores.tolist()
        assert stream.num_rows == 5
    with pytest.raises(ValueError, match=r"model: .*a.jsonl has no answers of 'x'"):
        list(cj.io.stream_outputs(path, size=2, model="x"))
