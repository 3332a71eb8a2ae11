"""Committees on saved outputs: what a vote gains, its score, and how many to ask.

Shapes: S splits, M models, N examples of a task, n of a half, T limits.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress

import calib_jax as cj
from benchmarks.kit import command, halves
from benchmarks.kit.command import Advance
from benchmarks.kit.outputs import Outputs

RULES: Mapping[str, str] = {
    "best": "best model",
    "majority": "majority",
    "raw": "stated confidence",
    "calibrated": "calibrated confidence",
    "evidence": "-ln(1 - c)",
    "optimal": "ln((C - 1) c / (1 - c))",
    "log_odds": "ln(c / (1 - c))",
    "average": "mean probability, stated",
    "average_calibrated": "mean probability, calibrated",
}
SCORES: Mapping[str, str] = {
    "share": "share",
    "margin": "margin",
    "evidence": "evidence",
    "average": "mean probability",
}
MEASURES = (
    "auroc",
    "ece",
    "ece_platt",
    "ece_isotonic",
    "brier_platt",
    "brier_isotonic",
)
# Limits of the evidence, as the chance that a supporter is right if they err alone.
CHANCES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
# What a cheaper committee may lose on the calibration rows.
TOLERANCE = 0.001


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """One committee, on the test halves.

    Attributes:
      models: names, as the task lists them.
      accuracy: of each rule, `[S]`.
      scores: of each score of the calibrated vote, `[S, 6]`, its `MEASURES`.
      order: int32 `[S, M]`, the models in the order chosen on the calibration half.
      full_accuracy: `[S, M]`, of the first m models in that order.
      num_decided: `[S, M]`, mean number asked if asking stops once the vote is decided.
      early_accuracy: `[S, T]`, of all models, stopping at the limits `CHANCES`.
      num_early: `[S, T]`, mean number asked there.
      chosen_accuracy: `[S, 2]`, with the number of models and the limit that are the
        most accurate on the calibration half, and with the fewest questions there that
        lose at most `TOLERANCE`.
      num_chosen: `[S, 2]`, mean number asked with them.
      without: `[S, M]`, accuracy of the calibrated vote without each model.
    """

    models: tuple[str, ...]
    accuracy: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    order: np.ndarray
    full_accuracy: np.ndarray
    num_decided: np.ndarray
    early_accuracy: np.ndarray
    num_early: np.ndarray
    chosen_accuracy: np.ndarray
    num_chosen: np.ndarray
    without: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a vote could achieve where only right and wrong were saved.

    Attributes:
      best: `[S]`, accuracy of the best model of the calibration half.
      lower: `[S]`, of the calibrated vote if all wrong models named the same answer.
      upper: `[S]`, if no two of them did.
    """

    best: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def groups(outputs: Outputs) -> dict[str, tuple[int, ...]]:
    """Committees of a task: its large models, and all of them."""
    large = tuple(sorted({k for pair in outputs.large_large for k in pair}))
    every = tuple(range(len(outputs.models)))
    found = {f"{outputs.title}: {len(g)} models": g for g in (large, every) if g}
    return {title: group for title, group in found.items() if len(group) > 1}


class Split(NamedTuple):
    """Halves of a task, and every model calibrated on the first.

    Attributes:
      first: int32 `[S, n]`, rows to fit and choose on.
      second: int32 `[S, n]`, rows to judge on.
      confidence: float32 `[S, M, N]`, by Platt scaling.
      temperature: float32 `[S, M]`, or None where logits were not saved.
    """

    first: np.ndarray
    second: np.ndarray
    confidence: np.ndarray
    temperature: np.ndarray | None


def split(outputs: Outputs, seed: int, num_splits: int) -> Split:
    """Random halves, calibrated."""
    first, second = halves.random_rows(seed, outputs.num_examples, num_splits)
    scores = outputs.score, outputs.correct
    confidence, _, _ = halves.fit_each(halves.by_platt, scores, first)
    temperature = None
    if outputs.logits is not None:
        _, temperature, _ = halves.fit(outputs, first)
    return Split(first, second, np.asarray(confidence), temperature)


