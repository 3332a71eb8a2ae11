"""Figures of tables, curves and intervals; needs matplotlib."""

from .figures import cascade_curves, cleaning_curves, reliability_diagram, style

__all__ = ["cascade_curves", "cleaning_curves", "reliability_diagram", "style"]
