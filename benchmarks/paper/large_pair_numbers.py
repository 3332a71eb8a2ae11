"""Results of two large models together, as given and on cleaned data.

Shapes: S splits, M models, P pairs, n examples of a half, B bins. An axis of length 2
before the pairs is the kind of confidence, UC and CC (`routing`).
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit.halves import take

from . import routing
from .study import Advance, Settings, Study

# Random removals that are averaged.
NUM_REMOVALS = 20

CONDITIONS = ("as given", "by experts", "by people", "at random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cleaned:
    """The pairs of one task on the rest of the test half after removals.

    The conditions, an axis of length 4, are `CONDITIONS`: nothing removed; what experts
    outside the pair flag; what people found wrong (NaN where nobody judged); as many
    examples as the experts flag, at random, mean over `NUM_REMOVALS` draws.

    Attributes:
      removed: float64 `[S, 4, P]`, removed share of the test half.
      first: float64 `[S, 4, P]`, accuracy of the first model.
      second: float64 `[S, 4, P]`, accuracy of the second model.
      cascade: float64 `[S, 4, P]`, accuracy of the calibrated cascade, router and K
        unchanged.
      gain: float64 `[S, 4, P]`, `cascade` minus the accuracy of the model that is
        better on the calibration half.
    """

    removed: np.ndarray
    first: np.ndarray
    second: np.ndarray
    cascade: np.ndarray
    gain: np.ndarray

    @property
    def net_gain(self) -> np.ndarray:
        """`[S, 4, P]`, gain as a share of the whole test half."""
        return self.gain * (1 - self.removed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskNumbers:
    """The pairs of one task; accuracies are those of the test halves.

    Attributes:
      pairs: names of the two models.
      num_top_bins: bins of an expert whose contradiction counts.
      first: float32 `[S, P]`, accuracy of the first model, the one asked first.
      second: float32 `[S, P]`, accuracy of the second model.
      better: float32 `[S, P]`, accuracy of the one that is better on the calibration
        half.
      union: float64 `[S, P]`, share that at least one of them gets right.
      cascade: float32 `[S, 2, P]`, accuracy of the cascade, for the K that is best on
        the calibration half.
      first_share: float32 `[S, 2, P]`, share of examples that the first model answers.
      gain_interval: float64 `[3, P, 2]`, of cascade minus better on the first split: of
        UC, of CC, and of the difference of the two.
      cleaned: `Cleaned`, or None if answers or other models are missing.
    """

    pairs: tuple[tuple[str, str], ...]
    num_top_bins: int
    first: np.ndarray
    second: np.ndarray
    better: np.ndarray
    union: np.ndarray
    cascade: np.ndarray
    first_share: np.ndarray
    gain_interval: np.ndarray
    cleaned: Cleaned | None

    @property
    def gain(self) -> np.ndarray:
        """`[S, 2, P]`, cascade minus the better single model."""
        return self.cascade - self.better[:, None]

    @property
    def beats_both(self) -> np.ndarray:
        """bool `[S, 2, P]`, whether the cascade is more accurate than either model."""
        return self.cascade > np.maximum(self.first, self.second)[:, None]


Numbers = Mapping[str, TaskNumbers]


def num_steps(study: Study) -> int:
    return len(_tasks(study))


def _tasks(study: Study) -> list[str]:
    return [name for name, task in study.tasks.items() if task.large_large]


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Routes between the large models of every task."""
    numbers = {}
    for name in _tasks(study):
        numbers[name] = _evaluate_task(study, name)
        advance(study.tasks[name].title)
    return numbers


def _evaluate_task(study: Study, name: str) -> TaskNumbers:
    task = study.tasks[name]
    tally = routing.tally(study, name, task.large_large)
    seen = routing.read(tally.routers, tally.calibration)
    read = routing.read(tally.routers, tally.test)
    drawn = routing.read(routing.first_split(tally.routers), tally.draws).curve
    # Both kinds have the same two models.
    chosen = _second_is_better(seen.curve)
    cascade = routing.at(drawn.accuracy, seen.best[0])
    gain = cascade - _of_chosen(drawn, chosen[:1])[:, None]
    gains = [gain[:, 0], gain[:, 1], gain[:, 1] - gain[:, 0]]
    return TaskNumbers(
        pairs=tuple((task.models[i], task.models[j]) for i, j in task.large_large),
        num_top_bins=num_top_bins(study.settings),
        first=read.curve.small_accuracy[:, 0],
        second=read.curve.large_accuracy[:, 0],
        better=_of_chosen(read.curve, chosen),
        union=_either_right(tally.test)[:, 0],
        cascade=routing.at(read.curve.accuracy, seen.best),
        first_share=routing.at(read.curve.small_share, seen.best),
        gain_interval=routing.interval(np.stack(gains, axis=1)),
        cleaned=_clean_task(study, name, tally, seen, chosen),
    )


def _second_is_better(curve: cj.CascadeCurve) -> np.ndarray:
    """bool `[..., P]` from arrays `[..., 2, P]`; the second if they are equal."""
    return (curve.large_accuracy >= curve.small_accuracy)[..., 0, :]


def _of_chosen(curve: cj.CascadeCurve, second: np.ndarray) -> np.ndarray:
    """Accuracy `[..., P]` of the chosen model, from curves `[..., 2, P]`."""
    return np.where(
        second, curve.large_accuracy[..., 0, :], curve.small_accuracy[..., 0, :]
    )


