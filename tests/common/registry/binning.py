"""Cases of `calib_jax.binning`."""

import jax.numpy as jnp

from .kit import GIVEN, all_rows, case
from .makers import NUM_BINS

CASES = [
    case("equal_count_bins", "scores num_bins", where=True),
    case(
        "equal_count_bins",
        "scores num_bins max_bins",
        "max_bins",
        given={"num_bins": lambda rng, n: jnp.int32(rng.integers(2, NUM_BINS))},
        static=("max_bins",),
        where=True,
    ),
    case("equal_width_bins", "num_bins", given={"lower": -1.0, "upper": 2.0}),
    case("bin_index", "bins scores", split=all_rows),
    case("reliability_table", "bins scores outcomes", **GIVEN),
]
