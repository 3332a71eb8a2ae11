"""Saved files: equal bit for bit, complete or absent, and no other files are read."""

import dataclasses
import io as standard_io
import json
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import calib_jax as cj
from calib_jax.io import files

SPECIAL = [0.0, -0.0, 1e-45, -1e-40, np.inf, -np.inf, np.nan, 0.1, 1 / 3, -1e30, 3.4e38]
SAVED = [*files._KINDS.values()]


def specials(shape, dtype=jnp.float32):
    with np.errstate(over="ignore"):
        return jnp.asarray(np.resize(np.array(SPECIAL).astype(dtype), shape))


def make(kind, number, shape=(11,)):
    """An instance whose arrays differ in dtype, with every special value."""
    dtypes = [jnp.float32, jnp.bfloat16, jnp.int32, bool, jnp.float16]
    values = {}
    for place, field in enumerate(dataclasses.fields(kind)):
        if field.type in SAVED:
            values[field.name] = make(field.type, number, shape)
            continue
        dtype = dtypes[(number + place) % len(dtypes)]
        if dtype in (jnp.int32, bool):
            whole = np.resize([-(2**31), 2**31 - 1, 0, 1], shape).astype(dtype)
            values[field.name] = jnp.asarray(whole)
        else:
            values[field.name] = specials(shape, dtype)
    return kind(**values)


def assert_equal_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert isinstance(got, jax.Array)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


@pytest.mark.parametrize("shape", [(), (11,), (2, 11), (0,), (3, 0)], ids=str)
@pytest.mark.parametrize("kind", SAVED, ids=lambda kind: kind.__name__)
def test_round_trip(tmp_path, kind, shape):
    for number in range(5):
        params = make(kind, number, shape)
        cj.save(tmp_path / "params.json", params)
        assert_equal_bits(cj.load(str(tmp_path / "params.json")), params)


def test_optional_arrays(tmp_path):
    table = make(cj.AdvantageTable, 0)
    table = dataclasses.replace(table, small_outcome=None, outcome_advantage=None)
    cj.save(tmp_path / "table.json", table)
    assert_equal_bits(cj.load(tmp_path / "table.json"), table)


def test_a_loaded_router_routes(tmp_path):
    rng = np.random.default_rng(0)
    router, scores = registry.router(rng), rng.random(registry.ROWS)
    cj.save(tmp_path / "router.json", router)
    loaded = cj.load(tmp_path / "router.json")
    assert_equal_bits(loaded, router)
    kept = cj.use_small(loaded, scores, 2)
    np.testing.assert_array_equal(kept, cj.use_small(router, scores, 2))


def test_the_file_is_plain_versioned_json(tmp_path):
    path = tmp_path / "bins.json"
    cj.save(path, cj.Bins(edges=specials(11)))

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    content = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert content["format"] == "calib_jax" and content["version"] == 1
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    "params",
    [
        None,
        {"temperature": 1.5},
        1.5,
        jnp.ones(3),
        cj.Temperature,
        cj.Temperature(temperature=1.5),
        cj.Temperature(temperature="1.5"),
        cj.Temperature(temperature=np.float64(1.5)),
        cj.Temperature(temperature=np.ones(2, complex)),
        cj.Temperature(temperature=np.array([None])),
        cj.Histogram(bins=jnp.ones(3), values={}),
        (cj.Temperature(temperature=jnp.ones(())), None),
    ],
    ids=str,
)
def test_values_that_cannot_be_saved(tmp_path, params):
    with pytest.raises(ValueError, match="params"):
        cj.save(tmp_path / "params.json", params)
    assert os.listdir(tmp_path) == []


def test_saving_under_jit_raises(tmp_path):
    @jax.jit
    def save(x):
        cj.save(tmp_path / "params.json", cj.Temperature(temperature=x))

    with pytest.raises(ValueError, match=r"params\.temperature"):
        save(1.0)
    assert os.listdir(tmp_path) == []


OLD, NEW = (cj.Temperature(temperature=jnp.float32(t)) for t in (1.5, 2.5))


def fail(*_, **__):
    raise OSError("no space left on device")


