"""Cases of `calib_jax.metrics`."""

import jax
import numpy as np

from .kit import FRESH, GIVEN, case
from .makers import risk_curve


def _first_of_each_tie(result):
    """A curve without the rows that do not count, which repeat the last point."""
    if isinstance(result.threshold, jax.core.Tracer):
        return (), result
    points = np.stack([result.threshold, result.coverage, result.risk])
    points = points[:, : int(result.num_rows or points.shape[1])]
    _, first = np.unique(-points[0], return_index=True)
    return (), (points[:, first], result.least_area)


_AREAS = [
    "metrics.area_under_risk_coverage",
    "metrics.excess_area_under_risk_coverage",
    "metrics.area_under_generalised_risk_coverage",
]
_SELECTIVE = [
    case(
        "metrics.risk_coverage_curve",
        "scores outcomes",
        split=_first_of_each_tie,
        exact=False,
        **FRESH,
    ),
    *(
        case(name, "scores outcomes", gradients=("outcomes",), exact=False, **FRESH)
        for name in _AREAS
    ),
    *(
        case(name, variant=variant, given={"curve": risk_curve, **limits})
        for name in ("metrics.coverage_at_risk", "metrics.threshold_at_risk")
        for variant, limits in (
            ("", {"risk": 0.4}),
            ("promised", {"risk": 0.9, "confidence_level": 0.9}),
        )
    ),
    case("metrics.risk_at_coverage", given={"curve": risk_curve, "coverage": 0.4}),
]

CASES = [
    *_SELECTIVE,
    case(
        "metrics.smooth_calibration_error",
        "scores outcomes",
        gradients=("scores", "outcomes", "weights"),
        exact=False,
        **GIVEN,
    ),
    case("expected_calibration_error", "scores outcomes num_bins", **FRESH),
    case(
        "expected_calibration_error",
        "bins scores outcomes",
        "bins",
        again=True,
        **GIVEN,
    ),
    case("maximum_calibration_error", "scores outcomes num_bins", again=True, **FRESH),
    *(
        case(
            name,
            "scores outcomes",
            exact=False,
            gradients=("scores", "outcomes", "weights"),
            **GIVEN,
        )
        for name in ("brier_score", "log_loss")
    ),
    case("area_under_roc", "scores outcomes", exact=False, **GIVEN),
    # A row goes to a fold by its position, so rows cannot be moved or removed.
    case(
        "metrics.calibration_refinement",
        "class_rows",
        given={"num_folds": 2},
        rows={},
        exact=False,
        gradients=("logits",),
    ),
    case("metrics.brier_decomposition", "table"),
    case(
        "metrics.root_mean_square_calibration_error",
        "scores outcomes num_bins",
        again=True,
        **FRESH,
    ),
    case("metrics.debiased_calibration_error", "scores outcomes num_bins", where=True),
    case(
        "metrics.sweep_calibration_error",
        "scores outcomes",
        given={"max_bins": 8},
        static=("max_bins",),
        where=True,
    ),
    case("metrics.classwise_calibration_error", "probability_rows num_bins", **FRESH),
    *(
        case(
            f"metrics.{name}",
            "probability_rows",
            exact=False,
            gradients=("probabilities", "weights"),
            **GIVEN,
        )
        for name in ("multiclass_brier_score", "multiclass_log_loss")
    ),
    *(
        case(
            f"metrics.{name}_calibration_error",
            "scores outcomes",
            exact=False,
            # A step apart, tied scores are not tied.
            gradients=("outcomes", "weights"),
            **GIVEN,
        )
        for name in ("kolmogorov_smirnov", "kuiper")
    ),
    # The null of a row of weight 2 is not that of two rows.
    *(
        case(f"metrics.{name}_test", "scores outcomes", exact=False, **FRESH)
        for name in ("kolmogorov_smirnov", "kuiper", "spiegelhalter")
    ),
    case("metrics.rank_correlation", "table"),
    case("metrics.calibration_error_of_table", "table"),
    # A draw picks rows by their position, so rows cannot be moved or removed.
    case(
        "calibration_error_interval",
        "key bins scores outcomes num_resamples",
        rows={},
        exact=False,
        again=True,
    ),
]
