"""`core`, the decorator of the jitted function that a public function calls.

A public function checks its arguments (`checks`) and calls one core. Arguments whose
annotation is a type of `domains` are kept to their domain.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from . import domains


def core(
    function: Callable[..., Any] | None = None,
    *,
    static: Sequence[str] = (),
    rows_of: str | None = None,
    elementwise: bool = False,
) -> Callable[..., Any]:
    """Jits the core of a public function and makes it run on any mesh.

    With Explicit mesh axes every intermediate array would need its sharding spelled
    out. The partitioner finds the same program by itself, so they are Auto inside.
    Results are replicated, or sharded like the rows of the argument `rows_of`.

    Args:
      function: the function to jit; its static arguments are passed by keyword.
      static: names of its static arguments.
      rows_of: for a function with one result per example, the name of an argument
        whose first axis is the examples.
      elementwise: whether the rules for single operations shard the result like the
        arguments, on every axis; they are then left to it.

    Returns:
      The jitted function, or a decorator if `function` is not given.
    """
    if function is None:
        return functools.partial(
            core, static=static, rows_of=rows_of, elementwise=elementwise
        )
    names = list(inspect.signature(function).parameters)
    limits = domains.of_parameters(function)

    # An argument whose values are unused still tells which devices to run on.
    @functools.partial(jax.jit, static_argnames=static, keep_unused=True)
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        arrays = {**dict(zip(names, args, strict=False)), **kwargs}
        fixed = {name: arrays.pop(name) for name in static}
        for name, domain in limits.items():
            if arrays.get(name) is not None:
                arrays[name] = domain.confine(arrays[name])
        plain = functools.partial(function, **fixed)
        shardings = [
            sharding
            for leaf in jax.tree.leaves(arrays)
            if (sharding := jax.typeof(leaf).sharding).mesh.explicit_axes
        ]
        if elementwise or not shardings:
            return plain(**arrays)
        mesh = shardings[0].mesh

        def of_arrays(given: dict[str, Any]) -> Any:
            return plain(**given)

        out_sharding: Any = NamedSharding(mesh, PartitionSpec())
        if rows_of is not None:
            out_sharding = _like_rows(of_arrays, arrays, rows_of, mesh)
        return jax.sharding.auto_axes(
            of_arrays, axes=mesh.explicit_axes, out_sharding=out_sharding
        )(arrays)

    if not limits:
        return run

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        domains.check_host({**dict(zip(names, args, strict=False)), **kwargs}, limits)
        return run(*args, **kwargs)

    checked._cache_size = run._cache_size  # type: ignore[attr-defined]
    return checked


def _like_rows(
    function: Callable[[Any], Any], arrays: dict[str, Any], rows_of: str, mesh: Any
) -> Any:
    """Shardings of results: those with an entry for each row are placed like the rows.

    Logits `[C]` without a row are on the axes of the classes, which no result has.
    """
    rows = jax.typeof(arrays[rows_of])
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arrays
    )

    def place(result: jax.ShapeDtypeStruct) -> NamedSharding:
        found = result.shape[:1] == rows.shape[:1]
        spec = rows.sharding.spec[:1] if found else ()
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(place, jax.eval_shape(function, shapes))
