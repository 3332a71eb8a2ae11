"""Every pair of models: both asked, and as a cascade, with an arbiter and without.

Every model is calibrated by Platt scaling of its log-odds, because many files hold the
answer's confidence alone.

Shapes: S splits, P pairs, n examples of a half, K from 0 to num_bins.
"""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from benchmarks.kit import halves
from benchmarks.kit.outputs import Outputs, Pair

# Tasks on which the guard of the arbiter was chosen.
TUNED = ("imagenet", "cifar10", "cifar100", "mmlu", "mmlu_paper_pair")
# Without pairs of its own a task lists every two models this close in accuracy.
REACH = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """The pairs of one task; accuracies `[S, P]` are those of the test halves.

    Attributes:
      title: of the task.
      pairs: names of the small and of the large model.
      listed: `[P]`, whether a pair is one of `listed`.
      num_rows: examples of the task.
      num_decisive: `[S, P]`, calibration rows that the arbiter learns from.
      small: accuracy of the small model.
      large: accuracy of the large model.
      better: accuracy of the model that is better on all rows of the task.
      either: share that at least one of them gets right.
      surer: both asked, the answer of higher calibrated confidence.
      arbiter: both asked, the answer that the arbiter takes.
      helps: `[S, P]`, whether its gain is shown on the calibration half.
      paper: accuracy of the paper's cascade, K the best on the calibration half.
      cascade: likewise with the arbiter on the rows sent on, the paper's where it does
        not help.
      paper_asked: `[S, P]`, share of large-model calls of `paper`.
      cascade_asked: `[S, P]`, the same of `cascade`.
      paper_recovered: `[S, P]`, APGR without the arbiter; NaN without a gap.
      recovered: `[S, P]`, APGR with it.
      shares: `[P, K]`, share of large-model calls for each K with the arbiter, mean
        over splits; `paper_shares` without it.
      accuracies: `[P, K]`, the accuracy there; `paper_accuracies` without it.
    """

    title: str
    pairs: tuple[tuple[str, str], ...]
    listed: np.ndarray
    num_rows: int
    num_decisive: np.ndarray
    small: np.ndarray
    large: np.ndarray
    better: np.ndarray
    either: np.ndarray
    surer: np.ndarray
    arbiter: np.ndarray
    helps: np.ndarray
    paper: np.ndarray
    cascade: np.ndarray
    paper_asked: np.ndarray
    cascade_asked: np.ndarray
    paper_recovered: np.ndarray
    recovered: np.ndarray
    shares: np.ndarray
    accuracies: np.ndarray
    paper_shares: np.ndarray
    paper_accuracies: np.ndarray


def of_task(outputs: Outputs) -> tuple[Pair, ...]:
    """Every two models of a task: its own pairs, then the others, the better second."""
    own = _own(outputs)
    known = set(map(frozenset, own))
    others = (pair for pair in _by_accuracy(outputs) if frozenset(pair) not in known)
    return (*own, *others)


def listed(outputs: Outputs) -> tuple[Pair, ...]:
    """Pairs that have a row in tables: a task's own, or two models nearly as accurate.

    Where there are neither, every pair has.
    """
    accuracy = outputs.correct.mean(axis=1)
    every = _by_accuracy(outputs)
    near = tuple(pair for pair in every if np.ptp(accuracy[list(pair)]) <= REACH)
    return _own(outputs) or near or every


def _own(outputs: Outputs) -> tuple[Pair, ...]:
    return tuple(dict.fromkeys((*outputs.small_large, *outputs.large_large)))


def _by_accuracy(outputs: Outputs) -> tuple[Pair, ...]:
    order = np.argsort(outputs.correct.mean(axis=1), kind="stable").tolist()
    return tuple(itertools.combinations(order, 2))


