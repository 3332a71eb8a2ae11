"""Arrays of generated tokens: the mean raw logit of an answer's tokens is its score."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...confidence import sequences
from . import names
from .array_files import ArrayFile

# A step with more logits of -inf was cut to the top ones.
_MOST_CUT = 0.5


def scored(file: ArrayFile) -> ArrayFile:
    """A file with `scores [N]` in place of the logits of tokens.

    These are `logits [N, T, V]` beside `tokens [N, T]`, or `token_logits [N, T]`; bool
    `token_where [N, T]` says which tokens count. Any other file is returned as it is.

    Raises:
      ValueError: if logits are not those of the tokens, or not raw, or if it is not
        said which tokens count and some look like padding.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.
    """
    ranks = {(names.plain(one), len(shape)): one for one, shape in file.shapes.items()}
    path = file.path
    for name in names.NAMES["scores"]:
        if (name, 3) in ranks:
            raise ValueError(
                f"{path}: {name} [N, T, V] of generate are those after temperature and "
                "top-k: pass output_logits=True, and save its logits."
            )
    small, large = ranks.get(("token_logits", 2)), ranks.get(("logits", 3))
    if small is None and large is None:
        return file
    own = ranks.get(("tokens", 2))
    if small is None and own is None:
        raise ValueError(
            f"{path}: {large} [N, T, V] of T steps need the tokens that were chosen: "
            "save tokens [N, T] beside them, without the prompt."
        )
    if small is not None and large is not None:
        raise ValueError(f"{path}: has {small} and {large}; keep one of them.")
    if one := next((n for n in names.NAMES["scores"] if (n, 1) in ranks), None):
        raise ValueError(f"{path}: has {one} and {small or large}; keep one of them.")
    masks = ranks.get(("token_where", 2))
    used = {one for one in (small, large, own, masks) if one is not None}
    rest = {name: shape for name, shape in file.shapes.items() if name not in used}
    num_rows = file.shapes[str(small or large)][0]

    def read(name: str) -> Any:
        if name != "scores":
            return file.read(name)
        tokens = None if own is None else file.read(own)
        where = None if masks is None else _mask(path, file.read(masks))
        if small is not None:
            chosen = _floating(path, small, file.read(small))
        else:
            chosen = _chosen(file, str(large), np.asarray(tokens), where)
        _check_shapes(path, chosen.shape, tokens=tokens, token_where=where)
        if where is None:
            _check_padding(path, tokens)
        zeros = np.zeros(chosen.shape, np.int32)
        logits = np.asarray(chosen, np.float32)[..., None]
        return np.asarray(sequences.sequence_mean_logit(logits, zeros, where=where))

    found = ArrayFile(
        path, {"scores": (num_rows,), **rest}, read, model=file.model, task=file.task
    )
    found.of_tokens = True
    every = "" if masks else " All tokens count: the file has no token_where."
    found.notes = [
        *file.notes,
        f"Scores are mean raw logits of the answers' tokens.{every}",
    ]
    return found


def _chosen(
    file: ArrayFile, name: str, tokens: np.ndarray, where: np.ndarray | None
) -> np.ndarray:
    """float32 `[N, T]`, the logits of the tokens; only these are copied."""
    if tokens.dtype.kind not in "iu":
        raise ValueError(
            f"{file.path}: expected tokens [N, T] of whole numbers, got "
            f"{tokens.dtype.name}."
        )
    shape = file.shapes[name]
    if tuple(shape[:2]) != tokens.shape:
        turned = tuple(shape[1::-1]) == tokens.shape
        raise ValueError(
            f"{file.path}: expected {name} [N, T, V] of tokens {list(tokens.shape)}, "
            f"got {list(shape)}: "
            + (
                "generate has a step at a time; stack them with axis 1."
                if turned
                else "leave the prompt out of tokens, which has no logits."
            )
        )
    _check_shapes(file.path, tokens.shape, token_where=where)
    counts = np.ones(tokens.shape, bool) if where is None else where
    outside = counts & ((tokens < 0) | (tokens >= shape[2]))
    if outside.any():
        row, step = np.argwhere(outside)[0].tolist()
        raise ValueError(
            f"{file.path}: token {tokens[row, step]} of row {row} is none of the "
            f"{shape[2]} in {name}: if it is padding, say so in token_where."
        )
    indices = np.where(counts, tokens, 0)
    chosen = np.empty(tokens.shape, np.float32)
    start = 0
    for block in file.blocks(name):
        part = _floating(file.path, name, block)
        if not start and part.size:
            _check_raw(file.path, name, part[0, int(np.argmax(counts[0]))])
        rows = slice(start, start + len(part))
        found = np.take_along_axis(part, indices[rows, :, None], axis=2)
        chosen[rows] = found[:, :, 0]
        start += len(part)
    return chosen


def _check_raw(path: Path, name: str, step: np.ndarray) -> None:
    if np.isneginf(step.astype(np.float32)).mean() > _MOST_CUT:
        raise ValueError(
            f"{path}: most {name} of the first step are -inf, as those after top-k or "
            "top-p: pass output_logits=True to generate, and save its logits, not its "
            "scores."
        )


def _floating(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{path}: expected floating numbers in {name}, got {array.dtype.name}."
        )
    return array


def _mask(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{path}: expected token_where [N, T] of True and False, got "
            f"{array.dtype.name}."
        )
    return array.astype(bool)


def _check_shapes(path: Path, expected: Any, **arrays: np.ndarray | None) -> None:
    for name, array in arrays.items():
        if array is not None and array.shape != tuple(expected):
            raise ValueError(
                f"{path}: expected {name} [N, T] of shape {list(expected)} as the "
                f"tokens' logits, got {list(array.shape)}."
            )


def _check_padding(path: Path, tokens: np.ndarray | None) -> None:
    """Raises `ValueError` if rows end in one token twice, as shorter ones do."""
    if tokens is None or tokens.shape[1] < 2:
        return
    twice = int((tokens[:, -1] == tokens[:, -2]).sum())
    if twice:
        raise ValueError(
            f"{path}: {twice} of {len(tokens)} rows of tokens end in one token twice, "
            "as padding does: save token_where [N, T], True for tokens that count."
        )
