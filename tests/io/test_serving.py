"""Cascades served by the NumPy of the page on serving, which imports no JAX."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj
from calib_jax.io import steps

# Decisions are the same in both precision modes.
pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
TINY = np.finfo(np.float32).tiny
MOST = np.finfo(np.float32).max


def script(comment):
    """The block of the page that starts with a comment."""
    return re.search(rf"^```python\n# {comment}\n(.*?)^```", PAGE, re.DOTALL | re.M)[1]


def served(folder, code, inputs, decide="keep_small(inputs)"):
    """Decisions of a new process without JAX, where it runs the page's code."""
    np.save(folder / "inputs.npy", inputs)
    code += (
        "\nimport sys\n"
        "assert not {'jax', 'jaxlib', 'calib_jax'} & {*sys.modules}\n"
        "inputs = np.load('inputs.npy')\n"
        f"np.save('kept.npy', {decide})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "kept.npy")


def platt(slope, intercept):
    return cj.Platt(slope=jnp.float32(slope), intercept=jnp.float32(intercept))


def histogram(edges, values):
    bins = cj.Bins(edges=np.array(edges, np.float32))
    return cj.Histogram(bins=bins, values=np.array(values, np.float32))


def isotonic(scores, values):
    return cj.calibration.Isotonic(
        scores=jnp.array(scores, jnp.float32), values=jnp.array(values, jnp.float32)
    )


def beta(slope, complement_slope, intercept):
    return cj.calibration.Beta(
        slope=jnp.float32(slope),
        complement_slope=jnp.float32(complement_slope),
        intercept=jnp.float32(intercept),
    )


def cascade(params, rows, num_bins, rng):
    """A router whose edges are confidences of tied rows, in no certain order."""
    confidence = cj.calibrate(params, rows)
    return cj.fit_router(confidence, rng.random(len(rows)), num_bins=num_bins)


CALIBRATORS = {
    "rising": platt(2.7, -1.3),
    "falling": platt(-3.3, 0.7),
    "saturated": platt(60.0, -30.0),
    "far from 0": platt(12.5, -1250.0),
    "constant": platt(0.0, 0.4),
    "a step": platt(np.inf, 0.0),
    "certain": platt(1.0, np.inf),
    "histogram": histogram(np.arange(0.05, 1, 0.1), [*np.arange(0.1, 1, 0.1), 0.3, 0]),
    "isotonic": isotonic(
        [-0.2, 0.15, 0.15, 0.3, 0.52, 0.7, 0.9, np.inf],
        [0.0, 0.1, 0.2, 0.2, 0.45, 0.45, 0.9, 1.0],
    ),
    "beta": beta(1.3, 0.4, -0.2),
    "one side": beta(0.0, 0.8, -1.0),
}


def test_formula_of_isotonic_at_infinite_knots():
    source = PAGE[PAGE.index("def isotonic(") : PAGE.index("def beta(")]
    names = {"np": np}
    exec(source, names)
    scores = np.float32([np.nan, -np.inf, -3, 0, 0.5, 1, 9, np.inf])
    for knots in (
        [-np.inf, 0, 1, np.inf],
        [0, 1, np.inf, np.inf],
        [-np.inf, -np.inf, 0, 1],
        [-np.inf, np.inf, np.inf, np.inf],
        [np.inf] * 4,
    ):
        params = isotonic(knots, [0.1, 0.2, 0.4, 0.9])
        found = names["isotonic"](
            scores, np.asarray(params.scores), np.asarray(params.values)
        )
        np.testing.assert_allclose(found, cj.calibrate(params, scores), rtol=1e-6)


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_ten_thousand_tied_scores(kind, tmp_path):
    params, rng = CALIBRATORS[kind], np.random.default_rng(1)
    scores = rng.normal(0.5, 0.3, 10_000).round(2).astype(np.float32)
    scores += np.float32(100 * (kind == "far from 0"))
    # All of them tie: there are a few hundred values.
    assert len(np.unique(scores)) < 300
    ends = [np.nan, np.inf, -np.inf, 0.0, -0.0, MOST]
    if steps.is_confidence(params):
        scores, ends = scores.clip(0, 1), [np.nan, 0.0, -0.0, 1.0, TINY, 1e-40]
    router = cascade(params, scores[:5000], 12, rng)
    scores[-6:] = ends
    cj.io.save_cascade(
        tmp_path / "cascade.json", router=router, num_small_bins=5, small_params=params
    )
    content = json.loads((tmp_path / "cascade.json").read_text("utf-8"))
    assert content["serve"]["input"] == "score"
    kept = served(tmp_path, script("Serve a score."), scores)
    expected = np.asarray(cj.use_small(router, cj.calibrate(params, scores), 5))
    np.testing.assert_array_equal(kept, expected)
    if kind not in ("constant", "a step", "certain"):
        assert 0.05 < kept.mean() < 0.95
    record = cj.load(tmp_path / "cascade.json")
    np.testing.assert_array_equal(record.keep_small(scores), expected)


def test_ten_thousand_rows_of_classes(tmp_path):
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (10_000, 4)).round(1).astype(np.float32)
    logits[-1] = np.nan
    params = cj.Temperature(temperature=jnp.float32(1.7))
    confidence = np.asarray(cj.top1(logits, params).confidence)
    router = cj.fit_router(confidence[:5000], rng.random(5000), num_bins=12)
    cj.io.save_cascade(
        tmp_path / "classes.json", router=router, num_small_bins=5, small_params=params
    )
    kept = served(tmp_path, script("Serve logits of classes."), logits)
    expected = np.asarray(cj.use_small(router, confidence, 5))
    distance = np.abs(confidence[:, None] - np.asarray(router.bins.edges)).min(axis=1)
    far = ~(distance < 1e-6)
    np.testing.assert_array_equal(kept[far], expected[far])
    assert far.mean() > 0.9 and 0.05 < kept.mean() < 0.95
    # From the confidences themselves all are equal.
    record = cj.load(tmp_path / "classes.json")
    np.testing.assert_array_equal(record.keep_small(confidence), expected)


