r"""How many models a committee should ask, in what order, and what that costs.

Shapes: M models, N examples. The models of a committee are asked in turn. A model
*votes* where its prediction is at least 0; one that abstains is asked and paid like the
others. Right answers and costs are summed exactly, so the order of the rows changes no
bit.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records
from .._core.domains import Weights
from . import chain_curves, committees
from .committees import Standing, Votes


@records.record("M")
class CommitteeCurve(records.Result):
    """Accuracy and cost of the committees of the first model, the first two, and so on.

    Attributes:
      accuracy: float32 `[M]`, share of right answers if asking stops early.
      cost: float32 `[M]`, mean cost per example if asking stops early.
      num_asked: float32 `[M]`, mean number of models asked if asking stops early.
      full_accuracy: float32 `[M]`, share of right answers if all of the first m vote.
      full_cost: float32 `[M]`, mean cost per example if all of them are asked.
    """

    accuracy: jax.Array
    cost: jax.Array
    num_asked: jax.Array
    full_accuracy: jax.Array
    full_cost: jax.Array


def committee_curve(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    costs: ArrayLike | None = None,
    *,
    min_evidence: ArrayLike = math.inf,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CommitteeCurve:
    """Accuracy and cost against the number of models, with and without stopping early.

    The committee of the first m models asks them in turn and stops as soon as the vote
    is *decided*: the margin exceeds the number of those still to be asked, which could
    add at most 1 each to another class. That gives the same answers as asking all m. It
    also stops once the evidence for the answer is at least `min_evidence`.

    Args:
      predictions: integer `[M, N]`, in the order in which the models are asked; a
        negative one abstains.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated; those of models that
        abstain may be anything.
      labels: integer `[N]`; no answer is right where it is negative.
      costs: optional non-negative floating `[M]` or `[M, N]`, of asking each model, in
        any unit; 1 each by default.
      min_evidence: floating scalar of at least 0, in nats, see `Committee`; by default
        only decided votes stop early. May be traced.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`.

    Returns:
      `CommitteeCurve`; NaN without a valid row, or where the confidence of a vote of a
      valid row is NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, without a model, or values on the
        host out of range; in a device array they count as NaN.

    References:
      Hernandez-Lobato et al., "Statistical Instance-Based Pruning in Ensembles of
      Independent Classifiers", 2009 (a vote that is decided before all have voted).

    Examples:
      >>> predictions = [[1, 1, 1], [1, 2, 1], [2, 2, 1]]
      >>> confidences = [[0.75, 0.5, 0.75], [0.75, 0.75, 0.5], [0.5, 0.5, 0.5]]
      >>> curve = committee_curve(predictions, confidences, [1, 2, 1])
      >>> print(curve.full_accuracy.round(2), curve.full_cost)
      [0.67 1.   1.  ] [1. 2. 3.]
      >>> print(curve.accuracy.round(2), curve.cost.round(2))
      [0.67 1.   1.  ] [1.   2.   2.33]
    """
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    rows = _checked(predictions, confidences, labels, mask, weight)
    price = _checked_costs(costs, rows[0], mask, weight)
    least = checks.scalar("min_evidence", min_evidence)
    if isinstance(least, (np.ndarray, np.generic)) and not least >= 0:
        raise ValueError(f"min_evidence: expected at least 0 nats, got {least}.")
    return _committee_curve(*rows, price, least, mask, weight)


def order_committee(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    costs: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    """The order in which to ask models: each adds the most accuracy for its price.

    Starting with nobody, it adds the model whose vote raises the accuracy of the
    committee most per cost. Once none raises it, the one that lowers it least comes
    next: `committee_curve` of the ordered models shows where to stop. Ties go to the
    cheaper model, then to the earlier one.

    Args:
      predictions: integer `[M, N]`, of calibration data; a negative one abstains.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated; those of models that
        abstain may be anything.
      labels: integer `[N]`; no answer is right where it is negative.
      costs: optional non-negative floating `[M]` or `[M, N]`, of asking each model;
        equal by default, which starts with the most accurate model.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`.

    Returns:
      int32 `[M]`, the models in the order of asking; -1 throughout without a valid row,
      or if the confidence of a vote of a valid row, a weight or a cost is NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, without a model, or values on the
        host out of range; in a device array they count as NaN.

    References:
      Caruana et al., "Ensemble Selection from Libraries of Models", 2004 (greedy
      forward selection).

    Examples:
      >>> predictions = [[1, 1, 2], [1, 1, 1], [2, 1, 1]]
      >>> confidences = [[0.5, 0.5, 0.5], [0.5, 0.75, 0.75], [0.75, 0.75, 0.75]]
      >>> print(order_committee(predictions, confidences, [2, 1, 1]))
      [2 0 1]
      >>> print(order_committee(predictions, confidences, [2, 1, 1], [1.0, 1.0, 4.0]))
      [1 2 0]
    """
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    rows = _checked(predictions, confidences, labels, mask, weight)
    price = _checked_costs(costs, rows[0], mask, weight)
    return _order_committee(*rows, price, mask, weight)


def _checked(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Predictions and confidences `[M, N]`, and labels `[N]`."""
    answers = committees.checked_votes(predictions, confidences, where, weights)
    label = checks.class_numbers("labels", labels)
    checks.same_columns(predictions=answers[0], labels=label)
    return *answers, label


