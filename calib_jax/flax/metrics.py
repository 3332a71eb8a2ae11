"""Metrics of a stream: calibration error and fits while a loop runs.

A metric keeps a summary of the rows so far (`calib_jax.streaming`), a pytree in one
variable. `update` adds a batch and `compute` reads the summary. Both run inside
`nnx.jit`, `nnx.scan` and `nnx.MultiMetric`; arguments meant for other metrics are
ignored. Summaries of several processes or devices are `metric.summary.get_value()`, and
`calib_jax.streaming.merge` joins them.

Shapes: N examples in a batch, C classes, `num_bins` bins. Rows that `mask` removes may
hold anything.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from .. import streaming
from .._core import checks, dispatch
from .._core.domains import Confidence, Outcome, Weights
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from ..calibration.platt import Platt
from ..calibration.temperature import Temperature
from ..cascade.routers import Router
from ..confidence import classes
from ..streaming import buckets as stream_buckets
from ..streaming import cuts, states
from ..streaming.platt import DEFAULT_NUM_BUCKETS
from ..streaming.results import FitReading, Reading
from ..streaming.states import ReliabilitySummary
from .modules import Fitted


class _OfStream(nnx.Metric):
    """A metric that is a summary, a pytree, in one variable."""

    def __init__(self, summary: Any) -> None:
        self.summary = nnx.metrics.MetricState(summary)

    def reset(self) -> None:
        """Forgets all rows."""
        self.summary.set_value(states.without_rows(self.summary.get_value()))

    def _add(self, update: Any, rows: dict[str, Any], others: Any, **more: Any) -> None:
        """Adds rows, all of which must be given; `others` are for other metrics."""
        if others.get("where") is not None:
            raise ValueError("update: expected the mask as mask=, got where=.")
        absent = [name for name, array in rows.items() if array is None]
        if absent:
            raise ValueError(
                f"update: expected {', '.join(rows)}, got no {', '.join(absent)}."
            )
        summary = self.summary.get_value()
        self.summary.set_value(update(summary, *rows.values(), **more))


class Reliability(_OfStream):
    """Reliability table of a stream.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = Reliability(num_bins=2)
      >>> scores, outcomes = jnp.array([0.2, 0.6, 0.8]), jnp.array([0, 1, 0])
      >>> metric.update(confidence=scores, outcomes=outcomes)
      >>> print(metric.compute().value.count)
      [2 1]
    """

    def __init__(
        self, num_bins: int = DEFAULT_NUM_BINS, *, buckets: Bins | None = None
    ) -> None:
        """Starts without rows.

        Args:
          num_bins: static number of equal-count bins.
          buckets: optional `Bins` of the summary; default `score_buckets()`.

        Raises:
          ValueError: for a wrong type or count.
        """
        super().__init__(streaming.init_reliability(buckets))
        self.num_bins = cuts.checked_num_bins(num_bins)

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
        """Adds a batch: either confidence and outcomes, or logits and labels.

        Args:
          logits: floating `[N, C]`, whose top-1 confidence is taken; ignored, with the
            labels, if `confidence` is given.
          labels: integer `[N]` in `[0, C)`; a valid row with another label makes the
            result NaN. Mask those that mean "ignore", as in `mask=labels >= 0`.
          confidence: floating `[N]`, in `[0, 1]`.
          outcomes: bool, integer or floating `[N]` in `[0, 1]`; ignored if `confidence`
            is not given.
          mask: optional bool `[N]`.
          weights: optional non-negative `[N]`.

        Raises:
          ValueError: for a wrong rank, shape or dtype, a host value outside its range,
            or too few arguments.
        """
        more = {"where": mask, "weights": weights}
        if confidence is None:
            rows = {"logits": logits, "labels": labels}
            self._add(_update_of_logits, rows, others, **more)
        elif outcomes is None:
            raise ValueError("update: expected outcomes with confidence, got none.")
        else:
            rows = {"confidence": confidence, "outcomes": outcomes}
            self._add(_update_of_confidence, rows, others, **more)

    def compute(self) -> Reading:
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

    def compute(self) -> Reading:
        """Value and bound: see `calib_jax.streaming.expected_calibration_error`."""
        summary = self.summary.get_value()
        return streaming.expected_calibration_error(summary, self.num_bins)


class BrierScore(Reliability):
    """Brier score of one confidence and its outcome; arguments as for `Reliability`.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = BrierScore()
      >>> metric.update(confidence=jnp.array([0.9, 0.4]), outcomes=jnp.array([1, 0]))
      >>> print(metric.compute().value.round(3))
      0.085
    """

    def compute(self) -> Reading:
        """Value, exact: see `calib_jax.streaming.brier_score`."""
        return streaming.brier_score(self.summary.get_value())


class MulticlassLogLoss(_OfStream):
    """Mean negative log-probability of the label (NLL), in nats, of a stream of logits.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = MulticlassLogLoss()
      >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
      >>> metric.update(logits=logits, labels=jnp.array([0, 1]))
      >>> print(metric.compute().round(3))
      0.49
    """

    def __init__(self) -> None:
        """Starts without rows."""
        super().__init__(streaming.init_class_losses())

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
        """Adds a batch: see `streaming.update_class_losses`; `mask` is its `where`."""
        rows = {"logits": logits, "labels": labels}
        more = {"where": mask, "weights": weights, "class_where": class_where}
        self._add(streaming.update_class_losses, rows, others, **more)

    def compute(self) -> jax.Array:
        """The mean: see `calib_jax.streaming.multiclass_log_loss`."""
        return streaming.multiclass_log_loss(self.summary.get_value())


class MulticlassBrierScore(MulticlassLogLoss):
    """Brier score over all classes, 0 to 2; arguments as for `MulticlassLogLoss`.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = MulticlassBrierScore()
      >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
      >>> metric.update(logits=logits, labels=jnp.array([0, 1]))
      >>> print(metric.compute())
      0.3125
    """

    def compute(self) -> jax.Array:
        """The mean: see `calib_jax.streaming.multiclass_brier_score`."""
        return streaming.multiclass_brier_score(self.summary.get_value())


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
        """Starts without rows: see `calib_jax.streaming.init_temperature`."""
        super().__init__(streaming.init_temperature(log_temperatures))

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
        """Adds a batch: see `streaming.update_temperature`; `mask` is its `where`."""
        rows = {"logits": logits, "labels": labels}
        more = {"where": mask, "weights": weights, "class_where": class_where}
        self._add(streaming.update_temperature, rows, others, **more)

    def compute(self) -> tuple[Temperature, FitReading]:
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

    def __init__(self, num_buckets: int = DEFAULT_NUM_BUCKETS) -> None:
        """Starts without rows: see `calib_jax.streaming.init_platt`."""
        super().__init__(streaming.init_platt(num_buckets))

    def update(
        self,
        *,
        scores: ArrayLike | None = None,
        outcomes: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        **others: Any,
    ) -> None:
        """Adds a batch: see `streaming.update_platt`; `mask` is its `where`."""
        rows = {"scores": scores, "outcomes": outcomes}
        more = {"where": mask, "weights": weights}
        self._add(streaming.update_platt, rows, others, **more)

    def compute(self) -> tuple[Platt, FitReading]:
        """Parameters and report: see `calib_jax.streaming.fit_platt`."""
        return streaming.fit_platt(self.summary.get_value())


class CascadeMetric(_OfStream):
    """Accuracy against share of a cascade on a stream, for a given or a fresh router.

    Without a router, one is fitted to the stream itself, so it is judged by the rows it
    was fitted to. The bound is then infinite if a cut of that router divides a bucket:
    its bins may change places with those of a router fitted to the rows.

    Examples:
      >>> import jax.numpy as jnp
      >>> metric = CascadeMetric(num_bins=2)
      >>> metric.update(
      ...     small_confidence=jnp.array([0.2, 0.8]),
      ...     large_confidence=jnp.array([0.9, 0.7]),
      ...     small_outcome=jnp.array([0, 1]),
      ...     large_outcome=jnp.array([1, 1]),
      ... )
      >>> print(metric.compute().value.accuracy)
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
          router: optional `Router` to judge. Its bins become the buckets of the
            summary, so the curve is exact.
          num_bins: static number of bins of the fresh router, if none is given.
          buckets: optional `Bins` of the summary for the fresh router; default
            `score_buckets()`.

        Raises:
          ValueError: for a wrong type or count.
        """
        if router is not None:
            checks.instance("router", router, Router)
            buckets = router.bins
        super().__init__(streaming.init_cascade(buckets))
        self.router = None if router is None else Fitted(router)
        self.num_bins = cuts.checked_num_bins(num_bins)

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
        """Adds a batch: see `streaming.update_cascade`; `mask` is its `where`."""
        rows = {
            "small_confidence": small_confidence,
            "large_confidence": large_confidence,
            "small_outcome": small_outcome,
            "large_outcome": large_outcome,
        }
        more = {"where": mask, "weights": weights}
        self._add(streaming.update_cascade, rows, others, **more)

    def compute(self) -> Reading:
        """The curve: see `calib_jax.streaming.cascade_curve`."""
        summary = self.summary.get_value()
        if self.router is not None:
            return streaming.cascade_curve(summary, self.router.get_value())
        found = streaming.fit_router(summary, self.num_bins)
        curve = streaming.cascade_curve(summary, found.value)
        bound = jnp.where(found.error_bound == 0, curve.error_bound, jnp.inf)
        return dataclasses.replace(curve, error_bound=bound)


def _update_of_confidence(
    state: ReliabilitySummary,
    confidence: ArrayLike,
    outcomes: ArrayLike,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> Any:
    rows = (
        checks.floats("confidence", confidence),
        checks.outcomes("outcomes", outcomes),
    )
    mask, weight = _checked_mask(where, weights)
    checks.same_shape(confidence=rows[0], outcomes=rows[1], mask=mask, weights=weight)
    return _add_confidence(state, *rows, mask, weight)


def _update_of_logits(
    state: ReliabilitySummary,
    logits: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> Any:
    array = checks.logits("logits", logits, rank=2, axes="[N, C]")
    label = checks.integers("labels", labels)
    mask, weight = _checked_mask(where, weights)
    checks.same_rows(logits=array, labels=label, mask=mask, weights=weight)
    return _add_logits(state, array, label, mask, weight)


def _checked_mask(where: ArrayLike | None, weights: ArrayLike | None) -> Any:
    return checks.mask("mask", where), checks.weights("weights", weights)


@dispatch.core(rows=["confidence", "outcomes", "where", "weights"])
def _add_confidence(
    state: ReliabilitySummary,
    confidence: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> Any:
    return stream_buckets.add_scores(state, confidence, outcomes, where, weights)


@dispatch.core(rows=["logits N C", "labels", "where", "weights"])
def _add_logits(
    state: ReliabilitySummary,
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
) -> Any:
    best = classes.best_class(logits, jnp.float32(1), None)
    right = classes.is_right(best.prediction, labels, logits.shape[-1])
    return stream_buckets.add_scores(state, best.confidence, right, where, weights)
