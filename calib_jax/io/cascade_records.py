"""A cascade in one file of plain JSON, and what was promised about it."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jax.typing import ArrayLike

from .._core import checks, domains, plain
from ..binning.tables import ReliabilityTable
from ..calibration.apply import Calibrator
from ..cascade import cost_control, risk_control, selection
from ..cascade.arbiters import Arbiter
from ..cascade.routers import Router
from ..cascade.selection import Selection
from . import steps

# Functions that choose K, with a confidence level and without; one takes both.
_WITH_LEVEL: tuple[Callable[..., Selection], ...] = (
    risk_control.control_accuracy_drop,
    risk_control.control_small_error,
    cost_control.control_cost,
)
_WITHOUT_LEVEL: tuple[Callable[..., Selection], ...] = (
    risk_control.control_regret,
    cost_control.control_cost,
    selection.choose_by_confidence,
    selection.choose_num_small_bins,
)
# By their names in files.
CHOOSING = {choose.__name__: choose for choose in (*_WITH_LEVEL, *_WITHOUT_LEVEL)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise(plain.Result):
    """Which function chose K; its limit and whether it is met are in the `Selection`.

    Attributes:
      made_by: `calib_jax.cascade.control_accuracy_drop`, `control_regret`,
        `control_small_error`, `control_cost`, `choose_by_confidence`, or
        `choose_num_small_bins`. The last two promise nothing about new inputs.
      confidence_level: in (0, 1), as it was passed to `control_accuracy_drop`,
        `control_small_error` or `control_cost`; None for the others, which limit an
        expectation.
    """

    made_by: Callable[..., Selection]
    confidence_level: float | None = None

    def __post_init__(self) -> None:
        function, level = self.made_by, self.confidence_level
        if function not in CHOOSING.values():
            raise ValueError(
                f"made_by: expected one of {', '.join(CHOOSING)}, got "
                f"{getattr(function, '__name__', function)!r}."
            )
        if level is not None:
            checks.error_rate("confidence_level", level)
        if level is None and function not in _WITHOUT_LEVEL:
            raise ValueError(
                f"confidence_level: expected the one passed to {function.__name__}, "
                "got None."
            )
        if level is not None and function not in _WITH_LEVEL:
            raise ValueError(
                f"confidence_level: expected None, because {function.__name__} takes "
                f"none, got {level!r}."
            )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeRecord(plain.Result):
    """What serves a cascade, read by `calib_jax.load` from a file of `save_cascade`.

    With `num_bins` bins of the router and S steps. In JAX, and inside `jax.jit`, decide
    by `use_small(record.router, confidence, record.num_small_bins)`, where scores have
    the confidence `calibrate(record.small_params, scores)`; on the host `keep_small`
    needs no program. Where the large model is asked, its answer is taken, or with an
    arbiter the one that `prefer_large(record.arbiter, small, large)` says, from the
    calibrated confidences of both.

    Attributes:
      router: `Router`.
      num_small_bins: K, the number of bins kept small.
      small_params: of the small model, such as `Platt`: whatever a fit of
        `calib_jax.calibration` returns.
      large_params: the same for the large model, or None.
      arbiter: `Arbiter`, or None: the large model's answer is taken wherever asked.
      serve_edges: float32 `[S - 1]`, ascending, of what the small model's calibrator
        takes, or for logits of classes of the calibrated confidence.
      serve_keep_small: bool `[S]`, whether inputs between two edges stay small.
      small_input: what the score or the logits are, in words, or None.
      large_input: the same for the large model, or None.
      num_rows: number of rows that K was chosen on, or None.
      promise: `Promise`, or None.
      selection: `Selection` of K, or None.
      reference: `ReliabilityTable` of the small model in the router's bins, on the rows
        that K was chosen on, or None.
      versions: of the libraries that wrote the file, by name.
    """

    router: Router
    num_small_bins: int
    small_params: Calibrator
    large_params: Calibrator | None
    arbiter: Arbiter | None
    serve_edges: np.ndarray
    serve_keep_small: np.ndarray
    small_input: str | None
    large_input: str | None
    num_rows: int | None
    promise: Promise | None
    selection: Selection | None
    reference: ReliabilityTable | None
    versions: Mapping[str, str]

    def keep_small(self, x: ArrayLike) -> np.ndarray:
        """Which inputs keep the small model's answer, looked up in the steps.

        Args:
          x: floating `[...]`, raw scores, for a `Beta` raw confidences. For logits of
            classes the calibrated confidence of the model's answer: of a `Temperature`
            that of `calib_jax.top1`, of the others the entry of
            `calib_jax.calibrate` for the class with the largest logit.

        Returns:
          bool `[...]`, a NumPy array; False for NaN.

        Raises:
          ValueError: for a wrong dtype, a traced array, or a confidence outside [0, 1].
        """
        checks.on_host("x", x)
        given = checks.floats("x", x, rank=range(9), axes="[...]")
        values = np.asarray(given)
        if steps.is_confidence(self.small_params):
            checks.in_domain(domains.CONFIDENCE, x=values)
        place = np.searchsorted(self.serve_edges, values, side="right")
        return self.serve_keep_small[place] & ~np.isnan(values)

    def __repr__(self) -> str:
        parts = [
            f"num_small_bins={self.num_small_bins}",
            f"num_bins={self.router.bins.num_bins}",
            f"small_params={type(self.small_params).__name__}",
            f"num_rows={self.num_rows}",
        ]
        if self.arbiter is not None:
            parts.append("with an arbiter")
        if self.promise is not None:
            parts.append(f"promise={self.promise.made_by.__name__}")
        return f"CascadeRecord({', '.join(parts)})"
