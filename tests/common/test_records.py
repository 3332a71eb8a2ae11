"""Every public record passes through JAX's transformations, `jax.export` and Orbax."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

from calib_jax._core import records

RECORDS = {
    name: registry.record(kind) for name, kind in registry.PUBLIC_RECORDS.items()
}
# On the host in 64 bits, and Python numbers, which programs take as arrays of 32 bits.
ON_THE_HOST = {"cleaning.AuditBounds", "cleaning.AuditPlan"}


def assert_equal_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def test_every_public_record_is_a_tree_of_arrays():
    assert len(RECORDS) > 40
    for name, record in RECORDS.items():
        assert records.KINDS[type(record).__name__] is type(record)
        fields = [getattr(record, field.name) for field in dataclasses.fields(record)]
        leaves = jax.tree.leaves(fields)
        assert list(map(id, jax.tree.leaves(record))) == list(map(id, leaves))
        if name not in ON_THE_HOST:
            assert all(isinstance(leaf, jax.Array) for leaf in leaves)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, None)


def test_jit_vmap_cond_and_scan():
    """One program for all types: a batch, of which one is chosen, carried by a loop."""
    given = on_device(RECORDS)

    @jax.jit
    def same(batch, first):
        def choose(record):
            return jax.lax.cond(first, lambda x: x, lambda x: x, record)

        chosen = jax.vmap(choose)(batch)
        return jax.lax.scan(lambda carry, _: (carry, None), chosen, length=2)[0]

    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), given)
    assert_equal_bits(same(batch, True), batch)
    for record in jax.tree.leaves(batch, is_leaf=records.is_record):
        records.check("record", record)


def test_export_and_serialise():
    """An exported function that takes and returns every type, as it is for serving."""
    pytest.importorskip("flatbuffers")
    given = on_device(RECORDS)
    exported = jax.export.export(jax.jit(lambda tree: tree))(given)
    text = exported.serialize()
    assert_equal_bits(jax.export.deserialize(text).call(given), given)


def test_orbax_restores_every_type(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    given = on_device(RECORDS)
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, given)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "records", given)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "records", target)
    assert_equal_bits(restored, given)
