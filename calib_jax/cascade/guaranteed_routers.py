"""A router, and K chosen for it, from two halves of the same rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch
from ..binning.bins import DEFAULT_NUM_BINS
from ..calibration.apply import calibrate
from ..calibration.reports import FitReport
from .risk_control import Selection
from .routers import Router, fit_router


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GuaranteedRouter:
    """A router, and K chosen for it on other rows.

    Attributes:
      router: `Router`.
      selection: `Selection`.
      small_params: parameters that calibrate the small model's scores, or None.
      large_params: the same of the large model, or None.
      small_report: report of the fit of the small model's scores, or None.
      large_report: the same of the large model, or None.
    """

    router: Router
    selection: Selection
    small_params: Any
    large_params: Any
    small_report: FitReport | None
    large_report: FitReport | None


def fit_router_with_guarantee(
    key: jax.Array,
    small_scores: ArrayLike,
    large_scores: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    choose: Callable[..., Selection],
    *,
    fit: Callable[..., Any] | None = None,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
) -> GuaranteedRouter:
    """A router from one random half of the rows, and K for it from the other half.

    Whatever is fitted, is so on the first half only: this is the split that the
    promises of this module rest on.

    Args:
      key: a JAX random key, of the halves.
      small_scores: floating `[N]`, what `fit` calibrates; without it confidences in
        `[0, 1]`, which then must have been calibrated on rows other than these.
      large_scores: the same of the large model.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct; bool where `choose` asks for it.
      large_outcome: the same for the large model's answer.
      choose: function of `router` and, by name, `small_confidence`, `small_outcome`,
        `large_outcome` and `where`: `control_regret` or
        `control_accuracy_drop` with its limit, or one of your own around
        those that take other rows, as below.
      fit: optional; `calib_jax.fit_platt` or `calib_jax.fit_histogram`, or any other
        function from scores, outcomes and `where` to parameters for
        `calib_jax.calibrate`, and a report.
      num_bins: static number of bins of the router.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `GuaranteedRouter`. The second half has one row more, or two.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052, section 2 (order
      of the tests from a separate part).

    Examples:
      >>> import functools
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> chosen = fit_router_with_guarantee(
      ...     jax.random.key(0), small, large, small > 0.6, jnp.ones(400, bool),
      ...     functools.partial(calib_jax.cascade.control_regret, max_regret=0.1),
      ... )
      >>> print(chosen.selection.num_rows, chosen.selection.possible)
      201 True
      >>> def small_error(router, small_confidence, small_outcome, where, **_):
      ...     return calib_jax.cascade.control_small_error(
      ...         router, small_confidence, small_outcome, 0.2, where=where
      ...     )
      >>> chosen = fit_router_with_guarantee(
      ...     jax.random.key(0), small, large, small > 0.6, jnp.ones(400, bool),
      ...     small_error,
      ... )
      >>> print(chosen.selection.possible)
      True
    """
    random = checks.key("key", key)
    (small, large), by_small, by_large, mask = checks.two_models(
        {"small_scores": small_scores, "large_scores": large_scores},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    for name, function in (("choose", choose), ("fit", fit)):
        if not callable(function) and not (name == "fit" and fit is None):
            kind = type(function).__name__
            raise ValueError(f"{name}: expected a function, got {kind}.")
    first, second = _halves(random, small, mask)
    fitted: list[Any] = [(None, None), (None, None)]
    if fit is not None:
        fitted = [
            fit(scores, outcome, where=first)
            for scores, outcome in ((small, by_small), (large, by_large))
        ]
        small, large = calibrate(fitted[0][0], small), calibrate(fitted[1][0], large)
    router = fit_router(small, large, num_bins=num_bins, where=first)
    return GuaranteedRouter(
        router=router,
        # By name: outcomes are not to be taken for what else has one number a row.
        selection=choose(
            router,
            small_confidence=small,
            small_outcome=by_small,
            large_outcome=by_large,
            where=second,
        ),
        small_params=fitted[0][0],
        large_params=fitted[1][0],
        small_report=fitted[0][1],
        large_report=fitted[1][1],
    )


@dispatch.core
def _halves(
    key: jax.Array, rows: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Masks of two random halves of the valid rows."""
    valid = jnp.ones(rows.shape, bool) if where is None else where
    order = jax.random.permutation(key, rows.shape[0])
    shuffled = valid[order]
    number = jnp.cumsum(shuffled, dtype=jnp.int32)
    # Never of one size: the second cannot be taken for the rows of the router.
    early = shuffled & (number <= (jnp.sum(valid, dtype=jnp.int32) - 1) // 2)
    first = jnp.zeros(rows.shape, bool).at[order].set(early)
    return first, valid & ~first
