"""Logits of generated tokens: the mean raw logit of an answer is its score."""

import ml_dtypes
import numpy as np
import pytest
from output_files import one_line, read

import calib_jax as cj

pytestmark = pytest.mark.once

safetensors = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
N, T, V = 5, 4, 7
LOGITS = RNG.normal(size=(N, T, V)).astype(np.float32)
# No row ends in one token twice.
TOKENS = np.argsort(RNG.normal(size=(N, T, V)), axis=-1)[..., 0]
TOKENS[:, -1] = (TOKENS[:, -2] + 1) % V
WHERE = np.arange(T) < np.array([4, 1, 2, 3, 4])[:, None]


def save(path, **arrays):
    match path.suffix:
        case ".npz":
            np.savez(path, **arrays)
        case ".safetensors":
            arrays = {name: np.ascontiguousarray(one) for name, one in arrays.items()}
            safetensors.save_file(arrays, path)
        case ".h5":
            h5py = pytest.importorskip("h5py")
            with h5py.File(path, "w") as file:
                for name, one in arrays.items():
                    file[name] = one
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
def test_the_score_is_that_of_the_paper(tmp_path, suffix):
    padded = np.where(WHERE, TOKENS, -1)
    path = save(
        *(tmp_path / f"a{suffix}",),
        logits=LOGITS,
        tokens=padded,
        token_where=WHERE,
        correct=np.arange(N) % 2,
    )
    outputs = read(path)
    expected = cj.sequence_mean_logit(LOGITS, TOKENS, where=WHERE)
    np.testing.assert_array_equal(outputs.scores, expected)
    by_hand = [LOGITS[1, 0, TOKENS[1, 0]], LOGITS[2, [0, 1], TOKENS[2, :2]].mean()]
    np.testing.assert_allclose(outputs.scores[1:3], by_hand, rtol=1e-6)
    assert outputs.kind == "scores" and outputs.scale is None
    assert outputs.outcomes.tolist() == [0, 1, 0, 1, 0]
    assert outputs.notes == ("Scores are mean raw logits of the answers' tokens.",)
    # What people should save: a number for each token.
    chosen = np.take_along_axis(LOGITS, TOKENS[..., None], axis=2)[..., 0]
    small = save(tmp_path / f"b{suffix}", token_logits=chosen, token_where=WHERE)
    np.testing.assert_array_equal(read(small).scores, outputs.scores)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_logits_of_any_type(tmp_path, suffix, dtype):
    given = LOGITS.astype(dtype)
    path = save(tmp_path / f"a{suffix}", logits=given, tokens=TOKENS.astype(np.uint32))
    expected = cj.sequence_mean_logit(given.astype(np.float32), TOKENS)
    outputs = read(path)
    np.testing.assert_array_equal(outputs.scores, expected)
    assert outputs.notes[0].endswith("All tokens count: the file has no token_where.")
    path = save(
        *(tmp_path / f"b{suffix}",),
        token_logits=np.take_along_axis(given, TOKENS[..., None], axis=2)[..., 0],
        ids=np.arange(N),
    )
    np.testing.assert_array_equal(read(path).scores, expected)


def test_an_answer_without_tokens_is_left_out(tmp_path):
    where = WHERE & (np.arange(N) != 3)[:, None]
    logits = LOGITS.copy()
    # A model that never writes some of its tokens.
    logits[..., 0] = -np.inf
    tokens = np.maximum(TOKENS, 1)
    outputs = read(
        save(tmp_path / "a.npz", logits=logits, tokens=tokens, token_where=where * 1)
    )
    assert outputs.ids == ("0", "1", "2", "4")
    assert outputs.dropped == {"a score that is NaN or infinite": 1}


