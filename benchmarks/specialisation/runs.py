"""Networks trained several times: the gain of another architecture over another run.

Shapes: S runs of a kind, n images, B bins.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import calib_jax as cj
from benchmarks.kit import training
from benchmarks.kit.command import Advance
from calib_jax.demo import data, models
from calib_jax.demo.data import Recipe, Split

from .gain import CascadeGain, cascade_gain_test
from .gain_of_runs import RunGains, cascade_gain_of_runs

# Seeds of this benchmark start with this, after its own.
_DIGITS, _WEIGHTS = 1060, 1061

_RECIPE = Recipe(num_epochs=10, learning_rate=3e-3)
_NUM_CALIBRATE = 1500
# A specialist sees one image in so many of the digits that it seldom sees.
_SELDOM = 8
# Draws for the test of each pair of runs; there are many pairs.
_NUM_PAIR_DRAWS = 199


def _network() -> nnx.Module:
    return training.convolutional(4, 32)


def _perceptron() -> nnx.Module:
    return training.Perceptron(128, rngs=nnx.Rngs(0))


@dataclasses.dataclass(frozen=True)
class Kind:
    """How runs of one kind are trained.

    Attributes:
      build: makes an untrained network.
      often: digits whose images it sees all; None means every digit.
    """

    build: Callable[[], nnx.Module]
    often: tuple[int, ...] | None = None


_LOW, _HIGH = Kind(_network, (0, 1, 2, 3, 4)), Kind(_network, (5, 6, 7, 8, 9))
COMPARISONS = {
    "one architecture": (Kind(_network), Kind(_network)),
    "two architectures": (Kind(_network), Kind(_perceptron)),
    "two specialists": (_LOW, _HIGH),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """One comparison of one repetition.

    Attributes:
      accuracy: `[2]`, mean over the runs of either kind.
      gains: `RunGains`.
      pairs: `CascadeGain` `[S, S]` of every run of the first kind and every one of
        the second, by digit.
    """

    accuracy: np.ndarray
    gains: RunGains
    pairs: CascadeGain


def num_steps(num_runs: int) -> int:
    return sum(num_runs * times for times in _needed().values())


def _needed() -> dict[Kind, int]:
    """How many times the runs of a comparison each kind is needed."""
    needed: dict[Kind, int] = {}
    for pair in COMPARISONS.values():
        for kind in pair:
            needed[kind] = max(needed.get(kind, 0), pair.count(kind))
    return needed


def judge(
    seed: int,
    repeat: int,
    num_runs: int,
    num_train: int,
    num_bins: int,
    num_draws: int,
    advance: Advance,
) -> dict[str, Compared]:
    """Trains all runs of one repetition and compares them."""
    settings = data.Settings(num_train=num_train, num_calibrate=_NUM_CALIBRATE)
    dealt = np.random.default_rng((seed, _DIGITS, repeat)).integers(2**31)
    digits = data.load(jax.random.key(dealt), settings)
    logits = {}
    for number, (kind, times) in enumerate(_needed().items()):
        split = _seen(digits.train, kind)
        runs = []
        for run in range(times * num_runs):
            own = (seed, _WEIGHTS, repeat, number, run)
            model = training.train(kind.build, own, split, _RECIPE)
            parts = (digits.calibration, digits.test)
            runs.append(
                np.concatenate(
                    [np.asarray(models.logits(model, part.images)) for part in parts]
                )
            )
            advance(f"repetition {repeat + 1}")
        logits[kind] = np.stack(runs)
    labels = np.concatenate([digits.calibration.labels, digits.test.labels])
    compared = {}
    for name, (first, second) in COMPARISONS.items():
        both = [logits[first][:num_runs], logits[second][-num_runs:]]
        accuracy, gains, pairs = _compare(
            jax.random.key(seed),
            jnp.stack(both),
            labels,
            num_calibrate=len(digits.calibration.labels),
            num_bins=num_bins,
            num_draws=num_draws,
        )
        compared[name] = Compared(
            **jax.tree.map(
                np.asarray, {"accuracy": accuracy, "gains": gains, "pairs": pairs}
            )
        )
    return compared


def _seen(split: Split, kind: Kind) -> Split:
    """The images that a run of a kind is trained on."""
    if kind.often is None:
        return split
    often = np.isin(split.labels, kind.often)
    seldom = np.flatnonzero(~often)[::_SELDOM]
    rows = np.sort(np.concatenate([np.flatnonzero(often), seldom]))
    return Split(split.images[rows], split.labels[rows])


@functools.partial(jax.jit, static_argnames=("num_calibrate", "num_bins", "num_draws"))
def _compare(
    key: jax.Array,
    logits: jax.Array,
    labels: jax.Array,
    *,
    num_calibrate: int,
    num_bins: int,
    num_draws: int,
) -> tuple[jax.Array, RunGains, CascadeGain]:
    """Compares runs from logits `[2, S, n, 10]`, calibration images first."""
    known = jnp.arange(labels.shape[0], dtype=jnp.int32) < num_calibrate

    def answers(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        params, _ = cj.fit_temperature(logits, labels, where=known)
        best = cj.top1(logits, params.temperature)
        return best.confidence, (best.prediction == labels).astype(jnp.float32)

    confidence, correct = jax.vmap(jax.vmap(answers))(logits)
    gains = cascade_gain_of_runs(
        key, *confidence, *correct, known, num_bins=num_bins, num_draws=num_draws
    )

    def pair(first: tuple, second: tuple) -> CascadeGain:
        (c, right), (other, other_right) = first, second
        router = cj.fit_router(c, other, num_bins=num_bins, where=known)
        curve = cj.cascade_curve(router, c, right, other_right, where=known)
        return cascade_gain_test(
            key,
            router,
            c,
            right,
            other_right,
            labels,
            num_groups=data.NUM_CLASSES,
            num_small_bins=cj.choose_num_small_bins(curve).num_small_bins,
            num_draws=_NUM_PAIR_DRAWS,
            where=~known,
        )

    first, second = ((confidence[k], correct[k]) for k in (0, 1))
    pairs = jax.vmap(lambda a: jax.vmap(lambda b: pair(a, b))(second))(first)
    accuracy = jnp.mean(correct[:, :, num_calibrate:], axis=(1, 2))
    return accuracy, gains, pairs
