"""RESULTS.md from the templates: the preface and each section."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import calib_jax as cj
from benchmarks.kit import report
from benchmarks.kit.report import Draw, Section

from .study import Study

_TEMPLATES = Path(__file__).with_name("templates")


def preface(study: Study) -> str:
    """The versions and settings of the run, and how it differs from the paper."""
    return report.render(
        _TEMPLATES / "preface.md.jinja",
        version=cj.__version__,
        jax_version=jax.__version__,
        backend=jax.default_backend(),
        settings=study.settings,
        missing=study.missing,
    )


def section(
    name: str,
    study: Study,
    numbers: Any,
    *,
    figures: Mapping[str, Draw],
    stored: Any = None,
    **values: Any,
) -> Section:
    """The section of a template.

    Args:
      name: of the template.
      study: its settings, task titles and missing tasks are passed by name.
      numbers: those of the section, passed by name.
      figures: name to a function that draws it.
      stored: numbers for results.json, if different from `numbers`.
      **values: further names.
    """
    return report.section(
        _TEMPLATES / f"{name}.md.jinja",
        stored=numbers if stored is None else stored,
        figures=figures,
        numbers=numbers,
        settings=study.settings,
        titles={name: task.title for name, task in study.tasks.items()},
        missing=study.missing,
        median=np.median,
        **values,
    )
