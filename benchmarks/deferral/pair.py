"""A small and a large model, trained and calibrated, and cascades of them."""

import dataclasses
import math
from collections.abc import Callable

import jax
from flax import nnx

import calib_jax as cj
from calib_jax.demo import data, models
from calib_jax.demo.data import Data
from calib_jax.flax import Calibrated, Deferred

# The share of rows sent is a mean, and a batch may have more by chance: so many
# standard deviations more still fit. Rounded up to whole vectors of the processor.
_DEVIATIONS, _MULTIPLE = 2.0, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models fitted on the calibration half.

    Attributes:
      small: the small model.
      large: the large model.
      router: fitted on their calibrated confidences.
      curve: on the same half; K and capacities are chosen from it.
    """

    small: Calibrated
    large: Calibrated
    router: cj.Router
    curve: cj.CascadeCurve

    def cascade(self, num_small_bins: int, batch_size: int) -> Deferred:
        """The cascade for one K and batch size."""
        sent = 1.0 - float(self.curve.small_share[num_small_bins])
        return Deferred(
            self.small,
            self.large,
            self.router,
            num_small_bins,
            capacity=capacity(sent, batch_size),
        )

    def most_small_bins(self, loss: float) -> int:
        """The largest K at which the calibration half loses at most some accuracy."""
        least = self.curve.large_accuracy - loss
        chosen = cj.choose_num_small_bins(self.curve, min_accuracy=least)
        return int(chosen.num_small_bins)


def capacity(share: float, batch_size: int) -> int:
    """Rows for the large model, where a share of all rows is sent to it."""
    deviation = math.sqrt(batch_size * share * (1.0 - share))
    rows = math.ceil((batch_size * share + _DEVIATIONS * deviation) / _MULTIPLE)
    return min(max(rows, 1) * _MULTIPLE, batch_size)


def train(
    key: jax.Array, digits: Data, settings: data.Settings, advance: Callable[[], None]
) -> Pair:
    """Trains both models as the demo does, and fits what a cascade needs.

    Args:
      key: for the models and the order of the images.
      digits: those of the demo.
      settings: those of the demo.
      advance: called after every epoch.
    """
    keys = jax.random.split(key, 4)
    small = models.SmallModel(settings.small_hidden, rngs=nnx.Rngs(keys[0]))
    models.train(small, keys[1], digits.train, settings.small_recipe, advance)
    large = models.LargeModel(
        settings.large_channels, settings.large_hidden, rngs=nnx.Rngs(keys[2])
    )
    models.train(large, keys[3], digits.train, settings.large_recipe, advance)
    labels = digits.calibration.labels
    calibrated, best = [], []
    for model in (small, large):
        logits = models.logits(model, digits.calibration.images)
        params, _ = cj.fit_temperature(logits, labels)
        calibrated.append(Calibrated(model, params))
        best.append(cj.top1(logits, params.temperature))
    router = cj.fit_router(
        best[0].confidence, best[1].confidence, num_bins=settings.num_bins
    )
    curve = cj.cascade_curve(
        router,
        best[0].confidence,
        best[0].prediction == labels,
        best[1].prediction == labels,
    )
    return Pair(small=calibrated[0], large=calibrated[1], router=router, curve=curve)
