"""Files of `save_cascade`: what they hold, and what is refused in them."""

import copy
import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
import registry

import calib_jax as cj
from calib_jax._core import records
from calib_jax.cascade import Arbiter
from calib_jax.io import json_numbers, plain_records

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once

SCHEMA = json.loads(
    (Path(cj.__file__).parent / "io" / "cascade.schema.json").read_text("utf-8")
)
RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 1, 600).round(2)
LARGE = np.clip(0.7 + 0.1 * SCORES, 0, 1)
RIGHT, LARGE_RIGHT = (RNG.random((2, 600)) < [1 / (1 + np.exp(-SCORES)), LARGE]).astype(
    bool
)
PLATT, _ = cj.fit_platt(SCORES[:300], RIGHT[:300])
HISTOGRAM, _ = cj.fit_histogram(SCORES[:300], RIGHT[:300], num_bins=4)
TEMPERATURE = cj.Temperature(temperature=jnp.float32(1.3))
ISOTONIC = cj.calibration.Isotonic(
    scores=jnp.float32([-1, 0.1, np.inf]), values=jnp.float32([0.1, 0.7, 0.9])
)
F = jnp.float32
BETA = cj.calibration.Beta(slope=F(0.9), complement_slope=F(0.3), intercept=F(-0.1))
VECTOR = cj.calibration.Vector(scale=F([1, 1 / 3, 2]), bias=F([0.1, 0, -0.1]))
DIRICHLET = cj.calibration.Dirichlet(
    matrix=F([[1, 0.1, 0], [0.2, 1 / 3, 0], [0, 0, -2]]),
    bias=F([0.1, 0, -0.1]),
    strength=F(0.03),
)
ENSEMBLE = cj.calibration.EnsembleTemperature(
    temperature=F(1.3), weights=F([0.75, 0.125, 0.125])
)
ARBITER = Arbiter(small_slope=F(0.75), large_slope=F(1 / 3), intercept=F(-0.1))
CONFIDENCE = cj.calibrate(PLATT, SCORES)
ROUTER = cj.fit_router(CONFIDENCE[:300], LARGE[:300], num_bins=6)
EDGES = np.asarray(ROUTER.bins.edges)
ROWS = CONFIDENCE[300:], RIGHT[300:], LARGE_RIGHT[300:]
CHOSEN = cj.cascade.control_accuracy_drop(ROUTER, *ROWS, 0.1, 0.9)
FULL = {
    "router": ROUTER,
    "num_small_bins": int(CHOSEN.num_small_bins),
    "small_params": PLATT,
    "large_params": HISTOGRAM,
    "arbiter": ARBITER,
    "selection": CHOSEN,
    "promise": cj.io.Promise(
        made_by=cj.cascade.control_accuracy_drop, confidence_level=0.9
    ),
    "reference": cj.reliability_table(ROUTER.bins, *ROWS[:2]),
    "small_input": "mean log-probability of the answer's tokens",
    "large_input": "verbalised confidence",
}
LEAST = {"router": ROUTER, "num_small_bins": 3, "small_params": PLATT}
RECORDS = {
    "full": FULL,
    "least": LEAST,
    "histogram": LEAST | {"small_params": HISTOGRAM, "num_rows": 7},
    "temperature": LEAST | {"small_params": TEMPERATURE, "large_params": TEMPERATURE},
    "isotonic": LEAST | {"small_params": ISOTONIC, "large_params": VECTOR},
    "beta": LEAST | {"small_params": BETA, "large_params": BETA},
    "vector": LEAST | {"small_params": VECTOR, "large_params": ISOTONIC},
    "dirichlet": LEAST | {"small_params": DIRICHLET, "large_params": DIRICHLET},
    "ensemble": LEAST | {"small_params": ENSEMBLE, "large_params": ENSEMBLE},
    "all kept": LEAST | {"num_small_bins": np.int32(6)},
    "unused bins": LEAST
    | {"router": cj.fit_router([0.2, 0.7], [0.5, 0.5], num_bins=6)},
    "constant": LEAST
    | {"small_params": cj.Platt(slope=jnp.float32(0), intercept=jnp.float32(2))},
    "with outcomes": LEAST
    | {
        "router": dataclasses.replace(
            ROUTER,
            table=cj.advantage_table(
                ROUTER.bins,
                ROWS[0],
                LARGE[300:],
                small_outcome=ROWS[1],
                large_outcome=ROWS[2],
            ),
        )
    },
}


def saved(folder, given):
    path = folder / "cascade.json"
    cj.io.save_cascade(path, **given)
    return path, json.loads(path.read_text("utf-8"))


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


