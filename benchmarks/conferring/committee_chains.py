"""A chain of growing committees, against a chain of the same models one by one.

Shapes: M models, n examples of a half, B budgets.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import calib_jax as cj

# Mean numbers of models asked.
BUDGETS = (1.1, 1.25, 1.5, 2.0, 2.5, 3.0)
WAYS = ("models", "committees", "limit")
# More would make too many combinations of K.
MOST_MODELS, _NUM_BINS = 4, 10
_LIMITS = tuple(0.25 * k for k in range(1, 40))

Part = Mapping[str, jax.Array]


@functools.partial(jax.jit)
def judge(first: Part, second: Part) -> tuple[jax.Array, jax.Array]:
    """Accuracy and mean number asked on the second half, `[3, B]` each, of `WAYS`.

    Args:
      first: `prediction`, `calibrated` and `label` of the half to choose on, models in
        the order of asking.
      second: of the half to judge on.
    """
    halves = first, second
    alone = [
        (part["calibrated"], part["prediction"] == part["label"][None])
        for part in halves
    ]
    grown = [
        cj.cascade.growing_committees(part["prediction"], part["calibrated"])
        for part in halves
    ]
    right = [
        found.prediction == part["label"][None]
        for found, part in zip(grown, halves, strict=True)
    ]
    params, _ = jax.vmap(cj.fit_platt)(grown[0].evidence, right[0])
    sure = [jax.vmap(cj.calibrate)(params, found.evidence) for found in grown]
    chains = [
        _chain(*alone),
        _chain(*zip(sure, right, strict=True)),
        _limits(first, second),
    ]
    accuracy, asked = zip(*chains, strict=True)
    return jnp.stack(accuracy), jnp.stack(asked)


def _chain(
    first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The best within each budget, of confidences and outcomes `[M, n]`."""
    price = jnp.ones(first[0].shape, jnp.float32)
    chain = cj.cascade.fit_chain(first[0], num_bins=_NUM_BINS)
    fitted = cj.cascade.chain_curve(chain, *first, price)
    tested = cj.cascade.chain_curve(chain, *second, price)
    choice = jax.vmap(cj.cascade.best_within_cost, (None, 0))(
        fitted, jnp.array(BUDGETS)
    )
    at = tuple(choice.num_kept_bins.T)
    return tested.accuracy[at], tested.cost[at]


def _limits(first: Part, second: Part) -> tuple[jax.Array, jax.Array]:
    """One limit of the evidence for all steps."""

    def curves(part: Part) -> tuple[jax.Array, jax.Array]:
        votes = part["prediction"], part["calibrated"], part["label"]
        found = jax.vmap(
            lambda limit: cj.cascade.committee_curve(*votes, min_evidence=limit)
        )(jnp.array(_LIMITS))
        return found.accuracy[:, -1], found.num_asked[:, -1]

    (accuracy, asked), tested = curves(first), curves(second)
    within = asked[None] <= jnp.array(BUDGETS)[:, None]
    best = jnp.argmax(jnp.where(within, accuracy[None], -1.0), axis=1)
    return tested[0][best], tested[1][best]
