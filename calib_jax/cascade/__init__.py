"""Routing between models of different price, and what it achieves."""

from .abstaining import selective_accuracy, with_abstaining
from .budgets import choose_by_confidence, control_cost
from .chain_curves import (
    ChainChoice,
    ChainCurve,
    best_within_cost,
    chain_curve,
    cost_frontier,
)
from .chains import Chain, chain_answers, fit_chain
from .curves import (
    CascadeCurve,
    average_performance_gap_recovered,
    call_performance_threshold,
    cascade_curve,
    performance_gap_recovered,
    random_curve,
)
from .deferral import Deferral, defer
from .differences import RouterDifference, router_difference_interval
from .guaranteed_routers import GuaranteedRouter, fit_router_with_guarantee
from .intervals import CascadeInterval, cascade_interval
from .risk_control import (
    Selection,
    control_accuracy_drop,
    control_regret,
    control_small_error,
)
from .routers import AdvantageTable, Router, advantage_table, fit_router, use_small
from .selection import (
    best_num_small_bins,
    num_small_bins_for_accuracy,
    num_small_bins_for_large_share,
)

__all__ = [
    "AdvantageTable",
    "CascadeCurve",
    "CascadeInterval",
    "Chain",
    "ChainChoice",
    "ChainCurve",
    "Deferral",
    "GuaranteedRouter",
    "Router",
    "RouterDifference",
    "Selection",
    "advantage_table",
    "average_performance_gap_recovered",
    "best_num_small_bins",
    "best_within_cost",
    "call_performance_threshold",
    "cascade_curve",
    "cascade_interval",
    "chain_answers",
    "chain_curve",
    "choose_by_confidence",
    "control_accuracy_drop",
    "control_cost",
    "control_regret",
    "control_small_error",
    "cost_frontier",
    "defer",
    "fit_chain",
    "fit_router",
    "fit_router_with_guarantee",
    "num_small_bins_for_accuracy",
    "num_small_bins_for_large_share",
    "performance_gap_recovered",
    "random_curve",
    "router_difference_interval",
    "selective_accuracy",
    "use_small",
    "with_abstaining",
]


def __dir__() -> list[str]:
    return __all__