def without(key):
    def change(content):
        del content[key]

    return change


def put(place, value):
    """A change of the content at a place such as `router order`."""
    *outer, last = place.split()

    def change(content):
        part = content
        for key in outer:
            part = part[key]
        part[last] = value

    return change


def matrix(rows):
    return {"matrix": rows, "bias": [0, 0], "strength": 0}


BROKEN = {
    "another schema": (put("schema", 3), "expected schema 2 or 1, got 3; read files"),
    "a schema in words": (put("schema", "2"), "expected schema 2 or 1, got '2'"),
    "no schema": (without("schema"), "expected schema 2 or 1, got nothing"),
    "an arbiter of the schema before": (
        put("schema", 1),
        "cascade: unknown fields 'arbiter'",
    ),
    "no word on an arbiter": (
        without("arbiter"),
        "cascade: expected the fields arbiter, too",
    ),
    "half an arbiter": (
        put("arbiter", {"small_slope": 1, "large_slope": 1}),
        "arbiter: expected the fields intercept, too",
    ),
    "an arbiter in words": (put("arbiter", "large"), "arbiter: expected an object"),
    "an arbiter that is NaN": (
        put("arbiter intercept", "nan"),
        "arbiter.intercept: expected a finite number, got nan",
    ),
    "a certain arbiter": (
        put("arbiter large_slope", "inf"),
        "arbiter.large_slope: expected a finite number, got inf",
    ),
    "an arbiter without the large model": (
        put("large", None),
        "arbiter: expected large_params, too, because it compares the calibrated conf",
    ),
    "a field more": (put("note", 1), "cascade: unknown fields 'note'; read files of"),
    "a field less": (without("serve"), "cascade: expected the fields serve, too"),
    "a field more inside": (put("router kind", "UC"), "router: unknown fields 'kind'"),
    "a field less inside": (
        put("router bins", {}),
        "router.bins: expected the fields edges, too",
    ),
    "no object": (put("router", [1]), "router: expected an object, got a list"),
    "edges that fall": (
        put("router bins edges", [0.1, 0.3, 0.2, 0.5, 0.6]),
        r"router.bins.edges: expected values that ascend, without NaN, got \[0.1",
    ),
    "a NaN edge": (
        put("router bins edges", [0.1, "nan", 0.2, 0.5, 0.6]),
        "router.bins.edges: expected values that ascend, without NaN",
    ),
    "words": (put("router order", "012345"), "router.order: expected int32 values"),
    "a bin twice": (put("router order", [0, 1, 2, 3, 4, 4]), "router.order: expected"),
    "parts of bins": (put("router order", [0.5] * 6), "router.order: expected int32"),
    "a short order": (put("router order", [0, 1]), "router.order: .* num_bins = 6"),
    "a list of lists": (put("router order", [[0, 1]]), "router.order: expected int32"),
    "too large": (
        put("small parameters slope", 1e39),
        "small.parameters.slope: a value does not fit float32",
    ),
    "a batch": (
        put("small parameters", {"slope": [1, 2], "intercept": [1, 2]}),
        r"small.parameters.slope: expected an array scalar, got float32\[2\]",
    ),
    "a bool for a number": (
        put("small parameters slope", True),
        "small.parameters.slope: expected float32 values, got True",
    ),
    "another calibrator": (
        put("small calibrator", "Spline"),
        "small.calibrator: expected Temperature, Vector, .*, Beta, got 'Spline'",
    ),
    "a calibrator's list": (put("large calibrator", []), "large.calibrator: expected"),
    "parameters of another": (
        put("large calibrator", "Temperature"),
        "large.parameters: expected the fields temperature, too",
    ),
    "rows of two lengths": (
        lambda content: content["large"].update(
            calibrator="Dirichlet", parameters=matrix([[1, 0], [1]])
        ),
        "large.parameters.matrix: expected a list of rows of one length",
    ),
    "a matrix of another size": (
        lambda content: content["large"].update(
            calibrator="Dirichlet", parameters=matrix([[1, 0, 2]])
        ),
        "large.parameters.matrix: expected an array",
    ),
    "two lines": (put("small input", "a\nb"), "small.input: expected one line of text"),
    "a number": (put("large input", 1), "large.input: expected one line of text"),
    "K of 7": (
        put("num_small_bins", 7),
        "num_small_bins: expected at most num_bins = ",
    ),
    "K below 0": (put("num_small_bins", -1), "num_small_bins: expected a whole number"),
    "half a bin": (put("num_small_bins", 2.5), "num_small_bins: expected a whole"),
    "K that is True": (put("num_small_bins", True), "num_small_bins: expected a whole"),
    "K of another selection": (
        put("selection num_small_bins", 1),
        "num_small_bins: expected 1, as in selection, got",
    ),
    "more bins": (put("num_bins", 7), "num_bins: expected 6, as in router, got 7"),
    "no rows": (put("num_rows", 0), "num_rows: expected a whole number of at least 1"),
    "a short selection": (
        put("selection bound", [0.1, 0.2]),
        "selection.*: expected an array",
    ),
    "outcomes above 1": (
        put("reference outcome", [0.5, 0.5, 1.5, 0.5, 0.5, 0.5]),
        r"reference.outcome: expected mean outcomes in \[0, 1\], got 1.5",
    ),
    "outcomes that are NaN": (
        put("reference outcome", ["nan"] * 6),
        r"reference.outcome: expected mean outcomes in \[0, 1\], got nan",
    ),
    "rows without an end": (
        put("reference count", [2**31 - 1] * 6),
        r"reference.count: expected fewer than 2\^31 rows in all, got 12884901882",
    ),
    "a promise without a level": (
        put("selection level", "nan"),
        "selection.level: expected a finite number, because there is a promise, got na",
    ),
    "fields of another program": (
        lambda content: content.update({f"f{i}": i for i in range(4000)}),
        "unknown fields 'f0', 'f1', 'f2', 'f3', 'f4' and 3,995 more; read files",
    ),
    "another promise": (
        put("promise made_by", "eval"),
        "promise.made_by: expected one of control_accuracy_drop.*got 'eval'",
    ),
    "a level of 95": (
        put("promise confidence_level", 95),
        r"promise.confidence_level: expected a number in \(0, 1\)",
    ),
    "a level in words": (
        put("promise confidence_level", "0.9"),
        "promise.confidence_level: expected a number, got '0.9'",
    ),
    "a promise alone": (put("selection", None), "promise: expected selection, too"),
    "negative counts": (
        put("reference count", [-1, 0, 0, 0, 0, 0]),
        "reference.count: expected whole numbers of at least 0",
    ),
    "another table": (
        put(
            "reference", {f.name: [1] for f in dataclasses.fields(cj.ReliabilityTable)}
        ),
        "reference: expected 6 bins, as in router, got 1",
    ),
    "a version too many": (put("versions torch", "2"), "versions: unknown fields 'tor"),
    "no version": (put("versions jax", 1), "versions.jax: expected one line of text"),
    "another input": (
        put("serve input", "confidence"),
        "serve.input: expected 'score', because the calibrator is Platt, got 'conf",
    ),
    "steps that fall": (
        put("serve edges", [2, 1]),
        "serve.edges: expected a list of numbers, each above the one before",
    ),
    "a NaN step": (put("serve edges", ["nan"]), "serve.edges: expected .* without NaN"),
    "one step": (put("serve edges", 0.5), "serve.edges: expected a list of numbers"),
    "two decisions": (
        put("serve keep_small", [True]),
        "serve.keep_small: expected a list of . bools, one more than edges, got 1",
    ),
    "decisions as numbers": (
        put("serve keep_small", [0, 1]),
        "serve.keep_small: expected bool values, got 0",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_named(kind, tmp_path):
    change, message = BROKEN[kind]
    path, content = saved(tmp_path, FULL)
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        cj.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("kind", ["full", "histogram", "beta", "vector"])
def test_steps_of_another_cascade_are_refused(kind, tmp_path):
    given = {key: RECORDS[kind][key] for key in LEAST}
    path, content = saved(tmp_path, given | {"num_small_bins": 2})
    # Rounding of another device or version moves the steps of a curve, and no others.
    if kind == "full":
        near = copy.deepcopy(content)
        near["serve"]["edges"] = [edge + 1e-6 for edge in content["serve"]["edges"]]
        path.write_text(json.dumps(near), "utf-8")
        assert (
            cj.load(path).serve_edges.tolist()
            == np.float32(near["serve"]["edges"]).tolist()
        )
    content["num_small_bins"] = 4
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="serve: its steps do not decide as router"):
        cj.load(path)
    content["num_small_bins"] = 2
    content["serve"] |= {"edges": [], "keep_small": [True]}
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="serve: its steps do not decide as router"):
        cj.load(path)


