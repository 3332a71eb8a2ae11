"""A cascade in one program: which model answers what, against NumPy and the router."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import NUM_BINS, assert_same

import calib_jax as cj

pytestmark = pytest.mark.once

NUM_ROWS, SMALL, LARGE = 60, 1.7, 0.8


def models():
    """Two linear models of inputs `[N, 4]`, also as functions of their weights."""
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    return weights, lambda weights, inputs: inputs @ weights


def given(num_small_bins=2, capacity=20, **more):
    weights, apply = models()
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(NUM_ROWS, 4)).astype(np.float32)
    router = registry.router(rng)
    return {
        "small": lambda x: apply(weights[0], x),
        "large": lambda x: apply(weights[1], x),
        "inputs": inputs,
        "small_params": cj.Temperature(temperature=jnp.float32(SMALL)),
        "large_params": cj.Temperature(temperature=jnp.float32(LARGE)),
        # Bins with some rows each.
        "router": cj.Router(
            bins=cj.Bins(edges=jnp.asarray([0.5, 0.6, 0.7, 0.85], jnp.float32)),
            table=router.table,
            order=router.order,
        ),
        "num_small_bins": num_small_bins,
        "capacity": capacity,
        **more,
    }


def by_hand(arguments):
    """The same row by row; the two models' answers come from `top1`."""
    first = cj.top1(arguments["small"](arguments["inputs"]), SMALL)
    second = cj.top1(arguments["large"](arguments["inputs"]), LARGE)
    confidence, edges = np.asarray(first.confidence), arguments["router"].bins.edges
    bins = np.searchsorted(np.asarray(edges), confidence, side="right")
    order = list(np.asarray(arguments["router"].order))
    where = arguments.get("where", np.ones(NUM_ROWS, bool))
    sent = sorted(
        (NUM_BINS - order.index(bins[row]), confidence[row], row)
        for row in range(NUM_ROWS)
        if where[row] and order.index(bins[row]) >= arguments["num_small_bins"]
    )
    rows = [row for _, _, row in sent[: arguments["capacity"]]]
    asked = np.isin(np.arange(NUM_ROWS), rows)
    used, arbiter = asked, arguments.get("arbiter")
    if arbiter is not None:
        # By the log-odds of both answers.
        other = np.asarray(second.confidence)
        margin = (
            arbiter.large_slope * np.log(other / (1 - other))
            - arbiter.small_slope * np.log(confidence / (1 - confidence))
            + arbiter.intercept
        )
        differ = np.asarray(first.prediction != second.prediction)
        used = asked & ~(differ & (margin < 0))
    return cj.Deferral(
        prediction=np.where(used, second.prediction, first.prediction),
        confidence=np.where(used, second.confidence, confidence),
        used_large=used,
        asked_large=asked,
        overflow=np.int32(len(sent) - len(rows)),
    )


@pytest.mark.parametrize("capacity", [1, 20, 1000])
@pytest.mark.parametrize("num_small_bins", [0, 2, NUM_BINS])
def test_as_by_hand(num_small_bins, capacity):
    arguments = given(num_small_bins, capacity)
    result, expected = cj.defer(**arguments), by_hand(arguments)
    assert_same(result, expected, exact=False, rtol=1e-6)
    if num_small_bins == NUM_BINS:
        assert not result.used_large.any() and result.overflow == 0
    if num_small_bins == 0:
        assert result.used_large.sum() == min(capacity, NUM_ROWS)
    if capacity >= NUM_ROWS:
        keep = cj.use_small(
            arguments["router"],
            cj.top1(arguments["small"](arguments["inputs"]), SMALL).confidence,
            num_small_bins,
        )
        np.testing.assert_array_equal(result.used_large, ~keep)


@pytest.mark.parametrize("capacity", [20, 1000])
def test_the_arbiter_decides_where_both_were_asked(capacity):
    slopes = {"small_slope": 1.0, "large_slope": 0.5, "intercept": -0.4}
    arbiter = cj.cascade.Arbiter(
        **{name: jnp.float32(value) for name, value in slopes.items()}
    )
    arguments = given(1, capacity, arbiter=arbiter)
    result, expected = cj.defer(**arguments), by_hand(arguments)
    assert_same(result, expected, exact=False, rtol=1e-6)
    given_back = result.asked_large & ~result.used_large
    assert given_back.any() and not (result.used_large & ~result.asked_large).any()
    small = cj.top1(arguments["small"](arguments["inputs"]), SMALL)
    np.testing.assert_array_equal(
        result.prediction[given_back], small.prediction[given_back]
    )


