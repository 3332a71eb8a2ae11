"""`core`, the decorator of the jitted function that a public function calls.

A public function checks its arguments (`checks`) and calls one core. Arguments whose
annotation is a type of `domains` are kept to their domain. A plain call, outside any
transformation, compiles little and seldom (`small_programs`).
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from . import domains, small_programs
from .small_programs import Passes


def core(
    function: Callable[..., Any] | None = None,
    *,
    static: Sequence[str] = (),
    rows: Sequence[str] = (),
    passes: Passes = Passes.ONE,
    rows_of: str | None = None,
    elementwise: bool = False,
    host: bool = False,
) -> Callable[..., Any]:
    """Jits the core of a public function and makes it run on any mesh.

    With Explicit mesh axes every intermediate array would need its sharding spelled
    out. The partitioner finds the same program by itself, so they are Auto inside.
    Results are replicated, or sharded like the rows of the argument `rows_of`.

    Args:
      function: the function to jit; its static arguments are passed by keyword.
      static: names of its static arguments.
      rows: arguments whose rows may be padded in a plain call: the name of each, and
        its axes if they are not `N`, as in `"logits N ... C"`. With `where` among them
        the rows added are masked; without it, each result has to be one per row.
      passes: how often it visits its rows, which decides how much a plain call spends
        on compiling.
      rows_of: for a function with one result per example, the name of an argument
        whose first axis is the examples.
      elementwise: whether the rules for single operations shard the result like the
        arguments, on every axis; they are then left to it.
      host: whether the function is so small that a plain call runs it as it is on
        NumPy arrays, and compiles nothing. It takes functions from the namespace of its
        arrays, `array.__array_namespace__()`.

    Returns:
      The jitted function, or a decorator if `function` is not given.
    """
    if function is None:
        return functools.partial(
            core,
            static=static,
            rows=rows,
            passes=passes,
            rows_of=rows_of,
            elementwise=elementwise,
            host=host,
        )
    names = list(inspect.signature(function).parameters)
    limits = domains.of_parameters(function)

    # An argument whose values are unused still tells which devices to run on.
    @functools.wraps(function)
    def program(*args: Any, **kwargs: Any) -> Any:
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

    @functools.cache
    def compiled_with(options: small_programs.Options) -> Callable[..., Any]:
        return jax.jit(
            program,
            static_argnames=static,
            keep_unused=True,
            compiler_options=small_programs.accepted(options),
        )

    run = compiled_with(())
    few = [small_programs.RowArgument.parse(text) for text in rows]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        domains.check_host(given, limits)
        fixed = {name: given.pop(name) for name in static}
        leaves = jax.tree.leaves(given)
        with small_programs.where_arrays_are(leaves):
            if not small_programs.is_plain(leaves) or small_programs.is_large(leaves):
                return run(**given, **fixed)
            if host:
                small = functools.partial(function, **fixed)
                return small_programs.run_on_host(small, given, limits)
            given, num_rows = small_programs.pad(given, leaves, few, passes)
            options = small_programs.options(jax.tree.leaves(given), few, passes)
            results = compiled_with(options)(**given, **fixed)
        if num_rows is None:
            return results
        return small_programs.cut(results, few, num_rows)

    call._cache_size = run._cache_size  # type: ignore[attr-defined]
    return call


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
