r"""Committees: several models that vote, each with its calibrated confidence.

Shapes: M models, N examples. A model *votes* where its prediction is at least 0 and
`where` keeps the entry; otherwise it abstains, and its confidence may be anything. The
sums of confidences are exact to about 48 bits, so the order of the models changes a
result only where the votes tie.

`grow` is the loop behind every function here: it adds one model after the other to the
committee. A vote raises the sum of one class only, so the winner is the class of the
new vote or the winner before.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, exact, records

# The largest number below 1: a confidence of 1 would be infinite evidence.
_NEARLY_SURE = np.float32(1 - 2**-24)
# The first supporter of a class that has none.
NOBODY = 2**30


@records.record("N", values={"score": records.SHARE})
class Committee(records.Result):
    r"""The answer of a committee, and how well it is supported.

    Let :math:`S_k` be the sum of the confidences of the models that name class k.

    Attributes:
      prediction: int32 `[N]`, the class of the largest sum; -1 where nobody votes, or
        the confidence of a vote is NaN.
      score: float32 `[N]`, the winner's share of the sum of all confidences; 0 where
        that sum is 0 or nobody votes. Calibrate it like any other score.
      evidence: float32 `[N]`, sum of :math:`-\ln(1 - c)` over the winner's supporters,
        in nats; if they erred independently, all of them would be wrong with
        probability :math:`e^{-\text{evidence}}`. It orders answers better than the
        share, which is 1 wherever all agree.
      margin: float32 `[N]`, the winner's sum less the second largest, in votes. While
        it exceeds the number of models that have not been asked, they cannot change the
        answer.
    """

    prediction: jax.Array
    score: jax.Array
    evidence: jax.Array
    margin: jax.Array


def committee(
    predictions: ArrayLike, confidences: ArrayLike, *, where: ArrayLike | None = None
) -> Committee:
    r"""The class with the largest sum of its supporters' confidences.

    .. math:: \hat y = \arg\max_k S_k, \quad S_k = \sum_{m :\, \hat y_m = k} c_m, \quad
       \text{score} = S_{\hat y} / \sum_k S_k

    Equal sums go to the class whose surest supporter is surer, then to the class of the
    first model. Calibrate each model first: a model that claims too much has too much
    say. Confidences of 1 make it a majority vote.

    Args:
      predictions: integer `[M, N]`, the class or the number of the answer; a negative
        one abstains.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated.
      where: optional bool `[M, N]`, which models vote on which examples, such as those
        asked so far; or `[N]`, for all models alike.

    Returns:
      `Committee`. Where the confidence of a vote is NaN, its floats are NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, without a model, or for a vote on
        the host whose confidence is outside `[0, 1]`; in a device array it counts as
        NaN.

    References:
      Kuncheva, "Combining Pattern Classifiers", 2nd ed., 2014, chapter 4 (weighted
      majority vote); Nitzan and Paroush, "Optimal Decision Rules in Uncertain
      Dichotomous Choice Situations", 1982 (weights of independent voters).

    Examples:
      >>> import calib_jax as cj
      >>> predictions = [[1, 1, 0, 1], [2, 0, 0, 2], [2, 1, 0, 0]]
      >>> confidences = [[0.75, 0.5, 1.0, 0.5], [0.5, 0.25, 0.5, 0.5], [0.5] * 4]
      >>> found = committee(predictions, confidences)
      >>> print(found.prediction, found.score.round(2), found.margin)
      [2 1 0 1] [0.57 0.8  1.   0.33] [0.25 0.75 2.   0.  ]

      The share is a score, not yet a probability:

      >>> outcomes = jnp.array([True, True, False, True])  # of its predictions
      >>> params, report = cj.fit_platt(found.score, outcomes)
      >>> confidence = cj.calibrate(params, found.score)
    """
    return _committee(*_checked(predictions, confidences, where))


def growing_committees(
    predictions: ArrayLike, confidences: ArrayLike, *, where: ArrayLike | None = None
) -> Committee:
    """The committees of the first model, of the first two, and so on up to all.

    Each answers like a model of its own, dearer than the one before: with calibrated
    evidence as their confidence they make a chain (`fit_chain`).

    Args:
      predictions: integer `[M, N]`, in the order in which the models are asked; a
        negative one abstains.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated.
      where: optional bool `[M, N]` or `[N]`, as for `committee`.

    Returns:
      `Committee` with arrays `[M, N]`; row m is the committee of the first m + 1.

    Raises:
      ValueError: as for `committee`.

    References:
      Hernandez-Lobato et al., "Statistical Instance-Based Pruning in Ensembles of
      Independent Classifiers", 2009 (asking in turn).

    Examples:
      >>> predictions = [[1, 1], [2, 1], [2, 0]]
      >>> confidences = [[0.75, 0.5], [0.5, 0.25], [0.5, 0.5]]
      >>> found = growing_committees(predictions, confidences)
      >>> print(found.prediction)
      [[1 1]
       [1 1]
       [2 1]]
    """
    return _growing_committees(*_checked(predictions, confidences, where)[:-1])


Rows = tuple[Any, Any, Any, Any, Any]


def _checked(
    predictions: ArrayLike, confidences: ArrayLike, where: ArrayLike | None
) -> Rows:
    """Answers, a mask `[N]`, a mask `[M, N]`, and one model's answers as rows."""
    mask = checks.mask("where", where, rank=(1, 2), axes="[N] or [M, N]")
    predicted, confidence = checked_votes(predictions, confidences, mask)
    rows, entries = (None, mask) if _is_of_entries(mask) else (mask, None)
    return predicted, confidence, rows, entries, predicted[0]


