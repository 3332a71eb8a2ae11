r"""Choosing K, the number of bins kept small.

One family of functions, one result: `Selection`. `choose_num_small_bins` reads K off a
curve, `choose_by_confidence` needs no labels, and the functions of
`calib_jax.cascade.risk_control` promise something about new inputs. Whichever you use,
judge the cascade on rows that took no part in the choice.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records, transforms
from .._core.domains import Difference, Share
from ..binning.bins import DEFAULT_NUM_BINS
from ..calibration.apply import calibrate
from ..calibration.reports import FitReport
from . import arbiters, curves, first_bins, routers
from .arbiters import Arbiter, ArbiterReport
from .curves import CascadeCurve
from .routers import AdvantageTable, Router, fit_router


@records.record(
    axes={"risk": "num_bins+1", "bound": "num_bins+1", "large_share": "num_bins+1"},
    values={"num_small_bins": records.COUNT, "num_rows": records.COUNT},
)
class Selection(records.Result):
    """K, the number of bins kept small, and the evidence for it.

    Attributes:
      num_small_bins: int32 scalar K, always from 0 to num_bins. Where the target is not
        feasible it is the safe end: 0, the large model answers everything, for targets
        of accuracy, drop, regret or error; num_bins, the large model is never called,
        for targets of cost or share. That 0 means the large model alone: where models
        confer, do not use the arbiter then.
      feasible: bool scalar, whether some K meets the target. K = 0 counts only for
        targets of accuracy, share and cost: otherwise it meets every target and saves
        nothing.
      level: float32 scalar, the target.
      min_feasible_level: float32 scalar, the smallest target that is feasible on these
        rows; NaN where there is none.
      risk: float32 `[num_bins + 1]`, estimate of what the target limits, for every K.
      bound: float32 `[num_bins + 1]`, what is compared with the target.
      large_share: float32 `[num_bins + 1]`, share of inputs sent to the large model.
      num_rows: int32 scalar, valid rows; 0 for a choice from a curve, which does not
        know its rows.
      same_rows: bool scalar, whether these rows reproduce the router's table to the
        last bit. Then the router was fitted on them, nothing is promised, and
        `feasible` is False. Never True where one bin holds all rows, which leaves no
        order to fit.
    """

    num_small_bins: jax.Array
    feasible: jax.Array
    level: jax.Array
    min_feasible_level: jax.Array
    risk: jax.Array
    bound: jax.Array
    large_share: jax.Array
    num_rows: jax.Array
    same_rows: jax.Array


@records.record(axes={"small_params": None, "large_params": None})
class GuaranteedRouter(records.Result):
    """A router, and K chosen for it on other rows.

    Attributes:
      router: `Router`.
      selection: `Selection`.
      small_params: parameters that calibrate the small model's scores, or None.
      large_params: parameters that calibrate the large model's scores, or None.
      small_report: `FitReport` of the small model's calibration, or None.
      large_report: `FitReport` of the large model's calibration, or None.
      arbiter: `Arbiter` of their confidences if the models confer, else None. It always
        takes the large model where the fitted one does not help or the selection is
        not feasible, so that with it the cascade is then the paper's.
      arbiter_report: `ArbiterReport` of its fit, or None.
    """

    router: Router
    selection: Selection
    small_params: Any
    large_params: Any
    small_report: FitReport | None
    large_report: FitReport | None
    arbiter: Arbiter | None = None
    arbiter_report: ArbiterReport | None = None


def choose_num_small_bins(
    curve: CascadeCurve,
    *,
    min_accuracy: ArrayLike | None = None,
    max_large_share: ArrayLike | None = None,
) -> Selection:
    """Chooses K from a curve: for an accuracy, for a budget of calls, or the best K.

    With `min_accuracy`, the K with the fewest large-model calls that reaches it; with
    `max_large_share`, the smallest K within the budget; with both, the K with the
    fewest calls that meets both; with neither, the most accurate K (on ties the one
    with the fewest calls), which suits two large models.

    Args:
      curve: `CascadeCurve` of calibration data.
      min_accuracy: floating scalar in `[0, 1]`, such as `curve.large_accuracy` for no
        loss, which models that confer may reach with fewer calls; may be traced.
      max_large_share: floating scalar in `[0, 1]`, of inputs sent to the large model; a
        share equal to the budget is within it. May be traced.

    Returns:
      `Selection`. Its `risk`, `bound` and levels are error rates (1 - accuracy), or
      shares where only `max_large_share` is given; without any target `level` is
      `min_feasible_level`. Not feasible where no K meets the target, for a NaN curve,
      or for a target that is NaN or traced and outside `[0, 1]`: then K is num_bins if
      only `max_large_share` is given, and otherwise 0. With both targets
      `min_feasible_level` is that of the accuracy within the budget, and NaN where no K
      is within it.

    Raises:
      ValueError: where `curve` is not a `CascadeCurve`, a target is not a scalar, or a
        number on the host is outside `[0, 1]`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Table 2 (two large models).

    Examples:
      >>> curve = CascadeCurve(
      ...     small_share=jnp.array([0.0, 0.4, 1.0]),
      ...     accuracy=jnp.array([0.9, 0.92, 0.7]),
      ...     small_accuracy=jnp.array(0.7),
      ...     large_accuracy=jnp.array(0.9),
      ... )
      >>> for target in ({"min_accuracy": 0.9}, {"max_large_share": 0.3}, {}):
      ...     chosen = choose_num_small_bins(curve, **target)
      ...     print(chosen.num_small_bins, chosen.feasible)
      1 True
      2 True
      1 True
      >>> chosen = choose_num_small_bins(curve, min_accuracy=0.95)
      >>> print(chosen.num_small_bins, chosen.feasible)
      0 False
    """
    checks.instance("curve", curve, CascadeCurve)
    least = budget = None
    if min_accuracy is not None:
        least = checks.scalar("min_accuracy", min_accuracy)
    if max_large_share is not None:
        budget = checks.scalar("max_large_share", max_large_share)
    return _choose_num_small_bins(curve, least, budget)


def choose_by_confidence(
    router: Router,
    max_loss: ArrayLike,
    *,
    small_confidence: ArrayLike | None = None,
    large_confidence: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose expected loss of accuracy is within a limit, without labels.

    The expectation comes from the calibrated confidences of the rows given, or without
    them from the router's table, which then both orders the bins and chooses K. It is
    not a guarantee: it is only as good as the calibration in the bins kept small.

    .. math:: \sum_{b \in S_K} \frac{W_b}{W} a_b \le \alpha, \quad
        a_b = \bar c_b^{\,large} - \bar c_b^{\,small}

    Args:
      router: `Router`; its bins and their order stay.
      max_loss: floating scalar in `[-1, 1]`, an accuracy; may be traced.
      small_confidence: optional floating `[N]`, calibrated, of the rows to choose on.
      large_confidence: optional, like `small_confidence` for the large model; give both
        or neither.
      where: optional bool `[N]`, of these rows.

    Returns:
      `Selection`, whose `bound` is its `risk`. Every K whose bins hold a valid NaN is
      NaN and not chosen, and none is for a limit that is NaN or traced and out of
      range. Nothing is promised, so `same_rows` is never True.

    Raises:
      ValueError: for a wrong rank, shape or dtype, one confidence without the other, or
        numbers on the host out of range.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1; Jitkrittum et al., "When Does
      Confidence-Based Cascade Deferral Suffice?", 2023, arXiv 2307.02764.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = choose_by_confidence(router, 0.03)
      >>> print(chosen.num_small_bins, chosen.risk.round(3))
      2 [ 0.    -0.044 -0.025  0.056  0.2  ]
    """
    checks.instance("router", router, Router)
    level = checks.scalar("max_loss", max_loss)
    mask, table = checks.mask("where", where), router.table
    rows = {
        "small_confidence": small_confidence,
        "large_confidence": large_confidence,
        "where": where,
    }
    given = [name for name, value in rows.items() if value is not None]
    if small_confidence is not None and large_confidence is not None:
        small = checks.floats("small_confidence", small_confidence)
        large = checks.floats("large_confidence", large_confidence)
        checks.same_shape(small_confidence=small, large_confidence=large, where=mask)
        table = routers.tabulate(router.bins, small, large, None, None, mask, None)
    elif given:
        raise ValueError(
            f"{', '.join(rows)}: expected both confidences, or None for all three, got "
            f"only {' and '.join(given)}."
        )
    return _choose_by_confidence(table, router.order, level)