REFUSED = {
    "no router": ({"router": ROUTER.bins}, "router: expected Router, got Bins"),
    "no calibrator": (
        {"small_params": None},
        "small_params: expected Temperature or Vector or .* or Beta, got NoneType",
    ),
    "a report too": (
        {"large_params": (PLATT,)},
        "large_params: expected Temperature",
    ),
    "K too large": ({"num_small_bins": 7}, "num_small_bins: expected at most 6, got 7"),
    "a large K": ({"num_small_bins": jnp.int32(7)}, "num_small_bins: expected at most"),
    "a negative K": (
        {"num_small_bins": jnp.int32(-1)},
        "num_small_bins: expected a whole number",
    ),
    "a selection as K": (
        {"num_small_bins": CHOSEN},
        r"num_small_bins: .*pass its .num_small_bins",
    ),
    "another K than chosen": (
        {"num_small_bins": 1, "selection": CHOSEN},
        "num_small_bins: expected ., as in selection, got 1; leave the selection out",
    ),
    "a promise alone": (
        {"promise": FULL["promise"]},
        "promise: expected selection, too",
    ),
    "no promise": ({"promise": 0.95}, "promise: expected Promise, got float"),
    "a table of other bins": (
        {"reference": cj.reliability_table(cj.equal_width_bins(3), *ROWS[:2])},
        "reference: expected 6 bins, as in router, got 3",
    ),
    "no rows": ({"num_rows": 0}, "num_rows: expected at least 1, got 0"),
    "an arbiter alone": (
        {"arbiter": ARBITER},
        "arbiter: expected large_params, too, because it compares the calibrated conf",
    ),
    "a report as arbiter": (
        {"arbiter": (ARBITER, None), "large_params": PLATT},
        "arbiter: expected Arbiter, got tuple",
    ),
    "an arbiter that is NaN": (
        {
            "arbiter": dataclasses.replace(ARBITER, small_slope=F(np.nan)),
            "large_params": PLATT,
        },
        "arbiter.small_slope: expected a finite number, got nan",
    ),
    "words about no model": (
        {"large_input": "a score"},
        "large_input: expected large_params, too",
    ),
    "no words": ({"small_input": 3}, "small_input: expected one line of text, got 3"),
    "two lines": ({"small_input": "\na"}, "small_input: expected one line of text"),
    "edges that fall": (
        {"router": dataclasses.replace(ROUTER, bins=cj.Bins(edges=EDGES[::-1]))},
        "router.bins.edges: expected values that ascend, got",
    ),
    "a NaN edge": (
        {"router": dataclasses.replace(ROUTER, bins=cj.Bins(edges=EDGES * np.nan))},
        "router.bins.edges: expected values that ascend, without NaN",
    ),
    "a temperature below 0": (
        {"small_params": cj.Temperature(temperature=jnp.float32(-1))},
        "small_params.temperature: expected values above 0",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arguments_that_do_not_fit(kind, tmp_path):
    changes, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        cj.io.save_cascade(tmp_path / "cascade.json", **LEAST | changes)
    assert not list(tmp_path.iterdir())


def test_traced_arguments_and_paths(tmp_path):
    def save(params):
        cj.io.save_cascade(tmp_path / "c.json", **LEAST | {"small_params": params})

    with pytest.raises(ValueError, match="small_params: expected .* traced array"):
        jax.jit(save)(PLATT)
    with pytest.raises(ValueError, match="path: expected the path of a file"):
        cj.io.save_cascade(3, **LEAST)
    with pytest.raises(OSError):
        cj.io.save_cascade(tmp_path / "nowhere" / "c.json", **LEAST)


PROMISES = {
    "another function": ((cj.fit_router, None), "made_by: expected one of control_acc"),
    "a name": (("control_regret", None), "made_by: expected one of control_accuracy"),
    "no level": (
        (cj.cascade.control_small_error, None),
        "confidence_level: expected the one passed to control_small_error, got None",
    ),
    "a level too many": (
        (cj.cascade.control_regret, 0.95),
        "confidence_level: expected None, because control_regret takes none, got 0.95",
    ),
    "a level of 1": (
        (cj.cascade.control_accuracy_drop, 1.0),
        r"confidence_level: expected a number in \(0, 1\)",
    ),
}


@pytest.mark.parametrize("kind", PROMISES)
def test_promises_that_cannot_be(kind):
    (function, level), message = PROMISES[kind]
    with pytest.raises(ValueError, match=message):
        cj.io.Promise(made_by=function, confidence_level=level)


@pytest.mark.parametrize("level", [None, 0.5])
def test_a_promise_about_costs_may_have_a_level(level):
    promise = cj.io.Promise(made_by=cj.cascade.control_cost, confidence_level=level)
    assert promise.confidence_level == level
