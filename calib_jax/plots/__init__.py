"""Figures of the paper, drawn from tables, curves and intervals, never raw arrays.

Every function takes what `calib_jax` computed, by name, and returns a
`matplotlib.figure.Figure` of one panel, as wide as one column of a paper. Nothing here
touches `matplotlib.pyplot`: a figure belongs to its caller and needs no closing. In a
notebook, `%matplotlib inline` shows the figure that ends a cell. Series differ in line
and marker as well as in colour, so they can be told apart in grey. `style` sets sizes
and colours, light or dark; save a PDF inside it to keep its text searchable:

    with plots.style():
        plots.cascade_curves(curves).savefig("cascade.pdf")

Matplotlib comes with the extra `calib-jax[plots]`.

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965,
  Figures 1 (reliability), 2 (cascade) and 4 (cleaning).
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        "calib_jax.plots needs matplotlib: pip install 'calib-jax[plots]'",
        name="matplotlib",
    ) from error

from .advantages import advantage_bars
from .cascades import cascade_curves
from .chains import chain_curves
from .cleaning import cleaning_curves
from .reliability import reliability_diagram
from .selective import risk_coverage
from .styles import style

__all__ = [
    "advantage_bars",
    "cascade_curves",
    "chain_curves",
    "cleaning_curves",
    "reliability_diagram",
    "risk_coverage",
    "style",
]


def __dir__() -> list[str]:
    return __all__
