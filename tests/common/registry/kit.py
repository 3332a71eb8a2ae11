"""A `Case`, the public names, and helpers of the tests over the registry."""

import dataclasses
import importlib
import operator
import pkgutil
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

from . import makers

Arguments = dict[str, Any]
Maker = Callable[[np.random.Generator, int], Arguments]


def public(name: str) -> Any:
    """The object behind a public name such as `top1` or `stats.clopper_pearson`."""
    return operator.attrgetter(name)(cj)


ROOMS = {
    name: value
    for name, value in vars(cj).items()
    if name in cj.__all__ and isinstance(value, ModuleType)
}
ROOMS["streaming.blocks"] = cj.streaming.blocks


def public_names() -> dict[str, Any]:
    """Functions and types by the shortest path from `calib_jax`."""
    found = {n: getattr(cj, n) for n in cj.__all__ if n not in ROOMS and n[0] != "_"}
    top = {id(value) for value in found.values()}
    for room, module in ROOMS.items():
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) not in top and not isinstance(value, ModuleType):
                found[f"{room}.{name}"] = value
    return found


def all_rows(result: Any) -> tuple[Any, Any]:
    """Every array of the result has an entry for each example on the first axis."""
    return result, ()


def no_rows(result: Any) -> tuple[Any, Any]:
    """No array of the result has entries for the examples."""
    return (), result


def without_num_masked(result: Any) -> tuple[Any, Any]:
    """No entries for the examples; masked rows are counted, removed rows are not."""
    counts = dataclasses.replace(result.counts, num_masked=None)
    return (), dataclasses.replace(result, counts=counts)


def floating(result: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(result) if jnp.issubdtype(x.dtype, jnp.floating)]


@dataclasses.dataclass(frozen=True)
class Case:
    """A public function with one set of arguments.

    Attributes:
      name: the function's public name.
      make: example arguments for N examples, by name; None for functions tested
        elsewhere.
      rows: arguments with an entry for each example, and the axis of the examples;
        empty if results depend on the positions of the examples.
      variant: tells cases of one function apart.
      static: arguments that are not arrays.
      split: from the result to its parts with and without an entry for each example.
      exact: whether the latter are bit for bit the same in any order of the rows.
      where: whether it takes `where`.
      masked: arguments that `where` masks and the axis it runs along; None is `rows`.
      weights: whether it takes `weights`.
      twice: whether weight 2 is the row twice; weight 0 always removes it.
      gradients: arguments by which the result can be differentiated.
      value: the part of the result that can be differentiated.
      call: how to call it with the arguments, if not by name.
      host: whether it works on the host, and not under `jax.jit`.
      again: whether another case runs nearly the same program: left out where each
        case costs seconds to compile.
      names: of all arguments that `make` makes.
      arrays: `rows`, and arguments whose examples have their places or are those of a
        reference.
    """

    name: str
    make: Maker | None
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    variant: str = ""
    static: tuple[str, ...] = ()
    split: Callable[[Any], tuple[Any, Any]] = no_rows
    exact: bool = True
    where: bool = False
    masked: Mapping[str, int] | None = None
    weights: bool = False
    twice: bool = False
    gradients: tuple[str, ...] = ()
    value: Callable[[Any], Any] = lambda result: result
    call: Callable[[Arguments], Any] | None = None
    host: bool = False
    again: bool = False
    names: tuple[str, ...] = ()
    arrays: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    def __call__(self, **arguments: Any) -> Any:
        if self.call is not None:
            return self.call(arguments)
        return public(self.name)(**arguments)

    def traced(self, arguments: Arguments) -> tuple[Callable[[Arguments], Any], Any]:
        """A function of the arrays alone, and the arrays."""
        fixed = {k: v for k, v in arguments.items() if k in self.static}
        arrays = {k: v for k, v in arguments.items() if k not in self.static}
        return lambda arrays: self(**arrays, **fixed), jax.tree.map(jnp.asarray, arrays)


# Masks and weights: bins are cut again from rows of any weight, or given.
FRESH = {"where": True, "weights": True}
GIVEN = {**FRESH, "twice": True}