ARBITERS = {
    "the surer of the two": (1.0, 1.0, 0.0),
    "fitted": (0.6, 0.9, -0.3),
    "always the large": (0.0, 0.0, 1.0),
    "always the small": (0.0, 0.0, -1.0),
}


def arbiter_of(small_slope, large_slope, intercept):
    return cj.cascade.Arbiter(
        small_slope=jnp.float32(small_slope),
        large_slope=jnp.float32(large_slope),
        intercept=jnp.float32(intercept),
    )


@pytest.mark.parametrize("kind", ARBITERS)
def test_both_answers(kind, tmp_path):
    rng = np.random.default_rng(6)
    confidence = rng.beta(4, 1.5, (2, 10_000)).astype(np.float32)
    ends = [0, 1, np.nan, np.float32(1 - 2**-24), 1e-30]
    confidence[:, :25] = np.array(np.meshgrid(ends, ends)).reshape(2, 25)
    arbiter = arbiter_of(*ARBITERS[kind])
    cj.io.save_cascade(
        tmp_path / "both.json",
        router=router_at([0.5]),
        num_small_bins=1,
        small_params=platt(1, 0),
        large_params=platt(2, 0),
        arbiter=arbiter,
    )
    code = script("Serve both answers.")
    found = served(tmp_path, code, confidence, "prefer_large(*inputs)")
    expected = np.asarray(cj.cascade.prefer_large(arbiter, *confidence))
    other = np.flatnonzero(found != expected)
    # Rounding moves rows on the line alone.
    inside = confidence.astype(float).clip(2**-24, 1 - 2**-24)
    odds = np.log(inside) - np.log1p(-inside)
    slopes = np.float64(ARBITERS[kind])
    margin = slopes[1] * odds[1] - slopes[0] * odds[0] + slopes[2]
    assert np.all(np.abs(margin[other]) < 1e-5) and len(other) < 10
    if "always" not in kind:
        assert 0.1 < found.mean() < 0.9


def temperature(value):
    return cj.Temperature(temperature=jnp.float32(value))


PAIRS = {
    "platt": (CALIBRATORS["rising"], platt(4.0, -2.0)),
    # As `calib-jax cascade` fits to files of confidences and outcomes.
    "histogram": (
        CALIBRATORS["histogram"],
        histogram([0.3, 0.6, np.inf], [0.3, 0.6, 0.9, 0]),
    ),
    "isotonic": (CALIBRATORS["isotonic"], CALIBRATORS["isotonic"]),
    "beta": (CALIBRATORS["beta"], beta(0.7, 0.6, 0.1)),
    "temperature": (temperature(1.7), temperature(0.9)),
    "vector": tuple(
        cj.calibration.Vector(scale=jnp.ones(4) * scale, bias=jnp.array([0, 0, 0.2, 0]))
        for scale in (0.5, 0.8)
    ),
}


