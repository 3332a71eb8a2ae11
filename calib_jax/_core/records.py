"""`record`, the decorator of every public dataclass of arrays.

Parameters, bins, tables and results are frozen dataclasses and pytrees; each is a
`Result`, which becomes plain data. The decorator takes the axes of their arrays, so
that a batched or mismatched one is refused where one is expected, and what must hold of
their values, which a file may break. It registers the type for `jax.export`, and in
`KINDS` for files.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.export
import numpy as np

from . import domains, plain
from .plain import Result as Result

Record = TypeVar("Record")

_AXES, _VALUES = "__axes__", "__values__"
_NONE: Mapping[str, Any] = types.MappingProxyType({})

# Every type that `record` made, by name.
KINDS: dict[str, type] = {}


class Rule(NamedTuple):
    """What holds of the values of an array of a record.

    Attributes:
      expected: the same in words.
      holds: whether it does, for each value; NaN is left to `nan`.
      nan: whether NaN is allowed; for a field that is a record, anywhere inside.
    """

    expected: str
    holds: Callable[[np.ndarray], Any]
    nan: bool = True


ASCENDING = Rule(
    "values that ascend",
    lambda array: ~(array < np.fmax.accumulate(array, axis=-1)),
    nan=False,
)
PERMUTATION = Rule(
    "each of the numbers from 0 on once",
    lambda array: np.sort(array) == np.arange(array.shape[-1]),
)
COUNT = Rule(
    "whole numbers of at least 0",
    lambda array: (array >= 0) & (array.dtype.kind in "iu"),
)
NON_NEGATIVE = Rule("values of at least 0", lambda array: ~(array < 0))
POSITIVE = Rule("values above 0", lambda array: ~(array <= 0))
SHARE = Rule(
    "values in [0, 1]",
    lambda array: domains.OUTCOME.holds(array) | np.isnan(array),
)
# For a field that is a record, where NaN says that its parts are nan_here.
OR_NAN = Rule("anything", lambda array: True)


@typing.dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    eq_default=False,
    field_specifiers=(plain.coded,),
)
def record(
    every: str = "",
    *,
    axes: Mapping[str, str | None] = _NONE,
    values: Mapping[str, Rule] = _NONE,
) -> Callable[[type[Record]], type[Record]]:
    """Makes a class a frozen dataclass, a pytree and a type that exports.

    Args:
      every: names of the axes of every field without an entry in `axes`, such as
        `"M num_bins-1"`; a name has one size in the whole record, and none is a scalar.
        A field that is a record itself has these axes before its own.
      axes: the same for single fields; None is for any shape.
      values: what holds of the values of single fields, for `check`.

    Returns:
      The decorator of the class.
    """

    def decorate(cls: type[Record]) -> type[Record]:
        made = dataclasses.dataclass(frozen=True, eq=False, kw_only=True)(cls)
        own = dict.fromkeys(cls.__annotations__, every) | dict(axes)
        setattr(made, _AXES, getattr(cls, _AXES, {}) | own)
        setattr(made, _VALUES, getattr(cls, _VALUES, {}) | dict(values))
        jax.tree_util.register_dataclass(made)
        if made.__name__ in KINDS:
            # Its module is imported once more, as doctest and reload do.
            return made
        KINDS[made.__name__] = made
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


def per_row(value: Any) -> list[str]:
    """Names of the fields of a record that have an entry for each example, `[N]`."""
    axes = getattr(type(value), _AXES)
    return [name for name, words in axes.items() if words == "N"]


def check(name: str, value: Any, *, nan: bool = False) -> None:
    """Raises `ValueError` unless a record of arrays, batched or not, is a sound one.

    Its arrays have their axes and values, and so have those of all records inside. This
    waits for the values.

    Args:
      name: of the record, for errors.
      value: a record.
      nan: whether rules that forbid NaN allow it.
    """
    check_axes(name, value, batched=True)
    _check_values(name, value, nan)


def _check_values(name: str, value: Any, nan: bool) -> None:
    axes, rules = getattr(type(value), _AXES), getattr(type(value), _VALUES)
    for field in dataclasses.fields(value):
        place, part = f"{name}.{field.name}", getattr(value, field.name)
        rule = rules.get(field.name)
        nan_here = nan or (rule is not None and rule.nan)
        if hasattr(part, "dtype"):
            if rule is not None:
                _check_rule(place, np.asarray(part), rule, nan_here)
        elif is_record(part) and axes[field.name] is not None:
            _check_values(place, part, nan_here)
        else:
            # Records in a tree of any shape have sizes of their own.
            inside = jax.tree_util.tree_leaves_with_path(part, is_leaf=is_record)
            for path, leaf in inside:
                if is_record(leaf):
                    check(place + jax.tree_util.keystr(path), leaf, nan=nan_here)


def _check_rule(place: str, array: np.ndarray, rule: Rule, nan: bool) -> None:
    if not np.all(rule.holds(array)) or not (nan or np.all(array == array)):
        got = np.array2string(
            array, threshold=8, edgeitems=4, separator=", ", max_line_width=1000
        )
        without = "" if nan else ", without NaN"
        raise ValueError(f"{place}: expected {rule.expected}{without}, got {got}.")


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
        if array.ndim != len(axes):
            raise ValueError(
                f"{place}: expected an array {_shown(axes)}, got {_got(array)}. Batch "
                f"with jax.vmap, or take one with jax.tree.map(lambda leaf: leaf[0], "
                f"{name})."
            )
        for axis, size in zip(axes, array.shape, strict=True):
            word, offset = _split(axis)
            wanted = int(word) if word.isdigit() else size - offset
            if word and sizes.setdefault(word, wanted) != size - offset:
                raise ValueError(
                    f"{place}: expected an array {_shown(axes)} with {word} = "
                    f"{sizes[word]}, as in the rest of {name}, got {_got(array)}."
                )


def _arrays(name: str, value: Any, before: tuple[str, ...]) -> Any:
    """Place, array and axes of each array that has given axes."""
    declared = getattr(type(value), _AXES)
    for field in dataclasses.fields(value):
        axes, part = declared[field.name], getattr(value, field.name)
        if axes is None or (part is None and type(None) in typing.get_args(field.type)):
            continue
        place, together = f"{name}.{field.name}", (*before, *axes.split())
        if is_record(part):
            yield from _arrays(place, part, together)
            continue
        rule = getattr(type(value), _VALUES).get(field.name)
        if rule is not None and isinstance(part, np.ndarray):
            # Made by hand: arrays of a device are not waited for.
            _check_rule(place, part, rule, nan=True)
        yield place, part, together


def _got(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


@functools.cache
def _split(axis: str) -> tuple[str, int]:
    """Name and offset of an axis such as `num_bins-1`."""
    name, offset = re.fullmatch(r"(\w*)([+-]\d+)?", axis).groups()  # type: ignore[union-attr]
    return name, int(offset or 0)


def _shown(axes: tuple[str, ...]) -> str:
    return f"[{', '.join(axis or '...' for axis in axes)}]" if axes else "scalar"