def judge(
    outputs: Outputs,
    group: tuple[int, ...],
    halved: Split,
    advance: Advance = lambda step: None,
) -> Group:
    """One committee of a task whose answers were saved."""
    num_classes = int(outputs.label.max()) + 1
    found = []
    for s, confidence in enumerate(halved.confidence):
        right = outputs.correct[:, halved.first[s]].mean(axis=1)
        # In order of accuracy, so that draws go to the better model.
        models = sorted(group, key=lambda k: -right[k])
        parts = []
        for rows in (halved.first[s], halved.second[s]):
            part = {
                "prediction": outputs.prediction[models][:, rows],
                "label": outputs.label[rows],
                "raw": outputs.confidence[models][:, rows],
                "calibrated": confidence[models][:, rows],
            }
            if halved.temperature is not None:
                logits = outputs.logits[models][:, rows]
                scale = halved.temperature[s, models]
                part["probability"] = _mean_probability(logits, np.ones_like(scale))
                part["probability_calibrated"] = _mean_probability(logits, scale)
            parts.append(part)
        one = jax.tree.map(np.asarray, _judge(*parts, num_classes=num_classes))
        # Back to the models as the group lists them.
        one["without"] = one["without"][[models.index(k) for k in group]]
        one["order"] = np.array([group.index(models[k]) for k in one["order"]])
        found.append(one)
        advance(str(s + 1))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    return Group(models=tuple(outputs.models[k] for k in group), **stacked)


