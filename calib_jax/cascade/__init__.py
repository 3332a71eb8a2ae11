"""Routing between models of different price, and how accurate and cheap it is.

Masked rows (`where` False) may hold anything, NaN included.
"""

from .arbiters import Arbiter, ArbiterReport, fit_arbiter, prefer_large
from .chain_curves import (
    ChainChoice,
    ChainCurve,
    best_within_cost,
    chain_curve,
    cost_frontier,
    selective_accuracy,
)
from .chains import Chain, chain_answers, fit_chain, with_abstaining
from .committee_curves import CommitteeCurve, committee_curve, order_committee
from .committees import Committee, committee, growing_committees
from .cost_control import control_cost
from .curves import (
    CascadeCurve,
    average_performance_gap_recovered,
    call_performance_threshold,
    cascade_curve,
    performance_gap_recovered,
    random_curve,
)
from .deferral import Deferral, defer
from .intervals import (
    CascadeInterval,
    RouterDifference,
    cascade_interval,
    router_difference_interval,
)
from .risk_control import (
    control_accuracy_drop,
    control_regret,
    control_small_error,
)
from .routers import AdvantageTable, Router, advantage_table, fit_router, use_small
from .savings import CascadeSavings, cascade_savings
from .selection import (
    GuaranteedRouter,
    Selection,
    choose_by_confidence,
    choose_num_small_bins,
    fit_router_with_guarantee,
)

__all__ = [
    "AdvantageTable",
    "Arbiter",
    "ArbiterReport",
    "CascadeCurve",
    "CascadeInterval",
    "CascadeSavings",
    "Chain",
    "ChainChoice",
    "ChainCurve",
    "Committee",
    "CommitteeCurve",
    "Deferral",
    "GuaranteedRouter",
    "Router",
    "RouterDifference",
    "Selection",
    "advantage_table",
    "average_performance_gap_recovered",
    "best_within_cost",
    "call_performance_threshold",
    "cascade_curve",
    "cascade_interval",
    "cascade_savings",
    "chain_answers",
    "chain_curve",
    "choose_by_confidence",
    "choose_num_small_bins",
    "committee",
    "committee_curve",
    "control_accuracy_drop",
    "control_cost",
    "control_regret",
    "control_small_error",
    "cost_frontier",
    "defer",
    "fit_arbiter",
    "fit_chain",
    "fit_router",
    "fit_router_with_guarantee",
    "growing_committees",
    "order_committee",
    "performance_gap_recovered",
    "prefer_large",
    "random_curve",
    "router_difference_interval",
    "selective_accuracy",
    "use_small",
    "with_abstaining",
]


def __dir__() -> list[str]:
    return __all__
