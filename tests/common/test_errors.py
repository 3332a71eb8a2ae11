"""Wrong arguments raise a `ValueError` that names them, before anything is traced."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import NUM_BINS, NUM_CLASSES, ROWS

import calib_jax as cj

pytestmark = pytest.mark.once

OUTCOMES = {"outcomes", "small_outcome", "large_outcome", "is_error"}
INTEGERS = {"labels", "tokens", "predictions", "suggestion", "choice_ids"}
INTEGERS |= {"num_successes", "num_trials", "num_rows", "num_kept_bins"}
OUTCOMES |= {"reference_outcomes"}
OUTCOMES |= {f"reference_{size}_outcome" for size in ("small", "large")}
INTEGERS |= {"groups"}
OUTCOMES |= {"first_outcome", "second_outcome"}
CONFERRED = {f"{which}conferred_outcome" for which in ("", "first_", "second_")}
OUTCOMES |= CONFERRED
BOOLS = {"flagged", "where", "calibration"}
SCALARS = {"temperature", "target", "max_large_share", "min_accuracy"}
SCALARS |= {"num_successes", "num_trials", "num_rows", "total_loss", "max_rate"}
SCALARS |= {"max_mean", "max_regret", "max_drop", "max_error", "max_cost", "max_loss"}
SCALARS |= {"cost_limit", "worth", "cost", "risk", "coverage", "strength"}
SCALARS |= {"min_evidence"}
CLASSES = {"scaled_softmax", "top1", "choice_logits"}
ANY_SHAPE = {"log_odds", "confidence.log_odds_from_log", "bin_index"}
ANY_SHAPE |= {"calibrate-platt", "calibrate-histogram", "calibrate-beta"}
OF_LOGITS = {"temperature", "vector", "dirichlet", "ensemble"}
OF_LOGITS = {f"calibrate-{kind}" for kind in OF_LOGITS}
# Functions of audits.
INTEGERS |= {"num_wrong", "num_audited", "num_flagged"}
BOOLS |= {"candidates", "differ"}
SCALARS |= {"num_wrong", "num_audited", "num_flagged", "rate", "min_precision"}
SCALARS |= {"expected", "chance", "confidence_level"}
NOT_ARRAYS = {"bins", "params", "router", "experts", "curve", "table"}
NOT_ARRAYS |= {"small_params", "large_params", "state", "first", "second", "buckets"}
NOT_ARRAYS |= {"chain", "arbiter", "shared"}
# One number for all rows, or one for each; the case with one for each is tested.
ONE_OR_EACH = {"cascade.cascade_savings": {"small_cost", "large_cost"}}
ANY_SHAPE |= {"use_small", "cleaning.true_label_confidence"}


# Outcomes that have to be bools.
BOOL_OUTCOMES = {
    ("cleaning.expert_dependence", "outcomes"),
    ("cleaning.fit_shared_errors", "outcomes"),
}


def kind_of(case, name):
    if (case.name, name) in BOOL_OUTCOMES:
        return "bools"
    if name in OUTCOMES or (case.name, name) == ("validate_scores", "scores"):
        return "outcomes"
    if name in INTEGERS:
        return "integers"
    return "bools" if name in BOOLS else "weights" if name == "weights" else "floats"


def arguments_of(case):
    arguments = case.make(np.random.default_rng(0), ROWS)
    if case.where:
        shape = (ROWS, registry.NUM_TOKENS) if case.masked else (ROWS,)
        arguments["where"] = np.ones(shape, bool)
    if case.weights:
        arguments["weights"] = np.ones(ROWS)
    return arguments


def names_of(case):
    """Names of `arguments_of`, without making states, which runs programs."""
    return [*case.names, *["where"] * case.where, *["weights"] * case.weights]


def wrong_arrays(case, name, good):
    """Pairs of a wrong array and how the message must describe it."""
    kind, good = kind_of(case, name), np.asarray(good)

    def shown(array):
        return array, re.escape(f"{array.dtype.name}{list(array.shape)}")

    one_or_each = name in ONE_OR_EACH.get(case.name, ())
    if name not in SCALARS and not (case.name in CLASSES and name == "logits"):
        if str(case) not in ANY_SHAPE | OF_LOGITS:
            yield shown(good[..., None])
            yield good[..., None].tolist(), re.escape(str([*good.shape, 1]))
    if good.ndim and str(case) not in ANY_SHAPE and not one_or_each:
        yield shown(good[(0,) * good.ndim])
    rows = {**case.rows, "where": 0, "weights": 0}
    together = [key for key in names_of(case) if key in rows]
    if name in rows and len(together) > 1:
        short = np.delete(good, -1, rows[name])
        yield short, re.escape(str(list(short.shape)))
    yield shown(good.astype(complex))
    if kind in ("floats", "bools"):
        yield shown(good.astype(np.int32))
    if kind in ("integers", "bools"):
        yield shown(good.astype(np.float32))
    if kind in ("integers", "floats", "weights"):
        yield shown(good.astype(bool))
    if name not in SCALARS:
        yield np.array(good, object), "object"
        yield good.astype(str), "str"
    yield "text", "str"
    yield {"a": 1}, "dict|object|array"
    yield [[1.0], [2.0, 3.0]], "array|inhomogeneous"
    optional = BOOLS | {"weights", "log_temperatures", "num_flagged"}
    optional |= {"min_accuracy", "max_large_share", "strength", *CONFERRED}
    optional_here = {
        ("cleaning.expert_dependence", "confidences"),
        ("cascade.committee_curve", "costs"),
        ("cascade.order_committee", "costs"),
        ("metrics.coverage_at_risk", "confidence_level"),
        ("metrics.threshold_at_risk", "confidence_level"),
    }
    if (case.name, name) not in optional_here and name not in optional:
        yield None, "None|object|only one"


CASES = [
    (case, name)
    for case in registry.CASES
    if case.make is not None and case.name not in registry.OF_STATISTICS
    for name in names_of(case)
    if name not in NOT_ARRAYS and name not in case.static
    if name != "inputs"  # Any rank and dtype: see test_deferral.py.
    if name not in ("num_small_bins", "num_top_bins", "num_bins")
    if name in case.arrays or name not in ONE_OR_EACH.get(case.name, ())
]


def raises(case, name, given, shows):
    before = registry.num_compiled()
    with pytest.raises(ValueError) as caught:
        case(**given)
    message = str(caught.value)
    assert re.search(rf"\b{name}\b", message), message
    assert re.search(shows, message), f"{shows} not in: {message}"
    assert registry.num_compiled() == before, "raised while tracing"


@pytest.mark.parametrize(
    ("case", "name"), CASES, ids=[f"{case}-{name}" for case, name in CASES]
)
def test_wrong_arrays(case, name):
    good = arguments_of(case)
    for wrong, shows in wrong_arrays(case, name, good[name]):
        raises(case, name, {**good, name: wrong}, shows)


@pytest.mark.parametrize(
    ("case", "name"),
    [pair for pair in CASES if not pair[0].host],
    ids=[f"{case}-{name}" for case, name in CASES if not case.host],
)
def test_wrong_arrays_under_jit(case, name):
    """Inside the user's own jit the same error is raised before a core is traced."""
    good = arguments_of(case)
    arrays = {k: v for k, v in good.items() if k not in case.static}
    fixed = {k: v for k, v in good.items() if k in case.static}
    wrong, shows = next(wrong_arrays(case, name, good[name]))
    arrays[name] = jnp.asarray(wrong)
    shows = re.sub("(float|int|complex)[0-9]+", r"\1[0-9]+", shows)
    call = jax.jit(lambda arrays: case(**arrays, **fixed))
    raises(lambda **given: call(given), name, arrays, shows)


