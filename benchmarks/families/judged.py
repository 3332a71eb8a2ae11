"""What is measured of a calibrator, and the rows that it is fitted and judged on.

Shapes: S splits, K sizes of the calibration set.
"""

import dataclasses

import numpy as np

from benchmarks.kit.outputs import Outputs

SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
# More rows to judge on would not narrow the intervals between splits.
_MOST_TEST_ROWS = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A calibrator on one task: means over its models, for each split and size.

    Attributes:
      log_loss: `[S, K]`, in nats; inf if a confidence of 0 or 1 was wrong.
      brier: `[S, K]`, Brier score; summed over the classes where there are some.
      ece: `[S, K]`, of the confidence in the answer, on 15 bins of equal count.
      accuracy: `[S, K]`, share of right answers.
      fitted: `[K]`, share of fits that found an optimum.
    """

    log_loss: np.ndarray
    brier: np.ndarray
    ece: np.ndarray
    accuracy: np.ndarray
    fitted: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of every split.

    Attributes:
      fitted: int32 `[S, n]`; a smaller calibration set is the first of them.
      tested: int32 `[S, m]`.
      sizes: those of the calibration sets, ascending.
    """

    fitted: np.ndarray
    tested: np.ndarray
    sizes: tuple[int, ...]


def rows(outputs: Outputs, seed: int, num_splits: int) -> Rows:
    """At most half of the rows to calibrate on, and others to judge on."""
    num_rows = outputs.num_examples
    sizes = tuple(size for size in SIZES if 2 * size <= num_rows)
    orders = np.stack(
        [
            np.random.default_rng((seed, split)).permutation(num_rows)
            for split in range(num_splits)
        ]
    ).astype(np.int32)
    half = num_rows // 2
    return Rows(
        fitted=orders[:, : sizes[-1]],
        tested=orders[:, half : half + min(half, _MOST_TEST_ROWS)],
        sizes=sizes,
    )


def over_models(found: list[tuple[np.ndarray, np.ndarray]]) -> Judged:
    """Means over models of measures `[S, K, 4]` and of which fits were found."""
    measures = np.mean([measures for measures, _ in found], axis=0, dtype=np.float64)
    return Judged(
        log_loss=measures[..., 0],
        brier=measures[..., 1],
        ece=measures[..., 2],
        accuracy=measures[..., 3],
        fitted=np.mean([fits for _, fits in found], axis=(0, 1)),
    )
