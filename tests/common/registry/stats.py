"""Cases of `calib_jax.stats`."""

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj

from .kit import case

# Functions of any statistic, with any arrays.
OF_STATISTICS = ("bootstrap", "bootstrap_interval")


def weighted_mean(x, weights):
    return jnp.sum(weights * x) / jnp.sum(weights)


def _of_statistic(name, **more):
    """A random key among the arrays, and the statistic among the fixed arguments."""
    function = getattr(cj, name)
    return case(
        name,
        "key x",
        given={
            "key": lambda rng, n: jax.random.key(rng.integers(1000)),
            "x": lambda rng, n: rng.random(n).astype(np.float32),
        },
        static=(),
        call=lambda given: function(given["key"], weighted_mean, 3, given["x"]),
        **more,
    )


CASES = [
    _of_statistic("bootstrap"),
    _of_statistic("bootstrap_interval", again=True),
    # A draw picks rows by their position, so rows cannot be moved or removed.
    case(
        "stats.bootstrap_reliability",
        "key bins scores outcomes num_resamples",
        rows={},
    ),
    case(
        "stats.clopper_pearson",
        "num_successes num_trials confidence_level",
        host=True,
    ),
    case(
        "stats.binomial_p_value",
        "num_successes num_trials",
        given={"max_rate": 0.6},
        host=True,
    ),
    case(
        "stats.hoeffding_bentkus_p_value",
        "num_rows",
        given={"total_loss": lambda rng, n: rng.uniform(0, 9), "max_mean": 0.6},
        again=True,
    ),
    case(
        "stats.betting_p_value",
        "losses",
        given={"max_mean": 0.6},
        exact=False,
        where=True,
    ),
]