def _checked_costs(
    costs: ArrayLike | None,
    predictions: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> jax.Array:
    """Costs `[M]` or `[M, N]`."""
    num_models = predictions.shape[0]
    if costs is None:
        costs = np.ones(num_models)
    price = checks.floats("costs", costs, rank=(1, 2), axes="[M] or [M, N]")
    if price.ndim == 2:
        checks.same_shape(predictions=predictions, costs=price)
        checks.in_domain(domains.NON_NEGATIVE, where, weights, costs=price)
    elif price.shape[0] != num_models:
        raise ValueError(
            f"costs: expected one for each of the {num_models} models, got "
            f"{list(price.shape)}."
        )
    else:
        checks.in_domain(domains.NON_NEGATIVE, costs=price)
    return price


_ROWS = ["predictions M N", "confidences M N", "labels", "costs M N"]


@dispatch.core(rows=[*_ROWS, "where", "weights"])
def _committee_curve(
    predictions: jax.Array,
    confidences: jax.Array,
    labels: jax.Array,
    costs: jax.Array,
    min_evidence: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
) -> CommitteeCurve:
    num_models = predictions.shape[0]
    paid = _costs_of_rows(costs, predictions)
    found = committees.grow(predictions, confidences, predictions >= 0)[1]
    right = _is_right(found.prediction, labels).astype(jnp.float32)
    right = jnp.where(jnp.isnan(found.margin), jnp.nan, right)
    sure = found.evidence >= min_evidence
    last = jax.lax.broadcasted_iota(jnp.int32, predictions.shape, 0)

    def after(place: jax.Array) -> jax.Array:
        """What the committees that end at a place get right, pay and ask."""
        outstanding = (place - last).astype(jnp.float32)
        stops = sure | (found.margin > outstanding) | (last == place)
        asked = jnp.argmax(stops, axis=0).astype(jnp.int32)
        early = last == asked[None]
        return jnp.stack(
            [
                jnp.sum(jnp.where(early, right, 0.0), axis=0),
                jnp.sum(jnp.where(last <= asked[None], paid, 0.0), axis=0),
                (asked + 1).astype(jnp.float32),
                jnp.sum(jnp.where(last == place, right, 0.0), axis=0),
            ]
        )

    places = jnp.arange(num_models, dtype=jnp.int32)
    quantities = jax.lax.map(after, places)
    means = _means(quantities.reshape(4 * num_models, -1), where, weights)
    means = means.reshape(num_models, 4)
    early = jnp.where(min_evidence >= 0, means[:, :3], jnp.nan)
    prices = _mean_costs(costs, predictions, where, weights)
    asked_all = places[:, None] >= places[None]
    return CommitteeCurve(
        accuracy=early[:, 0],
        cost=early[:, 1],
        num_asked=early[:, 2],
        full_accuracy=means[:, 3],
        full_cost=jnp.sum(jnp.where(asked_all, prices[None], 0.0), axis=1),
    )


@dispatch.core(rows=[*_ROWS, "where", "weights"], passes=dispatch.Passes.FEW)
def _order_committee(
    predictions: jax.Array,
    confidences: jax.Array,
    labels: jax.Array,
    costs: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
) -> jax.Array:
    num_models = predictions.shape[0]
    confidence = domains.CONFIDENCE.confine(confidences)
    voting = predictions >= 0
    bad = jnp.where(voting & jnp.isnan(confidence), jnp.nan, 0.0)
    usable = jnp.where(voting & (confidence >= 0), confidence, 0.0)
    prices = _mean_costs(costs, predictions, where, weights)
    model = jnp.arange(num_models, dtype=jnp.int32)

    def challenge(
        votes: Votes, stands: Standing, place: jax.Array
    ) -> tuple[Standing, jax.Array]:
        """Where each class would stand with one more vote, and who would win."""
        now = committees.supported(stands, usable, place, voting)
        winner = votes.winner[None]
        leads = (predictions == winner) | now.beats(
            Standing(*(part[None] for part in votes.standing))
        )
        return now, jnp.where(voting & leads, predictions, winner)

    def choose(place: jax.Array, state: Any) -> Any:
        order, used, votes, stands, before = state
        now, winners = challenge(votes, stands, place)
        right = _is_right(winners, labels).astype(jnp.float32)
        accuracy = _means(right + bad, where, weights)
        gain = accuracy - before
        worth = jnp.where(gain > 0, gain / prices, gain)
        chosen = jnp.lexsort((model, prices, -gain, -worth, used))[0]

        def of_chosen(rows: jax.Array) -> jax.Array:
            return jax.lax.dynamic_index_in_dim(rows, chosen, keepdims=False)

        prediction = of_chosen(jnp.where(voting, predictions, -1))
        votes = committees.cast(
            votes,
            prediction,
            of_chosen(confidence),
            Standing(*(of_chosen(part) for part in now)),
            votes.evidence,
        )
        agrees = voting & (predictions == prediction[None])
        share = jnp.where(agrees, of_chosen(usable)[None], 0.0)
        stands = committees.supported(stands, share, place, agrees)
        return (
            order.at[place].set(chosen.astype(jnp.int32)),
            used.at[chosen].set(True),
            votes,
            stands,
            of_chosen(accuracy),
        )

    zeros = jnp.zeros_like(usable)
    start = (
        jnp.zeros(num_models, jnp.int32),
        jnp.zeros(num_models, bool),
        committees.no_votes(labels),
        Standing(zeros, zeros, zeros, jnp.full_like(predictions, committees.NOBODY)),
        jnp.float32(0),
    )
    order = jax.lax.fori_loop(0, num_models, choose, start)[0]
    known = jnp.isfinite(_means(bad, where, weights)) & (prices >= 0)
    return jnp.where(jnp.all(known), order, -1)


def _costs_of_rows(costs: jax.Array, predictions: jax.Array) -> jax.Array:
    """Costs `[M, N]`, NaN for those out of range."""
    confined = domains.NON_NEGATIVE.confine(costs)
    if confined.ndim == 1:
        confined = confined[:, None]
    return jnp.broadcast_to(confined, predictions.shape)


def _mean_costs(
    costs: jax.Array,
    predictions: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> jax.Array:
    """Mean cost of each model, `[M]`; NaN without a valid row."""
    if costs.ndim == 2:
        return _means(_costs_of_rows(costs, predictions), where, weights)
    # Exact sums of one price would take XLA long to fold into a constant.
    some = jnp.any(masking.valid_rows(predictions.shape[1], where, weights))
    return jnp.where(some, domains.NON_NEGATIVE.confine(costs), jnp.nan)


def _is_right(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    return (predictions == labels[None]) & (labels >= 0)[None]


def _means(
    quantities: jax.Array, where: jax.Array | None, weights: jax.Array | None
) -> jax.Array:
    """Means `[Q]` of `[Q, N]` of at least 0 over valid rows; NaN if there are none."""
    num_rows = quantities.shape[1]
    valid = masking.valid_rows(num_rows, where, weights)
    if weights is not None:
        # Products with tiny weights would lose their last bits, or all.
        weight, _ = masking.scaled_weights(num_rows, weights, valid)
        quantities = jnp.concatenate([quantities * weight[None], weight[None]])
    # One cell for all: zeros that XLA cannot fold into a constant, which takes it long.
    cell = (quantities[0] < 0).astype(jnp.int32)
    count, sums = chain_curves.sum_joint_cells(cell, quantities, 1, valid)
    total = count[0]
    if weights is not None:
        sums, total = sums[:-1], sums[-1, 0]
    # One by one they stay divisions: many would be products with one reciprocal.
    return jax.lax.map(lambda part: masking.ratio(part, total), sums[:, 0])
