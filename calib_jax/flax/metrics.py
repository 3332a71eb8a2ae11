"""Metrics of a stream: calibration, and what can be fitted, while a loop runs.

A metric is a summary of the rows so far (`calib_jax.streaming`), a pytree in one
variable. `update` adds a batch, without the rows that `mask` leaves out, and `compute`
reads the summary. All of it runs inside `nnx.jit`, `nnx.scan` and `nnx.MultiMetric`,
whose other metrics' arguments are ignored. Summaries of several processes or devices
are merged as they are: `metric.summary.get_value()` is what
`calib_jax.streaming.merge` and `calib_jax.streaming.merge_fits` take.

Shapes: N examples of a batch, C classes, `num_bins` bins.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from .. import confidence, streaming
from .._core import checks
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from ..calibration.platt import Platt
from ..calibration.temperature import Temperature
from ..cascade.routers import Router
from ..streaming import readings
from ..streaming.platt import StreamedPlatt
from ..streaming.readings import Streamed, StreamedCurve, StreamedReliability
from ..streaming.temperature import StreamedFit
from .modules import Fitted


class _OfStream(nnx.Metric):
    """A metric that is a summary, a pytree, in one variable."""

    def __init__(self, summary: Any) -> None:
        self.summary = nnx.metrics.MetricState(summary)

    def _no_rows(self, summary: Any) -> Any:
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets all rows."""
        self.summary.set_value(self._no_rows(self.summary.get_value()))


class Reliability(_OfStream):
    """Reliability table of a stream.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = Reliability(num_bins=2)
      >>> scores, outcomes = jnp.array([0.2, 0.6, 0.8]), jnp.array([0, 1, 0])
      >>> metric.update(confidence=scores, outcomes=outcomes)
      >>> print(metric.compute().table.count)
      [2 1]
    """

    def __init__(
        self, num_bins: int = DEFAULT_NUM_BINS, *, buckets: Bins | None = None
    ) -> None:
        """Starts without rows.

        Args:
          num_bins: static number of equal-count bins.
          buckets: optional `Bins` of the summary; `score_buckets()` where not given.

        Raises:
          ValueError: for a wrong type or count.
        """
        super().__init__(streaming.init_reliability(buckets))
        self.num_bins = readings.checked_num_bins(num_bins)

    def _no_rows(self, summary: Any) -> Any:
        return streaming.init_reliability(summary.buckets)

    def update(
        self,
        *,
        logits: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        outcomes: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        **others: Any,
    ) -> None:
        """Adds a batch: confidence and outcomes, or else logits and labels.

        Args:
          logits: floating `[N, C]`, of which the top-1 confidence is taken.
          labels: integer `[N]`.
          confidence: floating `[N]`, in `[0, 1]`; where given, logits and labels are
            not looked at, and where not, outcomes are not.
          outcomes: bool, integer or floating `[N]` in `[0, 1]`.
          mask: optional bool `[N]`; rows left out may hold anything.
          weights: optional non-negative `[N]`.

        Raises:
          ValueError: for a wrong rank, shape or dtype, or too few arguments.
        """
        if confidence is None:
            confidence, outcomes = _top1(*_given(logits=logits, labels=labels))
        elif outcomes is None:
            raise ValueError("update: expected outcomes with confidence, got none.")
        _no_where(others)
        self.summary.set_value(
            streaming.update_reliability(
                self.summary.get_value(),
                confidence,
                outcomes,
                where=mask,
                weights=weights,
            )
        )

    def compute(self) -> StreamedReliability:
        """The table: see `calib_jax.streaming.reliability_table`."""
        return streaming.reliability_table(self.summary.get_value(), self.num_bins)


