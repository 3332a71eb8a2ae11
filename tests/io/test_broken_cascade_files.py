"""Files of `save_cascade` and arguments of it: what is refused in them."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_cascades import (
    ARBITER,
    CHOSEN,
    EDGES,
    FULL,
    LEAST,
    PLATT,
    RECORDS,
    ROUTER,
    ROWS,
    F,
    saved,
)

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


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


INFEASIBLE = cj.cascade.control_accuracy_drop(ROUTER, *ROWS, -1.0, 0.9)


def test_an_arbiter_that_always_takes_the_large_model_needs_no_choice(tmp_path):
    """With it K = 0 is the large model alone, and K = num_bins asks it nothing."""
    zero = jax.tree.map(jnp.zeros_like, ARBITER)
    given = LEAST | {"large_params": PLATT, "num_small_bins": 0}
    path, _ = saved(tmp_path, given | {"arbiter": zero, "selection": INFEASIBLE})
    assert not cj.load(path).selection.feasible
    never = cj.cascade.choose_num_small_bins(
        cj.cascade_curve(ROUTER, *ROWS), max_large_share=0.0
    )
    never = dataclasses.replace(never, feasible=jnp.zeros((), bool))
    given |= {"num_small_bins": 6, "arbiter": ARBITER, "selection": never}
    record = cj.load(saved(tmp_path, given)[0])
    assert record.arbiter.intercept == ARBITER.intercept


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
    "an arbiter of a choice that is not feasible": (
        {
            "arbiter": ARBITER,
            "large_params": PLATT,
            "num_small_bins": 0,
            "selection": INFEASIBLE,
        },
        "arbiter: expected None, because the selection is not feasible: then K = 0 is",
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