COUNTS = [
    (case, name, low, high)
    for name, low, high in [
        ("num_bins", 1, None),
        ("max_bins", 1, None),
        ("num_classes", 1, None),
        ("num_buckets", 3, None),
        ("capacity", 1, None),
        ("num_sequences", 0, None),
        ("num_small_bins", 0, NUM_BINS),
        ("num_top_bins", 0, NUM_BINS),
    ]
    for case in registry.CASES
    if case.make is not None and name in names_of(case)
    # It takes an array of numbers of bins, too.
    if case.name != "calibration.histogram_error_bound"
]
COUNT_IDS = [f"{case}-{name}" for case, name, _, _ in COUNTS]


@pytest.mark.parametrize(("case", "name", "low", "high"), COUNTS, ids=COUNT_IDS)
def test_wrong_counts(case, name, low, high):
    good = arguments_of(case)
    wrongs = [low - 1, -7, 2.0, np.float32(2), True, np.bool_(True), "2", [2], (2,)]
    wrongs += [1j, jnp.float32(2), jnp.array([2, 2]), np.array([2]), {}, None]
    wrongs += [np.array([2, 3]), jnp.array(True), float("nan"), float("inf")]
    if high is not None:
        wrongs += [high + 1, 10**30, np.int64(high + 1)]
    if str(case) == "equal_count_bins-max_bins" and name == "num_bins":
        wrongs += [NUM_BINS + 1]
    for wrong in wrongs:
        if name == "max_bins" and wrong is None:
            continue
        shows = str(wrong) if isinstance(wrong, (int, float)) else ""
        raises(case, name, {**good, name: wrong}, re.escape(shows))


