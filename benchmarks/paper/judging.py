"""Many calibrations, each judged by its ECE and by its cascades.

All tasks share a few compiled programs (batches): the examples of a half are padded to
one of a few lengths and masked.

Shapes: S splits, Z fits a split, M models, P pairs, K ways to bin, n examples of a
half, L examples with padding.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import calib_jax as cj
from benchmarks.kit.halves import Halves, by_temperature, fit_each, take
from benchmarks.kit.outputs import Outputs

from . import batches

NONE, HISTOGRAM, PLATT, TEMPERATURE = "none", "histogram", "Platt", "temperature"

# APGR divides by the gap between two models, so it is averaged over pairs whose large
# model is better by at least a point in every split.
LEAST_GAP = 0.01

# Two APGRs that differ by no more than this count as the same.
TOLERANCE = 0.01

# Every table has this many bins, most of them possibly empty, in one program.
MAX_BINS = 100

# For a large task all splits give nearly the same result, so only as many are used as
# hold this many examples, but at least a few.
_MANY_EXAMPLES, _LEAST_SPLITS = 50_000, 5

# Halves are padded to this many examples, or 5 or 25 times as many, ...: numbers that
# suit the vector units.
_LEAST_LENGTH, _GROWTH = 1000, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Examples of every split, padded.

    Attributes:
      rows: int32 `[S, L]`, rows of the outputs.
      where: bool `[S, 1, L]`, which of them count.
      confidence: float32 `[S, M, L]`, as stated.
      score: float32 `[S, M, L]`, log-odds of the confidence.
      correct: bool `[S, M, L]`.
    """

    rows: np.ndarray
    where: np.ndarray
    confidence: np.ndarray
    score: np.ndarray
    correct: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binning:
    """K ways to bin.

    Attributes:
      counts: int32 `[K]`, numbers of bins.
      equal_width: bool `[K]`, bins of equal width between 0 and 1; else of equal count.
    """

    counts: np.ndarray
    equal_width: np.ndarray


def equal_count(num_bins: int) -> Binning:
    """The binning of all other tables."""
    return Binning(counts=np.array([num_bins], np.int32), equal_width=np.zeros(1, bool))


