"""Values outside a domain: an error that names the row, or NaN, and never a number.

`DOMAINS` is by argument name, and every case of the registry that has the argument is
tried. Errors compile nothing; calls have the shapes of `test_properties.py`.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import ROWS, example

import calib_jax as cj
from calib_jax._core import exact

pytestmark = pytest.mark.once

# Rooms of decisions, which a NaN leaves as documented: see their own tests.
DECISIONS = {"cascade", "cleaning", "monitoring"}

SHARES = """
confidence confidences small_confidence large_confidence reference_confidence
first_confidence second_confidence outcomes small_outcome large_outcome
reference_outcomes reference_small_outcome reference_large_outcome is_error
probabilities label_error_probability losses max_mean max_rate rate noise min_accuracy
max_large_share max_regret max_error worth target risk coverage
""".split()
AMOUNTS = """
weights total_loss small_cost large_cost costs cost max_cost cost_limit
""".split()
# By argument: values outside, and the domain as messages show it.
DOMAINS = {
    **dict.fromkeys(SHARES, ([93.0, 7.0, -0.5, 1.001, np.inf], "[0, 1]")),
    **dict.fromkeys(AMOUNTS, ([-2.0, -1e-3, np.inf], "[0, inf)")),
    **dict.fromkeys(["max_drop", "max_loss"], ([7.0, -1.5, np.inf], "[-1, 1]")),
    **dict.fromkeys(["log_confidence", "log_likelihoods"], ([0.5, 1e-3], "[-inf, 0]")),
    "temperature": ([-1.0, 0.0, np.inf], "(0, inf)"),
    "confidence_level": ([95.0, 1.0, 0.0, -0.1], "(0, 1)"),
}
# Where scores have to be confidences.
OF_CONFIDENCES = """
expected_calibration_error maximum_calibration_error brier_score log_loss
calibration_error_interval monitoring.calibration_drift
metrics.smooth_calibration_error
""".split()
EXCEPTIONS = {
    # These outcomes have to be bools, which have no value outside.
    ("cascade.control_small_error", "small_outcome"),
    ("cleaning.expert_dependence", "outcomes"),
    ("cleaning.fit_shared_errors", "outcomes"),
    ("monitoring.calibration_drift", "reference_outcomes"),
    ("monitoring.calibration_drift", "outcomes"),
    # Any budget can be compared with the costs of a curve.
    ("cascade.best_within_cost", "max_cost"),
}
ROW, OTHER, PADDED = 3, 5, ROWS + 16


def names_of(case):
    """Arguments of a case that have a domain."""
    names = [*case.names, *["weights"] * case.weights]
    if case.call is None:
        optional = inspect.signature(registry.public(case.name)).parameters
        names += [n for n in optional if n == "confidence_level" and n not in names]
    for name in names:
        if (case.name, name) in EXCEPTIONS:
            continue
        of_scores = name.endswith("scores") and case.name in OF_CONFIDENCES
        if name in DOMAINS or of_scores:
            yield name


def domain_of(name):
    return DOMAINS.get(name, DOMAINS["confidence"])


def room_of(case):
    return registry.public(case.name).__module__.split(".")[1]


CASES = [c for c in registry.CASES if c.make is not None]
PAIRS = [(case, name) for case in CASES for name in names_of(case)]
pairs = pytest.mark.parametrize(
    ("case", "name"), PAIRS, ids=[f"{case}-{name}" for case, name in PAIRS]
)


def changed(case, good, name, value, rows=(ROW,)):
    """An argument with a value in some rows, or in its first entry without rows."""
    array = np.array(good, float)
    axis = {**case.arrays, "costs": 1, "weights": 0}.get(name)
    for row in rows:
        place = [0] * array.ndim
        if axis is not None:
            place[axis] = row
        array[tuple(place)] = value
    return array if array.ndim else value


def arguments_of(case, name, size=ROWS):
    given = example(case, size)
    if name == "weights":
        given["weights"] = np.ones(size)
    return given


@pairs
def test_a_host_value_outside_is_an_error(case, name):
    """It shows the argument, its domain, the row and the value."""
    given = arguments_of(case, name)
    values, domain = domain_of(name)
    before = registry.num_compiled()
    for value in values:
        wrong = changed(case, given.get(name, 0.9), name, value)
        held = rf"got {value:.7g}\b"
        if np.ndim(wrong):
            place = r"(row 3|entry \[(3, 0|0, 3|0, 0)\])"
            held = rf"{place} holds {value:.7g}\b"
        with pytest.raises(ValueError) as caught:
            case(**{**given, name: wrong})
        message = str(caught.value)
        assert re.match(rf"{name}: expected ", message), message
        assert domain in message and re.search(held, message), message
    if room_of(case) not in DECISIONS:
        assert registry.num_compiled() == before


def on_device(case, given):
    """Arguments as device arrays, which are not waited for."""

    def put(value):
        if isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype == float:
            return jnp.asarray(value, jnp.float32)
        return jnp.asarray(value) if isinstance(value, np.ndarray) else value

    return {k: v if k in case.static else put(v) for k, v in given.items()}


def assert_known_to_be_wrong(case, actual, good):
    """Statuses and sums of invalid rows; elsewhere a number is NaN or unchanged."""
    if isinstance(actual, tuple) and hasattr(actual[-1], "status"):
        assert actual[1].status == cj.FitStatus.INVALID_VALUES
        assert not actual[1].converged and np.isnan(actual[1].loss)
        return
    if hasattr(actual, "sums"):
        sums = exact.to_float(actual.sums.sums)[0]
        outside = sums[0, -1] > exact.to_float(good.sums.sums)[0][0, -1]
        assert outside or not np.isfinite(sums).all()
        return
    found = False
    leaves = zip(registry.leaves(actual), registry.leaves(good), strict=True)
    for got, wanted in leaves:
        if got.dtype.kind == "f":
            known = ~np.isnan(got)
            found |= bool((~known & ~np.isnan(wanted)).any())
            np.testing.assert_array_equal(got[known], wanted[known])
    assert found


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (case, name)
        for case, name in PAIRS
        if not case.host and not (name == "weights" and case.again)
    ],
    ids=lambda x: str(x),
)
def test_a_device_value_outside_is_not_a_number(case, name):
    """It gives what NaN gives: in a number NaN, in a fit a status."""
    size = PADDED if name == "weights" else ROWS
    given = arguments_of(case, name, size)
    if name == "weights" and case.where:
        given["where"] = np.ones(size, bool)
    if name == "confidence_level":
        given.setdefault(name, 0.9)

    def result(value):
        wrong = changed(case, given[name], name, value)
        return case(**on_device(case, {**given, name: wrong}))

    # Seven stands for a label, and is far enough outside to change any number.
    value = 7.0 if domain_of(name)[1] == "[0, 1]" else domain_of(name)[0][0]
    actual = result(value)
    registry.assert_same(actual, result(np.nan), exact=True)
    if room_of(case) not in DECISIONS:
        assert_known_to_be_wrong(case, actual, case(**on_device(case, given)))


MASKED = [
    case
    for case in CASES
    if [*names_of(case)] and case.where and case.masked is None and not case.again
]


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_removed_rows_are_not_looked_at(case):
    """Masked rows may hold labels or -1, and so may rows of weight 0."""
    given = {**example(case, PADDED), "where": np.arange(PADDED) != ROW}
    rows = (ROW, OTHER) if case.weights else (ROW,)
    if case.weights:
        given["weights"] = (np.arange(PADDED) != OTHER).astype(float)
    good = case(**given)
    for value in (7.0, -1.0):
        wrong = dict(given)
        for name in set(names_of(case)) & {*case.arrays, "weights"}:
            some = (ROW,) if name == "weights" else rows
            wrong[name] = changed(case, given[name], name, value, some)
        registry.assert_same(case(**wrong), good, exact=True)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (case, name)
        for case, name in PAIRS
        if domain_of(name)[1] == "[0, 1]" and name in case.rows and not case.host
    ],
    ids=lambda x: str(x),
)
def test_rounding_is_clipped(case, name):
    """5e-7 beyond an end is that end, on the host and on a device."""
    given = example(case)
    for end, beyond in ((1.0, 1 + 5e-7), (0.0, -5e-7)):
        at_end, outside = (
            {**given, name: changed(case, given[name], name, x)} for x in (end, beyond)
        )
        expected = case(**at_end)
        registry.assert_same(case(**outside), expected, exact=True)
        actual = case(**on_device(case, outside))
        registry.assert_same(actual, expected, exact=True)


def test_transformations_give_nan():
    """Under jit, vmap and grad; other problems of a batch are not touched."""
    rng = np.random.default_rng(0)
    scores, outcomes = registry.tied(rng, ROWS), registry.partial(rng, ROWS)
    wrong = outcomes.copy()
    wrong[ROW] = 7
    both = jnp.asarray(np.stack([outcomes, wrong]), jnp.float32)
    scores = jnp.asarray(scores, jnp.float32)
    good = cj.brier_score(scores, outcomes)
    errors = jax.jit(jax.vmap(lambda right: cj.brier_score(scores, right)))(both)
    np.testing.assert_allclose(errors, [good, np.nan], rtol=1e-6)
    value, _ = jax.value_and_grad(cj.brier_score)(scores, both[1])
    assert np.isnan(value)
    # A host array beside a traced mask: whether the row counts is not known.
    masked = jax.jit(lambda where: cj.brier_score(scores, wrong, where=where))
    assert np.isnan(masked(np.ones(ROWS, bool)))
    assert np.isfinite(masked(np.arange(ROWS) != ROW))


def test_bools_and_no_rows_are_inside():
    scores = np.array([0.25, 0.75])
    expected = cj.brier_score(scores, [0.0, 1.0])
    assert cj.brier_score(scores, scores > 0.5) == expected
    assert np.isnan(cj.brier_score(np.zeros(0), np.zeros(0, bool)))


@pytest.mark.parametrize("labels", [[0, -1, 1], [0, 1, -100], [0, 7, 1]])
def test_labels_that_are_not_classes(labels):
    """They are invalid, on the host too, unless the row is masked."""
    logits = np.array([[4.0, 0.0], [4.0, 0.0], [1.0, 2.0]])
    _, report = cj.fit_temperature(logits, labels)
    assert report.status == cj.FitStatus.INVALID_VALUES
    kept = np.isin(labels, [0, 1])
    _, report = cj.fit_temperature(logits, labels, where=kept)
    assert report.status != cj.FitStatus.INVALID_VALUES


def test_confidences_in_percent_and_logits():
    """Numbers that once looked like errors, as a user would meet them."""
    error = cj.expected_calibration_error
    with pytest.raises(ValueError, match=r"outcomes: .* row 0 holds 3 \(1 more"):
        error([0.9, 0.8, 0.7], [3, 7, 1])
    with pytest.raises(ValueError, match="scores: .* row 0 holds 90 .*by 100"):
        error([90.0, 80.0], [1, 0])
    with pytest.raises(ValueError, match="scores: .* row 0 holds 3.*logits"):
        cj.log_loss([3.0], [1])
    assert np.isnan(error(jnp.array([90.0, 80.0]), jnp.array([1, 0])))
    table = cj.reliability_table(cj.equal_width_bins(2), [90.0, 80.0], [1, 0])
    assert np.isnan(cj.metrics.calibration_error_of_table(table))
