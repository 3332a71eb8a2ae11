"""Random splits of saved outputs: fitted on one half, chosen on the other.

The truth is the risk on all rows of the data set, from which both halves are drawn.

Shapes: S splits, N rows of a task, n of a half, B bins.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit.halves import random_rows
from benchmarks.kit.outputs import Outputs, Pair

# Splits computed side by side.
_BATCH = 10

# Limits of regret and of the loss of accuracy; of the small model's error, relative to
# its error when it answers everything; of the share of large-model calls.
LOSSES, ERRORS, SHARE = (0.01, 0.03), (0.5, 0.75), 0.5
KINDS = (
    *(f"regret {loss}" for loss in LOSSES),
    *(f"drop {loss}" for loss in LOSSES),
    *(f"drop {loss} (Hoeffding-Bentkus)" for loss in LOSSES),
    *(f"small error {error}" for error in ERRORS),
    f"large share {SHARE}",
    *(f"unlabelled {loss}" for loss in LOSSES),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """The results of one kind of choice for one pair, over all splits.

    Attributes:
      broken: share of splits whose risk on all rows exceeds the limit.
      risk: mean risk on all rows.
      risk_error: its standard error.
      level: the limit.
      saved: mean share of inputs that the small model answers.
      feasible: share of splits in which some K kept the limit.
      off: mean absolute error of the estimate, if the choice uses one.
    """

    broken: float
    risk: float
    risk_error: float
    level: float
    saved: float
    feasible: float
    off: float


def platt(outputs: Outputs, rows: np.ndarray) -> cj.Platt:
    """Platt scaling of every model on each first half, parameters `[M, S]`."""
    fitted = [
        _fit(score, correct, rows)
        for score, correct in zip(outputs.score, outputs.correct, strict=True)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitted)


def splits(outputs: Outputs, seed: int, num_splits: int) -> tuple[np.ndarray, ...]:
    return random_rows(seed, outputs.num_examples, num_splits)


def judge(
    outputs: Outputs,
    params: cj.Platt,
    halves: tuple[np.ndarray, ...],
    pair: Pair,
    num_bins: int,
    delta: float,
) -> dict[str, Judged]:
    """Every kind of choice for one pair."""
    small, large = pair
    error = 1 - outputs.correct[small].mean()
    levels = np.array(
        [*LOSSES, *LOSSES, *LOSSES, *(share * error for share in ERRORS)]
        + [SHARE, *LOSSES]
    )
    feasible, risk, saved, estimate = (
        np.asarray(part)
        for part in _choose(
            tuple(outputs.score[k] for k in pair),
            tuple(outputs.correct[k] for k in pair),
            tuple(jax.tree.map(lambda leaf, k=k: leaf[k], params) for k in pair),
            halves,
            jnp.asarray(levels, jnp.float32),
            num_bins=num_bins,
            confidence_level=1 - delta,
        )
    )
    # Allows for the rounding of float32 sums over all rows.
    broken = (risk > levels + 1e-6).mean(axis=0)
    return {
        kind: Judged(
            broken=float(broken[k]),
            risk=float(risk[:, k].mean()),
            risk_error=float(risk[:, k].std() / np.sqrt(len(risk))),
            level=float(levels[k]),
            saved=float(saved[:, k].mean()),
            feasible=float(feasible[:, k].mean()),
            off=float(np.abs(estimate[:, k] - risk[:, k]).mean()),
        )
        for k, kind in enumerate(KINDS)
    }


@jax.jit
def _fit(score: jax.Array, correct: jax.Array, rows: jax.Array) -> cj.Platt:
    return lax.map(
        lambda half: cj.fit_platt(score[half], correct[half])[0],
        rows,
        batch_size=_BATCH,
    )


@functools.partial(jax.jit, static_argnames=("num_bins", "confidence_level"))
def _choose(
    scores: tuple[jax.Array, jax.Array],
    correct: tuple[jax.Array, jax.Array],
    params: tuple[cj.Platt, cj.Platt],
    halves: tuple[jax.Array, jax.Array],
    levels: jax.Array,
    *,
    num_bins: int,
    confidence_level: float,
) -> tuple[jax.Array, ...]:
    """Feasible or not, and for K the risk on all rows, small share and estimate.

    Each `[S, kinds]`.
    """
    by_small, by_large = correct

    def one(split: tuple) -> tuple[jax.Array, ...]:
        params, first, second = split
        small, large = (
            cj.calibrate(p, score) for p, score in zip(params, scores, strict=True)
        )
        router = cj.fit_router(small[first], large[first], num_bins=num_bins)
        seen = small[second], by_small[second], by_large[second]
        size = seen[0].shape
        costs = jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32)
        regret = functools.partial(cj.cascade.control_regret, router, *seen)
        drop = functools.partial(cj.cascade.control_accuracy_drop, router, *seen)
        error = functools.partial(cj.cascade.control_small_error, router, *seen[:2])
        share = functools.partial(cj.cascade.control_cost, router, seen[0], *costs)
        unlabelled = functools.partial(cj.cascade.choose_by_confidence, router)
        # Both levels share one bound.
        chosen = [
            jax.vmap(regret)(levels[0:2]),
            jax.vmap(lambda level: drop(level, confidence_level))(levels[2:4]),
            jax.vmap(lambda level: drop(level, confidence_level, betting=False))(
                levels[4:6]
            ),
            jax.vmap(lambda level: error(level, confidence_level))(levels[6:8]),
            jax.vmap(lambda level: share(level, 1.0))(levels[8:9]),
            jax.vmap(unlabelled)(levels[9:11]),
        ]
        # On all rows only the risks are used.
        every = small, by_small, by_large
        lost = cj.cascade.control_accuracy_drop(router, *every, 0.0)
        regretted = cj.cascade.control_regret(router, *every, 0.0).risk
        wrong = cj.cascade.control_small_error(router, *every[:2], 0.0).risk
        truth = [regretted] * 2 + [lost.risk] * 4 + [wrong] * 2
        truth += [lost.large_share] + [lost.risk] * 2
        at = jnp.concatenate([part.num_small_bins for part in chosen])
        feasible = jnp.concatenate([part.feasible for part in chosen])
        kinds = jnp.arange(len(KINDS), dtype=jnp.int32)
        estimate = jnp.concatenate([part.risk for part in chosen])[kinds, at]
        risk = jnp.stack(truth)[kinds, at]
        return feasible, risk, 1 - lost.large_share[at], estimate

    return lax.map(one, (params, *halves), batch_size=_BATCH)
