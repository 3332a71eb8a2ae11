"""Inside `jax.shard_map` every function works on the rows of its own device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax.sharding import AxisType, PartitionSpec
from registry import assert_same, cases, example

from calib_jax._core import reduce

pytestmark = pytest.mark.once

NUM_DEVICES = 8
CASES = [case for case in registry.CASES if case.make is not None and not case.host]
OF_ROWS = [case for case in CASES if case.arrays and not case.again]
OTHERS = [case for case in CASES if not case.arrays]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks on every device, the last one partly filled."""
    monkeypatch.setattr(reduce, "_CPU_BLOCK_ROWS", 10)


def on_each_device(function, specs):
    """The function of the arrays of one device, whose results are stacked."""
    return jax.shard_map(
        lambda arrays: jax.tree.map(lambda leaf: leaf[None], function(arrays)),
        mesh=jax.make_mesh((NUM_DEVICES,), ("rows",), axis_types=(AxisType.Auto,)),
        in_specs=(specs,),
        out_specs=PartitionSpec("rows"),
    )


@cases(OF_ROWS)
def test_each_device_on_its_own(case, monkeypatch):
    """The results of plain calls, under JAX's check of what varies over devices."""
    examples = [example(case, seed=seed) for seed in range(NUM_DEVICES)]
    for arguments in examples:
        arguments |= {k: v for k, v in examples[0].items() if k not in case.arrays}
    function, arrays = case.traced(examples[0])
    specs = dict.fromkeys(arrays, PartitionSpec())
    for name, axis in case.arrays.items():
        arrays[name] = jax.tree.map(
            lambda *leaves, axis=axis: jnp.concatenate(leaves, axis),
            *(case.traced(arguments)[1][name] for arguments in examples),
        )
        specs[name] = PartitionSpec(*[None] * axis, "rows")
    found = jax.tree.map(np.asarray, jax.jit(on_each_device(function, specs))(arrays))
    # Plain calls share their programs with other tests.
    monkeypatch.undo()
    for number, arguments in enumerate(examples):
        own = jax.tree.map(lambda leaf, number=number: leaf[number], found)
        assert_same(own, case(**arguments), exact=False)


@cases(OTHERS)
def test_functions_of_what_each_device_has(case):
    """Tables, curves and states may differ between devices; it suffices to trace."""
    function, arrays = case.traced(example(case))
    arrays = jax.tree.map(lambda leaf: jnp.stack([leaf] * NUM_DEVICES), arrays)
    mapped = on_each_device(
        lambda stacked: function(jax.tree.map(lambda leaf: leaf[0], stacked)),
        PartitionSpec("rows"),
    )
    jax.eval_shape(mapped, arrays)
