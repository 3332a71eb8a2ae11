"""How many labels each method flags on one task, and how many of them are wrong.

Shapes: G groups of experts, M models, N examples, B bins, F filters of cleanlab, P
points on a curve.
"""

import dataclasses
import functools
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import calib_jax as cj
from benchmarks.kit import flags, report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs

_NUM_POINTS = 100
# The precision of fewer labels is too uncertain to draw.
MIN_DRAWN = 20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """How many labels are flagged, and how many of them people found wrong.

    Attributes:
      flagged: int `[...]`.
      judged: int `[...]`, flagged labels that people were asked about.
      wrong: int `[...]`, the judged ones that are wrong.
      precision: float64 `[...]`, share of the judged that is wrong; NaN if none is
        judged.
      low: float64 `[...]`, its Wilson interval at 95 %.
      high: float64 `[...]`, likewise.
      recall: float64 `[...]`, share of all wrong labels that is flagged; NaN where
        people judged only a few labels.
    """

    flagged: np.ndarray
    judged: np.ndarray
    wrong: np.ndarray
    precision: np.ndarray
    low: np.ndarray
    high: np.ndarray
    recall: np.ndarray

    def __getitem__(self, index: Any) -> "Counts":
        return jax.tree.map(lambda array: array[index], self)

    def cell(self) -> str:
        """Precision and its interval in %, as text."""
        if not self.judged:
            return "-"
        bounds = report.interval((self.low, self.high), 1, 100.0)
        return f"{report.percent(self.precision)} {bounds}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagNumbers:
    """All methods on one task; without probabilities the later ones are None.

    Attributes:
      experts: names of each group of experts.
      num_examples: N.
      num_judged: labels that people were asked about.
      num_wrong: judged labels that are wrong.
      num_contradicted: int `[M]`, judged labels that a model contradicts.
      method_1: `Counts` `[G]`.
      agreed: `Counts` `[G]`, Method 1 where all experts predict the same other class.
      method_2: `Counts` `[G, B + 1]`, K from 0.
      half: int `[G]`, the K whose number of flags is nearest to half of Method 1's.
      matched: int `[G]`, the K whose number of flags is nearest to that of cleanlab's
        default filter, else `half`.
      ranking: `CleaningCurve` of arrays `[G, P]`, as in `flags.Contradictions`.
      table: `ReliabilityTable` of arrays `[G, B]`, likewise.
      rank_correlation: float32 `[G]`, likewise.
      thirds: float64 `[G, 2]`, precision in the lowest and the highest third of these
        bins.
      overlap: name of a method to `Counts` `[G, 3]`: flagged by both, only by this
        method, only by the other, which is cleanlab's default filter, else Method 1.
        Method 2 is at K = `matched`.
      method_3: `Counts` `[G]`.
      method_3_alone: `Counts` `[M]`.
      peer: `Counts` `[F, G]`.
      peer_common: `Counts` `[F, G]`.
      peer_alone: `Counts` `[F, M]`.
    """

    experts: tuple[tuple[str, ...], ...]
    num_examples: int
    num_judged: int
    num_wrong: int
    num_contradicted: np.ndarray
    method_1: Counts
    agreed: Counts
    method_2: Counts
    half: np.ndarray
    matched: np.ndarray
    ranking: cj.CleaningCurve
    table: cj.ReliabilityTable
    rank_correlation: np.ndarray
    thirds: np.ndarray
    overlap: Mapping[str, Counts]
    method_3: Counts | None = None
    method_3_alone: Counts | None = None
    peer: Counts | None = None
    peer_common: Counts | None = None
    peer_alone: Counts | None = None

    @property
    def is_complete(self) -> bool:
        """Whether people judged all labels, not only suspects."""
        return _mostly(self.num_judged, self.num_examples)

    def sure(self, group: int, *, matched: bool) -> Counts:
        """Method 2 at K = `matched` or `half`."""
        return self.method_2[group, (self.matched if matched else self.half)[group]]


