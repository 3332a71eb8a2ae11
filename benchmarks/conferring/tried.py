"""Ways to fit and to guard an arbiter, in float64 NumPy.

Where the answers differ and one is right, P(large right) is a logistic curve of the two
log-odds. What differs is what the fit is drawn towards, and when it is not trusted.

Shapes: n decisive rows, V variants.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

import calib_jax as cj
from benchmarks.kit import halves, report
from benchmarks.kit.command import Advance
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Section, number

from .pairs import TUNED, of_task

# Calibration rows; None is the whole half.
SIZES = (100, 300, 1000, None)
_NEVER, _NO_PENALTY = -np.inf, 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to fit, and a guard.

    Attributes:
      title: to print.
      penalty: on the mean of the slopes, on half their difference and on the intercept.
      towards: where the penalty is 0: the same three.
      shown: standard errors that the gain has to exceed, else the better model is
        taken.
      folds: 0 to leave out one row at a time, else the number of folds.
    """

    title: str
    penalty: tuple[float, float, float]
    towards: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shown: float = _NEVER
    folds: int = 0


_SURER = (1.0, 0.0, 0.0)
