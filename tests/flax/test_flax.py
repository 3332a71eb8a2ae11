"""Metrics and modules inside Flax loops, against the plain functions on all rows."""

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from flax import linen, nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from registry import assert_same

import calib_jax as cj
from calib_jax.binning import bin_sums
from calib_jax.flax import (
    BrierScore,
    Calibrated,
    CalibrationError,
    CascadeMetric,
    Deferred,
    Fitted,
    MulticlassBrierScore,
    MulticlassLogLoss,
    PlattFit,
    Reliability,
    TemperatureFit,
)

NUM_ROWS, BATCH, NUM_FEATURES = 67, registry.ROWS, 3
NUM_CLASSES = registry.NUM_CLASSES
ROOT = Path(__file__).parents[2]


@functools.cache
def data():
    """Inputs, labels and a linear model that is over-confident."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(NUM_ROWS, NUM_FEATURES)).astype(np.float32)
    kernel = 2 * rng.normal(size=(NUM_FEATURES, NUM_CLASSES)).astype(np.float32)
    noise = 2 * rng.gumbel(size=(NUM_ROWS, NUM_CLASSES))
    labels = np.argmax(inputs @ kernel + noise, axis=1)
    return SimpleNamespace(inputs=inputs, kernel=kernel, labels=labels.astype(np.int32))


def model(scale=1.0):
    linear = nnx.Linear(NUM_FEATURES, NUM_CLASSES, rngs=nnx.Rngs(0))
    linear.kernel[...] = jnp.asarray(scale * data().kernel)
    return linear


def batches():
    """Inputs, labels and mask of one size; the last one padded with garbage."""
    for start in range(0, NUM_ROWS, BATCH):
        inputs = data().inputs[start : start + BATCH]
        labels = data().labels[start : start + BATCH]
        rest = BATCH - len(labels)
        yield (
            np.pad(inputs, ((0, rest), (0, 0)), constant_values=np.nan),
            np.pad(labels, (0, rest), constant_values=-1),
            np.arange(BATCH) < len(labels),
        )


def of_rows(rng, n):
    """Arguments of all metrics."""
    logits, labels = registry.class_rows(rng, n)
    return {
        "logits": logits.astype(np.float32),
        "labels": labels,
        "scores": rng.normal(size=n),
        "outcomes": registry.partial(rng, n),
        "small_confidence": registry.tied(rng, n),
        "large_confidence": registry.tied(rng, n),
        "small_outcome": registry.partial(rng, n),
        "large_outcome": registry.partial(rng, n),
    }


def of_top1(update):
    """An update by top-1 confidence and whether it is right."""

    def run(state, logits, labels, **mask):
        best = cj.top1(logits)
        return update(state, best.confidence, best.prediction == labels, **mask)

    return run


CLASSES, CASCADE = ("logits", "labels"), ("confidence", "outcome")
CASCADE = tuple(f"{size}_{kind}" for kind in CASCADE for size in ("small", "large"))
ROUTER = registry.router(np.random.default_rng(1))
# Class, its arguments, and functions of its summary. The last is None if reading costs
# seconds to compile; then the metric's doctest or the loop of docs/flax.md reads it.
METRICS = {
    "error": (
        CalibrationError(num_bins=5),
        CLASSES,
        cj.streaming.init_reliability,
        of_top1(cj.streaming.update_reliability),
        lambda state: cj.streaming.expected_calibration_error(state, 5),
    ),
    "temperature": (
        TemperatureFit(),
        CLASSES,
        cj.streaming.init_temperature,
        cj.streaming.update_temperature,
        None,
    ),
    "brier": (
        BrierScore(),
        CLASSES,
        cj.streaming.init_reliability,
        of_top1(cj.streaming.update_reliability),
        cj.streaming.brier_score,
    ),
    **{
        name: (
            metric,
            CLASSES,
            cj.streaming.init_class_losses,
            cj.streaming.update_class_losses,
            getattr(cj.streaming, name),
        )
        for name, metric in (
            ("multiclass_log_loss", MulticlassLogLoss()),
            ("multiclass_brier_score", MulticlassBrierScore()),
        )
    },
    "platt": (
        PlattFit(num_buckets=1024),
        ("scores", "outcomes"),
        lambda: cj.streaming.init_platt(1024),
        cj.streaming.update_platt,
        None,
    ),
    "judged": (
        CascadeMetric(ROUTER),
        CASCADE,
        lambda: cj.streaming.init_cascade(ROUTER.bins),
        cj.streaming.update_cascade,
        lambda state: cj.streaming.cascade_curve(state, ROUTER),
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_its_functions(name):
    """It picks its own from the arguments of all metrics, and can be reset."""
    metric, names, no_rows, update, read = METRICS[name]
    given = of_rows(np.random.default_rng(2), registry.ROWS)
    mask = np.arange(registry.ROWS) % 5 > 0
    own = [given[key] for key in names]
    state = update(no_rows(), *own, where=mask)
    metric.update(**given, mask=mask, of_nobody=3)
    assert_same(metric.summary.get_value(), state, exact=True)
    if read is not None:
        assert_same(metric.compute(), read(state), exact=True)
    metric.reset()
    assert_same(metric.summary.get_value(), no_rows(), exact=True)


@pytest.mark.once
def test_scanned_loop_is_the_loop():
    """`nnx.scan` over stacked batches gives the summary of single updates."""
    scanned = nnx.MultiMetric(error=CalibrationError())
    looped = nnx.clone(scanned)
    stacked = [jnp.stack(arrays) for arrays in zip(*batches(), strict=True)]

    @nnx.jit
    def run(model, metrics, stacked):
        def body(metrics, batch):
            inputs, labels, mask = batch
            metrics.update(logits=model(inputs), labels=labels, mask=mask)
            return metrics

        nnx.scan(body, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(metrics, stacked)

    run(model(), scanned, stacked)
    for inputs, labels, mask in batches():
        looped.update(logits=model()(inputs), labels=labels, mask=mask)
    one, other = (m.error.compute() for m in (scanned, looped))
    assert_same(one, other, exact=False)
    counts = [m.error.summary.get_value().sums.sums[0] for m in (scanned, looped)]
    np.testing.assert_array_equal(*counts)


def test_missing_arguments_are_named():
    rows = {"logits": np.zeros((2, 2)), "labels": np.zeros(2, int)}
    with pytest.raises(ValueError, match="got no labels"):
        CalibrationError().update(logits=rows["logits"])
    with pytest.raises(ValueError, match="outcomes with confidence"):
        Reliability().update(confidence=np.zeros(2), **rows)
    with pytest.raises(ValueError, match="got no labels"):
        TemperatureFit().update(logits=rows["logits"], scores=3)
    with pytest.raises(ValueError, match="got no scores"):
        PlattFit().update(outcomes=np.zeros(2), **rows)
    with pytest.raises(ValueError, match="got no large_confidence, small_outcome"):
        CascadeMetric().update(small_confidence=[0.1], large_outcome=[1], **rows)
    with pytest.raises(ValueError, match="mask.*int|where.*int"):
        TemperatureFit().update(**rows, mask=np.ones(2, int))
    for wrong in (0, 2.0):
        with pytest.raises(ValueError, match="num_bins"):
            CalibrationError(num_bins=wrong)
    with pytest.raises(ValueError, match="router.*Bins"):
        CascadeMetric(cj.equal_width_bins(2))


PARAMS = {
    "temperature": cj.Temperature(temperature=jnp.float32(2.5)),
    "platt": cj.Platt(slope=jnp.float32(2), intercept=jnp.float32(-1)),
    "histogram": cj.Histogram(
        bins=cj.equal_width_bins(2), values=jnp.array([0.2, 0.7], jnp.float32)
    ),
    "isotonic": cj.calibration.Isotonic(
        scores=jnp.array([-1, 0, 2], jnp.float32),
        values=jnp.array([0.1, 0.4, 0.8], jnp.float32),
    ),
    "vector": cj.calibration.Vector(
        scale=jnp.full(NUM_CLASSES, 0.5, jnp.float32),
        bias=jnp.linspace(-1, 1, NUM_CLASSES, dtype=jnp.float32),
    ),
}


@pytest.mark.parametrize("kind", PARAMS)
def test_calibrated_is_saved_and_restored_by_orbax(kind, tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    if kind in ("temperature", "vector"):
        wrapped, inputs = model(), data().inputs
    else:
        wrapped, inputs = Score(jnp.float32(0.5)), data().inputs[:, 0]
    calibrated = Calibrated(wrapped, PARAMS[kind])
    expected = cj.calibrate(PARAMS[kind], wrapped(inputs))
    assert_same(calibrated(inputs), expected, exact=True)
    other = Calibrated(nnx.clone(wrapped), jax.tree.map(jnp.zeros_like, PARAMS[kind]))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", nnx.state(calibrated))
        checkpointer.wait_until_finished()
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, nnx.state(other))
        nnx.update(other, checkpointer.restore(tmp_path / "model", target))
    assert type(other.params.get_value()) is type(PARAMS[kind])
    answer = nnx.jit(lambda module, inputs: module(inputs))(other, inputs)
    assert_same(answer, expected, exact=False, rtol=1e-6)


class Score(nnx.Module):
    """A score that is one entry of its input."""

    def __init__(self, factor):
        self.factor = nnx.Param(factor)

    def __call__(self, inputs, *, shift=0.0):
        return self.factor[...] * inputs + shift


@pytest.mark.once
@pytest.mark.parametrize("ignored", [-1, -100, NUM_CLASSES])
def test_labels_that_are_not_classes_are_not_wrong_answers(ignored):
    given = of_rows(np.random.default_rng(2), registry.ROWS)
    given = {name: given[name] for name in CLASSES}
    labels = given["labels"].copy()
    labels[[3, 5]] = ignored
    # No class is left in the row, which has the prediction -1.
    given["logits"][5] = np.nan
    metric = CalibrationError(num_bins=5)
    mask = (labels >= 0) & (labels < NUM_CLASSES)
    metric.update(logits=given["logits"], labels=labels, mask=mask)
    assert np.isfinite(metric.compute().value)
    mask[3] = True
    for rows in (labels, jnp.asarray(labels)):
        metric.reset()
        metric.update(logits=given["logits"], labels=rows, mask=mask)
        assert np.isnan(metric.compute().value)


@pytest.mark.once
def test_confidences_in_percent_are_refused():
    metric, outcomes = CalibrationError(num_bins=5), np.ones(registry.ROWS)
    percent = np.linspace(50.0, 99.0, registry.ROWS)
    with pytest.raises(ValueError, match="confidence: .* row 0 holds 50 .*by 100"):
        metric.update(confidence=percent, outcomes=outcomes)
    with pytest.raises(ValueError, match="outcomes: .* row 0 holds 50 "):
        metric.update(confidence=percent / 100, outcomes=percent)
    with pytest.raises(ValueError, match=r"confidence.*mask.* mask \[1\]"):
        metric.update(confidence=percent / 100, outcomes=outcomes, mask=[True])
    metric.update(confidence=jnp.float32(percent), outcomes=outcomes)
    assert np.isnan(metric.compute().value)


def test_a_mask_by_another_name_is_refused():
    rows = np.array([0.9, 0.2]), np.array([1, 0])
    with pytest.raises(ValueError, match="mask=, got where="):
        CalibrationError(num_bins=2).update(
            confidence=rows[0], outcomes=rows[1], where=np.array([True, False])
        )


@pytest.mark.once
def test_a_router_of_the_stream_itself_promises_nothing_where_it_cuts_a_bucket():
    rng = np.random.default_rng(0)
    small, large = rng.random((2, 60)).astype(np.float32)
    right = rng.random((2, 60)) < 0.5
    metric = CascadeMetric(num_bins=5, buckets=cj.equal_width_bins(8))
    metric.update(
        small_confidence=small,
        large_confidence=large,
        small_outcome=right[0],
        large_outcome=right[1],
    )
    assert metric.compute().error_bound == np.inf


def test_optimizers_leave_fitted_parameters_alone():
    calibrated = Calibrated(model(), PARAMS["temperature"])
    weights, fitted = nnx.state(calibrated, nnx.Param), nnx.state(calibrated, Fitted)
    assert len(jax.tree.leaves(weights)) == 2
    assert jax.tree.leaves(fitted) == jax.tree.leaves(PARAMS["temperature"])
    assert len(jax.tree.leaves(nnx.state(calibrated))) == 3


def test_calibrated_passes_arguments_on():
    score = Calibrated(Score(jnp.float32(0.5)), PARAMS["platt"])
    expected = cj.calibrate(PARAMS["platt"], 0.5 * np.ones(3) + 1.5)
    assert_same(score(jnp.ones(3, jnp.float32), shift=1.5), expected, exact=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda x: x, PARAMS["platt"]), "model: .*function"),
        ((None, PARAMS["platt"]), "model: .*NoneType"),
        ((Score(1.0), 2.0), "params: .*float"),
        ((Score(1.0), Fitted(PARAMS["platt"])), "params: .*Fitted"),
    ],
)
def test_wrong_calibrated(arguments, message):
    with pytest.raises(ValueError, match=message):
        Calibrated(*arguments)


def cascade(num_small_bins, capacity=20, arbiter=None):
    small, large = (
        Calibrated(model(scale), cj.Temperature(temperature=jnp.float32(temperature)))
        for scale, temperature in ((1.0, 2.0), (3.0, 5.0))
    )
    router = registry.router(np.random.default_rng(3))
    return Deferred(
        small, large, router, num_small_bins, capacity=capacity, arbiter=arbiter
    )


def test_deferred_is_defer():
    """In one program for all K, masked rows never sent."""
    parts = {"small_slope": 1.0, "large_slope": 0.5, "intercept": 0.0}
    arbiter = cj.cascade.Arbiter(**{k: jnp.float32(v) for k, v in parts.items()})
    module = cascade(0, arbiter=arbiter)
    traces = []

    @nnx.jit
    def answer(module, inputs, mask):
        traces.append(None)
        return module(inputs, where=mask)

    *_, (inputs, _, mask) = batches()
    for num_small_bins in (0, 2, registry.NUM_BINS):
        module.num_small_bins.set_value(jnp.int32(num_small_bins))
        result = answer(module, inputs, mask)
        expected = cj.defer(
            module.small.model,
            module.large.model,
            inputs,
            small_params=cj.Temperature(temperature=jnp.float32(2)),
            large_params=cj.Temperature(temperature=jnp.float32(5)),
            router=registry.router(np.random.default_rng(3)),
            num_small_bins=num_small_bins,
            capacity=20,
            arbiter=arbiter,
            where=mask,
        )
        assert_same(result, expected, exact=False)
        if num_small_bins == 0:
            # 11 rows of the last batch are real.
            np.testing.assert_array_equal(result.asked_large, mask)
    assert len(traces) == 1


def test_wrong_deferred():
    calibrated = Calibrated(model(), PARAMS["temperature"])
    scored = Calibrated(Score(1.0), PARAMS["platt"])
    router = registry.router(np.random.default_rng(3))
    for arguments, message in (
        ((model(), calibrated, router, 1), "small: .*Linear"),
        ((calibrated, scored, router, 1), "large.params: .*Platt"),
        ((calibrated, calibrated, router.bins, 1), "router: .*Bins"),
        ((calibrated, calibrated, router, 99), "num_small_bins: .*99"),
    ):
        with pytest.raises(ValueError, match=message):
            Deferred(*arguments, capacity=3)
    with pytest.raises(ValueError, match="capacity: .*0"):
        Deferred(calibrated, calibrated, router, 1, capacity=0)


@pytest.mark.once
def test_linen_loop():
    """A linen loop needs only the functions behind a metric."""
    dense = linen.Dense(NUM_CLASSES, use_bias=False)
    variables = {"params": {"kernel": jnp.asarray(data().kernel)}}
    metric, state = TemperatureFit(), cj.streaming.init_temperature()
    for inputs, labels, mask in batches():
        logits = dense.apply(variables, inputs)
        state = cj.streaming.update_temperature(state, logits, labels, where=mask)
        metric.update(logits=model()(inputs), labels=labels, mask=mask)
    assert_same(metric.compute(), cj.streaming.fit_temperature(state), exact=False)


@pytest.mark.once
def test_loop_of_the_page_on_flax(capsys):
    """Padded, jitted, rows over 8 devices: its last line matches all rows in memory."""
    text = (ROOT / "docs" / "flax.md").read_text(encoding="utf-8")
    loop, modules = (
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "calib_jax.flax" in code
    )
    assert len([line for line in loop.splitlines() if line]) <= 10
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    spread = [jax.device_put(batch[:2], rows) for batch in batches()]
    names = {"nnx": nnx, "model": model(), "batches": spread}
    exec(loop, names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(spread)
    logits = model()(data().inputs)
    best = cj.top1(logits)
    correct = best.prediction == data().labels
    plain = cj.expected_calibration_error(best.confidence, correct)
    params, _ = cj.fit_temperature(logits, data().labels)

    temperature, error, bound = map(float, re.findall(r"\d+\.\d+", lines[-1]))
    assert bound < 0.2 and abs(error - plain) <= bound + 1e-4
    np.testing.assert_allclose(temperature, params.temperature, rtol=1e-4)
    result = names["metrics"].compute()
    error, (streamed, fit) = result["ece"], result["fit"]
    assert abs(error.value - plain) <= error.error_bound + 1e-6
    np.testing.assert_allclose(streamed.temperature, params.temperature, rtol=1e-4)
    assert fit.lower <= params.temperature <= fit.upper
    sums = names["metrics"].ece.summary.get_value().sums
    assert bin_sums.compute(sums).count.sum() == NUM_ROWS

    *_, (inputs, labels, mask) = batches()
    names |= {"small_model": model(), "large_model": model(3.0), "router": ROUTER}
    names |= {"small_params": params, "large_params": params, "num_small_bins": 0}
    names |= {"images": inputs, "labels": labels}
    exec(modules, names)
    np.testing.assert_array_equal(names["answers"].used_large, mask)