def _mean_probability(logits: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Mean over models `[N, C]` of probabilities at their temperatures `[M]`."""
    pairs = zip(logits, temperature, strict=True)
    return np.mean([cj.scaled_softmax(x, t) for x, t in pairs], axis=0)


Part = Mapping[str, jax.Array]


@functools.partial(jax.jit, static_argnames="num_classes")
def _judge(first: Part, second: Part, *, num_classes: int) -> dict[str, Any]:
    """Measures on the second part, with everything chosen on the first."""
    order = cj.cascade.order_committee(
        first["prediction"], first["calibrated"], first["label"]
    )
    limits = jnp.array([-np.log1p(-chance) for chance in CHANCES])

    def curves(part: Part) -> cj.cascade.CommitteeCurve:
        """Of all models for every limit and, last, of decided votes: `[T + 1, M]`."""
        votes = part["prediction"][order], part["calibrated"][order], part["label"]
        return jax.vmap(
            lambda limit: cj.cascade.committee_curve(*votes, min_evidence=limit)
        )(jnp.append(limits, jnp.inf))

    on_first, on_second = curves(first), curves(second)
    best = jnp.max(on_first.accuracy)
    good = on_first.accuracy >= best - TOLERANCE
    cheapest = jnp.argmin(jnp.where(good, on_first.num_asked, jnp.inf))
    chosen = jnp.stack([jnp.argmax(on_first.accuracy), cheapest])
    return {
        "accuracy": _accuracies(second, num_classes),
        "scores": _judge_scores(first, second),
        "order": order,
        "full_accuracy": on_second.full_accuracy[-1],
        "num_decided": on_second.num_asked[-1],
        "early_accuracy": on_second.accuracy[:-1, -1],
        "num_early": on_second.num_asked[:-1, -1],
        "chosen_accuracy": on_second.accuracy.ravel()[chosen],
        "num_chosen": on_second.num_asked.ravel()[chosen],
        "without": _without_each(second),
    }


def _accuracies(part: Part, num_classes: int) -> dict[str, jax.Array]:
    prediction, raw, sure = part["prediction"], part["raw"], part["calibrated"]
    inside = jnp.clip(sure, 1e-6, 1 - 1e-6)
    odds = jnp.log(inside) - jnp.log1p(-inside)
    weights = {
        # One vote each; draws go to the surer supporters.
        "majority": 1 - 1e-3 * (1 - sure),
        "raw": raw,
        "calibrated": sure,
        "evidence": -jnp.log1p(-inside),
        "optimal": odds + np.log(num_classes - 1),
        "log_odds": odds,
    }
    found = {name: _elected(prediction, weight) for name, weight in weights.items()}
    found["best"] = prediction[0]
    for name in ("probability", "probability_calibrated"):
        if name in part:
            rule = name.replace("probability", "average")
            found[rule] = jnp.argmax(part[name], axis=1)
    return {name: _share(one == part["label"]) for name, one in found.items()}


def _elected(prediction: jax.Array, weight: jax.Array) -> jax.Array:
    """The answers of the largest sum of weights of any sign; draws to the first."""
    agrees = prediction[:, None] == prediction[None]
    sums = jnp.sum(jnp.where(agrees, weight[None], 0.0), axis=1)
    return jnp.take_along_axis(prediction, jnp.argmax(sums, axis=0)[None], 0)[0]


def _without_each(part: Part) -> jax.Array:
    """Accuracy of the calibrated vote without each model, `[M]`."""
    model = jax.lax.broadcasted_iota(jnp.int32, part["prediction"].shape, 0)

    def without(left_out: jax.Array) -> jax.Array:
        voted = cj.cascade.committee(
            part["prediction"], part["calibrated"], where=model != left_out
        )
        return _share(voted.prediction == part["label"])

    return jax.vmap(without)(model[:, 0])


def _judge_scores(first: Part, second: Part) -> dict[str, jax.Array]:
    scored = [_scored(part) for part in (first, second)]
    names = list(scored[0])
    rows = [
        jnp.stack([part[name][k] for name in names]) for part in scored for k in (0, 1)
    ]

    def judge(score: Any) -> jax.Array:
        given, right, tested, outcome = score
        platt, _ = cj.fit_platt(given, right)
        isotonic, _ = cj.calibration.fit_isotonic(given, right)
        calibrated = [cj.calibrate(params, tested) for params in (platt, isotonic)]
        return jnp.stack(
            [
                cj.area_under_roc(tested, outcome),
                *(
                    cj.expected_calibration_error(x, outcome)
                    for x in (tested, *calibrated)
                ),
                *(cj.brier_score(x, outcome) for x in calibrated),
            ]
        )

    # One program for all scores.
    measures = jax.lax.map(judge, tuple(rows))
    # Only these are meant as probabilities before they are calibrated.
    stated = [name in ("share", "average") for name in names]
    measures = measures.at[:, 1].set(
        jnp.where(jnp.array(stated), measures[:, 1], jnp.nan)
    )
    return dict(zip(names, measures, strict=True))


def _scored(part: Part) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Scores of the calibrated vote, and of the mean probability, with outcomes."""
    voted = cj.cascade.committee(part["prediction"], part["calibrated"])
    right = voted.prediction == part["label"]
    found = {
        "share": (voted.score, right),
        "margin": (voted.margin, right),
        "evidence": (voted.evidence, right),
    }
    if "probability_calibrated" in part:
        mean = part["probability_calibrated"]
        answer = jnp.argmax(mean, axis=1) == part["label"]
        found["average"] = (jnp.max(mean, axis=1), answer)
    return found


def _share(right: jax.Array) -> jax.Array:
    return jnp.mean(right, dtype=jnp.float32)


def bounds(outputs: Outputs, halved: Split) -> Bounds:
    """What a vote of all models of a task could achieve, from right and wrong alone."""
    found = []
    for s, confidence in enumerate(halved.confidence):
        first, second = (outputs.correct[:, part[s]] for part in halved[:2])
        sure = confidence[:, halved.second[s]]
        of_right = np.where(second, sure, 0).sum(axis=0)
        of_wrong = np.where(second, 0, sure)
        best = second[first.mean(axis=1).argmax()]
        lower = of_right > of_wrong.sum(axis=0)
        upper = of_right > of_wrong.max(axis=0)
        found.append([best.mean(), lower.mean(), upper.mean()])
    best, lower, upper = np.array(found).T
    return Bounds(best=best, lower=lower, upper=upper)


def evaluate(
    tasks: Iterable[Outputs], seed: int, num_splits: int, bars: Progress
) -> tuple[dict[str, Group], dict[str, Bounds]]:
    """Every committee of every task, and bounds where answers were not saved."""
    judged: dict[str, Group] = {}
    bounded: dict[str, Bounds] = {}
    for task in tasks:
        halved = split(task, seed, num_splits)
        if task.prediction is None:
            bounded[task.title] = bounds(task, halved)
            continue
        for title, group in groups(task).items():
            advance = command.bar(bars, title, num_splits)
            judged[title] = judge(task, group, halved, advance)
    return judged, bounded
