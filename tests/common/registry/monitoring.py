"""Cases of `calib_jax.monitoring`."""

from . import makers
from .kit import case, without_num_masked
from .makers import flags

CASES = [
    # Draws and the breaking of ties depend on the key alone.
    case(
        "monitoring.occupancy_drift",
        "key bins reference_scores scores num_resamples",
        split=without_num_masked,
        exact=False,
        where=True,
        again=True,
    ),
    case(
        "monitoring.estimated_accuracy",
        "router reference_confidence reference_small_outcome reference_large_outcome "
        "small_confidence large_confidence",
        split=without_num_masked,
        exact=False,
        where=True,
        again=True,
    ),
    case(
        "monitoring.calibration_drift",
        "key bins reference_scores reference_outcomes scores outcomes num_resamples",
        given={"reference_outcomes": flags, "outcomes": flags},
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "monitoring.init_monitor",
        "key num_bins confidence_level",
        given={"reference": makers.tied},
        rows={},
        again=True,
    ),
    case(
        "monitoring.update_monitor",
        "key scores",
        given={"state": makers.monitor},
        rows={},
        exact=False,
    ),
    case("monitoring.read_monitor", given={"state": makers.monitor}),
]
