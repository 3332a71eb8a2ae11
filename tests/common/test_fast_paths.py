"""Fast paths against float64 or a plain implementation, at sizes that are not round.

With these sizes there are several blocks and the last one overlaps the one before,
classes are cut into pieces with a remainder, and solvers start on part of the rows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax._core import class_axis as classes
from calib_jax._core import reduce
from calib_jax.binning import order_statistics
from calib_jax.calibration import solvers, temperature

NAN, INF = np.nan, np.inf
ODD = 70_001  # Prime, so that there is one lane on any number of devices.

pytestmark = pytest.mark.once


def same(actual, expected):
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("num_classes", [1, 2, 10, 16, 17, 31, 32, 50, 100, 1000, 1009])
def test_classes_reduced_in_pieces(num_classes):
    rng = np.random.default_rng(num_classes)
    values = rng.normal(size=(7, num_classes)).astype(np.float32).round(1)
    values[1, num_classes // 2] = NAN
    values[2] = -INF
    values[3, -1] = INF
    terms = jnp.asarray(values), jnp.asarray(values**2)
    finite = np.array([0, 4, 5, 6])
    first, second = classes.sum_classes(*terms)
    close(first[finite], values[finite].sum(1, dtype=np.float64), rtol=1e-5, atol=1e-4)
    close(second[finite], (values[finite].astype(float) ** 2).sum(1), rtol=1e-5)
    clean = np.where(np.isnan(values), INF, values)
    (largest,) = classes.reduce_classes((classes.MAX,), (jnp.asarray(clean),))
    same(largest, clean.max(1))
    largest, place = classes.largest_class(terms[0])
    same(largest, clean.max(1))
    expected = np.where(clean.max(1) == -INF, num_classes, clean.argmax(1))
    same(place, expected)


@pytest.mark.parametrize("num_classes", [5, 1_000, 5_000])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nan_shows_among_many_classes(num_classes, dtype):
    """Over a long axis XLA's maximum on the CPU ignores NaN."""
    rng = np.random.default_rng(num_classes)
    for place in (0, num_classes // 2, num_classes - 1):
        logits = rng.normal(size=(3, num_classes)).astype(np.float32)
        logits[1, place] = NAN
        given, ok = jnp.asarray(logits, dtype), np.array([0, 2])
        best = cj.top1(given)
        same(best.prediction[1], -1)
        same(np.isnan(best.confidence), [False, True, False])
        same(best.prediction[ok], np.asarray(given, np.float32)[ok].argmax(1))
        assert jnp.isnan(cj.scaled_softmax(given)[1]).all()
        likelihood = cj.sequence_log_likelihood(given[None], jnp.ones((1, 3), int))
        assert jnp.isnan(likelihood[0])
        params, report = cj.fit_temperature(given, np.array([1, 2, 3]))
        assert report.status == cj.FitStatus.INVALID_VALUES
        issues = cj.confident_learning(given, np.array([1, 2, 3]))
        assert not issues.flagged[1]
    largest = cj.maximum_calibration_error(
        np.where(np.arange(5_000) == 7, NAN, rng.random(5_000)),
        np.ones(5_000),
        bins=cj.equal_width_bins(2_000),
    )
    assert jnp.isnan(largest)


def test_nan_shows_in_a_long_sequence():
    logits = np.zeros((1, 3_000, 2), np.float32)
    logits[0, 1_500, 0] = NAN
    least = cj.sequence_log_likelihood(
        logits, np.zeros((1, 3_000), int), reduction="min"
    )
    assert jnp.isnan(least[0])


def logits_of(num_rows, num_classes, seed=0):
    rng = np.random.default_rng(seed)
    logits = (2.5 * rng.normal(size=(num_rows, num_classes))).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / 1.6 + noise).argmax(1).astype(np.int32)


