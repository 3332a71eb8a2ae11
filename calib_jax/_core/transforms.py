"""What JAX's transformations leave open while a function is traced.

Under `jax.export` a size may be symbolic: code that branches on sizes then takes the
path that suits any. In `jax.shard_map` the carry of a loop has to vary over the mesh
axes over which the body's results vary. The mesh of arrays tells how many devices may
hold their rows, and the default device which platform a program is for.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

T = TypeVar("T")


def at_most(size: int, limit: int) -> bool:
    """Whether a size is known to be at most a limit; a symbolic one is not."""
    return isinstance(size, int) and size <= limit


def known(name: str, size: int) -> int:
    """The size, or `ValueError` if it is symbolic."""
    if isinstance(size, int):
        return size
    raise ValueError(
        f"{name}: expected a known number of rows, got the symbolic size {size}. "
        f"Export the function for each number of rows that is used."
    )


def num_devices(arrays: Any) -> int:
    """How many devices may hold the rows of arrays: 1 unless they are on a mesh.

    In `jax.shard_map` a device sees its own rows only, so manual axes do not count.
    """
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(arrays)]
    return max(
        math.prod(
            size
            for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
            if kind != AxisType.Manual
        )
        for mesh in meshes
    )


def platform() -> str:
    """The platform of the default device, for which a program is most likely traced.

    What is traced has no device. A call of a core on arrays of another platform makes
    their device the default one meanwhile (`small_programs.where_arrays_are`); in a
    user's own program the block sizes of another platform are only slower.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


def carry(step: Callable[[T], Any], initial: T) -> T:
    """The first carry of a loop, of the types that its body gives.

    In `jax.shard_map` a constant does not vary over the mesh, while what the body makes
    from the rows does, and a loop refuses such a carry. Elsewhere `initial` is returned
    as it is.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return initial
    while True:
        # Nothing of the step is computed: only its types are joined with the carry's.
        joined = jax.tree.map(
            lambda after, before: jnp.where(False, after, before),
            step(initial),
            initial,
        )
        if _types(joined) == _types(initial):
            return initial
        initial = joined


def _types(tree: Any) -> list[Any]:
    return [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
