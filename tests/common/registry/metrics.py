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