def fit_router_with_guarantee(
    key: jax.Array,
    small_scores: ArrayLike,
    large_scores: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    choose: Callable[..., Selection],
    *,
    small_cost: ArrayLike | None = None,
    large_cost: ArrayLike | None = None,
    differ: ArrayLike | None = None,
    fit: Callable[..., Any] | None = None,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
) -> GuaranteedRouter:
    """Fits a router on one random half of the rows and chooses K on the other half.

    Everything is fitted on the first half only: the promises of the `control_*`
    functions rest on this split.

    `choose` is any of `control_accuracy_drop`, `control_regret`, `control_small_error`,
    `control_cost` and `choose_by_confidence`, with `functools.partial` binding its
    limits by keyword, or a function of your own. It is called with the router, and by
    keyword with those of `small_confidence`, `large_confidence`, `small_outcome`,
    `large_outcome`, `small_cost`, `large_cost` and `where` that its signature names
    (with all of them if it takes `**kwargs`). `where` selects the second half; costs
    are passed only where they were given here.

    `choose_num_small_bins` takes a curve, so wrap it. It promises nothing::

        def choose(router, small_confidence, small_outcome, large_outcome, where):
            rows = small_confidence, small_outcome, large_outcome
            curve = cj.cascade_curve(router, *rows, where=where)
            return cj.choose_num_small_bins(curve, min_accuracy=0.9)

    With `differ` the models confer: `calib_jax.cascade.fit_arbiter` fits an arbiter,
    bins are ordered by the advantage of the answer that it prefers, and `choose` is
    given its `conferred_outcome` too. Where it does not help, that answer is the large
    model's, and all is as without `differ`.

    Args:
      key: a JAX random key, for the split.
      small_scores: floating `[N]`, which `fit` calibrates; without `fit`, confidences
        in `[0, 1]` that were calibrated on other rows.
      large_scores: floating `[N]`, like `small_scores` for the large model.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct; bool for `control_small_error`.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      choose: chooses K, as described above; returns a `Selection`.
      small_cost: optional floating `[N]`, for a `choose` that takes costs.
      large_cost: optional floating `[N]`, for a `choose` that takes costs.
      differ: optional bool `[N]`, where the answers of the two models differ; True
        throughout where they are not known.
      fit: optional; `calib_jax.fit_platt`, `calib_jax.fit_histogram`, or a function
        from scores, outcomes and `where` to parameters for `calib_jax.calibrate` and a
        report.
      num_bins: static number of bins of the router.
      where: optional bool `[N]`.

    Returns:
      `GuaranteedRouter`. The second half has one or two rows more than the first.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, values on the host out of
        range, a `choose` or `fit` that is not a function, or a `choose` that cannot be
        called as described above.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052, section 2 (order
      of the tests from a separate part).

    Examples:
      >>> import functools
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> rows = small, large, small > 0.6, jnp.ones(400, bool)
      >>> for choose in (
      ...     functools.partial(calib_jax.cascade.control_regret, max_regret=0.1),
      ...     functools.partial(calib_jax.cascade.control_small_error, max_error=0.2),
      ... ):
      ...     found = fit_router_with_guarantee(jax.random.key(0), *rows, choose)
      ...     print(found.selection.num_rows, found.selection.feasible)
      201 True
      201 True
    """
    random = checks.key("key", key)
    (small, large), by_small, by_large, mask = checks.two_models(
        {"small_scores": small_scores, "large_scores": large_scores},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    costs = {
        name: checks.floats(name, value)
        for name, value in (("small_cost", small_cost), ("large_cost", large_cost))
        if value is not None
    }
    apart = checks.mask("differ", differ)
    checks.same_shape(small_scores=small, differ=apart, **costs)
    # Here, where they have the names of this function's arguments.
    checks.in_domain(
        domains.OUTCOME, mask, small_outcome=by_small, large_outcome=by_large
    )
    checks.in_domain(domains.NON_NEGATIVE, mask, **costs)
    if fit is None:
        scores = {"small_scores": small, "large_scores": large}
        checks.in_domain(domains.CONFIDENCE, mask, **scores)
    for name, function in (("choose", choose), ("fit", fit)):
        if not callable(function) and not (name == "fit" and fit is None):
            kind = type(function).__name__
            raise ValueError(f"{name}: expected a function, got {kind}.")
    names = ("small_confidence", "large_confidence", "small_outcome", "large_outcome")
    confers = () if apart is None else ("conferred_outcome",)
    taken = _names_taken(choose, (*names, *costs, *confers, "where"))
    transforms.known("small_scores", small.shape[0])
    first, second = _halves(random, small, mask)
    fitted: list[Any] = [(None, None), (None, None)]
    if fit is not None:
        fitted = [
            fit(scores, outcome, where=first)
            for scores, outcome in ((small, by_small), (large, by_large))
        ]
        small, large = calibrate(fitted[0][0], small), calibrate(fitted[1][0], large)
    values = (small, large, by_small, by_large)
    rows = dict(zip(names, values, strict=True)) | costs | {"where": second}
    arbiter = arbiter_report = None
    answer = large
    if apart is not None:
        arbiter, arbiter_report = arbiters.fit_arbiter(
            *values, differ=apart, where=first
        )
        helps = arbiter_report.helps
        answer, rows["conferred_outcome"] = arbiters.conferred(
            arbiter, helps, values[:2], values[2:], apart
        )
    router = fit_router(small, answer, num_bins=num_bins, where=first)
    selection = choose(router, **{name: rows[name] for name in taken})
    if arbiter is not None:
        arbiter = arbiters.held_back(arbiter, helps & selection.feasible)
    return GuaranteedRouter(
        router=router,
        selection=selection,
        small_params=fitted[0][0],
        large_params=fitted[1][0],
        small_report=fitted[0][1],
        large_report=fitted[1][1],
        arbiter=arbiter,
        arbiter_report=arbiter_report,
    )


def _names_taken(
    choose: Callable[..., Selection], names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names that a function takes by keyword, beside a router."""
    if getattr(choose, "func", choose) is choose_num_small_bins:
        raise ValueError(
            "choose: expected a function that takes a router, got "
            "choose_num_small_bins, which takes a curve. Pass a function that makes "
            "the curve by cascade_curve first."
        )
    signature = inspect.signature(choose)
    parameters = signature.parameters
    if not any(one.kind == one.VAR_KEYWORD for one in parameters.values()):
        names = tuple(name for name in names if name in parameters)
    try:
        signature.bind(None, **dict.fromkeys(names))
    except TypeError as error:
        reason = str(error)
        hint = "Bind limits by keyword, as in functools.partial(choose, max_drop=0.01)."
        if "missing" in reason and reason.endswith(("small_cost'", "large_cost'")):
            hint = "Give small_cost and large_cost, too."
        raise ValueError(
            f"choose: cannot be called with {', '.join(('router', *names))}: {reason}. "
            f"{hint}"
        ) from None
    return names


def select(
    passes: jax.Array, *, same_rows: jax.Array, smallest: bool = False, **found: Any
) -> Selection:
    """The largest K that passes, or else 0; the smallest K, or else num_bins.

    Args:
      passes: bool `[num_bins + 1]`.
      same_rows: bool scalar; nothing is feasible where it is True.
      smallest: which of the two.
      **found: the other fields of the `Selection`.
    """
    xp = passes.__array_namespace__()
    number = xp.arange(passes.shape[0], dtype=xp.int32)
    feasible = xp.any(passes) & ~same_rows
    passes = passes & feasible
    if smallest:
        chosen = xp.min(xp.where(passes, number, passes.shape[0] - 1))
    else:
        chosen = xp.max(xp.where(passes, number, 0))
    return Selection(
        num_small_bins=chosen, feasible=feasible, same_rows=same_rows, **found
    )


@dispatch.core(host=True)
def _choose_num_small_bins(
    curve: CascadeCurve, min_accuracy: Share | None, max_large_share: Share | None
) -> Selection:
    xp = curve.accuracy.__array_namespace__()
    accuracy = curve.accuracy.astype(xp.float32)
    share = 1.0 - curve.small_share.astype(xp.float32)
    risk, passes = 1.0 - accuracy, xp.ones(accuracy.shape, bool)
    if max_large_share is not None:
        passes = curves.within_budget(share, max_large_share, 1.0)
    if min_accuracy is None and max_large_share is not None:
        risk, level, least = share, max_large_share, xp.min(share)
    elif min_accuracy is None:
        passes = accuracy == xp.max(accuracy)
        level = least = xp.min(risk)
    else:
        least = xp.min(xp.where(passes, risk, xp.inf))
        level, least = 1.0 - min_accuracy, xp.where(xp.any(passes), least, xp.nan)
        passes = passes & (accuracy >= min_accuracy)
    return select(
        passes,
        smallest=min_accuracy is None and max_large_share is not None,
        level=level,
        min_feasible_level=least,
        risk=risk,
        bound=risk,
        large_share=share,
        num_rows=xp.zeros((), xp.int32),
        same_rows=xp.zeros((), bool),
    )


@dispatch.core
def _choose_by_confidence(
    table: AdvantageTable, order: jax.Array, max_loss: Difference
) -> Selection:
    kept, lost = (
        first_bins.sum_for_every_k(order, part)
        for part in (table.weight, table.weight * table.advantage)
    )
    risk, small_share = (masking.ratio(part, kept[-1]) for part in (lost, kept))
    return select(
        (risk <= max_loss) & (jnp.arange(risk.shape[0]) > 0),
        level=max_loss,
        min_feasible_level=jnp.min(risk[1:]),
        risk=risk,
        bound=risk,
        large_share=1 - small_share,
        # Rows, not the sum of their weights.
        num_rows=jnp.sum(table.count, dtype=jnp.int32),
        same_rows=jnp.zeros((), bool),
    )


@dispatch.core
def _halves(
    key: jax.Array, rows: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Masks of two random halves of the valid rows."""
    valid = masking.valid_rows(rows.shape[0], where)
    order = jax.random.permutation(key, rows.shape[0])
    shuffled = valid[order]
    number = jnp.cumsum(shuffled, dtype=jnp.int32)
    # Never of equal size, so that the second is not mistaken for the router's own rows.
    early = shuffled & (number <= (jnp.sum(valid, dtype=jnp.int32) - 1) // 2)
    first = jnp.zeros(rows.shape, bool).at[order].set(early)
    return first, valid & ~first