class FullDisk(standard_io.StringIO):
    """A file that takes some text and then no more."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def write(self, text):
        self.file.write(text[:10])
        fail()

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("there", ["old file", "no file"])
@pytest.mark.parametrize("broken", ["write", "fsync", "replace", "chmod", "dumps"])
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, broken, there):
    path = tmp_path / "params.json"
    if there == "old file":
        cj.save(path, OLD)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with monkeypatch.context() as patch:
        if broken == "write":
            opened = os.fdopen
            patch.setattr(os, "fdopen", lambda *a, **k: FullDisk(opened(*a, **k)))
        elif broken == "dumps":
            patch.setattr(json, "dumps", fail)
        else:
            patch.setattr(os, broken, fail)
        with pytest.raises(OSError, match="no space"):
            cj.save(path, NEW)
    after = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert after == before
    cj.save(path, NEW)
    assert_equal_bits(cj.load(path), NEW)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError):
        cj.save(tmp_path / "nowhere" / "params.json", NEW)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        cj.save(tmp_path / "folder", NEW)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    path = tmp_path / "params.json"
    cj.save(path, OLD)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError):
            cj.save(path, NEW)
    finally:
        tmp_path.chmod(0o700)
    assert_equal_bits(cj.load(path), OLD)


def content(**changes):
    array = {"dtype": "float32", "shape": [], "values": [1.5]}
    array.update({k: v for k, v in changes.items() if k in array})
    top = {
        "format": "calib_jax",
        "version": 1,
        "kind": "Temperature",
        "fields": {"temperature": array},
    }
    top.update({k: v for k, v in changes.items() if k not in array})
    return {k: v for k, v in top.items() if v is not ...}


def nested(depth):
    """A router whose bins contain a router, and so on."""
    return '{"kind": "Router", "fields": {"bins": ' * depth + "1" + "}}" * depth


BINS = {"kind": "Bins", "fields": {"edges": content()["fields"]["temperature"]}}
HEAD = '{"format": "calib_jax", "version": 1, '
TEXT = {
    "empty": b"",
    "truncated": json.dumps(content()).encode()[:-20],
    "binary": bytes(range(256)),
    "UTF-16": json.dumps(content()).encode("utf-16"),
    "pickle": pickle.dumps({"temperature": 1.5}),
    "two values": json.dumps(content()).encode() * 2,
    "NaN literal": json.dumps(content(values=[float("nan")])).encode(),
    "infinity literal": json.dumps(content(values=[float("inf")])).encode(),
    "deep": b"[" * 100_000,
    "deep kinds": (HEAD + nested(20_000)[1:]).encode(),
    "twice": (HEAD + '"version": 1}').encode(),
}
JSON = {
    "number": 1,
    "null": None,
    "list": [content()],
    "other": {"temperature": 1.5},
    "other format": content(format="other"),
    "no format": content(format=...),
    "newer version": content(version=2),
    "no version": content(version=...),
    "bool version": content(version=True),
    "text version": content(version="1"),
    "no kind": content(kind=...),
    "unknown kind": content(kind="Temperatures"),
    "kind of a module": content(kind="os.system"),
    "unhashable kind": content(kind=["Temperature"]),
    "no fields": content(fields=...),
    "list of fields": content(fields=[]),
    "missing field": content(fields={}),
    "extra field": content(fields={**content()["fields"], "slope": None}),
    "null field": content(fields={"temperature": None}),
    "bare field": content(fields={"temperature": 1.5}),
    "kind for an array": content(fields={"temperature": BINS}),
    "extra part": content(comment="mine"),
    "array for a kind": content(
        kind="Histogram",
        fields={**BINS["fields"], "values": BINS["fields"]["edges"]},
    ),
    "wrong kind inside": content(
        kind="Histogram",
        fields={
            "bins": {"kind": "Temperature", "fields": content()["fields"]},
            "values": BINS["fields"]["edges"],
        },
    ),
    "unknown dtype": content(dtype="float128"),
    "float64": content(dtype="float64"),
    "object dtype": content(dtype="object"),
    "unhashable dtype": content(dtype=[]),
    "wrong shape": content(shape=[2]),
    "negative shape": content(shape=[-1, -1]),
    "float shape": content(shape=[1.0]),
    "bool shape": content(shape=[True]),
    "text shape": content(shape="1"),
    "huge shape": content(shape=[2**62, 2**62], values=[]),
    "scalar values": content(values=1.5),
    "nested values": content(values=[[1.5]]),
    "text values": content(values=["1.5"]),
    "long infinity": content(values=["Infinity"]),
    "bool for a float": content(values=[True]),
    "null value": content(values=[None]),
    "float for an integer": content(dtype="int32", values=[1.0]),
    "bool for an integer": content(dtype="int32", values=[True]),
    "integer for a bool": content(dtype="bool", values=[1]),
    "too large an integer": content(dtype="int32", values=[2**31]),
    "too large a float": content(values=[1e39]),
    "too large for float16": content(dtype="float16", values=[1e6]),
    "far too large": content(values=[10**400]),
}
WRONG = {**TEXT, **{name: json.dumps(value).encode() for name, value in JSON.items()}}


@pytest.mark.parametrize("name", WRONG)
def test_other_files_raise(tmp_path, name):
    path = tmp_path / "params.json"
    path.write_bytes(WRONG[name])
    with pytest.raises(ValueError, match=r"params\.json"):
        cj.load(path)


def test_every_cut_of_a_file_raises(tmp_path):
    path = tmp_path / "params.json"
    cj.save(path, cj.Platt(slope=jnp.float32(2), intercept=jnp.float32(-1)))
    text = path.read_bytes().rstrip()
    for length in range(len(text)):
        path.write_bytes(text[:length])
        with pytest.raises(ValueError, match=r"params\.json"):
            cj.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(OSError):
        cj.load(tmp_path / "nothing.json")
    with pytest.raises(OSError):
        cj.load(tmp_path)


def test_a_number_beyond_every_float_is_refused(tmp_path):
    path = tmp_path / "bins.json"
    cj.save(path, cj.equal_width_bins(4))
    path.write_text(path.read_text().replace("0.25", "1e999"))
    with pytest.raises(ValueError, match="inf"):
        cj.load(path)