def test_padded_rows_are_never_sent():
    where = np.arange(NUM_ROWS) % 3 > 0
    arguments = given(0, 1000, where=where)
    for value in (np.nan, np.inf, 0.0):
        arguments["inputs"][~where] = value
        result = cj.defer(**arguments)
        np.testing.assert_array_equal(result.used_large, where)
        assert result.overflow == 0
    seen = []
    large = arguments["large"]
    arguments["large"] = lambda x: seen.append(x) or large(x)
    result = cj.defer(**arguments | {"capacity": NUM_ROWS})
    # Slots without a row hold zeros, not the contents of a padded row.
    assert np.count_nonzero(np.all(np.asarray(seen[0]) == 0, axis=1)) == (~where).sum()

    none = cj.defer(**arguments | {"where": np.zeros(NUM_ROWS, bool)})
    assert not none.used_large.any() and none.overflow == 0


def test_no_confidence_goes_first_and_ties_go_in_order():
    arguments = given(NUM_BINS, 2)
    arguments["inputs"][:] = arguments["inputs"][0]
    arguments["inputs"][[40, 50]] = np.nan
    arguments["large"] = lambda x: jnp.ones((len(x), 3), jnp.float32)
    result = cj.defer(**arguments)
    assert np.flatnonzero(result.used_large).tolist() == [40, 50]
    assert result.overflow == 0
    assert result.prediction[40] == 0 and np.isfinite(result.confidence).all()

    result = cj.defer(**arguments | {"num_small_bins": 0, "capacity": 4})
    assert np.flatnonzero(result.used_large).tolist() == [0, 1, 40, 50]
    assert result.overflow == NUM_ROWS - 4


def test_one_program_for_all_budgets_batches_and_weights():
    """Under the user's jit, with the models' arrays and K as its arguments."""
    weights, apply = models()
    arguments = given(capacity=9)
    fixed = {k: arguments[k] for k in ("small_params", "large_params", "router")}

    @jax.jit
    def answer(weights, inputs, budget):
        return cj.defer(
            jax.tree_util.Partial(apply, weights[0]),
            jax.tree_util.Partial(apply, weights[1]),
            inputs,
            num_small_bins=budget,
            capacity=9,
            **fixed,
        )

    for budget in range(NUM_BINS + 1):
        expected = by_hand(arguments | {"num_small_bins": budget})
        assert_same(
            answer(weights, arguments["inputs"], budget),
            expected,
            exact=False,
            rtol=1e-6,
        )
    swapped = given(2, 9)
    swapped |= {"small": swapped["large"], "large": swapped["small"]}
    assert_same(
        answer(weights[::-1], arguments["inputs"], 2),
        by_hand(swapped),
        exact=False,
        rtol=1e-6,
    )
    assert answer._cache_size() == 1


def test_inputs_of_several_arrays_and_kinds():
    """Tokens, masks and 16-bit numbers pass through unchanged."""
    arguments = given(1, 9)
    rows = {
        "x": jnp.asarray(arguments["inputs"], jnp.bfloat16),
        "tokens": (np.arange(NUM_ROWS), np.arange(NUM_ROWS) % 2 == 0),
    }
    seen = []

    def small(rows):
        return jnp.asarray(arguments["inputs"])[rows["tokens"][0]][:, ::-1]

    def large(rows):
        seen.append(rows)
        return rows["x"]

    result = cj.defer(**arguments | {"small": small, "large": large, "inputs": rows})
    assert result.used_large.sum() == 9
    (sent,) = seen
    index, even = map(np.asarray, sent["tokens"])
    assert set(index) == set(np.flatnonzero(result.used_large))
    assert even.dtype == bool and sent["x"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(even, index % 2 == 0)
    np.testing.assert_array_equal(sent["x"], rows["x"][index])
    best = cj.top1(rows["x"], LARGE)
    np.testing.assert_array_equal(result.prediction[index], best.prediction[index])


def test_no_rows():
    arguments = given(1, 9, inputs=np.zeros((0, 4), np.float32))
    result = cj.defer(**arguments)
    assert result.prediction.shape == (0,) and result.overflow == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"small": 3}, "small: .*int"),
        ({"large": None}, "large: .*NoneType"),
        ({"inputs": 1.0}, r"inputs: .*float32\[\]|inputs: .*1.0|inputs: .*\[\]"),
        ({"inputs": {}}, "inputs: .*dict"),
        ({"inputs": None}, "inputs: .*None|inputs: .*object"),
        ({"inputs": "text"}, "inputs: .*str"),
        ({"inputs": (np.zeros((3, 4)), np.zeros(2))}, r"inputs\[1\].*\[2\]"),
        ({"where": np.ones(2, bool)}, r"where.*\[2\]"),
        ({"small": lambda x: x[:, 0]}, r"small\(inputs\).*float32\[60\]"),
        ({"large": lambda x: x[1:]}, r"large\(inputs\).*20 rows.*\[19, 4\]"),
        ({"small": lambda x: x > 0}, r"small\(inputs\).*bool"),
        ({"arbiter": 0.5}, "arbiter: expected Arbiter, got float"),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        cj.defer(**given() | change)