def test_derivatives_of_the_likelihood():
    """Cumulants of the logits up to the third, against float64 sums over classes."""
    logits, labels = logits_of(50, 37)
    below = (logits - logits.max(1, keepdims=True)).astype(float)
    for inverse in (0.01, 0.6, 20.0):
        rows = {
            "logits": jnp.asarray(logits),
            "max": jnp.asarray(logits.max(1)),
            "label": jnp.asarray(below[np.arange(50), labels], jnp.float32),
        }
        found = temperature.likelihood(
            jnp.float32(inverse), rows, jnp.ones(50, bool), None
        )
        chance = np.exp(inverse * below)
        chance /= chance.sum(1, keepdims=True)
        mean = (chance * below).sum(1, keepdims=True)
        moments = [(chance * (below - mean) ** k).sum(1) for k in (2, 3)]
        close(found[3], moments[0], rtol=1e-4, atol=1e-5)
        close(found[4], moments[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("start", [-0.04, -0.01, 0.01, 0.04])
def test_bent_step_leaves_a_rest_of_third_order(start):
    """For log(cosh x) - x / 2."""
    best = np.float32(np.arctanh(0.5))
    start = np.float32(start)

    def evaluate(params, data, every):
        slope = jnp.tanh(params)
        curvature = 1 - slope**2
        return solvers.Evaluation(
            value=jnp.log(jnp.cosh(params[0])) - 0.5 * params[0],
            gradient=slope - 0.5,
            hessian=curvature[:, None],
            bend=2.0 * slope,
        )

    found = evaluate(jnp.float32([best + start]), None, 1)
    step, _ = solvers.newton().update(
        found.gradient,
        solvers.newton().init(jnp.zeros(1, jnp.float32)),
        jnp.float32([best + start]),
        hessian=found.hessian,
        bend=found.bend,
    )
    rest = abs(float(step[0]) + start)
    assert rest <= 0.5 * (1 + float(found.bend[0]) ** 2) * abs(start) ** 3 + 1e-7
    solution = solvers.minimize(
        evaluate,
        None,
        jnp.float32([best + start / 10]),
        lower=jnp.float32([-5]),
        upper=jnp.float32([5]),
    )
    # Close enough to know that the first step is the last.
    assert solution.converged and solution.num_steps == 0
    close(solution.params, [best], rtol=1e-6)


@pytest.mark.parametrize("shape", [(2 * ODD + 1, 7), (ODD, 23), (9_001, 1_009)])
@pytest.mark.parametrize("ordered", [False, True])
def test_temperature_found_by_a_part_first(shape, ordered):
    logits, labels = logits_of(*shape)
    if ordered:  # The first rows have fewer classes and higher confidence.
        order = np.lexsort((labels, logits.max(1) < np.median(logits.max(1))))
        logits, labels = logits[order], labels[order]
    rows = {"logits": jnp.zeros(shape)}
    assert reduce.thinnings(rows, [4096])
    params, report = cj.fit_temperature(logits, labels)
    assert report.converged
    close(params.temperature, reference.fit_temperature(logits, labels), rtol=1e-5)


def test_temperature_where_the_first_part_has_no_optimum():
    """In the rows seen first every label has the largest logit: T would go to 0."""
    logits, labels = logits_of(ODD, 5)
    visited = np.zeros(ODD, bool)
    size = (
        -(-ODD // 3 // 512) * 512
    )  # More than any block: the first rows of each part.
    visited[: size + 1] = True
    labels = np.where(visited, logits.argmax(1), labels).astype(np.int32)
    where = np.arange(ODD) % 3 > 0
    params, report = cj.fit_temperature(logits, labels, where=where)
    assert report.converged
    expected = reference.fit_temperature(logits, labels, where)
    close(params.temperature, expected, rtol=1e-5)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_platt_found_by_a_part_first(ordered, masked):
    rng = np.random.default_rng(1)
    num_rows = 4 * ODD + 1
    scores = (3.0 + 2.0 * rng.normal(size=num_rows)).astype(np.float32)
    if ordered:  # The rows seen first have nearly all one outcome.
        scores = np.sort(scores)
    outcomes = rng.random(num_rows) < reference.sigmoid(1.5 * scores - 4.0)
    where = weights = None
    if masked:
        where = rng.random(num_rows) < 0.7
        weights = rng.integers(0, 4, num_rows).astype(np.float32)
        scores[~where] = NAN
    params, report = cj.fit_platt(scores, outcomes, where=where, weights=weights)
    assert report.converged
    scores = np.where(np.isnan(scores), 0.0, scores)
    slope, intercept = reference.fit_platt(scores, outcomes, where, weights)
    close(params.slope, slope, rtol=1e-5)
    close(params.intercept, intercept, rtol=1e-5)


def scores_of(num_rows, seed=0):
    """Scores with ties, both zeros, infinities and a subnormal number."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=num_rows).astype(np.float32)
    scores = np.where(rng.random(num_rows) < 0.3, scores.round(1), scores)
    scores[:6] = [0.0, -0.0, INF, -INF, 1e-41, -1e-41]
    return rng.permutation(scores)


@pytest.mark.parametrize("num_bins", [15, 64, 65, 600, 1500])
def test_edges_and_lookup_of_few_and_many_bins(num_bins):
    scores = scores_of(ODD)
    where = np.arange(ODD) % 5 > 0
    bins = cj.equal_count_bins(scores, num_bins, where=where)
    flat = np.where(np.abs(scores) < np.finfo(np.float32).tiny, 0, scores)
    ordered = np.sort(flat[where])
    starts = np.cumsum([len(part) for part in np.array_split(ordered, num_bins)])[:-1]
    same(bins.edges, ordered[starts])
    with_nan = np.append(scores, np.float32(NAN))
    index = np.searchsorted(ordered[starts], np.append(flat, 0), side="right")
    index[-1] = -1
    same(cj.bin_index(bins, with_nan), index)


def test_ranks_by_counting_and_by_sorting_are_the_same():
    scores, valid = jnp.asarray(scores_of(ODD)), jnp.arange(ODD) % 7 > 0
    for num_ranks in (3, 700):
        ranks = jnp.linspace(0, ODD, num_ranks).astype(jnp.int32)
        rows = scores, valid
        extent = order_statistics.extent(rows)
        counted = order_statistics._select_by_counting(rows, extent, ranks)
        same(counted, order_statistics._select_by_sorting(rows, extent, ranks))


@pytest.mark.parametrize("num_rows", [3_001, ODD])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_bin_counts_are_one_pass_with_the_same_answer(num_rows, weighted):
    rng = np.random.default_rng(2)
    small = 1 / (1 + np.exp(-scores_of(num_rows)))
    large = rng.random(num_rows).astype(np.float32)
    right = rng.random((2, num_rows)) < 0.6
    where = np.arange(num_rows) % 4 > 0
    small[0], where[0] = NAN, False
    options = {"where": where}
    if weighted:
        options["weights"] = rng.random(num_rows).astype(np.float32)

    def curve(num_bins, max_bins):
        bins = cj.equal_count_bins(small, num_bins, where=where, max_bins=max_bins)
        router = cj.fit_router(small, large, bins=bins, **options)
        return cj.cascade_curve(router, small, *right, **options)

    counts = jnp.array([1, 4, 15, 90], jnp.int32)
    curves = jax.vmap(lambda count: curve(count, 90))(counts)
    for number, count in enumerate(counts):
        alone = curve(count, 90)
        same(curves.small_share[number], alone.small_share)
        same(curves.accuracy[number], alone.accuracy)


def test_many_models_halves_and_bin_counts_at_once():
    rng = np.random.default_rng(3)
    scores = rng.random((2, 1_003)).astype(np.float32).round(3)
    right = rng.random((2, 1_003)) < scores
    halves = rng.random((3, 1_003)) < 0.5
    counts = jnp.array([5, 12], jnp.int32)

    def error(scores, right, half, count):
        bins = cj.equal_count_bins(scores, count, where=half, max_bins=12)
        return cj.expected_calibration_error(scores, right, bins=bins, where=half)

    over_counts = jax.vmap(error, (None, None, None, 0))
    over_halves = jax.vmap(over_counts, (None, None, 0, None))
    errors = jax.jit(jax.vmap(over_halves, (0, 0, None, None)))(
        scores, right, halves, counts
    )
    # And with the bin counts outermost, where bins and rows vary together.
    outer = jax.vmap(
        jax.vmap(error, (0, 0, None, None)), (None, None, None, 0), out_axes=1
    )(scores, right, halves[0], counts)
    close(outer, errors[:, 0])
    for model in range(2):
        for half in range(3):
            for number, count in enumerate((5, 12)):
                expected = reference.expected_calibration_error(
                    scores[model], right[model], count, where=halves[half]
                )
                close(errors[model, half, number], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
def test_calibration_error_over_several_blocks(rounded):
    rng = np.random.default_rng(4)
    scores = rng.random(4 * ODD).astype(np.float32)[: 3 * ODD + 2]
    scores = scores.round(2) if rounded else scores
    right = rng.random(len(scores)) < scores**1.3
    ours = cj.expected_calibration_error(scores, right)
    expected = reference.expected_calibration_error(scores, right)
    close(ours, expected, rtol=0, atol=1e-6)
    same(ours, cj.expected_calibration_error(scores, right.astype(np.float32)))


def test_booleans_have_the_derivatives_of_numbers():
    rng = np.random.default_rng(5)
    scores = rng.random(501).astype(np.float32)
    right = rng.random(501) < scores
    weights = rng.random(501).astype(np.float32)

    def error(outcomes, scores, weights):
        table = cj.reliability_table(
            cj.equal_width_bins(5), scores, outcomes, weights=weights
        )
        return jnp.sum(table.weight * jnp.abs(table.confidence - table.outcome))

    of_bool = jax.grad(functools.partial(error, right), (0, 1))(scores, weights)
    number = right.astype(np.float32)
    of_float = jax.grad(functools.partial(error, number), (0, 1))(scores, weights)
    close(of_bool[0], of_float[0])
    close(of_bool[1], of_float[1])


def test_bins_have_no_derivative():
    rng = np.random.default_rng(7)
    scores = rng.random(301).astype(np.float32)
    right = (rng.random(301) < scores).astype(np.float32)

    def error(bins):
        return cj.expected_calibration_error(scores, right, bins=bins)

    slope = jax.grad(error)(cj.equal_width_bins(4))
    same(slope.edges, 0.0)


def test_flags_can_be_part_of_a_loss():
    rng = np.random.default_rng(8)
    probabilities = reference.softmax(rng.normal(size=(64, 20))).astype(np.float32)
    labels = rng.integers(0, 20, 64)

    def loss(probabilities):
        flagged = cj.confident_learning(probabilities, labels).flagged
        return jnp.sum(jnp.where(flagged, 0.0, probabilities[:, 0]))

    flagged = cj.confident_learning(probabilities, labels).flagged
    slope = jax.grad(loss)(jnp.asarray(probabilities))
    same(slope[:, 0], ~np.asarray(flagged))
    same(slope[:, 1:], 0.0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_confident_learning_over_several_blocks(dtype):
    rng = np.random.default_rng(6)
    logits = 2 * rng.normal(size=(5_003, 113)).astype(np.float32)
    probabilities = jnp.asarray(reference.softmax(logits), dtype)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    issues = cj.confident_learning(probabilities, labels)
    expected = reference.confident_learning(np.asarray(probabilities, float), labels)
    same(issues.flagged, expected[0])
    same(issues.suggestion, expected[1])
