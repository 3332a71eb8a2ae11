"""Anything thrown at any public function gives a documented result or a `ValueError`.

Hypothesis draws values, masks, types and ranks over a few fixed shapes, those of
test_properties.py, because each new shape would compile a program. Four things hold:

- an error is a `ValueError` that names an argument of the function;
- numbers are in their documented range, or NaN;
- a NaN in a valid row shows in the result;
- arrays of the host and of a device give the same, but that a value outside its domain
  is an error there and NaN here.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import ROWS, example

import calib_jax as cj

# As in test_properties.py.
PADDED = ROWS + 16
NUM_EXAMPLES = 12

FLOATS = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, 0.5, 1 + 5e-7, -5e-7, 1.001, -1.0]
FLOATS += [2.0, 93.0, 1e-45, 1e-38, 3e38, -3e38, 1e300]
INTEGERS = [-1, -100, 0, 1, registry.NUM_CLASSES, 2**31 - 1, -(2**31), 2**40]
NUMBERS = [*FLOATS, 3, -1, 0, True, None, "1", [0.5], 1j, np.array([0.5, 0.5])]
COUNTS = [-1, 0, 2.5, True, None, "3", [3], np.array([3, 3]), np.nan]

CASES = [
    case
    for case in registry.CASES
    if case.make is not None
    and not case.again
    # Statistics and models of the caller's own.
    and case.name not in (*registry.OF_STATISTICS, "defer")
]

# Ranges of numbers by the name of the field, and of functions that return a number.
SHARES = """
confidence prediction_confidence accuracy small_accuracy large_accuracy small_share
large_share flagged_share precision recall p_value bin_p_value null_error null_quantile
error_rate joint_error_rate share expected_share outside_share outcome small_confidence
large_confidence
""".split()
SIZES = """
count weight num_rows num_masked num_bins num_flagged num_reference standard_error
stability_index num_small_bins num_tokens
""".split()
RANGES = {
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    **dict.fromkeys(SIZES, (0.0, np.inf)),
    "temperature": (1e-6, 1e6),
}
OF_FUNCTIONS = {
    "expected_calibration_error": (0.0, 1.0),
    "maximum_calibration_error": (0.0, 1.0),
    "brier_score": (0.0, 1.0),
    "log_loss": (0.0, np.inf),
    "area_under_roc": (0.0, 1.0),
    "scaled_softmax": (0.0, 1.0),
    "calibrate": (0.0, 1.0),
    "metrics.rank_correlation": (-1.0, 1.0),
    "metrics.calibration_error_of_table": (0.0, 1.0),
    "cleaning.label_issue_score": (-1.0, 1.0),
    "cleaning.true_label_confidence": (0.0, 1.0),
    "cleaning.true_label_probabilities": (0.0, 1.0),
    "cleaning.label_error_probability": (0.0, 1.0),
    "stats.clopper_pearson": (0.0, 1.0),
    "stats.binomial_p_value": (0.0, 1.0),
    "stats.betting_p_value": (0.0, 1.0),
    "stats.hoeffding_bentkus_p_value": (0.0, 1.0),
}
# Their tables hold means of any scores, and may be of arguments made here.
ANY_SCORES = ("reliability_table", "stats.bootstrap_reliability", "fit_expert_bins")
# What the documentation says of a NaN that leaves numbers without one.
NAN_MEANS = {
    "equal_count_bins": "NaN scores are left out",
    "confident_learning": "a row with NaN is not flagged",
    "cleaning.label_issue_score": "a missing prediction has no confidence",
    "cascade.committee": "models that abstain have no confidence",
    "cascade.committee_curve": "the same, and models that are not asked",
    "choice_logits": "only the chosen classes are looked at",
    "sequence_mean_logit": "only the chosen tokens are looked at",
    "confidence.update_decoding": "the same of its mean logit",
    # Integers: the row is counted outside every bin, and what is read off is NaN.
    "streaming.update_reliability": "sums of invalid rows",
    "streaming.update_cascade": "sums of invalid rows",
    "streaming.update_temperature": "sums of invalid rows",
    "streaming.update_platt": "sums of invalid rows",
}


def names_of(case):
    return [*case.names, "where", "weights", "confidence_level"]


def base(case, size):
    """Good arguments, and masks where the shape of masked examples is used."""
    arguments = example(case, size)
    if "confidence_level" in inspect.signature(registry.public(case.name)).parameters:
        arguments.setdefault("confidence_level", 0.95)
    if size == PADDED:
        arguments["where"] = np.arange(size) < size - 8
        if case.weights:
            arguments["weights"] = np.where(np.arange(size) % 5 == 0, 0.0, 1.0)
    return arguments


def shapes(case):
    """Numbers of examples whose programs the property tests compile too."""
    if not case.rows:
        return [ROWS]
    masked = case.where and case.masked is None
    # In 64-bit mode test_properties.py runs fewer shapes.
    if jax.config.jax_enable_x64:
        return [PADDED if masked else ROWS]
    return [ROWS, *([PADDED] if masked else []), *([0, 1] if case.rows else [])]


def change_values(draw, array):
    pool = INTEGERS if array.dtype.kind in "iu" else FLOATS
    array = np.array(array, np.int64 if array.dtype.kind in "iu" else array.dtype)
    if array.dtype.kind == "b":
        return ~array
    if not array.size:
        return array
    places = draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=3))
    flat = array.reshape(-1)
    for place in places:
        flat[place] = draw(st.sampled_from(pool))
    return array


CHANGES = {
    "float32": lambda a: a.astype(np.float32),
    "integer": lambda a: np.nan_to_num(a, posinf=9, neginf=-9).astype(np.int64),
    "bool": lambda a: a.astype(bool),
    "complex": lambda a: a.astype(complex),
    "object": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "more axes": lambda a: a[..., None],
    "fewer axes": lambda a: a[0] if a.ndim and a.size else a[None],
    "shorter": lambda a: a[:-1] if a.ndim else a,
    "masked array": lambda a: np.ma.array(a, mask=np.arange(a.size).reshape(a.shape)),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
    "none": lambda a: None,
    "word": lambda a: "word",
    "mapping": lambda a: {"a": 1},
}


def mutate(draw, case, arguments):
    """Arguments of which one to three are changed."""
    names = [n for n in arguments if n != "key"]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    changed = dict(arguments)
    for name in chosen:
        value = arguments[name]
        if isinstance(value, np.ndarray):
            if draw(st.integers(0, 3)) or value.ndim == 0:
                changed[name] = change_values(draw, value)
            else:
                changed[name] = CHANGES[draw(st.sampled_from(sorted(CHANGES)))](value)
        elif isinstance(value, (float, np.floating)):
            changed[name] = draw(st.sampled_from(NUMBERS))
        elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            changed[name] = draw(st.sampled_from(COUNTS))
        elif hasattr(value, "__dataclass_fields__"):
            stack = lambda leaf: np.stack([np.asarray(leaf)] * 3)  # noqa: E731
            wrong = [jax.tree.map(stack, value), None, 1.0, "word", type(value)]
            changed[name] = wrong[draw(st.integers(0, len(wrong) - 1))]
    return changed


def call(case, arguments):
    """The result, or the message of the `ValueError`."""
    try:
        return case(**arguments), None
    except ValueError as error:
        return None, str(error)


def on_device(arguments):
    """The arguments with their host arrays as device arrays."""

    def move(value):
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = np.array(np.ma.getdata(value))
            if value.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    value = value.astype(np.float32)
            elif value.dtype.kind in "iu":
                value = np.clip(value, -(2**31), 2**31 - 1).astype(np.int32)
            return jnp.asarray(value)
        return value

    return {name: move(value) for name, value in arguments.items()}


def floats_of(result):
    return [x for x in registry.leaves(result) if x.dtype.kind == "f"]


def says_so(result):
    """Whether a result shows that something was wrong with a value."""
    status = getattr(result[1], "status", None) if isinstance(result, tuple) else None
    if status is not None and int(status) == cj.FitStatus.INVALID_VALUES:
        return True
    if hasattr(result, "feasible") and not np.any(np.asarray(result.feasible)):
        return True
    numbers = [x for x in floats_of(result) if x.size]
    return not numbers or any(np.isnan(x).any() for x in numbers)


def assert_in_range(case, result):
    for path, leaf in jax.tree_util.tree_leaves_with_path(result):
        names = [getattr(part, "name", "") for part in path]
        limits = [RANGES[name] for name in names if name in RANGES]
        if case.name in OF_FUNCTIONS and not names:
            limits = [OF_FUNCTIONS[case.name]]
        if case.name in ANY_SCORES or case.name.startswith("streaming."):
            limits = []
        values = np.asarray(leaf)
        if limits and values.dtype.kind in "fi":
            low, high = limits[-1]
            bad = (values < low - 1e-6) | (values > high + 1e-6)
            assert not bad.any(), f"{path}: {values[bad]} outside {low, high}"


def valid_rows(arguments, size):
    where = arguments.get("where", np.ones(size, bool))
    weights = arguments.get("weights", np.ones(size))
    return np.asarray(where, bool) & (np.asarray(weights, float) != 0)


def has_valid_nan(case, arguments):
    for name, axis in case.rows.items():
        value = arguments[name]
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            others = tuple(k for k in range(value.ndim) if k != axis)
            rows = np.isnan(value).any(axis=others)
            if (rows & valid_rows(arguments, len(rows))).any():
                return True
    return False


DOMAIN = re.compile(r"expected (a number|values) in [\[(]")


@registry.cases(CASES)
def test_anything_gives_a_documented_result_or_a_named_error(case):
    names = "|".join(map(re.escape, names_of(case)))

    @settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        size = data.draw(st.sampled_from(shapes(case)))
        arguments = mutate(data.draw, case, base(case, size))
        result, message = call(case, arguments)
        if message is not None:
            assert re.search(rf"\b({names})\b", message), message
            if not DOMAIN.search(message) or case.host:
                return
            # Out of its domain: on a device the same shows in the result.
            result, message = call(case, on_device(arguments))
            if message is None:
                known = case.name in NAN_MEANS or says_so(result)
                assert known, f"no sign in {result}"
                assert_in_range(case, result)
            return
        assert_in_range(case, result)
        if case.rows and has_valid_nan(case, arguments) and case.name not in NAN_MEANS:
            assert says_so(result), f"no sign of NaN in {result}"
        if not case.host:
            again, message = call(case, on_device(arguments))
            assert message is None, message
            registry.assert_same(again, result, exact=True)

    run()


@pytest.mark.parametrize("fault", [jnp.nan_to_num, lambda number: number + 2])
def test_a_planted_fault_is_found(fault, monkeypatch):
    """A function that hides NaN, or that leaves its range."""
    (case,) = [case for case in CASES if str(case) == "brier_score"]
    real = cj.brier_score
    monkeypatch.setattr(cj, "brier_score", lambda *a, **k: fault(real(*a, **k)))
    with pytest.raises((AssertionError, ExceptionGroup)):
        test_anything_gives_a_documented_result_or_a_named_error(case)