def checked_votes(
    predictions: ArrayLike, confidences: ArrayLike, where: Any, weights: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Predictions and confidences `[M, N]` of at least one model."""
    predicted = checks.class_numbers("predictions", predictions, rank=2, axes="[M, N]")
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    checks.same_shape(predictions=predicted, confidences=confidence)
    if predicted.shape[0] == 0:
        raise ValueError("predictions: expected at least one model, got [0, N].")
    if _is_of_entries(where):
        if where.shape != predicted.shape:
            raise ValueError(
                f"where: expected a bool array [N] or {list(predicted.shape)}, the "
                f"predictions' shape, got bool{list(where.shape)}."
            )
    else:
        checks.same_columns(predictions=predicted, where=where, weights=weights)
    if isinstance(confidence, np.ndarray):
        # What an abstaining model claims is not looked at.
        votes = predicted >= 0 if where is None else (predicted >= 0) & where
        checks.in_domain(domains.CONFIDENCE, votes, weights, confidences=confidence)
    return predicted, confidence


def _is_of_entries(where: Any) -> bool:
    """Whether a mask is `[M, N]`."""
    return where is not None and where.ndim == 2


class Standing(NamedTuple):
    """The sum of a class, and what decides between equal sums.

    Attributes:
      high: float32 `[N]`, the rounded sum.
      low: float32 `[N]`, what rounding left.
      top: float32 `[N]`, the largest confidence of a supporter.
      first: int32 `[N]`, the first supporter.
    """

    high: jax.Array
    low: jax.Array
    top: jax.Array
    first: jax.Array

    def beats(self, other: "Standing") -> jax.Array:
        """Bool `[N]`: the larger sum; if equal, the surer or the earlier supporter."""
        wins = self.first < other.first
        for mine, theirs in (
            (self.top, other.top),
            (self.low, other.low),
            (self.high, other.high),
        ):
            wins = (mine > theirs) | ((mine == theirs) & wins)
        return wins


class Votes(NamedTuple):
    """Where a committee stands after some votes.

    Attributes:
      winner: int32 `[N]`, its class; -1 before the first vote.
      standing: of the winner.
      evidence: float32 `[N]`, of the winner.
      second: float32 `[N]` twice, the second largest sum and what rounding left.
      total: the same for the sum of all confidences.
      bad: bool `[N]`, whether the confidence of a vote was NaN.
    """

    winner: jax.Array
    standing: Standing
    evidence: jax.Array
    second: tuple[jax.Array, jax.Array]
    total: tuple[jax.Array, jax.Array]
    bad: jax.Array

    def committee(self) -> Committee:
        """What the votes say."""
        high, low = self.standing.high, self.standing.low
        share, _ = exact.divide((high, low), self.total)
        lead, rest = exact.two_sum(high, -self.second[0])
        margin = lead + (rest + (low - self.second[1]))
        nobody = self.winner < 0

        def known(value: jax.Array) -> jax.Array:
            return jnp.where(self.bad, jnp.nan, jnp.where(nobody, 0.0, value))

        return Committee(
            prediction=jnp.where(self.bad, -1, self.winner),
            score=known(share),
            evidence=known(self.evidence),
            margin=known(margin),
        )


def no_votes(like: jax.Array) -> Votes:
    """Votes before the first one, for as many rows as `like` has."""
    zero = jnp.zeros_like(like, jnp.float32)
    nobody = jnp.full_like(like, -1, jnp.int32)
    standing = Standing(high=zero - 1, low=zero, top=zero, first=-nobody)
    return Votes(
        winner=nobody,
        standing=standing,
        evidence=zero,
        second=(zero, zero),
        total=(zero, zero),
        bad=jnp.zeros_like(like, bool),
    )


def cast(
    votes: Votes,
    prediction: jax.Array,
    confidence: jax.Array,
    now: Standing,
    evidence: jax.Array,
) -> Votes:
    """Adds the vote of one model, whose class then stands at `now`.

    Args:
      votes: before it.
      prediction: int32 `[N]`; -1 abstains.
      confidence: float32 `[N]`; NaN for a bad one.
      now: with its vote; not NaN.
      evidence: float32 `[N]`, for its class, with its vote.
    """
    before, voting = votes.standing, prediction >= 0
    same = prediction == votes.winner
    leads = voting & (same | now.beats(before))
    overtaken = leads & ~same
    # Whoever is overtaken is second; before the first vote that is nobody.
    left = tuple(
        jnp.where(votes.winner < 0, 0.0, part) for part in (before.high, before.low)
    )
    closer = (now.high > votes.second[0]) | (
        (now.high == votes.second[0]) & (now.low > votes.second[1])
    )
    closer = voting & ~leads & closer
    second = (
        jnp.where(overtaken, left[0], jnp.where(closer, now.high, votes.second[0])),
        jnp.where(overtaken, left[1], jnp.where(closer, now.low, votes.second[1])),
    )
    usable = jnp.where(voting & (confidence >= 0), confidence, 0.0)
    total, rest = exact.two_sum(votes.total[0], usable)
    return Votes(
        winner=jnp.where(leads, prediction, votes.winner),
        standing=Standing(
            *(jnp.where(leads, *pair) for pair in zip(now, before, strict=True))
        ),
        evidence=jnp.where(leads, evidence, votes.evidence),
        second=second,
        total=exact.two_sum(total, votes.total[1] + rest),
        bad=votes.bad | (voting & jnp.isnan(confidence)),
    )


def supported(
    standing: Standing, confidence: jax.Array, place: jax.Array, agrees: jax.Array
) -> Standing:
    """A class after one more supporter, where it agrees.

    Args:
      standing: before.
      confidence: float32 `[N]`, 0 where it does not agree.
      place: int32 scalar, its place among the models.
      agrees: bool `[N]`.
    """
    high, rest = exact.two_sum(standing.high, confidence)
    high, low = exact.two_sum(high, standing.low + rest)
    first = jnp.where(agrees, jnp.minimum(standing.first, place), standing.first)
    return Standing(high, low, jnp.maximum(standing.top, confidence), first)


def grow(
    predictions: jax.Array, confidences: jax.Array, voting: jax.Array
) -> tuple[Votes, Committee]:
    """The votes of all models `[N]`, and the committees on the way `[M, N]`."""
    confidences = domains.CONFIDENCE.confine(confidences)
    usable = jnp.where(voting & (confidences >= 0), confidences, 0.0)
    evidence = -jnp.log1p(-jnp.minimum(usable, _NEARLY_SURE))
    # A model that does not vote supports no class.
    named = jnp.where(voting, predictions, -1)

    def of_model(place: jax.Array, *rows: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(
            jax.lax.dynamic_index_in_dim(array, place, keepdims=False) for array in rows
        )

    def step(votes: Votes, place: jax.Array) -> tuple[Votes, Committee]:
        prediction, confidence = of_model(place, named, confidences)

        # Vectors of rows, one model after the other, so that nothing larger is held.
        def add(other: jax.Array, state: tuple[Standing, jax.Array]) -> Any:
            theirs, share, more = of_model(other, named, usable, evidence)
            agrees = theirs == prediction
            now = supported(state[0], jnp.where(agrees, share, 0.0), other, agrees)
            return now, state[1] + jnp.where(agrees, more, 0.0)

        nothing = jnp.zeros_like(confidence)
        start = Standing(nothing, nothing, nothing, jnp.full_like(prediction, NOBODY))
        now, for_it = jax.lax.fori_loop(0, place + 1, add, (start, nothing))
        votes = cast(votes, prediction, confidence, now, for_it)
        return votes, votes.committee()

    models = jnp.arange(len(predictions), dtype=jnp.int32)
    return jax.lax.scan(step, no_votes(predictions[0]), models)


def _voting(
    predictions: jax.Array, where: jax.Array | None, votes: jax.Array | None
) -> jax.Array:
    """Bool `[M, N]`: which models vote."""
    voting = predictions >= 0
    if where is not None:
        voting = voting & where[None]
    return voting if votes is None else voting & votes


@dispatch.core(
    rows=["predictions M N", "confidences M N", "where", "votes M N", "first"],
    rows_of="first",
)
def _committee(
    predictions: jax.Array,
    confidences: jax.Array,
    where: jax.Array | None,
    votes: jax.Array | None,
    first: jax.Array,
) -> Committee:
    voting = _voting(predictions, where, votes)
    return grow(predictions, confidences, voting)[0].committee()


@dispatch.core
def _growing_committees(
    predictions: jax.Array,
    confidences: jax.Array,
    where: jax.Array | None,
    votes: jax.Array | None,
) -> Committee:
    return grow(predictions, confidences, _voting(predictions, where, votes))[1]
