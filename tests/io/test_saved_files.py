"""Files that `save` writes and `load` reads."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from by_hand import INF, NAN

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


LARGE = np.array([0.6, 0.7, 0.8, 0.5, 0.6, 0.4, 0.9, 1.0])
SMALL = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
SMALL_OUTCOME = np.array([0, 0, 1, 0, 1, 1, 1, 1])


def test_save_and_load_keep_every_bit(tmp_path):
    router = cj.fit_router(SMALL, LARGE, num_bins=4)
    bins = cj.equal_count_bins(np.array([0.1, 0.3]), 4)  # edges of +inf
    histogram, _ = cj.fit_histogram(SMALL, SMALL_OUTCOME, num_bins=3)
    temperature = cj.Temperature(temperature=jnp.float32(1 / 3))
    platt = cj.Platt(slope=jnp.float32(NAN), intercept=jnp.float32(-INF))
    for params in (bins, histogram, temperature, platt, router):
        cj.save(tmp_path / "params.json", params)
        loaded = cj.load(tmp_path / "params.json")
        assert jax.tree.structure(loaded) == jax.tree.structure(params)
        leaves = zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True)
        for new, old in leaves:
            assert new.dtype == old.dtype
            assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"version": 1}', "\x80pickle"])
def test_load_refuses_what_it_did_not_write(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        cj.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "params.json"
    cj.save(path, cj.Temperature(temperature=jnp.float32(2.0)))
    with pytest.raises(ValueError):
        cj.save(path, {"temperature": object()})
    assert cj.load(path).temperature == 2.0
    assert list(tmp_path.iterdir()) == [path]


def array(values, dtype="float32"):
    return {"dtype": dtype, "shape": list(np.shape(values)), "values": values}


FIRST_FILES = {
    "Platt": {"slope": array(2.5), "intercept": array("-inf")},
    "Router": {
        "bins": {"kind": "Bins", "fields": {"edges": array([0.25, "inf"])}},
        "table": {
            "kind": "AdvantageTable",
            "fields": {
                "count": array([3, 1, 0], "int32"),
                "weight": array([3.0, 1.0, 0]),
                "small_confidence": array([0.1, 0.3, 0.0]),
                "large_confidence": array([0.7, 0.4, 0.0]),
                "advantage": array([0.6, 0.1, 0.0]),
                "small_outcome": None,
                "large_outcome": None,
                "outcome_advantage": None,
                "outcome_advantage_standard_error": None,
            },
        },
        "order": array([1, 0, 2], "int32"),
    },
}


def first_file(kind):
    text = json.dumps(
        {"format": "calib_jax", "version": 1, "kind": kind, "fields": FIRST_FILES[kind]}
    )
    return text.replace('"values": 2.5', '"values": [2.5]').replace(
        '"values": "-inf"', '"values": ["-inf"]'
    )


def test_files_of_version_1_load(tmp_path):
    path = tmp_path / "params.json"
    path.write_text(first_file("Platt"))
    platt = cj.load(path)
    assert (float(platt.slope), float(platt.intercept)) == (2.5, -INF)
    path.write_text(first_file("Router"))
    router = cj.load(path)
    assert router.order.dtype == jnp.int32 and router.bins.edges.dtype == jnp.float32
    np.testing.assert_array_equal(router.bins.edges, np.float32([0.25, INF]))
    np.testing.assert_array_equal(router.table.advantage, np.float32([0.6, 0.1, 0]))
    assert router.table.small_outcome is None
    np.testing.assert_array_equal(
        cj.use_small(router, [0.1, 0.3, 0.9], 1), [False, True, True]
    )


def guaranteed():
    """A router with parameters, one of them in a tree."""
    one, two = (cj.Temperature(temperature=jnp.float32(t)) for t in (1, 2))
    return cj.cascade.GuaranteedRouter(
        router=registry.record(cj.Router),
        selection=registry.record(cj.Selection),
        small_params=two,
        large_params={"by language": (one,)},
        small_report=None,
        large_report=None,
    )


EDGES = r"values that ascend(, without NaN)?, got \["
ORDER = r"each of the numbers from 0 on once, got \["
COUNT = "whole numbers of at least 0, got "
# A type, the place of an array in its file, values put there, what the error says.
BROKEN = {
    "edges that fall": (cj.Bins, "edges", [0.25, 0.75, 0.5], EDGES),
    "a NaN edge": (cj.Bins, "edges", [0.25, "nan", 0.75], "without NaN, got"),
    "edges of a router": (cj.Router, "bins edges", [0.1, 0.4, 0.3], EDGES),
    "a bin twice": (cj.Router, "order", [0, 1, 2, 2], ORDER),
    "an order beyond the bins": (cj.Router, "order", [0, 1, 2, 4], ORDER),
    "a short order": (cj.Router, "order", [0, 1, 2], "num_bins = 4, as in the rest"),
    "a scalar order": (cj.Router, "order", 0, r"an array \[num_bins\]"),
    "too few edges": (cj.Router, "bins edges", [0.1], "with num_bins = 2, as"),
    "a negative count": (cj.Router, "table count", [0, 1, -1, 3], COUNT),
    "part of a row": (cj.ReliabilityTable, "count", array([0.5] * 4), COUNT),
    "a negative weight": (cj.ReliabilityTable, "weight", [-1.0, 0, 0, 0], "at least 0"),
    "a temperature of 0": (cj.Temperature, "temperature", 0.0, "above 0, got 0"),
    "a confidence of 7": (cj.Histogram, "values", [0, 7.0, 0, 1], r"\[0, 1\], got"),
    "an expert's order": (
        *(cj.ExpertBins, "order", [[0, 1, 2, 3], [3, 2, 1, 1], [0, 1, 2, 3]]),
        ORDER,
    ),
    "a grid that falls": (
        *(cj.streaming.TemperatureSummary, "log_temperatures", [0.0, 2.0, 1.0]),
        EDGES,
    ),
    "fewer buckets": (
        *(cj.streaming.PlattSummary, "least", [[0.0], [0.0]]),
        "with num_bins = 4, as in the rest",
    ),
    "edges of a summary": (
        *(cj.streaming.CascadeSummary, "buckets edges", [0.2, "nan", 0.1]),
        EDGES,
    ),
    "a monitor's rows": (cj.monitoring.DriftMonitor, "count", [1, -1, 0, 0], COUNT),
    "fewer tokens": (
        *(cj.confidence.DecodingSummary, "num_tokens", [1, 2]),
        "with B = 2, as in the rest",
    ),
    "K": (cj.Selection, "num_small_bins", -1, COUNT),
    "K of a guarantee": (guaranteed, "selection num_small_bins", -1, COUNT),
    "parameters inside": (guaranteed, "small_params temperature", -2.0, "above 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused(tmp_path, name):
    kind, place, values, message = BROKEN[name]
    path = tmp_path / "edited.json"
    cj.save(path, registry.record(kind) if isinstance(kind, type) else kind())
    cj.load(path)
    content = json.loads(path.read_text())
    part, *words = content, *place.split()
    for word in words:
        part = part["fields"][word]
    if not isinstance(values, dict):
        values = array(values, part["dtype"])
    part |= values | {"values": np.array(values["values"], object).ravel().tolist()}
    path.write_text(json.dumps(content))
    place = r"params\." + r"\.".join(words)
    # A size that differs is found at one of the two places.
    place = r"params\." if " = " in message else place
    with pytest.raises(ValueError, match=rf"edited\.json: {place}.*{message}"):
        cj.load(path)


def test_parameters_in_a_tree_are_checked(tmp_path):
    path = tmp_path / "edited.json"
    cj.save(path, guaranteed())
    path.write_text(path.read_text().replace("1.0", "-1.0"))
    place = r"params\.large_params\['by language'\]\[0\]\.temperature: expected"
    with pytest.raises(ValueError, match=place):
        cj.load(path)


@pytest.mark.parametrize(
    "part", [{"tuple": 1}, {"dict": []}, {"tuple": [], "a": 1}, {}]
)
def test_trees_of_another_form(tmp_path, part):
    path = tmp_path / "edited.json"
    cj.save(path, cj.Interval(estimate=None, lower=None, upper=None))
    content = json.loads(path.read_text())
    content["fields"]["lower"] = [part]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"json: params\.lower\[0\]: expected"):
        cj.load(path)


def test_what_is_no_record_is_refused_with_what_to_do(tmp_path):
    platt = registry.record(cj.Platt)
    for value in (cj.io.read_log_probabilities([]), jnp.ones(3), {"a": 1}, [platt]):
        with pytest.raises(ValueError, match="params: .* numpy.savez"):
            cj.save(tmp_path / "params.json", value)