def _either_right(weights: jax.Array | np.ndarray) -> np.ndarray:
    """Share of examples that either model gets right, from cells `[C]`."""
    weights = np.asarray(weights, np.float64)
    by_outcomes = weights.reshape(*weights.shape[:-1], -1, 4).sum(axis=-2)
    return 1.0 - by_outcomes[..., 0] / by_outcomes.sum(axis=-1)


def num_top_bins(settings: Settings) -> int:
    """How many of an expert's bins may contradict: 10 of 15."""
    return round(2 / 3 * settings.num_bins)


def _clean_task(
    study: Study,
    name: str,
    tally: routing.Tally,
    seen: routing.Reading,
    chosen: np.ndarray,
) -> Cleaned | None:
    task, halves, settings = study.tasks[name], study.halves[name], study.settings
    others = [
        [m for m in range(len(task.models)) if m not in pair]
        for pair in task.large_large
    ]
    if task.prediction is None or not others[0]:
        return None
    # As in `routing.tally`: repeating a pair or an expert changes nothing.
    num_models = max(len(task.models) for task in study.tasks.values())
    num_pairs = max(len(task.large_large) for task in study.tasks.values())
    rows, by_model = halves.test.rows, (num_models, -2)
    wrong = (
        np.zeros(task.num_examples, bool) if task.is_error is None else task.is_error
    )
    filled = routing.fill(np.array(others, np.int32), num_models - 2, 1)
    weights, removed = _clean(
        jax.random.key(settings.seed),
        (
            (
                routing.fill(halves.calibration.calibrated, *by_model),
                routing.fill(halves.calibration.correct, *by_model),
            ),
            (
                routing.fill(halves.test.calibrated, *by_model),
                routing.fill(take(task.prediction, rows), *by_model),
                task.label[rows],
            ),
            wrong[rows],
            routing.fill(np.asarray(tally.cells[:, 1]), num_pairs, -2),
        ),
        routing.fill(filled, num_pairs, 0),
        num_bins=settings.num_bins,
        num_top_bins=num_top_bins(settings),
    )
    weights, removed = (array[:, :, : len(others)] for array in (weights, removed))
    routers = jax.tree.map(lambda array: array[:, 1:], tally.routers)
    curve = routing.read(routers, weights).curve
    second, best = chosen[:, None], seen.best[:, 1:]
    better = np.where(second, curve.large_accuracy, curve.small_accuracy)
    cascade = routing.at(curve.accuracy, best)

    def conditions(values: np.ndarray) -> np.ndarray:
        """`[S, 4, P]` from `[S, 3 + NUM_REMOVALS, P]`."""
        values = np.asarray(values, np.float64)
        given, experts, people, random = np.split(values, [1, 2, 3], axis=1)
        if task.is_error is None:
            people = np.full_like(people, np.nan)
        random = random.mean(axis=1, keepdims=True)
        return np.concatenate([given, experts, people, random], axis=1)

    return Cleaned(
        removed=conditions(removed),
        first=conditions(curve.small_accuracy),
        second=conditions(curve.large_accuracy),
        cascade=conditions(cascade),
        gain=conditions(cascade - better),
    )


@functools.partial(jax.jit, static_argnames=("num_bins", "num_top_bins"))
def _clean(
    key: jax.Array,
    splits: tuple[tuple[jax.Array, ...], tuple[jax.Array, ...], jax.Array, jax.Array],
    others: jax.Array,
    *,
    num_bins: int,
    num_top_bins: int,
) -> tuple[jax.Array, jax.Array]:
    """The rest of the test half by cell, and the share removed.

    Args:
      key: for the random removals.
      splits: confidence and correctness `[S, M, n]` on the calibration half; on the
        test half confidence and prediction `[S, M, n]`, label `[S, n]`, whether people
        found it wrong `[S, n]`, and cell `[S, P, n]`.
      others: int32 `[P, experts]`, the models outside the pair.
      num_bins: bins of each expert.
      num_top_bins: how many of them may contradict.

    Returns:
      Weights `[S, R, P, C]` and removed share `[S, R, P]`: nothing removed, by experts,
      by people, and by each of the random removals.
    """

    def one_split(split):
        key, (fitted, judged, wrong, cells) = split
        confidence, prediction, label = judged
        experts = cj.fit_expert_bins(*fitted, num_bins=num_bins)

        def flag(models: jax.Array) -> jax.Array:
            return cj.high_confidence_disagreement(
                jax.tree.map(lambda array: array[models], experts),
                prediction[models],
                confidence[models],
                label,
                num_top_bins,
            )

        flagged = jax.vmap(flag)(others)
        count = jnp.sum(flagged, axis=1, dtype=jnp.int32)
        keys = jax.random.split(key, NUM_REMOVALS)
        order = jax.vmap(lambda key: jax.random.permutation(key, label.shape[0]))(keys)
        chance = order[:, None].astype(jnp.int32) < count[None, :, None]
        by_people = jnp.broadcast_to(wrong, flagged.shape)
        alone = jnp.stack([jnp.zeros_like(flagged), flagged, by_people])
        removed = jnp.concatenate([alone, chance])

        def weigh(cells: jax.Array, removed: jax.Array) -> jax.Array:
            return routing.weigh(cells, (~removed).astype(jnp.float32), 4 * num_bins)

        weights = jax.vmap(jax.vmap(weigh), (None, 0))(cells, removed)
        return weights, jnp.mean(removed, axis=-1, dtype=jnp.float32)

    return lax.map(one_split, (jax.random.split(key, len(splits[3])), splits))
