"""benchmarks/deferral on made-up images, with its answers checked by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import calib_jax as cj
from calib_jax.flax import Calibrated

pytest.importorskip("matplotlib")
pytest.importorskip("mlxtend")
pytest.importorskip("rich")

from benchmarks.deferral import measure, pair, report  # noqa: E402
from benchmarks.kit.machine import Watch  # noqa: E402
from calib_jax.demo import data  # noqa: E402

pytestmark = pytest.mark.once

BATCH, NUM_BINS = 16, 2


class Pixels(nnx.Module):
    """Logits equal to the first pixels, with or without extra work for the
    processor.
    """

    def __init__(self, num_kept, work):
        self.num_kept, self.work = num_kept, nnx.Param(jnp.zeros((784, work)))

    def __call__(self, images):
        pixels = images.reshape(len(images), -1)
        nothing = jnp.sum(pixels @ self.work[...], axis=1, keepdims=True)
        kept = jnp.arange(10) < self.num_kept
        return jnp.where(kept, pixels[:, :10], 0.0) + nothing


def made_up(num_rows):
    """Digits that the brightest of the first ten pixels mostly gives away."""
    rng = np.random.default_rng(num_rows)
    labels = rng.integers(0, 10, num_rows).astype(np.int32)
    images = rng.random((num_rows, 28, 28, 1)).astype(np.float32)
    images[np.arange(num_rows), 0, labels, 0] += 0.7
    return data.Split(images, labels)


def models():
    """A large model that knows all digits, and a small one that knows six."""
    params = cj.Temperature(temperature=jnp.float32(1))
    small, large = Pixels(6, 1), Pixels(10, 64)
    calibration = made_up(40)
    first, second = (cj.top1(m(calibration.images)) for m in (small, large))
    router = cj.fit_router(first.confidence, second.confidence, num_bins=NUM_BINS)
    curve = cj.cascade_curve(
        router,
        first.confidence,
        first.prediction == calibration.labels,
        second.prediction == calibration.labels,
    )
    return pair.Pair(
        small=Calibrated(small, params),
        large=Calibrated(large, params),
        router=router,
        curve=curve,
    )


@pytest.mark.parametrize(
    ("share", "rows"), [(0.0, 8), (0.01, 8), (0.5, 144), (0.99, 256), (1.0, 256)]
)
def test_capacity(share, rows):
    assert pair.capacity(share, 256) == rows


def test_benchmark_of_made_up_images(tmp_path):
    both, test, steps = models(), made_up(39), []
    measured = measure.measure(both, test, [BATCH], 2, lambda: steps.append(None))
    assert len(steps) == 1 + NUM_BINS + 1

    for name, model in ((measure.LARGE, both.large), (measure.SMALL, both.small)):
        correct = np.argmax(model.model(test.images), axis=1) == test.labels
        np.testing.assert_array_equal(measured.answers[name].correct, correct)
    large, small = (measured.answers[n].correct for n in (measure.LARGE, measure.SMALL))
    assert large.mean() > small.mean()
    every, _ = measured.by_bins[0]
    assert every.used_large == 1 and every.overflow == 0
    np.testing.assert_array_equal(every.correct, large)
    none, _ = measured.by_bins[NUM_BINS]
    assert none.used_large == none.overflow == 0
    np.testing.assert_array_equal(none.correct, small)

    timings = measured.by_batch[BATCH]
    large, small = timings[measure.LARGE], timings[measure.SMALL]
    assert large.operations > 10 * small.operations > 0
    assert large.rounds.shape == (2,) and large.compile > 0
    settings = data.Settings(num_bins=NUM_BINS)
    report.write_results(tmp_path, [measured], settings, Watch().finish())
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    for name in (measure.LARGE, measure.CASCADE, measure.SMALL):
        assert f"| {name} | {BATCH} |" in text
    assert (tmp_path / "figures" / "accuracy-time-dark.png").is_file()
