"""Cascades that files hold, with every calibrator."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from calib_jax.cascade import Arbiter

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 1, 600).round(2)
LARGE = np.clip(0.7 + 0.1 * SCORES, 0, 1)
RIGHT, LARGE_RIGHT = (RNG.random((2, 600)) < [1 / (1 + np.exp(-SCORES)), LARGE]).astype(
    bool
)
PLATT, _ = cj.fit_platt(SCORES[:300], RIGHT[:300])
HISTOGRAM, _ = cj.fit_histogram(SCORES[:300], RIGHT[:300], num_bins=4)
TEMPERATURE = cj.Temperature(temperature=jnp.float32(1.3))
ISOTONIC = cj.calibration.Isotonic(
    scores=jnp.float32([-1, 0.1, np.inf]), values=jnp.float32([0.1, 0.7, 0.9])
)
F = jnp.float32
BETA = cj.calibration.Beta(slope=F(0.9), complement_slope=F(0.3), intercept=F(-0.1))
VECTOR = cj.calibration.Vector(scale=F([1, 1 / 3, 2]), bias=F([0.1, 0, -0.1]))
DIRICHLET = cj.calibration.Dirichlet(
    matrix=F([[1, 0.1, 0], [0.2, 1 / 3, 0], [0, 0, -2]]),
    bias=F([0.1, 0, -0.1]),
    strength=F(0.03),
)
ENSEMBLE = cj.calibration.EnsembleTemperature(
    temperature=F(1.3), weights=F([0.75, 0.125, 0.125])
)
ARBITER = Arbiter(small_slope=F(0.75), large_slope=F(1 / 3), intercept=F(-0.1))
CONFIDENCE = cj.calibrate(PLATT, SCORES)
ROUTER = cj.fit_router(CONFIDENCE[:300], LARGE[:300], num_bins=6)
EDGES = np.asarray(ROUTER.bins.edges)
ROWS = CONFIDENCE[300:], RIGHT[300:], LARGE_RIGHT[300:]
CHOSEN = cj.cascade.control_accuracy_drop(ROUTER, *ROWS, 0.1, 0.9)
FULL = {
    "router": ROUTER,
    "num_small_bins": int(CHOSEN.num_small_bins),
    "small_params": PLATT,
    "large_params": HISTOGRAM,
    "arbiter": ARBITER,
    "selection": CHOSEN,
    "promise": cj.io.Promise(
        made_by=cj.cascade.control_accuracy_drop, confidence_level=0.9
    ),
    "reference": cj.reliability_table(ROUTER.bins, *ROWS[:2]),
    "small_input": "mean log-probability of the answer's tokens",
    "large_input": "verbalised confidence",
}
LEAST = {"router": ROUTER, "num_small_bins": 3, "small_params": PLATT}
RECORDS = {
    "full": FULL,
    "least": LEAST,
    "histogram": LEAST | {"small_params": HISTOGRAM, "num_rows": 7},
    "temperature": LEAST | {"small_params": TEMPERATURE, "large_params": TEMPERATURE},
    "isotonic": LEAST | {"small_params": ISOTONIC, "large_params": VECTOR},
    "beta": LEAST | {"small_params": BETA, "large_params": BETA},
    "vector": LEAST | {"small_params": VECTOR, "large_params": ISOTONIC},
    "dirichlet": LEAST | {"small_params": DIRICHLET, "large_params": DIRICHLET},
    "ensemble": LEAST | {"small_params": ENSEMBLE, "large_params": ENSEMBLE},
    "all kept": LEAST | {"num_small_bins": np.int32(6)},
    "unused bins": LEAST
    | {"router": cj.fit_router([0.2, 0.7], [0.5, 0.5], num_bins=6)},
    "constant": LEAST
    | {"small_params": cj.Platt(slope=jnp.float32(0), intercept=jnp.float32(2))},
    "with outcomes": LEAST
    | {
        "router": dataclasses.replace(
            ROUTER,
            table=cj.advantage_table(
                ROUTER.bins,
                ROWS[0],
                LARGE[300:],
                small_outcome=ROWS[1],
                large_outcome=ROWS[2],
            ),
        )
    },
}


def saved(folder, given):
    path = folder / "cascade.json"
    cj.io.save_cascade(path, **given)
    return path, json.loads(path.read_text("utf-8"))