OPTIONAL_BINS = [
    "expected_calibration_error",
    "maximum_calibration_error",
    "fit_router",
]
OPTIONAL_BUCKETS = ["streaming.init_reliability", "streaming.init_cascade"]
STRUCTURED = [
    (case, name)
    for case in registry.CASES
    if case.make is not None
    for name in names_of(case)
    if name in NOT_ARRAYS
]


@pytest.mark.parametrize(
    ("case", "name"), STRUCTURED, ids=[f"{case}-{name}" for case, name in STRUCTURED]
)
def test_wrong_types(case, name):
    good = arguments_of(case)
    rng = np.random.default_rng(0)
    others = [registry.bins(rng), registry.router(rng), registry.experts(rng)]
    others += [registry.curve(rng), {}, (), 1.5, "text", [0.5], np.ones(4)]
    others += [type(good[name]), (good[name], None), None]
    for wrong in others:
        optional = wrong is None and (
            (name == "bins" and case.name in OPTIONAL_BINS)
            or (name == "buckets" and case.name in OPTIONAL_BUCKETS)
            or (name, case.name) == ("arbiter", "defer")
        )
        if not isinstance(wrong, type(good[name])) and not optional:
            shows = re.escape(type(wrong).__name__)
            raises(case, name, {**good, name: wrong}, shows)


def test_optional_bins_are_bins():
    for wrong in (np.ones(4), 15, [0.5], registry.router(np.random.default_rng(0))):
        for name in OPTIONAL_BINS:
            with pytest.raises(ValueError, match=f"bins.*{type(wrong).__name__}"):
                registry.public(name)([0.5], [1], bins=wrong)


