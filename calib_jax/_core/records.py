"""`record`, the decorator of every public dataclass of arrays.

Parameters, bins, tables and results are frozen dataclasses and pytrees. The decorator
takes the axes of their arrays, so that a batched or mismatched one is refused where one
is expected, and registers the type for `jax.export`.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.export
import numpy as np

Record = TypeVar("Record")

_AXES = "__axes__"


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
def record(
    every: str = "", *, axes: Mapping[str, str | None] = types.MappingProxyType({})
) -> Callable[[type[Record]], type[Record]]:
    """Makes a class a frozen dataclass, a pytree and a type that exports.

    Args:
      every: names of the axes of every field without an entry in `axes`, such as
        `"M num_bins-1"`; a name has one size in the whole record, and none is a scalar.
        A field that is a record itself has these axes before its own.
      axes: the same for single fields; None is for any shape.

    Returns:
      The decorator of the class.
    """

    def decorate(cls: type[Record]) -> type[Record]:
        made = dataclasses.dataclass(frozen=True, eq=False, kw_only=True)(cls)
        own = dict.fromkeys(cls.__annotations__, every) | dict(axes)
        setattr(made, _AXES, getattr(cls, _AXES, {}) | own)
        jax.tree_util.register_dataclass(made)
        jax.export.register_pytree_node_serialization(
            made,
            serialized_name=f"calib_jax.{made.__name__}",
            # Every field is data: nothing else is to be kept.
            serialize_auxdata=lambda _: b"",
            deserialize_auxdata=lambda _: (),
        )
        return made

    return decorate


def is_record(value: Any) -> bool:
    """Whether a value or type was made by `record`."""
    return hasattr(value, _AXES)


def check_axes(name: str, value: Any, *, batched: bool = False) -> None:
    """Raises `ValueError` unless the arrays of a record have their axes and sizes.

    Args:
      name: of the argument.
      value: a record.
      batched: whether further axes, the same for all arrays, may come first.
    """
    extra = 0
    if batched:
        extra = min(
            (
                array.ndim - len(axes)
                for _, array, axes in _arrays(name, value, ())
                if hasattr(array, "ndim")
            ),
            default=0,
        )
    sizes: dict[str, Any] = {}
    for place, array, axes in _arrays(name, value, ("",) * max(extra, 0)):
        if not hasattr(array, "ndim"):
            if isinstance(array, (bool, int, float)) and not axes:
                continue
            raise ValueError(
                f"{place}: expected an array {_shown(axes)}, got "
                f"{type(array).__name__}."
            )
        got = f"{np.dtype(array.dtype).name}{list(array.shape)}"
        if array.ndim != len(axes):
            raise ValueError(
                f"{place}: expected an array {_shown(axes)}, got {got}. Batch with "
                f"jax.vmap, or take one with jax.tree.map(lambda leaf: leaf[0], {name})"
                "."
            )
        for axis, size in zip(axes, array.shape, strict=True):
            word, offset = _split(axis)
            wanted = int(word) if word.isdigit() else size - offset
            if word and sizes.setdefault(word, wanted) != size - offset:
                raise ValueError(
                    f"{place}: expected an array {_shown(axes)} with {word} = "
                    f"{sizes[word]}, as in the rest of {name}, got {got}."
                )


def _arrays(name: str, value: Any, before: tuple[str, ...]) -> Any:
    """Place, array and axes of each array that has given axes."""
    declared = getattr(type(value), _AXES)
    for field in dataclasses.fields(value):
        axes, part = declared[field.name], getattr(value, field.name)
        if axes is None or part is None:
            continue
        place, together = f"{name}.{field.name}", (*before, *axes.split())
        if is_record(part):
            yield from _arrays(place, part, together)
        else:
            yield place, part, together


def _split(axis: str) -> tuple[str, int]:
    """Name and offset of an axis such as `num_bins-1`."""
    name, offset = re.fullmatch(r"(\w*)([+-]\d+)?", axis).groups()  # type: ignore[union-attr]
    return name, int(offset or 0)


def _shown(axes: tuple[str, ...]) -> str:
    return f"[{', '.join(axis or '...' for axis in axes)}]" if axes else "scalar"