class CalibrationError(Reliability):
    """Expected calibration error of a stream; arguments as for `Reliability`.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = CalibrationError(num_bins=2)
      >>> scores, outcomes = jnp.array([0.9, 0.2, 0.6, 0.4]), jnp.array([1, 0, 1, 0])
      >>> metric.update(confidence=scores, outcomes=outcomes)
      >>> error = metric.compute()
      >>> print(f"{error.value:.3f} {error.error_bound:.3f}")
      0.275 0.000
    """

    def compute(self) -> Streamed:  # type: ignore[override]
        """Value and bound: see `calib_jax.streaming.expected_calibration_error`."""
        return streaming.expected_calibration_error(
            self.summary.get_value(), self.num_bins
        )


class TemperatureFit(_OfStream):
    """Temperature of a stream.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = TemperatureFit()
      >>> logits = jnp.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
      >>> metric.update(logits=logits, labels=jnp.array([0, 0, 1, 1]))
      >>> params, fit = metric.compute()
      >>> print(f"{params.temperature:.3f} from {fit.lower:.2f} to {fit.upper:.2f}")
      3.641 from 3.49 to 4.48
    """

    def __init__(self, log_temperatures: ArrayLike | None = None) -> None:
        """Starts without rows.

        Args:
          log_temperatures: optional grid `[G]`: see
            `calib_jax.streaming.init_temperature`.

        Raises:
          ValueError: for a wrong grid.
        """
        super().__init__(streaming.init_temperature(log_temperatures))

    def _no_rows(self, summary: Any) -> Any:
        return streaming.init_temperature(summary.log_temperatures)

    def update(
        self,
        *,
        logits: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        class_where: ArrayLike | None = None,
        **others: Any,
    ) -> None:
        """Adds a batch.

        Args:
          logits: floating `[N, C]`.
          labels: integer `[N]` in `[0, C)`.
          mask: optional bool `[N]`; rows left out may hold anything.
          weights: optional non-negative `[N]`.
          class_where: optional bool `[C]` or `[N, C]`, the classes that take part.

        Raises:
          ValueError: for a wrong rank, shape or dtype.
        """
        _no_where(others)
        self.summary.set_value(
            streaming.update_temperature(
                self.summary.get_value(),
                *_given(logits=logits, labels=labels),
                where=mask,
                weights=weights,
                class_where=class_where,
            )
        )

    def compute(self) -> tuple[Temperature, StreamedFit]:
        """Temperature and report: see `calib_jax.streaming.fit_temperature`."""
        return streaming.fit_temperature(self.summary.get_value())


class PlattFit(_OfStream):
    """Slope and intercept of a stream of scores.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = PlattFit()
      >>> scores = jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
      >>> metric.update(scores=scores, outcomes=jnp.array([0, 0, 1, 0, 1, 1]))
      >>> params, fit = metric.compute()
      >>> print(f"{params.slope:.3f} {params.intercept:.3f}")
      1.214 -0.607
    """

    def __init__(self, num_buckets: int = streaming.platt.DEFAULT_NUM_BUCKETS) -> None:
        """Starts without rows.

        Args:
          num_buckets: static: see `calib_jax.streaming.init_platt`.

        Raises:
          ValueError: for a wrong number.
        """
        super().__init__(streaming.init_platt(num_buckets))

    def _no_rows(self, summary: Any) -> Any:
        return streaming.init_platt(summary.least.shape[-1])

    def update(
        self,
        *,
        scores: ArrayLike | None = None,
        outcomes: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        **others: Any,
    ) -> None:
        """Adds a batch.

        Args:
          scores: floating `[N]`, finite.
          outcomes: bool, integer or floating `[N]` in `[0, 1]`.
          mask: optional bool `[N]`; rows left out may hold anything.
          weights: optional non-negative `[N]`.

        Raises:
          ValueError: for a wrong rank, shape or dtype.
        """
        _no_where(others)
        self.summary.set_value(
            streaming.update_platt(
                self.summary.get_value(),
                *_given(scores=scores, outcomes=outcomes),
                where=mask,
                weights=weights,
            )
        )

    def compute(self) -> tuple[Platt, StreamedPlatt]:
        """Parameters and report: see `calib_jax.streaming.fit_platt`."""
        return streaming.fit_platt(self.summary.get_value())


