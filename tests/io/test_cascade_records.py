"""Files of `save_cascade`: what they hold."""

import json
from pathlib import Path

import jax
import jsonschema
import numpy as np
import pytest
import registry
from made_cascades import (
    ARBITER,
    BETA,
    CHOSEN,
    DIRICHLET,
    ENSEMBLE,
    FULL,
    HISTOGRAM,
    ISOTONIC,
    PLATT,
    RECORDS,
    ROUTER,
    SCORES,
    VECTOR,
    saved,
)

import calib_jax as cj
from calib_jax._core import records
from calib_jax.io import json_numbers, plain_records

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once

SCHEMA = json.loads(
    (Path(cj.__file__).parent / "io" / "cascade.schema.json").read_text("utf-8")
)


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert isinstance(got, jax.Array)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_comes_back_with_its_bits_and_fits_the_schema(kind, tmp_path):
    given = RECORDS[kind]
    path, content = saved(tmp_path, given)
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    record = cj.load(path)
    assert isinstance(record, cj.io.CascadeRecord)
    for name in (
        *("router", "small_params", "large_params", "arbiter", "selection"),
        "reference",
    ):
        assert_same_bits(getattr(record, name), given.get(name))
    assert record.num_small_bins == given["num_small_bins"]
    assert type(record.num_small_bins) is int
    assert record.promise == given.get("promise")
    assert record.small_input == given.get("small_input")
    assert record.large_input == given.get("large_input")
    rows = 300 if "selection" in given else given.get("num_rows")
    assert record.num_rows == rows and content["num_rows"] == rows
    assert record.versions["calib_jax"] == cj.__version__
    assert content["serve"]["keep_small"] == record.serve_keep_small.tolist()
    # Written again it is the same text.
    again = {
        field: getattr(record, field)
        for field in FULL
        if getattr(record, field) is not None
    }
    text = path.read_text("utf-8")
    cj.io.save_cascade(path, **again, num_rows=record.num_rows)
    assert path.read_text("utf-8") == text


def test_the_record_decides_in_jax_and_by_its_steps(tmp_path):
    record = cj.load(saved(tmp_path, FULL)[0])
    assert 0 < record.num_small_bins < 6 and bool(record.selection.feasible)

    @jax.jit
    def in_one_program(scores):
        confidence = cj.calibrate(record.small_params, scores)
        return cj.use_small(record.router, confidence, record.num_small_bins)

    for scores in (SCORES, SCORES.reshape(20, 30).astype(np.float32), SCORES[3]):
        kept = record.keep_small(scores)
        assert kept.dtype == bool and kept.shape == np.shape(scores)
        np.testing.assert_array_equal(kept, in_one_program(scores))
    assert record.keep_small([np.nan, SCORES.max()]).tolist() == [False, True]
    with pytest.raises(ValueError, match="x: expected a floating array"):
        record.keep_small(np.arange(3))
    with pytest.raises(ValueError, match="x: expected .* traced"):
        jax.jit(record.keep_small)(SCORES)
    assert repr(record) == (
        f"CascadeRecord(num_small_bins={record.num_small_bins}, num_bins=6, "
        "small_params=Platt, num_rows=300, with an arbiter, "
        "promise=control_accuracy_drop)"
    )


@pytest.mark.parametrize("kind", ["temperature", "beta"])
def test_confidences_are_in_the_unit_interval(kind, tmp_path):
    record = cj.load(saved(tmp_path, RECORDS[kind])[0])
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\], row 1"):
        record.keep_small([0.5, 1.5])


def test_numbers_have_the_fewest_digits_that_restore_them():
    bits = np.random.default_rng(1).integers(0, 2**32, 20_000, dtype=np.uint32)
    given = np.r_[bits.view(np.float32), np.float32([0.1, 1 / 3, 1e-45, np.inf])]
    given = given[~np.isnan(given)]
    text = json.dumps(plain_records.numbers(given), allow_nan=False)
    back = plain_records.array("numbers", json.loads(text), np.float32)
    assert back.tobytes() == given.tobytes()
    assert json.dumps(plain_records.numbers(np.float32([0.1, 2, -np.inf]))) == (
        '[0.1, 2.0, "-inf"]'
    )
    assert json_numbers.write(float("nan")) == "nan"


def test_every_kind_of_record_that_a_file_may_hold_is_plain():
    """Fields are of the dtypes that `plain_records.read` gives them."""
    kinds = cj.Router, cj.Selection, cj.ReliabilityTable, cj.Platt, cj.Histogram
    for kind in kinds:
        assert records.is_record(registry.record(kind))
    fitted = ARBITER, PLATT, HISTOGRAM, ISOTONIC, BETA, VECTOR, DIRICHLET, ENSEMBLE
    for made in (ROUTER, CHOSEN, FULL["reference"], *fitted):
        text = json.dumps(plain_records.write(made))
        assert_same_bits(plain_records.read("it", type(made), json.loads(text)), made)


def test_a_file_of_the_schema_before(tmp_path):
    """Nothing that it holds is lost, and written again it is of today's schema."""
    old = Path(__file__).with_name("schema_1.json")
    before, record = json.loads(old.read_text("utf-8")), cj.load(old)
    assert before["schema"] == 1 and record.arbiter is None
    assert record.large_input is None and record.num_rows == before["num_rows"] == 100
    assert record.versions == before["versions"]
    level, made_by = record.promise.confidence_level, record.promise.made_by
    assert (level, made_by) == (0.9, cj.cascade.control_accuracy_drop)
    path = tmp_path / "cascade.json"
    given = {
        field: getattr(record, field)
        for field in FULL
        if getattr(record, field) is not None
    }
    cj.io.save_cascade(path, **given)
    after = json.loads(path.read_text("utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(after)
    assert after.pop("arbiter") is None and after["large"].pop("input") is None
    fixed = {"schema": 2, "versions": after["versions"]}
    assert after == before | fixed
    # The last bits of a curve may be another machine's.
    assert len(record.serve_edges) == 1
    place = record.serve_edges[0]
    assert record.keep_small([place - 0.01, place + 0.01]).tolist() == [False, True]
