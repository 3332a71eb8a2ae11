"""Modules that apply fitted parameters: calibrated classifiers, and cascades of two.

Parameters and routers are whole pytrees in variables of their own type, which
`nnx.split` and Orbax see and an optimizer over `nnx.Param` leaves alone.

Shapes: N examples in a batch, C classes, `num_bins` bins.
"""

from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from .._core import checks
from ..calibration.apply import CALIBRATORS, Calibrator, calibrate
from ..calibration.temperature import Temperature
from ..cascade import deferral
from ..cascade.arbiters import Arbiter
from ..cascade.deferral import Deferral
from ..cascade.routers import Router


class Fitted(nnx.Variable):
    """A variable for what was fitted after training; not an `nnx.Param`."""


class Calibrated(nnx.Module):
    """A classifier whose probabilities are calibrated.

    Attributes:
      model: the classifier, unchanged.
      params: `Fitted` variable of the fitted parameters.

    Examples:
      >>> import jax.numpy as jnp, calib_jax as cj
      >>> model = nnx.Linear(1, 2, rngs=nnx.Rngs(0))
      >>> model.kernel[...] = jnp.array([[4.0, 0.0]], jnp.float32)
      >>> params = cj.Temperature(temperature=jnp.float32(2))
      >>> probability = Calibrated(model, params)(jnp.float32([[1.0]]))[0, 0]
      >>> print(f"{probability:.3f}")
      0.881
    """

    def __init__(self, model: nnx.Module, params: Calibrator) -> None:
        """Wraps a model.

        Args:
          model: a module from inputs to what `calib_jax.calibrate` takes for these
            parameters: floating logits `[N, C]`, confidences or scores `[N]`.
          params: parameters that a fit of `calib_jax.calibration` returned.

        Raises:
          ValueError: for another kind of model or parameters.
        """
        checks.instance("model", model, nnx.Module)
        checks.instance("params", params, *CALIBRATORS)
        self.model = model
        self.params = Fitted(params)

    def __call__(self, *inputs: Any, **options: Any) -> jax.Array:
        """Calibrated float32 probabilities `[N, C]`, or `[N]` for scores."""
        return calibrate(self.params.get_value(), self.model(*inputs, **options))


class Deferred(nnx.Module):
    """A cascade as one module: `calib_jax.defer` of two calibrated classifiers.

    Attributes:
      small: `Calibrated` small model.
      large: `Calibrated` large model.
      router: `Fitted` variable of the router.
      num_small_bins: `Fitted` int32 scalar, K; setting it needs no new trace.
      capacity: how many rows of a batch the large model can take.
      arbiter: `Fitted` variable of the arbiter, or None.

    Examples:
      >>> import jax.numpy as jnp, calib_jax as cj
      >>> params = cj.Temperature(temperature=jnp.float32(1))
      >>> small, large = (
      ...     Calibrated(nnx.Linear(3, 2, rngs=nnx.Rngs(seed)), params)
      ...     for seed in (0, 1)
      ... )
      >>> router = cj.fit_router([0.6, 0.9], [0.9, 0.9], num_bins=2)
      >>> cascade = Deferred(small, large, router, num_small_bins=0, capacity=2)
      >>> answers = nnx.jit(Deferred.__call__)(cascade, jnp.ones((5, 3)))
      >>> print(answers.used_large, answers.overflow)
      [ True  True False False False] 3
    """

    def __init__(
        self,
        small: Calibrated,
        large: Calibrated,
        router: Router,
        num_small_bins: int | jax.Array,
        *,
        capacity: int,
        arbiter: Arbiter | None = None,
    ) -> None:
        """Joins two models.

        Args:
          small: the small model, `Calibrated` by a temperature.
          large: the large model, `Calibrated` by a temperature.
          router: `Router` fitted to confidences at these temperatures.
          num_small_bins: the paper's K, 0 to num_bins.
          capacity: static number of rows for the large model, at least 1.
          arbiter: optional `calib_jax.cascade.Arbiter` of these confidences.

        Raises:
          ValueError: for a wrong kind, dtype or count.
        """
        for name, model in (("small", small), ("large", large)):
            checks.instance(name, model, Calibrated)
            checks.instance(f"{name}.params", model.params.get_value(), Temperature)
        checks.instance("router", router, Router)
        self.small, self.large = small, large
        self.router = Fitted(router)
        self.num_small_bins = Fitted(
            checks.traced_int(
                "num_small_bins",
                num_small_bins,
                minimum=0,
                maximum=router.bins.num_bins,
            )
        )
        self.capacity = checks.static_int("capacity", capacity, minimum=1)
        if arbiter is not None:
            checks.instance("arbiter", arbiter, Arbiter)
        self.arbiter = None if arbiter is None else Fitted(arbiter)

    def __call__(self, inputs: Any, *, where: ArrayLike | None = None) -> Deferral:
        """Answers a batch whose padded rows `where` removes: see `calib_jax.defer`."""
        return deferral.defer(
            self.small.model,
            self.large.model,
            inputs,
            small_params=self.small.params.get_value(),
            large_params=self.large.params.get_value(),
            router=self.router.get_value(),
            num_small_bins=self.num_small_bins.get_value(),
            capacity=self.capacity,
            arbiter=None if self.arbiter is None else self.arbiter.get_value(),
            where=where,
        )
