"""Dataclasses to plain JSON, and back."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np


def as_plain(tree: Any) -> Any:
    """Dataclasses, mappings, sequences and arrays as JSON types.

    NaN is None, and infinity is "inf".
    """
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = dataclasses.fields(tree)
        return {field.name: as_plain(getattr(tree, field.name)) for field in fields}
    if isinstance(tree, Mapping):
        return {str(key): as_plain(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [as_plain(value) for value in tree]
    if isinstance(tree, slice):
        return [tree.start, tree.stop]
    if tree is None or isinstance(tree, str | bool | int):
        return tree
    array = np.asarray(tree)
    if array.ndim:
        return [as_plain(value) for value in array]
    if array.dtype.kind in "biu":
        return array.item()
    # Six digits are enough for float32 tables, and keep the file readable.
    if np.isinf(array):
        return str(float(array))
    return None if np.isnan(array) else float(f"{array:.6g}")


def restore(kind: Any, tree: Any) -> Any:
    """The inverse of `as_plain`: an object of a type from its JSON.

    Args:
      kind: a dataclass, a named tuple, a mapping, a sequence, an optional type, a
        number or a string; anything else means an array, and `jax.Array` one of
        float32.
      tree: from `json.load`; entries of a record that the type lacks are ignored.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in inner if one is not types.NoneType]
        return None if tree is None else restore(kinds[0], tree)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        if isinstance(tree, list):  # A named tuple.
            tree = dict(zip(kind._fields, tree, strict=True))
        hints = typing.get_type_hints(kind)
        return kind(**{name: restore(hints[name], tree[name]) for name in hints})
    if origin in (dict, Mapping):
        return {
            restore(inner[0], key): restore(inner[1], value)
            for key, value in tree.items()
        }
    if origin in (list, Sequence):
        return [restore(inner[0], value) for value in tree]
    if origin is tuple:
        kinds = inner[:1] * len(tree) if inner[-1] is ... else inner
        return tuple(map(restore, kinds, tree))
    if kind is float:
        return np.nan if tree is None else float(tree)
    if kind is slice:
        return slice(*tree)
    if kind in (str, int, bool):
        return kind(tree)
    array = np.asarray(tree)
    if array.dtype.kind in "biu":
        return array
    return np.asarray(tree, np.float32 if kind is jax.Array else np.float64)


def load(kind: type, path: Path) -> Any:
    """`restore` from a file."""
    return restore(kind, json.loads(path.read_text(encoding="utf-8")))
