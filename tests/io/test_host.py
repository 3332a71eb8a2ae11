"""Arguments of functions that run on the host: paths, limits, labels, traced arrays."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj


@pytest.mark.parametrize("path", [None, 5, b"a.csv", [], "a\0b", "a\ud800"])
def test_what_is_not_a_path(path):
    params = cj.equal_width_bins(2)
    rows = [0], [0], [[0]], [[0.5]]
    for call in (
        lambda: cj.load(path),
        lambda: cj.save(path, params),
        lambda: cj.io.read_review_sheet(path),
        lambda: cj.io.write_review_sheet(path, *rows),
    ):
        with pytest.raises(ValueError, match="path: expected the path of a file"):
            call()
    if path != []:
        with pytest.raises(ValueError, match="lines: expected (a|the) path"):
            cj.io.read_log_probabilities(path)


@pytest.mark.parametrize("value", [None, "0.5", np.nan, [0, 1], np.zeros(2)])
@pytest.mark.parametrize("name", ["lower", "upper"])
def test_limits_of_scores(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a number, got"):
        cj.validate_scores([0.5], **{name: value})
    cj.validate_scores([-3.0, 0.5], lower=np.float32(-np.inf), upper=jnp.float32(1))


@pytest.mark.parametrize("label", [5_000_000_001, -(2**40), 2**63])
def test_labels_are_shown_as_given(label):
    dtype = np.uint64 if label > 0 else np.int64
    with pytest.raises(ValueError, match=f"labels: row 1 is {label}, outside"):
        cj.validate_labels(np.array([0, label], dtype), 3)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (cj.validate_logits, "logits"),
        (lambda x: cj.validate_logits(np.zeros((2, 2)), where=x[0] > 0), "where"),
        (
            lambda x: cj.validate_logits(np.zeros((2, 2)), class_where=x > 0),
            "class_where",
        ),
        (lambda x: cj.validate_logits(np.zeros((2, 2))), "logits"),
        (lambda x: cj.validate_scores(x[0]), "scores"),
        (lambda x: cj.validate_scores(np.zeros(2), where=x[0] > 0), "where"),
        (lambda x: cj.validate_labels(x[0].astype(int), 3), "labels"),
        (lambda x: cj.validate_labels([0, 1], 3, where=x[0] > 0), "where"),
    ],
)
def test_checks_of_values_refuse_traced_arrays(call, name):
    with pytest.raises(ValueError, match=f"^{name}: .* runs on the host"):
        jax.eval_shape(call, np.zeros((2, 2), np.float32))


def test_traced_positions():
    line = {"choices": [{"logprobs": {"tokens": ["B"], "token_logprobs": [-0.5]}}]}
    read = cj.io.read_log_probabilities([line])
    with pytest.raises(ValueError, match=r"^position: .* runs on the host"):
        jax.eval_shape(
            lambda at: cj.io.choice_log_probabilities(read, ["B"], position=at),
            np.int32(0),
        )


def test_a_name_with_a_null_character_is_shown():
    with pytest.raises(ValueError, match=re.escape(r"'a\x00b' (it holds a null")):
        cj.io.read_log_probabilities("a\0b")
