"""Every public record passes through JAX's transformations, `jax.export` and Orbax."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import calib_jax as cj
from calib_jax._core import plain, records

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


def plain_leaves(value):
    """The entries of plain data, and nothing but dicts with texts as keys and lists."""
    if type(value) is dict:
        assert all(type(name) is str for name in value)
        return [leaf for entry in value.values() for leaf in plain_leaves(entry)]
    if type(value) is list:
        return [leaf for entry in value for leaf in plain_leaves(entry)]
    assert value is None or type(value) in (bool, int, float, str)
    return [value]


def assert_plain(found, value):
    """Plain data hold the numbers of a record, a tree or an array."""
    if dataclasses.is_dataclass(value):
        assert list(found) == [field.name for field in dataclasses.fields(value)]
        for name in found:
            if name == "status":
                known = {one.value: one.name.lower() for one in cj.FitStatus}
                codes = np.asarray(value.status).ravel().tolist()
                assert plain_leaves(found[name]) == [known.get(x, x) for x in codes]
            else:
                assert_plain(found[name], getattr(value, name))
    elif isinstance(value, dict):
        assert found.keys() == value.keys()
        for name in found:
            assert_plain(found[name], value[name])
    elif isinstance(value, (list, tuple)):
        assert type(found) is list
        for entry, part in zip(found, value, strict=True):
            assert_plain(entry, part)
    elif value is None:
        assert found is None
    else:
        array = np.asarray(value)
        entries = np.array(plain_leaves(found), object)
        assert np.array(found, object).shape == array.shape
        if array.dtype.kind in "biu":
            assert entries.tolist() == array.ravel().tolist()
            return
        finite = np.isfinite(array.ravel())
        assert [entry is not None for entry in entries] == finite.tolist()
        # The digits restore every bit.
        restored = entries[finite].astype(np.float64).astype(array.dtype)
        assert restored.tobytes() == array.ravel()[finite].tobytes()


@pytest.mark.parametrize("before", [(), (2,)], ids=["one", "batch"])
@pytest.mark.parametrize("number", range(4))
def test_every_type_as_plain_data(number, before):
    for name, kind in registry.PUBLIC_RECORDS.items():
        record = registry.record(kind, number, before)
        found = record.to_dict()
        assert_plain(found, record)
        assert json.loads(json.dumps(found, allow_nan=False)) == found, name


def test_plain_data_of_sharded_arrays():
    mesh = jax.make_mesh((8,), ("N",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("N"))
    confidence = jnp.linspace(0, 1, 16, dtype=jnp.float32)
    best = cj.Top1(
        prediction=jax.device_put(jnp.arange(16), rows),
        confidence=jax.device_put(confidence, rows),
    )
    found = best.to_dict()
    assert found["prediction"] == list(range(16))
    assert np.array_equal(np.float32(found["confidence"]), confidence)


def test_every_public_result_becomes_plain_data():
    from calib_jax import report

    public = [*registry.public_names().values(), *vars(report).values()]
    kinds = [one for one in public if dataclasses.is_dataclass(one)]
    assert len(kinds) > 60
    assert [kind for kind in kinds if not issubclass(kind, plain.Result)] == []