def evaluate(outputs: Outputs, seed: int, num_splits: int, num_bins: int) -> Judged:
    """Fits and judges all pairs on every split."""
    chosen, shown = of_task(outputs), set(listed(outputs))
    rows = halves.random_rows(seed, outputs.num_examples, num_splits)
    scores = outputs.score, outputs.correct
    calibrated, _, _ = halves.fit_each(halves.by_platt, scores, rows[0])
    small, large = np.array(chosen, np.int32).T
    differ = np.ones((len(chosen), outputs.num_examples), bool)
    if outputs.prediction is not None:
        differ = outputs.prediction[small] != outputs.prediction[large]
    found = []
    for confidence, *parts in zip(calibrated, *rows, strict=True):
        both = confidence[small], confidence[large]
        both += outputs.correct[small], outputs.correct[large], differ
        halves_of_split = [tuple(a[:, part] for a in both) for part in parts]
        judged = _judge(*halves_of_split, num_bins=num_bins)
        found.append(jax.tree.map(np.asarray, judged))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    curves = {name: stacked.pop(name).mean(axis=0) for name in _CURVES}
    better = outputs.correct.mean(axis=1)
    takes_large = (better[large] >= better[small])[None]
    return Judged(
        title=outputs.title,
        pairs=tuple((outputs.models[i], outputs.models[j]) for i, j in chosen),
        listed=np.array([pair in shown for pair in chosen], bool),
        num_rows=outputs.num_examples,
        better=np.where(takes_large, stacked["large"], stacked["small"]),
        **stacked,
        **curves,
    )


_CURVES = ("shares", "accuracies", "paper_shares", "paper_accuracies")
# Confidences and outcomes of both models, and where they differ, `[P, n]` each.
Rows = tuple[jax.Array, ...]


@functools.partial(jax.jit, static_argnames="num_bins")
def _judge(calibration: Rows, test: Rows, *, num_bins: int) -> dict[str, jax.Array]:
    one = functools.partial(_judge_pair, num_bins=num_bins)
    return jax.vmap(one)(calibration, test)


def _judge_pair(calibration: Rows, test: Rows, *, num_bins: int) -> dict[str, Any]:
    small, large, by_small, by_large, differ = calibration
    arbiter, report = cj.cascade.fit_arbiter(*calibration[:4], differ=differ)

    def conferred(small: Any, large: Any, differ: Any, *values: Any) -> jax.Array:
        """What the arbiter takes of two values."""
        takes_large = differ & cj.cascade.prefer_large(arbiter, small, large)
        return jnp.where(takes_large, values[1], values[0])

    def curves(router: cj.Router, conferring: bool) -> Any:
        for rows in (calibration, test):
            answer = conferred(rows[0], rows[1], rows[4], rows[2], rows[3])
            more = {"conferred_outcome": answer} if conferring else {}
            yield cj.cascade_curve(router, rows[0], rows[2], rows[3], **more)

    def read(router: cj.Router, conferring: bool) -> list[jax.Array]:
        """Accuracy and share of calls at the best K; APGR; the curve."""
        seen, curve = curves(router, conferring)
        best = cj.choose_num_small_bins(seen).num_small_bins
        asked = 1 - curve.small_share
        recovered = cj.average_performance_gap_recovered(curve)
        return [curve.accuracy[best], asked[best], recovered, asked, curve.accuracy]

    plain = read(cj.fit_router(small, large, num_bins=num_bins), False)
    best = conferred(small, large, differ, small, large)
    with_arbiter = read(cj.fit_router(small, best, num_bins=num_bins), True)
    cascade = [
        jnp.where(report.helps, ours, papers)
        for ours, papers in zip(with_arbiter, plain, strict=True)
    ]
    small, large, by_small, by_large, differ = test
    surer = jnp.where(differ & (large >= small), by_large, by_small)
    return {
        "num_decisive": report.num_decisive,
        "helps": report.helps,
        "small": jnp.mean(by_small),
        "large": jnp.mean(by_large),
        "either": jnp.mean(by_small | by_large),
        "surer": jnp.mean(surer),
        "arbiter": jnp.mean(conferred(small, large, differ, by_small, by_large)),
        **dict(zip(_OF_PAPER, plain, strict=True)),
        **dict(zip(_OF_CASCADE, cascade, strict=True)),
    }


_OF_PAPER = "paper", "paper_asked", "paper_recovered", "paper_shares"
_OF_PAPER += ("paper_accuracies",)
_OF_CASCADE = "cascade", "cascade_asked", "recovered", "shares", "accuracies"
