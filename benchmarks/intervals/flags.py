"""Coverage of the intervals of precision and recall."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .calibration_errors import NUM_ROWS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """The results of many samples.

    Attributes:
      num_rows: rows of a sample.
      precision: in the population, where a tenth of the rows is flagged.
      precision_coverage: share of the intervals that contain it.
      precision_width: their mean width.
      recall: in the population.
      recall_coverage: likewise.
      recall_width: likewise.
    """

    num_rows: int
    precision: float
    precision_coverage: float
    precision_width: float
    recall: float
    recall_coverage: float
    recall_width: float


_FLAGGED, _MISSED = 0.1, 0.05


def settings(rows: Sequence[int] = NUM_ROWS) -> Iterator[tuple[int, float]]:
    """Every combination of rows and precision."""
    for num_rows in rows:
        for precision in (0.2, 0.5, 0.8, 0.95):
            yield num_rows, precision


def cover(num_rows: int, precision: float, *, seed: int, num_samples: int) -> Coverage:
    """Draws samples and counts."""
    errors = _FLAGGED * precision + (1 - _FLAGGED) * _MISSED
    recall = _FLAGGED * precision / errors
    found = jax.tree.map(
        np.asarray,
        _samples(
            jax.random.key(seed),
            jnp.float32(precision),
            num_rows=num_rows,
            num_samples=num_samples,
        ),
    )

    def held(interval: cj.Interval, true: float) -> float:
        return float(np.mean((interval.lower <= true) & (true <= interval.upper)))

    def width(interval: cj.Interval) -> float:
        return float(np.mean(interval.upper - interval.lower))

    return Coverage(
        num_rows=num_rows,
        precision=precision,
        precision_coverage=held(found.precision, precision),
        precision_width=width(found.precision),
        recall=recall,
        recall_coverage=held(found.recall, recall),
        recall_width=width(found.recall),
    )


@functools.partial(jax.jit, static_argnames=("num_rows", "num_samples"))
def _samples(
    key: jax.Array, precision: jax.Array, *, num_rows: int, num_samples: int
) -> cj.cleaning.CleaningInterval:
    def one(key: jax.Array) -> cj.cleaning.CleaningInterval:
        flag, error = jax.random.uniform(key, (2, num_rows))
        flagged = flag < _FLAGGED
        return cj.cleaning.cleaning_interval(
            flagged, error < jnp.where(flagged, precision, _MISSED)
        )

    return lax.map(one, jax.random.split(key, num_samples), batch_size=100)
