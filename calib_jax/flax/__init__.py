"""Calibration in Flax: metrics for a loop, and modules that apply what was fitted.

`import calib_jax` alone imports neither this nor flax.
"""

from .metrics import CalibrationError as CalibrationError
from .metrics import CascadeMetric as CascadeMetric
from .metrics import PlattFit as PlattFit
from .metrics import Reliability as Reliability
from .metrics import TemperatureFit as TemperatureFit
from .modules import Calibrated as Calibrated
from .modules import Deferred as Deferred
from .modules import Fitted as Fitted
