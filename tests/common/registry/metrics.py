"""Cases of `calib_jax.metrics`."""

from .kit import FRESH, GIVEN, case

CASES = [
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
