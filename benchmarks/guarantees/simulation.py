"""Two models of known accuracy in each bin: is the promise kept, and how tightly?

Shapes: R repetitions, n rows, B bins.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

# Limits just below the risk of the first 8 of 15 bins are the hardest, since K = 8
# misses the limit by next to nothing.
_NUM_BINS, _HARDEST = 15, 8
_KINDS = ("regret", "drop (betting)", "drop (Hoeffding-Bentkus)", "small error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """The results for one number of rows.

    Attributes:
      kind: kind of guarantee.
      num_rows: n.
      level: the limit.
      broken: share of repetitions whose risk exceeds the limit.
      risk: mean risk.
      risk_error: its standard error.
      saved: mean share of inputs that the small model answers.
      feasible: share of repetitions in which some K kept the limit.
    """

    kind: str
    num_rows: int
    level: float
    broken: float
    risk: float
    risk_error: float
    saved: float
    feasible: float


def _accuracies() -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of both models, by bin of the small model's confidence."""
    middle = (np.arange(_NUM_BINS) + 0.5) / _NUM_BINS
    return 0.4 + 0.58 * middle, 0.75 + 0.2 * middle


def _true_risks() -> dict[str, np.ndarray]:
    small, large = (accuracy[::-1] for accuracy in _accuracies())
    number = np.arange(1, _NUM_BINS + 1)

    def before(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(values)])

    drop = before(large - small) / _NUM_BINS
    return {
        "regret": before(large * (1 - small)) / _NUM_BINS,
        "drop (betting)": drop,
        "drop (Hoeffding-Bentkus)": drop,
        "small error": before(1 - small) / np.concatenate([[1], number]),
    }


def simulate(
    seed: int, num_rows: int, num_repeats: int, delta: float
) -> list[Simulated]:
    """All kinds of guarantee at one number of rows."""
    risks = _true_risks()
    levels = {kind: float(risks[kind][_HARDEST]) - 1e-4 for kind in _KINDS}
    keys = jax.random.split(jax.random.key(seed), num_repeats)
    chosen = _choose(keys, levels, num_rows=num_rows, confidence_level=1 - delta)
    return [
        _judge(kind, num_rows, levels[kind], risks[kind], np.asarray(chosen[kind]))
        for kind in _KINDS
    ]


def _judge(
    kind: str, num_rows: int, level: float, risk: np.ndarray, chosen: np.ndarray
) -> Simulated:
    met = risk[chosen]
    return Simulated(
        kind=kind,
        num_rows=num_rows,
        level=level,
        broken=float(np.mean(met > level)),
        risk=float(met.mean()),
        risk_error=float(met.std() / np.sqrt(len(met))),
        saved=float(np.mean(chosen) / _NUM_BINS),
        feasible=float(np.mean(chosen > 0)),
    )


@functools.partial(jax.jit, static_argnames=("num_rows", "confidence_level"))
def _choose(
    keys: jax.Array,
    levels: dict[str, jax.Array],
    *,
    num_rows: int,
    confidence_level: float,
) -> dict[str, jax.Array]:
    """K for every kind and repetition, int32 `[R]`."""
    small, large = (jnp.asarray(a, jnp.float32) for a in _accuracies())
    middle = (jnp.arange(_NUM_BINS, dtype=jnp.float32) + 0.5) / _NUM_BINS
    bins = cj.equal_width_bins(_NUM_BINS)
    router = cj.fit_router(middle, middle + large - small, bins=bins)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        where, *draws = jax.random.uniform(key, (3, num_rows), jnp.float32)
        index = jnp.floor(where * _NUM_BINS).astype(jnp.int32)
        by_small, by_large = draws[0] < small[index], draws[1] < large[index]
        rows = router, middle[index], by_small, by_large
        drop = functools.partial(cj.cascade.control_accuracy_drop, *rows)
        kinds = [
            cj.cascade.control_regret(*rows, levels[_KINDS[0]]),
            drop(levels[_KINDS[1]], confidence_level),
            drop(levels[_KINDS[2]], confidence_level, betting=False),
            cj.cascade.control_small_error(
                *rows[:3], levels[_KINDS[3]], confidence_level
            ),
        ]
        pairs = zip(_KINDS, kinds, strict=True)
        return {kind: selection.num_small_bins for kind, selection in pairs}

    return lax.map(one, keys, batch_size=50)