def evaluate(
    outputs: Outputs,
    halves: Halves,
    num_bins: int,
    filters: tuple[str, ...] = flags.FILTERS,
) -> FlagNumbers:
    """Flags labels by all methods, and counts the wrong ones.

    Args:
      outputs: those of a task with `is_error`, `is_judged` and `experts`.
      halves: those of the same task; the first split counts.
      num_bins: bins of every expert.
      filters: those of cleanlab, its default first.
    """
    fitted = flags.cross_fit(outputs, halves)
    found = flags.contradict(outputs, fitted, num_bins)
    count = functools.partial(
        count_wrong, is_judged=outputs.is_judged, is_error=outputs.is_error
    )
    compared, learned = {}, {}
    other = found.method_1
    half = matched = _nearest(found.method_2, found.method_1.sum(axis=-1) / 2)
    if outputs.logits is not None:
        issues = flags.learn(outputs, fitted, filters)
        fields = [field.name for field in dataclasses.fields(issues)]
        learned = {name: count(getattr(issues, name)) for name in fields}
        compared = {"Method 1": found.method_1, "Method 3": issues.method_3}
        other = issues.peer[0]
        matched = _nearest(found.method_2, other.sum(axis=-1))
    compared["Method 2"] = found.method_2[np.arange(len(matched)), matched]
    return FlagNumbers(
        experts=tuple(
            tuple(outputs.models[model] for model in group) for group in outputs.experts
        ),
        num_examples=outputs.num_examples,
        num_judged=int(outputs.is_judged.sum()),
        num_wrong=int(outputs.is_error.sum()),
        num_contradicted=np.sum(~outputs.correct & outputs.is_judged, axis=-1),
        method_1=count(found.method_1),
        agreed=count(found.agreed),
        method_2=count(found.method_2),
        half=half,
        matched=matched,
        ranking=_thin(
            found.ranking, np.sum(found.method_1 & outputs.is_judged, axis=-1)
        ),
        table=found.table,
        rank_correlation=found.rank_correlation,
        thirds=_thirds(found.table),
        overlap={
            name: count(np.stack([one & other, one & ~other, other & ~one], axis=1))
            for name, one in sorted(compared.items())
        },
        **learned,
    )


def count_wrong(
    flagged: np.ndarray, *, is_judged: np.ndarray, is_error: np.ndarray
) -> Counts:
    """`Counts` `[...]` of flags `[..., N]`."""
    judged = np.sum(flagged & is_judged, axis=-1)
    wrong = np.sum(flagged & is_error, axis=-1)
    # Wilson's interval: the shares that the normal approximation does not reject.
    quantile = statistics.NormalDist().inv_cdf(0.975)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = wrong / judged
        spread = quantile**2 / judged
        centre = (precision + spread / 2) / (1 + spread)
        width = np.sqrt(spread * (precision * (1 - precision) + spread / 4))
        width = width / (1 + spread)
        recall = wrong / np.sum(is_error)
    if not _mostly(is_judged.sum(), is_judged.size):
        recall = np.full_like(recall, np.nan)
    return Counts(
        flagged=flagged.sum(axis=-1),
        judged=judged,
        wrong=wrong,
        precision=precision,
        low=centre - width,
        high=centre + width,
        recall=recall,
    )


def _nearest(flagged: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The K whose flags `[G, K, N]` are nearest in number to the target `[G]`."""
    return np.abs(flagged.sum(axis=-1) - target[:, None]).argmin(axis=-1)


def _thirds(table: cj.ReliabilityTable) -> np.ndarray:
    third = -(-table.count.shape[-1] // 3)
    wrong = table.outcome.astype(np.float64) * table.count
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                wrong[:, part].sum(axis=-1) / table.count[:, part].sum(axis=-1)
                for part in (slice(third), slice(-third, None))
            ],
            axis=-1,
        )


def _mostly(number: int, of: int) -> bool:
    return bool(2 * number > of)


def _thin(curve: cj.CleaningCurve, num_ranked: np.ndarray) -> cj.CleaningCurve:
    """`[G, P]` points from `[G, N]`: evenly spaced ranked rows, and the last row."""
    end = np.maximum(num_ranked - 1, 0)[:, None]
    start = np.minimum(MIN_DRAWN - 1, end)
    steps = np.arange(_NUM_POINTS - 1)
    rows = start + (end - start) * steps // steps[-1]
    last = np.full_like(rows[:, :1], curve.precision.shape[1] - 1)
    rows = np.concatenate([rows, last], axis=1)
    return jax.tree.map(lambda array: np.take_along_axis(array, rows, axis=1), curve)
