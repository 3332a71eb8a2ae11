"""The paper's pipeline on digits: load, train, calibrate, cascade, clean.

Each stage is a function from the results of earlier stages to a frozen dataclass; none
prints or writes. `run` puts them together.

Everything that is fitted or chosen (temperatures, bins, routers, the number of bins
kept small) comes from the calibration half. The test half is only measured on.

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from . import calibration, cascade, cleaning, data, models
from .calibration import CALIBRATION, TEST
from .data import Data, Settings
from .results import Results


def run(
    settings: Settings, advance: Callable[[str], None] = lambda name: None
) -> Results:
    """Runs the whole pipeline.

    Args:
      settings: what to run.
      advance: called with "small" or "large" after each epoch of that model.

    Returns:
      `Results`.
    """
    keys = jax.random.split(jax.random.key(settings.seed), 5)
    digits = data.load(keys[0], settings)
    small_logits = train_small(keys[1], digits, settings, lambda: advance("small"))
    large_logits = train_large(keys[2], digits, settings, lambda: advance("large"))
    labels = {
        CALIBRATION: jnp.asarray(digits.calibration.labels),
        TEST: jnp.asarray(digits.test.labels),
    }
    small = calibration.calibrate(small_logits, labels, settings.num_bins)
    large = calibration.calibrate(large_logits, labels, settings.num_bins)
    flipped = data.flip(keys[4], labels[TEST], settings.flipped_share)
    return Results(
        settings=settings,
        labels=labels,
        given={**labels, TEST: flipped},
        models={"small": small, "large": large},
        cascade=cascade.compare(
            keys[3], small, large, settings.num_bins, settings.num_draws
        ),
        cleaning=cleaning.clean(
            (small, large), large, flipped, labels[TEST], settings.num_bins
        ),
    )


def train_small(
    key: jax.Array, digits: Data, settings: Settings, advance: Callable[[], None]
) -> dict[str, jax.Array]:
    """Trains the small model and returns its logits on both halves."""
    model_key, order_key = jax.random.split(key)
    model = models.SmallModel(settings.small_hidden, rngs=nnx.Rngs(model_key))
    models.train(model, order_key, digits.train, settings.small_recipe, advance)
    return _logits(model, digits)


def train_large(
    key: jax.Array, digits: Data, settings: Settings, advance: Callable[[], None]
) -> dict[str, jax.Array]:
    """Trains the large model and returns its logits on both halves."""
    model_key, order_key = jax.random.split(key)
    model = models.LargeModel(
        settings.large_channels, settings.large_hidden, rngs=nnx.Rngs(model_key)
    )
    models.train(model, order_key, digits.train, settings.large_recipe, advance)
    return _logits(model, digits)


def _logits(model: nnx.Module, digits: Data) -> dict[str, jax.Array]:
    return {
        CALIBRATION: models.logits(model, digits.calibration.images),
        TEST: models.logits(model, digits.test.images),
    }