class CascadeMetric(_OfStream):
    """Accuracy against share of a cascade on a stream: of a router, or a fresh one.

    Without a router, one is fitted to the stream itself: its advantages are then those
    of the rows it is judged by. Where its cuts divide a bucket, bins of it may change
    places with those of a router of the rows, so that the bound is infinite.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = CascadeMetric(num_bins=2)
      >>> metric.update(
      ...     small_confidence=jnp.array([0.2, 0.8]),
      ...     large_confidence=jnp.array([0.9, 0.7]),
      ...     small_outcome=jnp.array([0, 1]),
      ...     large_outcome=jnp.array([1, 1]),
      ... )
      >>> print(metric.compute().curve.accuracy)
      [1.  1.  0.5]
    """

    def __init__(
        self,
        router: Router | None = None,
        *,
        num_bins: int = DEFAULT_NUM_BINS,
        buckets: Bins | None = None,
    ) -> None:
        """Starts without rows.

        Args:
          router: optional `Router` to judge; its bins are the buckets of the summary,
            so that the curve is exact.
          num_bins: static number of bins of the fresh router, where none is given.
          buckets: optional `Bins` of the summary for the fresh router;
            `score_buckets()` where not given.

        Raises:
          ValueError: for a wrong type or count.
        """
        if router is not None:
            checks.instance("router", router, Router)
            buckets = router.bins
        super().__init__(streaming.init_cascade(buckets))
        self.router = None if router is None else Fitted(router)
        self.num_bins = readings.checked_num_bins(num_bins)

    def _no_rows(self, summary: Any) -> Any:
        return streaming.init_cascade(summary.buckets)

    def update(
        self,
        *,
        small_confidence: ArrayLike | None = None,
        large_confidence: ArrayLike | None = None,
        small_outcome: ArrayLike | None = None,
        large_outcome: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        **others: Any,
    ) -> None:
        """Adds a batch.

        Args:
          small_confidence: floating `[N]`, in `[0, 1]`, of the small model.
          large_confidence: the same of the large model.
          small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
            model's answer is correct.
          large_outcome: the same for the large model's.
          mask: optional bool `[N]`; rows left out may hold anything.
          weights: optional non-negative `[N]`.

        Raises:
          ValueError: for a wrong rank, shape or dtype.
        """
        rows = {
            "small_confidence": small_confidence,
            "large_confidence": large_confidence,
            "small_outcome": small_outcome,
            "large_outcome": large_outcome,
        }
        _no_where(others)
        self.summary.set_value(
            streaming.update_cascade(
                self.summary.get_value(), *_given(**rows), where=mask, weights=weights
            )
        )

    def compute(self) -> StreamedCurve:
        """The curve: see `calib_jax.streaming.cascade_curve`."""
        summary = self.summary.get_value()
        if self.router is not None:
            return streaming.cascade_curve(summary, self.router.get_value())
        found = streaming.fit_router(summary, self.num_bins)
        result = streaming.cascade_curve(summary, found.router)
        exact = found.error_bound == 0
        bound = jnp.where(exact, result.error_bound, jnp.inf)
        return dataclasses.replace(result, error_bound=bound)


def _no_where(others: dict[str, Any]) -> None:
    """A mask by the name that functions use must not be taken for another metric's."""
    if others.get("where") is not None:
        raise ValueError("update: expected the mask as mask=, got where=.")


def _given(**arrays: ArrayLike | None) -> tuple[ArrayLike, ...]:
    """The arrays, all of which have to be there: `update` is given those of others."""
    given = tuple(array for array in arrays.values() if array is not None)
    if len(given) < len(arrays):
        absent = [name for name, array in arrays.items() if array is None]
        raise ValueError(
            f"update: expected {', '.join(arrays)}, got no {', '.join(absent)}."
        )
    return given


def _top1(logits: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    best = confidence.top1(checks.logits("logits", logits, rank=2, axes="[N, C]"))
    label = checks.integers("labels", labels)
    checks.same_shape(logits=best.prediction, labels=label)
    return best.confidence, best.prediction == label