def splits_of(halves: Halves) -> slice:
    """The splits that are used."""
    count = halves.test.rows.shape[1]
    return slice(max(_LEAST_SPLITS, _MANY_EXAMPLES // count))


def length_for(size: int) -> int:
    """The length that so many examples are padded to."""
    length = _LEAST_LENGTH
    while length < size:
        length *= _GROWTH
    return length


def sample(outputs: Outputs, rows: np.ndarray, length: int) -> Sample:
    """The examples at rows `[S, n]` of the outputs, padded to a length."""
    count = rows.shape[1]
    rows = np.pad(rows, [(0, 0), (0, length - count)])
    where = np.broadcast_to(np.arange(length) < count, (len(rows), 1, length))
    return Sample(
        rows=rows,
        where=where,
        confidence=take(outputs.confidence, rows),
        score=take(outputs.score, rows),
        correct=take(outputs.correct, rows),
    )


def calibrate(
    calibrator: str, fitted: Sample, where: np.ndarray, applied: Sample
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence after a calibrator that takes only the stated confidence.

    Args:
      calibrator: `NONE`, `HISTOGRAM` or `PLATT`.
      fitted: examples to fit on.
      where: bool `[S, Z, L]`, which of these examples are used.
      applied: other examples to calibrate, as many after padding.

    Returns:
      `[S, Z, M, L]` of `fitted` and of `applied`.
    """
    num_models = fitted.score.shape[1]
    shape = (*where.shape[:2], num_models)
    if calibrator == NONE:
        stated = fitted.confidence[:, None], applied.confidence[:, None]
        whole = (*shape, where.shape[-1])
        return np.broadcast_to(stated[0], whole), np.broadcast_to(stated[1], whole)

    def scores(of: Sample) -> np.ndarray:
        return of.score if calibrator == PLATT else of.confidence

    def job(s: np.ndarray, z: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, ...]:
        return (
            scores(fitted)[s, m],
            fitted.correct[s, m],
            where[s, z],
            scores(applied)[s, m],
        )

    return batches.in_batches(
        batches.fit_platt if calibrator == PLATT else batches.fit_histogram, shape, job
    )


def calibrate_logits(
    outputs: Outputs, fitted: Sample, where: np.ndarray, applied: Sample
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence after a temperature, for which the outputs must have logits."""
    if outputs.logits is None or outputs.label is None:
        raise ValueError(f"{outputs.name}: expected logits, got the answers alone.")
    num_splits, num_fits, _ = where.shape
    labels = np.broadcast_to(outputs.label, outputs.correct.shape)
    # Without padding: these programs serve one task anyway.
    used = int(fitted.where[0].sum())
    confidence = fit_each(
        by_temperature,
        (outputs.logits, labels),
        np.repeat(fitted.rows[:, :used], num_fits, axis=0),
        where[..., :used].reshape(-1, used),
    )[0]

    def rows(of: Sample) -> np.ndarray:
        taken = take(np.asarray(confidence), np.repeat(of.rows, num_fits, axis=0))
        return taken.reshape(num_splits, num_fits, *taken.shape[1:])

    return rows(fitted), rows(applied)


def edges_of(confidence: np.ndarray, where: np.ndarray, binning: Binning) -> np.ndarray:
    """Edges `[S, Z, M, K, MAX_BINS - 1]` from `[S, Z, M, L]` and `[S, Z, L]`.

    +inf where there are fewer, so that the last bins are empty.
    """
    # Order statistics take longer the more of them may be asked for.
    most = int(binning.counts.max())
    fresh = np.flatnonzero(~binning.equal_width)

    def job(
        s: np.ndarray, z: np.ndarray, m: np.ndarray, k: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        return confidence[s, z, m], where[s, z], binning.counts[fresh[k]]

    shape = (*confidence.shape[:3], len(binning.counts), MAX_BINS - 1)
    edges = np.full(shape, np.inf, np.float32)
    edges[..., fresh, : most - 1] = batches.in_batches(
        functools.partial(batches.edges, most=most), (*shape[:3], len(fresh)), job
    )
    for k in np.flatnonzero(binning.equal_width):
        even = cj.equal_width_bins(int(binning.counts[k])).edges
        edges[..., k, : len(even)] = even
    return edges


def cascade(
    seen: np.ndarray,
    seen_where: np.ndarray,
    new: np.ndarray,
    correct: np.ndarray,
    where: np.ndarray,
    pairs: np.ndarray,
    binning: Binning,
) -> tuple[np.ndarray, np.ndarray]:
    """Routers fitted on some confidences and used on others.

    Args:
      seen: `[S, Z, M, L]`, confidences on the calibration half.
      seen_where: bool `[S, Z, L]`.
      new: `[S, Z, M, L]`, confidences on the test half.
      correct: bool `[S, M, L]`, of the test half.
      where: bool `[S, Z, L]`, of the test half.
      pairs: int32 `[P, 2]`, the small model first.
      binning: how to bin the small model's confidence.

    Returns:
      APGR float32 `[S, Z, P, K]`, NaN where both models are equally accurate; and how
      many bins of the router hold examples, of the same shape.
    """
    models, first = np.unique(pairs[:, 0], return_inverse=True)
    edges = edges_of(seen[:, :, models], seen_where, binning)

    def job(
        s: np.ndarray, z: np.ndarray, p: np.ndarray, k: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        small, large = pairs[p].T
        return (
            edges[s, z, first[p], k],
            seen[s, z, small],
            seen[s, z, large],
            seen_where[s, z],
            new[s, z, small],
            correct[s, small],
            correct[s, large],
            where[s, z],
        )

    shape = (*seen.shape[:2], len(pairs), len(binning.counts))
    return batches.in_batches(batches.cascade, shape, job)


def errors(
    confidence: np.ndarray,
    outcomes: Sequence[np.ndarray],
    where: np.ndarray,
    binning: Binning,
) -> list[np.ndarray]:
    """ECE `[S, Z, M, K]` from `[S, Z, M, L]`, outcomes `[S, M, L]` and `[S, Z, L]`.

    Bins of equal count are cut from the same confidences.
    """
    edges = edges_of(confidence, where, binning)

    def measure(outcomes: np.ndarray) -> np.ndarray:
        def job(
            s: np.ndarray, z: np.ndarray, m: np.ndarray, k: np.ndarray
        ) -> tuple[np.ndarray, ...]:
            return (
                edges[s, z, m, k],
                confidence[s, z, m],
                outcomes[s, m],
                where[s, z],
            )

        return batches.in_batches(batches.error, edges.shape[:4], job)

    return [measure(each) for each in outcomes]


def gaps(correct: np.ndarray, where: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Accuracy of the large minus that of the small model, `[S, P]`; as in `Sample`."""
    accuracy = np.mean(correct, axis=-1, where=where)
    return accuracy[:, pairs[:, 1]] - accuracy[:, pairs[:, 0]]


def is_clear(gap: np.ndarray) -> np.ndarray:
    """Pairs `[P]` whose large model is clearly better in every split `[S, P]`."""
    return np.all(gap >= LEAST_GAP, axis=0)


def over_clear_pairs(values: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Mean of `[S, ..., P]` over splits and clear pairs; NaN if none is clear."""
    values = values[..., is_clear(gap)]
    shape = values.shape[1:-1]
    return values.mean(axis=(0, -1)) if values.size else np.full(shape, np.nan)


def over_splits(tree: Any) -> Any:
    """Mean and standard deviation of every float array `[S, ...]`, for results.json."""
    if dataclasses.is_dataclass(tree):
        tree = {
            field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)
        }
    if isinstance(tree, Mapping):
        return {key: over_splits(value) for key, value in tree.items()}
    if isinstance(tree, np.ndarray) and tree.dtype.kind == "f":
        return {"mean": tree.mean(axis=0), "deviation": tree.std(axis=0)}
    return tree