@pytest.mark.parametrize(
    "arrays, expected",
    [
        ({"scores": LOGITS}, "those after temperature and top-k"),
        ({"scores": LOGITS, "tokens": TOKENS}, "pass output_logits=True"),
        ({"logits": LOGITS}, "save tokens [N, T] beside them"),
        (
            {"logits": LOGITS.swapaxes(0, 1), "tokens": TOKENS},
            "expected logits [N, T, V] of tokens [5, 4], got [4, 5, 7]: generate has a "
            "step at a time; stack them with axis 1.",
        ),
        (
            {"logits": LOGITS, "tokens": np.tile(TOKENS, 2)},
            "leave the prompt out of tokens",
        ),
        (
            {"logits": LOGITS, "tokens": np.where(WHERE, TOKENS, V)},
            "token 7 of row 1 is none of the 7 in logits: if it is padding",
        ),
        ({"logits": LOGITS, "tokens": np.where(WHERE, TOKENS, -1)}, "token -1 of row"),
        (
            {"logits": LOGITS, "tokens": np.where(WHERE, TOKENS, 3)},
            "end in one token twice, as padding does: save token_where",
        ),
        (
            {"logits": np.where(LOGITS > 0.5, LOGITS, -np.inf), "tokens": TOKENS},
            "are -inf, as those after top-k",
        ),
        ({"logits": LOGITS.astype(int), "tokens": TOKENS}, "floating numbers"),
        ({"logits": LOGITS, "tokens": TOKENS * 1.0}, "of whole numbers, got float64"),
        (
            {"logits": LOGITS, "tokens": TOKENS, "token_where": WHERE[:, :2]},
            "expected token_where [N, T] of shape [5, 4]",
        ),
        (
            {"logits": LOGITS, "tokens": TOKENS, "token_where": WHERE * 2},
            "expected token_where [N, T] of True and False",
        ),
        ({"token_logits": LOGITS[..., 0], "logits": LOGITS}, "keep one of them"),
        ({"token_logits": LOGITS[..., 0], "score": np.ones(N)}, "keep one of them"),
        (
            {"token_logits": LOGITS[..., 0], "tokens": TOKENS[:, :3]},
            "expected tokens [N, T] of shape [5, 4]",
        ),
        (
            {"token_logits": LOGITS[..., 0], "labels": np.arange(N) % 2},
            "a score of generated tokens has no option that a label",
        ),
    ],
)
def test_what_is_not_the_raw_logits_of_the_tokens(tmp_path, arrays, expected):
    assert expected in one_line(save(tmp_path / "a.npz", **arrays))


def test_kinds_that_they_are_not(tmp_path):
    path = save(tmp_path / "a.npz", logits=LOGITS, tokens=TOKENS)
    np.testing.assert_array_equal(read(path, kind="scores").scores, read(path).scores)
    assert "say scores" in one_line(path, kind="logits")
    labels = tmp_path / "l.npy"
    np.save(labels, np.arange(N) % 2)
    assert "called correct" in one_line(path, labels=labels)
    np.save(labels, np.arange(N) % 2 == 1)
    assert read(path, labels=labels).outcomes.tolist() == [0, 1, 0, 1, 0]
    # Of two models that are named.
    both = np.stack([LOGITS, -LOGITS])
    path = save(
        *(tmp_path / "b.npz",),
        models=np.array(["small", "large"]),
        logits=both,
        tokens=np.stack([TOKENS, TOKENS]),
    )
    outputs = read(path, model="large")
    assert outputs.model == "large"
    np.testing.assert_allclose(
        outputs.scores, cj.sequence_mean_logit(-LOGITS, TOKENS), rtol=1e-6
    )


def test_blocks_of_safetensors_are_not_held_together(tmp_path):
    """The logits take 32 MB, and no more than those of a row are copied."""
    import tracemalloc

    logits = np.zeros((64, 4, 2**15), np.float32)
    tokens = np.tile(np.arange(4), (64, 1))
    path = save(tmp_path / "a.safetensors", logits=logits, tokens=tokens)
    del logits
    read(save(tmp_path / "b.npz", token_logits=np.ones((64, 4)), tokens=tokens))
    tracemalloc.start()
    try:
        assert read(path).scores.tolist() == [0.0] * 64
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
