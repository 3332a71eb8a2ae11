"""A cascade that saves time: the large model runs only on the rows that need it.

Shapes: N examples in a batch, C classes, `num_bins` bins, K bins kept small. Algorithm
1 of the paper decides row by row, but a compiled program has static shapes. So the
large model runs on a fixed number of rows, the *capacity*, taken from the batch and put
back, all in the caller's trace.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from ..calibration.temperature import Temperature
from ..confidence import classes
from ..confidence.classes import Top1
from . import arbiters, routers
from .arbiters import Arbiter
from .routers import Router

Model = Callable[[Any], jax.Array]


@records.record("N", axes={"overflow": ""})
class Deferral(records.Result):
    """The answers of a cascade.

    Attributes:
      prediction: int32 `[N]`, the predicted class; -1 where the logits give none.
      confidence: float32 `[N]`, calibrated confidence of the model that answered.
      used_large: bool `[N]`, rows that the large model answered.
      asked_large: bool `[N]`, rows that the large model ran on; without an arbiter the
        same rows.
      overflow: int32 scalar, rows that should have gone to the large model but did not
        fit.
    """

    prediction: jax.Array
    confidence: jax.Array
    used_large: jax.Array
    asked_large: jax.Array
    overflow: jax.Array


def defer(
    small: Model,
    large: Model,
    inputs: Any,
    *,
    small_params: Temperature,
    large_params: Temperature,
    router: Router,
    num_small_bins: int | jax.Array,
    capacity: int,
    arbiter: Arbiter | None = None,
    where: ArrayLike | None = None,
) -> Deferral:
    """Runs the small model on a batch, and the large one on rows that a router sends.

    A row is sent unless its confidence is in one of the K bins kept small. If more rows
    than `capacity` need it, rows in the last bins of `router.order` go first, where the
    advantage is greatest; within a bin rows of lower confidence; on ties the first. The
    rest keep the small model's answer. A row whose small confidence is NaN goes before
    all others. The large model always sees `min(capacity, N)` rows, zeros where fewer
    are sent. Its answers are taken or, where the two models differ, those that the
    arbiter prefers.

    Both models run in the caller's trace: call this inside `jax.jit` or `nnx.jit`, with
    the models' arrays as arguments. Rows sharded over devices are gathered on the way
    to the large model.

    Args:
      small: function from inputs `[N, ...]` to floating logits `[N, C]`.
      large: like `small` for the better model, on `capacity` rows.
      inputs: an array `[N, ...]` of numbers or bools, or a pytree of such arrays; a
        list counts as an array.
      small_params: `Temperature` of the small model.
      large_params: `Temperature` of the large model.
      router: `Router` of confidences at these temperatures.
      num_small_bins: the paper's K, 0 to num_bins; may be traced. A traced one that is
        out of range sends every row.
      capacity: static number of rows, at least 1, for the large model.
      arbiter: optional `Arbiter` of confidences at these temperatures.
      where: optional bool `[N]`; the other rows, such as padding, are never sent, and
        their answers mean nothing.

    Returns:
      `Deferral`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, also of the logits that a
        model returns.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II.

    Examples:
      >>> import calib_jax as cj
      >>> answers = cj.defer(
      ...     lambda x: jnp.stack([x, -x], axis=1),
      ...     lambda x: jnp.stack([2 - x, x - 2], axis=1),
      ...     jnp.array([1.5, 0.1, -0.2, 1.2]),
      ...     small_params=cj.Temperature(temperature=jnp.float32(1)),
      ...     large_params=cj.Temperature(temperature=jnp.float32(2)),
      ...     router=cj.fit_router([0.6, 0.9], [0.9, 0.9], num_bins=2),
      ...     num_small_bins=1,
      ...     capacity=1,
      ... )
      >>> print(answers.prediction, answers.used_large, answers.overflow)
      [0 0 1 0] [False  True False False] 1
    """
    for name, value in (("small", small), ("large", large)):
        if not callable(value):
            raise ValueError(
                f"{name}: expected a function from inputs to logits, got "
                f"{type(value).__name__}."
            )
    rows = jax.tree.map(
        lambda leaf: checks.any_array("inputs", leaf),
        inputs,
        is_leaf=lambda node: node is None or isinstance(node, list),
    )
    leaves = jax.tree.leaves(rows)
    if not leaves:
        raise ValueError(
            f"inputs: expected at least one array [N, ...], got {type(inputs).__name__}"
            " without any."
        )
    mask = checks.mask("where", where)
    checks.same_rows(
        **{f"inputs[{number}]": leaf for number, leaf in enumerate(leaves)}, where=mask
    )
    checks.instance("small_params", small_params, Temperature)
    checks.instance("large_params", large_params, Temperature)
    checks.instance("router", router, Router)
    budget = routers.checked_budget(router, num_small_bins)
    if arbiter is not None:
        checks.instance("arbiter", arbiter, Arbiter)
    num_rows = leaves[0].shape[0]
    size = jax.core.min_dim(
        checks.static_int("capacity", capacity, minimum=1), num_rows
    )

    first, num_classes = _answers("small", small, rows, num_rows, small_params)
    index, (sent, small_confidence), overflow = _send(
        (rows, None if arbiter is None else first.confidence),
        first.confidence,
        router,
        budget,
        mask,
        capacity=size,
    )
    second, others = _answers("large", large, sent, size, large_params)
    if others != num_classes:
        raise ValueError(
            f"large(inputs): expected logits of the {num_classes} classes of small, "
            f"got {others} classes."
        )
    prefer = None
    if arbiter is not None:
        prefer = arbiters.prefer_large(arbiter, small_confidence, second.confidence)
    prediction, assurance, used_large, asked_large = _put_back(
        first.confidence, first.prediction, second, index, prefer
    )
    return Deferral(
        prediction=prediction,
        confidence=assurance,
        used_large=used_large,
        asked_large=asked_large,
        overflow=overflow,
    )


def _answers(
    name: str, model: Model, inputs: Any, num_rows: int, params: Temperature
) -> tuple[Top1, int]:
    """The answers of a model, and its number of classes."""
    logits = checks.logits(f"{name}(inputs)", model(inputs), rank=2, axes="[N, C]")
    if logits.shape[0] != num_rows:
        raise ValueError(
            f"{name}(inputs): expected {num_rows} rows of logits, as inputs has, got "
            f"{list(logits.shape)}."
        )
    scale = checks.scalar(f"{name}_params.temperature", params.temperature)
    return classes.best_class(logits, scale, None), logits.shape[1]


@dispatch.core(static=["capacity"], rows=["small_confidence", "rows N ...", "where"])
def _send(
    rows: Any,
    small_confidence: jax.Array,
    router: Router,
    num_small_bins: jax.Array,
    where: jax.Array | None,
    *,
    capacity: int,
) -> tuple[jax.Array, Any, jax.Array]:
    """Which rows are sent, N for none, the rows themselves, and how many do not fit."""
    num_rows = small_confidence.shape[0]
    place = routers.place_in_order(router, small_confidence)
    needed = place >= routers.in_range(num_small_bins, router.bins.num_bins)
    if where is not None:
        needed = needed & where
    urgency = jnp.where(needed, place, -1)
    # The bits of non-negative floats sort like the floats, and integers sort faster.
    lower = jax.lax.bitcast_convert_type(small_confidence, jnp.int32)
    index = jnp.arange(num_rows, dtype=jnp.int32)
    *_, index = jax.lax.sort((-urgency, lower, index), num_keys=2)
    count = jnp.sum(needed, dtype=jnp.int32)
    chosen = jnp.arange(capacity, dtype=jnp.int32) < count
    index = jnp.where(chosen, index[:capacity], num_rows)
    sent = jax.tree.map(lambda x: x.at[index].get(mode="fill", fill_value=0), rows)
    return index, sent, jnp.maximum(count - capacity, 0)


@dispatch.core(rows=["assurance", "prediction"], rows_of="assurance")
def _put_back(
    assurance: jax.Array,
    prediction: jax.Array,
    large: Top1,
    index: jax.Array,
    prefer_large: jax.Array | None,
) -> tuple[jax.Array, ...]:
    """Predictions, confidences, and where they are the large model's and it was asked.

    Both of the latter are for each row, the other arguments for the rows sent.
    """
    # The last bits say which model. Separate flags, not made from rows, would not be
    # sharded like the rows.
    answer, sure = large.prediction, large.confidence
    flags: jax.Array | int = 3
    if prefer_large is not None:
        before, sure_before = (
            rows.at[index].get(mode="clip") for rows in (prediction, assurance)
        )
        take = prefer_large | (answer == before)
        answer = jnp.where(take, answer, before)
        sure = jnp.where(take, sure, sure_before)
        flags = 2 + take.astype(jnp.int32)
    code = (4 * prediction).at[index].set(4 * answer + flags, mode="drop")
    assurance = assurance.at[index].set(sure, mode="drop")
    used = code % 2 == 1
    return code >> 2, assurance, used, used if prefer_large is None else code % 4 > 1
