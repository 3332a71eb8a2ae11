"""Saved files: equal bit for bit, complete or absent, and no other files are read."""

import io as standard_io
import json
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import makers

import calib_jax as cj
from calib_jax._core import records

SAVED = records.KINDS


def assert_equal_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert isinstance(got, type(wanted))
        got, wanted = np.asarray(got), np.asarray(wanted)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.tobytes() == wanted.tobytes()


def saved(path, params):
    cj.save(path, params)
    return cj.load(str(path))


@pytest.mark.parametrize("batch", [(), (2,), (0,), (2, 3)], ids=str)
@pytest.mark.parametrize("kind", SAVED.values(), ids=SAVED)
def test_round_trip(tmp_path, kind, batch):
    for number in range(5):
        params = registry.record(kind, number, batch)
        assert_equal_bits(saved(tmp_path / "params.json", params), params)


def test_arrays_of_64_bits_are_never_narrowed(tmp_path):
    """In 32-bit mode they are NumPy arrays, as JAX has none."""
    wide = {
        np.float64: [1 / 3, -0.0, np.nan, np.inf, 5e-324],
        np.int64: [2**62 + 1, -1],
        np.uint64: [2**64 - 1],
    }
    wide = {dtype.__name__: np.array(x, dtype) for dtype, x in wide.items()}
    params = cj.Interval(estimate=wide, lower=0.1, upper=np.uint32([2**32 - 1]))
    found = saved(tmp_path / "params.json", params)
    for name, array in wide.items():
        got = found.estimate[name]
        assert isinstance(got, jax.Array if jax.config.jax_enable_x64 else np.ndarray)
        assert got.dtype == array.dtype
        assert np.asarray(got).tobytes() == array.tobytes()
    assert type(found.lower) is float and found.lower == 0.1
    assert found.upper.dtype == np.uint32 and int(found.upper[0]) == 2**32 - 1


def test_what_audits_return_stays_on_the_host(tmp_path):
    bounds = cj.cleaning.audit_bounds(np.array([45, 60]), 50, num_flagged=200)
    assert bounds.lower.dtype == np.float64 and np.isnan(bounds.lower[1])
    assert_equal_bits(saved(tmp_path / "bounds.json", bounds), bounds)
    for max_audited in (300, 1):
        plan = cj.cleaning.audit_size(0.8, 0.9, max_audited=max_audited)
        found = saved(tmp_path / "plan.json", plan)
        assert repr(found) == repr(plan)
        assert [type(x) for x in vars(found).values()] == [int, int, float, bool]


STATES = {
    "reliability": makers.reliability_state,
    "cascade": makers.cascade_state,
    "temperature": makers.temperature_state,
    "Platt": makers.platt_state,
}


@pytest.mark.parametrize("name", STATES)
def test_a_loaded_summary_goes_on(tmp_path, name):
    first, second = (STATES[name](np.random.default_rng(seed)) for seed in (0, 0))
    loaded = saved(tmp_path / "state.json", first)
    assert_equal_bits(loaded, first)
    merged = cj.streaming.merge(first, second)
    assert_equal_bits(cj.streaming.merge(loaded, second), merged)


def test_loaded_states_take_new_rows(tmp_path):
    rng = np.random.default_rng(1)
    scores, outcomes = registry.tied(rng, registry.ROWS), registry.partial(rng, 24)
    state = makers.reliability_state(rng)
    update = cj.streaming.update_reliability
    new = update(saved(tmp_path / "state.json", state), scores, outcomes)
    assert_equal_bits(new, update(state, scores, outcomes))

    monitor, key = makers.monitor(rng), jax.random.key(3)
    update = cj.monitoring.update_monitor
    new = update(key, saved(tmp_path / "monitor.json", monitor), scores)
    assert_equal_bits(new, update(key, monitor, scores))
    alarm = cj.monitoring.read_monitor(new)
    assert_equal_bits(saved(tmp_path / "alarm.json", alarm), alarm)

    state = makers.decoding_state(rng)
    scores = cj.confidence.sequence_scores(saved(tmp_path / "decoding.json", state))
    assert_equal_bits(scores, cj.confidence.sequence_scores(state))


def test_summaries_that_differed_are_saved(tmp_path):
    """Their edges are NaN, as those of the router read off them; no others may be."""
    rng = np.random.default_rng(2)
    state = cj.streaming.merge(makers.cascade_state(rng), makers.cascade_state(rng))
    assert np.isnan(state.buckets.edges).all()
    assert_equal_bits(saved(tmp_path / "state.json", state), state)
    reading = cj.streaming.fit_router(state, registry.NUM_BINS)
    assert_equal_bits(saved(tmp_path / "reading.json", reading), reading)
    with pytest.raises(ValueError, match=r"params\.bins\.edges: .*ascend, without NaN"):
        cj.save(tmp_path / "router.json", reading.value)
    assert not (tmp_path / "router.json").exists()


def test_a_loaded_router_routes(tmp_path):
    rng = np.random.default_rng(0)
    router, scores = registry.router(rng), rng.random(registry.ROWS)
    loaded = saved(tmp_path / "router.json", router)
    assert_equal_bits(loaded, router)
    kept = cj.use_small(loaded, scores, 2)
    np.testing.assert_array_equal(kept, cj.use_small(router, scores, 2))


def test_the_file_is_plain_versioned_json(tmp_path):
    path = tmp_path / "bins.json"
    cj.save(path, registry.record(cj.Platt))

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
        cj.Temperature(temperature=np.ones(2, complex)),
        cj.Temperature(temperature=np.array([None])),
        cj.Histogram(bins=jnp.ones(3), values={}),
        cj.Interval(estimate={1: jnp.ones(3)}, lower=None, upper=None),
        cj.Interval(estimate=jax.random.key(0), lower=None, upper=None),
        cj.Interval(estimate=int, lower=None, upper=None),
        cj.Interval(estimate=cj.FitStatus.CONVERGED, lower=None, upper=None),
        cj.Deferral(**dict.fromkeys(vars(registry.record(cj.Deferral)), 1)),
        (cj.Temperature(temperature=jnp.ones(())), None),
        cj.FitStatus.CONVERGED,
        cj.io.read_log_probabilities([]),
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
    "complex64": content(dtype="complex64"),
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