LOGITS, LABELS = np.zeros((3, NUM_CLASSES)), np.zeros(3, int)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (cj.scaled_softmax, {"logits": LOGITS}),
        (cj.top1, {"logits": LOGITS}),
        (cj.fit_temperature, {"logits": LOGITS, "labels": LABELS}),
        (cj.calibrate, {"params": cj.Temperature(temperature=1.0), "x": LOGITS}),
        (cj.validate_logits, {"logits": LOGITS}),
    ],
)
def test_wrong_class_masks(function, arguments):
    for wrong, shows in [
        (np.ones(NUM_CLASSES), "float64"),
        (np.ones(NUM_CLASSES, int), "int64"),
        (np.ones(NUM_CLASSES - 1, bool), r"\[3\]"),
        (np.ones((3, 1), bool), r"\[3, 1\]"),
        (np.ones((1, NUM_CLASSES), bool), r"\[1, 4\]"),
        (np.ones((NUM_CLASSES, 3), bool), r"\[4, 3\]"),
        (True, r"bool"),
        ("text", "str"),
    ]:
        with pytest.raises(ValueError, match=f"class_where.*{shows}"):
            function(**arguments, class_where=wrong)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: cj.scaled_softmax(np.zeros((3, 0))), "logits"),
        (lambda: cj.scaled_softmax(1.0), "logits"),
        (lambda: cj.top1(np.zeros((3, 0))), "logits"),
        (lambda: cj.top1(LOGITS, np.ones(3)), "temperature"),
        (lambda: cj.fit_temperature(np.zeros((3, 0)), LABELS), "logits"),
        (lambda: cj.fit_temperature(LOGITS, LABELS, solver="adam"), "solver"),
        (lambda: cj.fit_platt([0.0], [1], solver=0.1), "solver"),
        (lambda: cj.confident_learning(np.zeros((3, 0)), LABELS), "probabilities"),
        (
            lambda: cj.sequence_log_likelihood(
                np.zeros((1, 1, 2)), np.zeros((1, 1), int), reduction="max"
            ),
            "reduction.*'max'",
        ),
        (
            lambda: cj.sequence_log_likelihood(
                np.zeros((1, 1, 2)), np.zeros((1, 1), int), reduction=["sum"]
            ),
            "reduction",
        ),
        (lambda: cj.equal_width_bins(3, lower=1.0, upper=1.0), "upper.*1.0"),
        (lambda: cj.equal_width_bins(3, lower=np.nan), "lower"),
        (lambda: cj.equal_width_bins(3, upper="1"), "upper"),
        (lambda: cj.equal_width_bins(3, lower=None), "lower"),
        (
            lambda: cj.calibrate(
                cj.Platt(slope=1.0, intercept=0.0), [0.1], class_where=[True]
            ),
            "class_where",
        ),
        (
            lambda: cj.advantage_table(
                cj.equal_width_bins(2), [0.1], [0.2], small_outcome=[1]
            ),
            "large_outcome",
        ),
        (
            lambda: cj.high_confidence_disagreement(
                registry.experts(np.random.default_rng(0)),
                np.zeros((3, 1), int),
                np.zeros((3, 1)),
                [0],
                1,
            ),
            r"predictions.*\[3, 1\]",
        ),
    ],
)
def test_other_wrong_arguments(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def mean(x, weights):
    return jnp.sum(weights * x)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((jax.random.key(0), mean, 0, [1.0]), "num_resamples.*0"),
        ((jax.random.key(0), mean, -1, [1.0]), "num_resamples.*-1"),
        ((jax.random.key(0), mean, 2.0, [1.0]), "num_resamples.*2.0"),
        ((jax.random.key(0), mean, True, [1.0]), "num_resamples.*True"),
        ((jax.random.key(0), "mean", 2, [1.0]), "statistic.*str"),
        ((jax.random.key(0), mean, 2), "arrays"),
        ((jax.random.key(0), mean, 2, 1.0), "arrays"),
        ((jax.random.key(0), mean, 2, [1.0], [1.0, 2.0]), r"arrays.*\[2\]"),
        ((jax.random.key(0), mean, 2, "text"), "arrays"),
        ((jax.random.key(0), mean, 2, {"x": 1}), "arrays"),
        ((0, mean, 2, [1.0]), "key"),
        ((None, mean, 2, [1.0]), "key"),
        ((np.ones(3), mean, 2, [1.0]), "key"),
    ],
)
def test_wrong_bootstraps(arguments, name):
    with pytest.raises(ValueError, match=name):
        cj.bootstrap(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": 0}, "key.*0"),
        ({"num_resamples": 0}, "num_resamples.*0"),
        ({"num_resamples": 2.0}, "num_resamples.*2.0"),
        ({"bins": [0.5]}, "bins.*list"),
        ({"scores": [], "outcomes": []}, "scores.*N > 0"),
        ({"where": [True]}, r"where.*\[1\]"),
        ({"where": [1, 0]}, "where.*int"),
        ({"weights": [1.0]}, r"weights.*\[1\]"),
    ],
    ids=str,
)
def test_wrong_bootstraps_of_tables(change, message):
    good = {
        "key": jax.random.key(0),
        "bins": cj.equal_width_bins(2),
        "scores": [0.2, 0.7],
        "outcomes": [0, 1],
        "num_resamples": 2,
    }
    with pytest.raises(ValueError, match=message):
        cj.stats.bootstrap_reliability(**{**good, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cj.validate_logits([[0.0, 1.0], [0.0, np.nan]]), "row 1 .*NaN .* 1"),
        (lambda: cj.validate_logits([[0.0, 1.0], [np.inf, 0.0]]), "row 1 .*inf .* 0"),
        (lambda: cj.validate_logits([[0.0, 1.0], [-np.inf] * 2]), "logits: row 1 "),
        (
            lambda: cj.validate_logits(
                [[0.0, -np.inf], [-np.inf, 0.0]], class_where=[False, True]
            ),
            "logits: row 0 ",
        ),
        (
            lambda: cj.validate_logits(
                np.full((4, 2), np.nan), where=[False, False, True, True]
            ),
            "logits: row 2 .*1 more",
        ),
        (lambda: cj.validate_scores([0.2, np.nan, 2.0]), "scores: row 1 .*nan"),
        (lambda: cj.validate_scores([0.2, 1.0, -0.5]), "scores: row 2 .*-0.5"),
        (lambda: cj.validate_scores([0, 1, 2]), "scores: row 2 .*2"),
        (
            lambda: cj.validate_scores([np.inf], lower=-np.inf, upper=np.inf),
            "scores: row 0 .*inf",
        ),
        (
            lambda: cj.validate_scores([9.0, -1.0, 9.0], where=[False, True, True]),
            "scores: row 1 .*-1.*1 more",
        ),
        (lambda: cj.validate_labels([0, 2, -1], 3), "labels: row 2 is -1"),
        (lambda: cj.validate_labels([0, 3, 9], 3), "labels: row 1 is 3"),
        (
            lambda: cj.validate_labels([9, 0, 5], 3, where=[False, True, True]),
            "labels: row 2 is 5",
        ),
        (lambda: cj.validate_labels(np.array([2**40]), 3), "labels: row 0 is"),
    ],
)
def test_validation_names_the_first_bad_row(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_validation_accepts_valid_arrays():
    cj.validate_logits([[0.0, -np.inf], [1.0, 2.0]])
    cj.validate_logits([[0.0, np.nan], [1.0, np.inf]], class_where=[True, False])
    cj.validate_scores([0.0, 1.0, 0.5])
    cj.validate_scores([True, False])
    cj.validate_scores([-3.0, 9.0], lower=-np.inf, upper=np.inf)
    cj.validate_labels([0, 2, 1], 3)
    cj.validate_labels([], 3)