def case(
    name: str,
    arguments: str = "",
    variant: str = "",
    *,
    given: Mapping[str, Any] | None = None,
    rows: Mapping[str, int] | None = None,
    static: tuple[str, ...] | None = None,
    **more: Any,
) -> Case:
    """A case whose arguments are made by their names, in the given order.

    Args:
      name: the function's public name.
      arguments: names of `makers.BY_NAME` or `makers.TOGETHER`, between blanks.
      variant: tells cases of one function apart.
      given: makers or values of arguments by name, as exceptions.
      rows: arguments with an entry for each example; by default those of `makers.AXES`.
      static: arguments that are not arrays; by default those of `makers.STATIC`.
      **more: other attributes of the case.
    """
    given = given or {}
    words = [*arguments.split(), *(k for k in given if k not in arguments.split())]

    def make(rng: np.random.Generator, n: int) -> Arguments:
        made = {}
        for word in words:
            value = given[word] if word in given else makers.find(word)
            value = value(rng, n) if callable(value) else value
            made |= value if word in makers.TOGETHER else {word: value}
        return made

    names = [n for word in words for n in makers.TOGETHER.get(word, ([word],))[0]]
    if rows is None:
        rows = {name: makers.AXES[name] for name in names if name in makers.AXES}
    axes = makers.AXES | makers.FIXED_AXES
    # One number for all examples has no axis.
    axes = {n: axis for n, axis in axes.items() if not isinstance(given.get(n), float)}
    arrays = {name: axes[name] for name in names if name in axes} | dict(rows)
    if static is None:
        static = tuple(name for name in names if name in makers.STATIC)
    return Case(
        name, make, rows, variant, static, names=tuple(names), arrays=arrays, **more
    )


def elsewhere(*names: str) -> list[Case]:
    """Functions of files or functions, which have tests of their own."""
    return [Case(name, None, host=True) for name in names]


def cases(choice):
    return pytest.mark.parametrize("case", choice, ids=str)


def example(case: Case, num_rows: int = makers.ROWS, *, seed: int = 0) -> Arguments:
    rng = np.random.default_rng([zlib.crc32(str(case).encode()), seed])
    return case.make(rng, num_rows)


GARBAGE = [np.nan, np.inf, -np.inf, 1e30]


def spoil(arrays: Any, index: np.ndarray, axis: int) -> Any:
    """An array, or a tree of arrays, with garbage at an index along an axis."""

    def one(array: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(np.array(array), axis, 0)
        if moved.dtype.kind == "f":
            moved[index] = np.resize(GARBAGE, moved[index].shape)
        elif moved.dtype.kind == "i":
            moved[index] = np.resize([-1, 2**31 - 1], moved[index].shape)
        return np.moveaxis(moved, 0, axis)

    return jax.tree.map(one, arrays)


def take(case: Case, arguments: Arguments, index: np.ndarray) -> Arguments:
    """Arguments with only the examples of an index, in its order."""
    rows = {
        k: jax.tree.map(
            lambda leaf, axis=axis: np.take(np.asarray(leaf), index, axis),
            arguments[k],
        )
        for k, axis in case.rows.items()
    }
    return {**arguments, **rows}


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(actual: Any, expected: Any, *, exact: bool, rtol: float = 1e-5) -> None:
    """Equal trees: integers and bools always exactly, floats if `exact`."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(leaves(actual), leaves(expected), strict=True):
        assert got.dtype == wanted.dtype
        if exact or got.dtype.kind != "f":
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=0.1 * rtol)


def jitted_cores():
    """Every function of the library that is jitted where it is defined."""
    for info in pkgutil.walk_packages(cj.__path__, "calib_jax."):
        room = info.name.split(".")[1]
        if room not in ("plots", "flax", "demo", "cli", "__main__"):
            for value in vars(importlib.import_module(info.name)).values():
                if hasattr(value, "_cache_size"):
                    yield value


CORES = {core.__name__ for core in jitted_cores()}
assert len(CORES) > 50, "the jitted functions are not found"
_traced: list[str] = []


def _listen(event, duration, *, fun_name="", **_):
    if event == "/jax/core/compile/jaxpr_trace_duration" and fun_name in CORES:
        _traced.append(fun_name)


jax.monitoring.register_event_duration_secs_listener(_listen)


def num_compiled():
    """How often jitted cores have been traced so far, each time for a new program."""
    return len(_traced)