@pytest.mark.parametrize("with_arbiter", [True, False], ids=["arbiter", "none"])
@pytest.mark.parametrize("kind", PAIRS)
def test_whose_answer(kind, with_arbiter, tmp_path):
    """The whole decision, for calibrators of scores and of classes."""
    rng = np.random.default_rng(8)
    small, large = PAIRS[kind]
    if kind in ("temperature", "vector"):
        inputs = rng.normal(0, 2, (2, 5000, 4)).astype(np.float32)
        own = inputs.argmax(axis=-1)[..., None]
        confidence = [
            np.take_along_axis(np.asarray(cj.calibrate(one, x)), place, 1)[:, 0]
            for one, x, place in zip((small, large), inputs, own, strict=True)
        ]
    else:
        inputs = rng.beta(4, 3, (2, 5000)).astype(np.float32)
        inputs[:, -2:] = [[np.nan, 0.1], [0.8, np.nan]]
        confidence = [
            np.asarray(cj.calibrate(one, x))
            for one, x in zip((small, large), inputs, strict=True)
        ]
    arbiter = arbiter_of(0.6, 0.9, -0.3) if with_arbiter else None
    cj.io.save_cascade(
        tmp_path / "both.json",
        router=cj.fit_router(confidence[0][:4000], rng.random(4000), num_bins=12),
        num_small_bins=5,
        small_params=small,
        large_params=large if with_arbiter else None,
        arbiter=arbiter,
    )
    names = "Formulas of the calibrators", "Confidence of a model in the file"
    code = "".join(script(f"{name}.") for name in (*names, "Serve both answers"))
    code += (
        "try:\n"
        "    confidence_of(cascade['small'], np.zeros((2, 3, 4)))\n"
        "except ValueError as error:\n"
        "    assert 'not shape' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    answers = "whose_answer(inputs[0], lambda asked: inputs[1][asked])"
    found = served(tmp_path, code, inputs, f"{answers} == 'small'")
    record = cj.load(tmp_path / "both.json")
    of_classes = inputs.ndim == 3
    kept = np.asarray(record.keep_small(confidence[0] if of_classes else inputs[0]))
    expected = kept
    if with_arbiter:
        expected = kept | ~np.asarray(cj.cascade.prefer_large(arbiter, *confidence))
    # Softmax and logarithms differ in the last bits, at an edge or on the line.
    assert np.mean(found != expected) < 1e-3
    if not of_classes:
        np.testing.assert_array_equal(found[kept], True)
        # The last two rows lack the score of one model.
        assert not found[-2] and found[-1] == (with_arbiter or kept[-1])
    assert 0.05 < found.mean() < 0.95


def decide(found, inputs):
    edges, keep = found
    return keep[np.searchsorted(edges, inputs, side="right")]


@pytest.mark.parametrize("seed", range(24))
def test_any_cascade_of_tied_scores(seed):
    """Any slope, scale, rounding, K and number of rows, of the fit and afterwards."""
    rng = np.random.default_rng(seed)
    scale, decimals = 10.0 ** rng.uniform(-1.5, 1.5), rng.integers(0, 4)
    shift = rng.normal(0, 3)
    scores = (rng.normal(shift, 1, 20_000) * scale).round(decimals).astype(np.float32)
    slope = rng.normal() * 10 ** rng.uniform(-1, 1.5) / scale
    params = platt(slope, rng.normal() * 10 ** rng.uniform(-1, 1.5))
    if seed % 3 == 0:
        # Curves pass through one half at a score, as fits do.
        params = platt(slope, -np.float32(slope) * rng.choice(scores))
    num_fitted = [50, 500, 5000, 20_000][seed % 4]
    num_bins = [2, 5, 15, 40][seed // 4 % 4]
    router = cascade(params, scores[:num_fitted], num_bins, rng)
    num_small_bins = int(rng.integers(1, num_bins))
    found = steps.of_cascade(router, num_small_bins, params)
    for size in (1, 7, 1000, 10_000, 20_000):
        confidence = cj.calibrate(params, scores[:size])
        expected = np.asarray(cj.use_small(router, confidence, num_small_bins))
        np.testing.assert_array_equal(decide(found, scores[:size]), expected)
    # The float32 numbers next to every step, too.
    keys = steps._keys(found[0][np.isfinite(found[0])])
    near = steps._from_keys(np.unique(keys[:, None] + np.arange(-300, 300)))
    expected = cj.use_small(router, cj.calibrate(params, near), num_small_bins)
    np.testing.assert_array_equal(decide(found, near), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["isotonic", "beta"])
def test_any_cascade_of_other_curves(kind, seed):
    """Tied scores and free ones, around every step and anywhere."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(4, 2, 20_000).astype(np.float32)
    scores[seed % 2 :: 2] = scores[seed % 2 :: 2].round(rng.integers(1, 4))
    if kind == "beta":
        slopes = 10 ** rng.uniform(-1, 1, 2) * (rng.random(2) < 0.8)
        params = beta(*slopes, rng.normal(0, 2))
    else:
        scores = (scores - 0.5) * np.float32(10 ** rng.uniform(-2, 3))
        knots = np.sort(rng.choice(scores, 12))
        # Flat pieces, and two values at one score.
        values = np.sort(rng.random(12).round(seed % 3 + 1))
        knots[5:7] = knots[5]
        params = isotonic([*knots, np.inf], [*values, 1.0])
    router = cascade(params, scores[: [50, 5000][seed // 4]], [5, 15][seed % 2], rng)
    num_small_bins = int(rng.integers(1, router.bins.num_bins))
    found = steps.of_cascade(router, num_small_bins, params)
    keys = steps._keys(found[0][np.isfinite(found[0])])
    near = steps._from_keys(np.unique(keys[:, None] + np.arange(-300, 300)))
    if kind == "beta":
        near = near[(near >= 0) & (near <= 1)]
    for some in (scores, near, scores[:7]):
        confidence = cj.calibrate(params, some)
        expected = cj.use_small(router, confidence, num_small_bins)
        np.testing.assert_array_equal(decide(found, some), expected)


@pytest.mark.parametrize("fit", ["isotonic", "beta"])
def test_cascades_of_fits_to_tied_scores(fit):
    """Confidences of the rows of the fit are the edges, many of them equal."""
    rng = np.random.default_rng(7)
    scores = rng.beta(3, 1.5, 4000).round(2).clip(0.01, 0.99).astype(np.float32)
    right = rng.random(4000) < scores**2
    params, report = getattr(cj.calibration, f"fit_{fit}")(scores, right)
    assert bool(report.converged)
    router = cascade(params, scores, 15, rng)
    for num_small_bins in (1, 7, 14):
        found = steps.of_cascade(router, num_small_bins, params)
        for some in (scores, np.unique(scores), np.float32(rng.random(4000))):
            confidence = cj.calibrate(params, some)
            expected = cj.use_small(router, confidence, num_small_bins)
            np.testing.assert_array_equal(decide(found, some), expected)


def router_at(edge):
    """Two bins, of which the upper one is the first to be kept small."""
    router = cj.fit_router([0.1, 0.9], [0.9, 0.9], bins=cj.Bins(edges=np.float32(edge)))
    assert router.order.tolist() == [1, 0]
    return router


BY_HAND = {
    # Confidence 0.5 or more: scores from 0 on, or up to 0.
    "rising": (platt(1, 0), 1, [0.0], [False, True]),
    "falling": (platt(-1, 0), 1, [0.0], [True, False]),
    "none kept": (platt(1, 0), 0, [], [False]),
    "all kept": (platt(1, 0), 2, [], [True]),
    # Its product with an infinite score is NaN, which calls the large model.
    "constant": (platt(0, 3), 1, [-MOST, np.inf], [False, True, False]),
    "constant and low": (platt(0, -3), 1, [], [False]),
    "not a number": (platt(np.nan, 0), 1, [], [False]),
    "no score is surer": (histogram([0.3], [0.4, 0.2]), 1, [], [False]),
    "a valley": (
        histogram([-2.5, -2.5, 0.3, 7], [0.9, 0.9, 0.1, 0.8, 0.2]),
        *(1, [-2.5, 0.3, 7], [True, False, True, False]),
    ),
    "between knots": (isotonic([1, 3, np.inf], [0, 1, 1]), 1, [2.0], [False, True]),
    "a jump": (
        isotonic([1, 1, 4, 4], [0.2, 0.7, 0.7, 0.9]),
        *(1, [1.0], [False, True]),
    ),
    "the middle": (beta(2, 2, 0), 1, [0.5], [False, True]),
    "certainty alone": (beta(0, 1, -9.7), 1, [0.99993873], [False, True]),
    "the confidence": (
        cj.Temperature(temperature=jnp.float32(2)),
        *(1, [0.5], [False, True]),
    ),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_steps_by_hand(kind):
    params, num_small_bins, edges, keep = BY_HAND[kind]
    found = steps.of_cascade(router_at([0.5]), num_small_bins, params)
    # Scores so near 0 have a confidence of 0.5 in float32.
    few = 0 if isinstance(params, cj.Histogram) else 1e-6
    np.testing.assert_allclose(found[0], np.array(edges, np.float32), rtol=0, atol=few)
    assert found[0].dtype == np.float32 and found[1].tolist() == keep


def test_steps_where_confidence_falls_as_scores_rise():
    """Rounding makes a curve jagged: every float32 number around a step is decided."""
    jagged = 0
    for slope, intercept in np.random.default_rng(3).normal(0, 1, (40, 2)) * [1, 30]:
        params = platt(slope, intercept)
        scores = np.array([0.01, 0.5, 3.0], np.float32)
        bins = cj.Bins(edges=np.unique(np.asarray(cj.calibrate(params, scores))))
        rows = np.linspace(0.01, 0.99, 40), np.full(40, 0.5)
        router = cj.fit_router(*rows, bins=bins)
        found = steps.of_cascade(router, 1, params)
        jagged += len(found[0]) > 2
        keys = steps._keys(scores)[:, None] + np.arange(-2000, 2000)
        near = steps._from_keys(np.unique(keys))
        expected = cj.use_small(router, cj.calibrate(params, near), 1)
        np.testing.assert_array_equal(decide(found, near), expected)
    assert jagged


def test_numbers_have_keys_in_their_order():
    numbers = np.array([-np.inf, -MOST, -1.5, -TINY, 0, TINY, 1.5, MOST, np.inf], "f4")
    keys = steps._keys(numbers)
    assert (np.diff(keys) > 0).all() and keys[3:6].tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(steps._from_keys(keys), numbers)
    np.testing.assert_array_equal(steps._keys(np.float32([-0.0, 1e-45, -1e-40])), 0)
    with np.errstate(over="ignore"):
        above = np.nextafter(numbers[1:-1], np.float32(np.inf))
    normal = np.abs(above) >= TINY
    np.testing.assert_array_equal(
        steps._from_keys(keys[1:-1] + 1)[normal], above[normal]
    )


@pytest.mark.parametrize("slope, intercept", [(7.1, -4.0), (-3.3, 0.7), (0.3, 11.0)])
def test_a_score_has_the_same_confidence_in_every_program(slope, intercept):
    """Programs of another size fuse other operations."""
    params = platt(slope, intercept)
    scores = np.random.default_rng(4).normal(0, 3, 200_000).astype(np.float32)
    together = np.asarray(cj.calibrate(params, scores))
    in_blocks = [cj.calibrate(params, part) for part in scores.reshape(-1, 1000)]
    np.testing.assert_array_equal(np.concatenate(in_blocks), together)
    few = jax.jit(cj.calibrate)(params, scores[:77])
    np.testing.assert_array_equal(few, together[:77])
    exact = 1 / (1 + np.exp(-(np.float64(params.slope) * scores + intercept)))
    np.testing.assert_allclose(together, exact, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("kind", ["isotonic", "beta"])
def test_other_curves_are_the_same_in_every_program(kind):
    params, rng = CALIBRATORS[kind], np.random.default_rng(5)
    if kind == "isotonic":
        params = isotonic(np.sort(rng.normal(0, 1, 30)), np.sort(rng.random(30)))
        scores = rng.normal(0, 1, 200_000).astype(np.float32)
    else:
        scores = rng.beta(0.5, 0.5, 200_000).astype(np.float32)
    together = np.asarray(cj.calibrate(params, scores))
    in_blocks = [cj.calibrate(params, part) for part in scores.reshape(-1, 1000)]
    np.testing.assert_array_equal(np.concatenate(in_blocks), together)
    few = jax.jit(cj.calibrate)(params, scores[:77])
    np.testing.assert_array_equal(few, together[:77])


def test_the_page_names_every_field():
    schema = json.loads(
        (Path(cj.__file__).parent / "io" / "cascade.schema.json").read_text("utf-8")
    )
    for name in schema["properties"]:
        assert f"`{name}" in PAGE, name
