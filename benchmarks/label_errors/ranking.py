"""Which score ranks wrong labels first, and what calibration changes.

Shapes: N examples, B resamples of the examples.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import calib_jax as cj
from benchmarks.kit import report

from . import ranking_cases, ranking_scores
from .ranking_cases import Case

LENGTHS = (50, 100, 500)
FORETOLD = (20, 50, 100, 200, 500, 1000)
NUM_TOP_BINS = 10
# Scores that ask for a confident other answer, and methods that flag by it.
_AGAINST = (
    ranking_scores.LEAST,
    ranking_scores.TIMES,
    ranking_scores.SIGNED,
    ranking_scores.MARGIN,
    "cleanlab, margin",
)
_FLAGS_AGAINST = (f"Method 2, K = {NUM_TOP_BINS}", "cleanlab")
# Differences in precision of fewer flags are those of single labels.
_FEW = 20
# The stream of random numbers of the bootstrap.
_SEED = 2021


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """How well one score ranks the labels of a case; means over splits.

    Attributes:
      average_precision: of the whole ranking of the judged labels.
      low: end of its 95 % bootstrap interval over the labels.
      high: the other end.
      precision: among the first 50, 100 and 500.
      recall: share of the wrong labels among as many first ones as there are wrong
        ones.
      behind: average precision less that of the pool, or of the product of the
        probabilities where there is no pool.
      behind_low: end of its interval.
      behind_high: the other end.
    """

    average_precision: float
    low: float
    high: float
    precision: Sequence[float]
    recall: float
    behind: float
    behind_low: float
    behind_high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """Labels that a method flags, against as many first ones of the default ranking.

    Attributes:
      num_flagged: judged labels that are flagged.
      precision: share of them that are wrong.
      ranked: share among as many first labels of the ranking.
    """

    num_flagged: float
    precision: float
    ranked: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foretold:
    """The expected precision of the first labels, and the actual one.

    Attributes:
      length: how many labels.
      actual: share of them that are wrong.
      estimate: the share expected.
      lower: lower end of its 95 % interval.
      upper: upper end.
    """

    length: int
    actual: float
    estimate: float
    lower: float
    upper: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """One case.

    Attributes:
      title: the labels.
      num_models: that judge them.
      num_judged: labels of which it is known whether they are wrong.
      num_wrong: wrong ones.
      is_complete: whether all labels were judged.
      made: whether errors were made by flipping.
      calibrated: by score.
      raw: likewise, of the models as they are.
      change: average precision after less before calibration, with the ends of its
        interval, by score.
      flags: by method.
      foretold: by `find_label_issues`, where all labels were judged.
    """

    title: str
    num_models: int
    num_judged: int
    num_wrong: int
    is_complete: bool
    made: bool
    calibrated: Mapping[str, Ranking]
    raw: Mapping[str, Ranking]
    change: Mapping[str, Sequence[float]]
    flags: Mapping[str, Flags]
    foretold: Sequence[Foretold]


def evaluate(
    folder: Path,
    *,
    seed: int,
    num_splits: int,
    num_resamples: int,
    advance: Callable[[str], None] = lambda step: None,
) -> list[Ranked]:
    """Ranks the labels of every case of the folder."""
    found = []
    for case in ranking_cases.read(folder, seed):
        found.append(_of_case(case, seed, num_splits, num_resamples))
        advance(f"{case.title}, {len(case.outputs.models)} models")
    return found


def _of_case(case: Case, seed: int, num_splits: int, num_resamples: int) -> Ranked:
    task = case.outputs
    judged = task.is_judged
    is_error = task.is_error[judged]
    # How often each judged label is drawn; the first draw is the labels themselves.
    draw = np.random.default_rng((seed, _SEED)).poisson(
        1.0, (num_resamples, len(is_error))
    )
    weights = np.concatenate([np.ones((1, len(is_error))), draw]).astype(np.float32)

    confidence, probabilities = ranking_scores.raw(task)
    before = dict(ranking_scores.every(case, confidence, probabilities))
    after: dict[str, list[np.ndarray]] = {}
    foretold: list[Foretold] = []
    if probabilities is not None:
        ranked = jax.device_get(ranking_scores.ranked(case, probabilities))
        pool = ranking_scores.places(ranked.order)
        if case.is_complete:
            foretold = _foretold(ranked, task.is_error)
    flags: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for split in range(num_splits):
        confidence, own = ranking_scores.calibrated(case, seed + split)
        scores = dict(ranking_scores.every(case, confidence, own))
        if probabilities is not None:
            scores[ranking_scores.POOL] = pool
        for name, score in scores.items():
            after.setdefault(name, []).append(score[judged])
        methods = {
            "Method 1": ranking_scores.method_1(case),
            f"Method 2, K = {NUM_TOP_BINS}": ranking_scores.method_2(
                case, confidence, NUM_TOP_BINS
            ),
        }
        if own is not None:
            methods["cleanlab"] = ranking_scores.peer_flags(case, own)
        default = scores[_default(scores)]
        for name, flagged in methods.items():
            flags.setdefault(name, []).append((flagged[judged], default[judged]))
    if probabilities is not None:
        before[ranking_scores.POOL] = ranking_scores.equal_pool(case, probabilities)

    def measured(scores: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
        """Draws of the first split, moved to the mean over all, which hardly differ."""
        found = {}
        for name, splits in scores.items():
            draws = _average_precision(splits[0], is_error, weights)
            plain = [_average_precision(s, is_error, weights[:1])[0] for s in splits]
            found[name] = draws + (np.mean(plain) - draws[0])
        return found

    plain = {name: [score[judged]] for name, score in before.items()}
    drawn, drawn_before = measured(after), measured(plain)
    default = _default(drawn)
    return Ranked(
        title=case.title,
        num_models=len(task.models),
        num_judged=len(is_error),
        num_wrong=int(is_error.sum()),
        is_complete=case.is_complete,
        made=case.made,
        calibrated={
            name: _ranking(values, drawn[default], after[name], is_error)
            for name, values in drawn.items()
        },
        raw={
            name: _ranking(values, drawn_before[default], plain[name], is_error)
            for name, values in drawn_before.items()
        },
        change={
            name: _ends(values - drawn_before[name]) for name, values in drawn.items()
        },
        flags={name: _flags(splits, is_error) for name, splits in flags.items()},
        foretold=foretold,
    )


def _foretold(ranked: cj.cleaning.RankedLabels, is_error: np.ndarray) -> list[Foretold]:
    wrong = is_error[ranked.order]
    return [
        Foretold(
            length=length,
            actual=float(wrong[:length].mean()),
            estimate=float(ranked.expected_precision[length - 1]),
            lower=float(ranked.expected_lower[length - 1]),
            upper=float(ranked.expected_upper[length - 1]),
        )
        for length in FORETOLD
        if length <= len(wrong)
    ]


def _default(scores: Mapping[str, Any]) -> str:
    pool = ranking_scores.POOL
    return pool if pool in scores else ranking_scores.PRODUCT


def _average_precision(
    score: np.ndarray, is_error: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Average precision of each draw, `[1 + B]`; ties are in the order of the rows."""
    order = np.argsort(-score, kind="stable")
    wrong = is_error[order]
    found = np.empty(len(weights))
    for number, draw in enumerate(weights):
        weight = draw[order].astype(np.float64)
        hits = np.cumsum(weight * wrong)
        seen = np.maximum(np.cumsum(weight), 1.0)
        found[number] = np.sum(weight * wrong * hits / seen) / max(hits[-1], 1.0)
    return found


def _ends(values: np.ndarray) -> list[float]:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return [float(values[0]), float(low), float(high)]


def _ranking(
    values: np.ndarray,
    default: np.ndarray,
    scores: Sequence[np.ndarray],
    is_error: np.ndarray,
) -> Ranking:
    def precision(length: int) -> float:
        return float(
            np.mean([is_error[np.argsort(-s, kind="stable")[:length]] for s in scores])
        )

    average, low, high = _ends(values)
    behind, behind_low, behind_high = _ends(values - default)
    return Ranking(
        average_precision=average,
        low=low,
        high=high,
        precision=[precision(length) for length in LENGTHS],
        recall=precision(int(is_error.sum())),
        behind=behind,
        behind_low=behind_low,
        behind_high=behind_high,
    )


def _flags(
    splits: Sequence[tuple[np.ndarray, np.ndarray]], is_error: np.ndarray
) -> Flags:
    numbers, own, ranked = [], [], []
    for flagged, score in splits:
        number = int(flagged.sum())
        first = np.argsort(-score, kind="stable")[:number]
        numbers.append(number)
        own.append(is_error[flagged].mean() if number else np.nan)
        ranked.append(is_error[first].mean() if number else np.nan)
    return Flags(
        num_flagged=float(np.mean(numbers)),
        precision=float(np.nanmean(own)) if np.any(numbers) else float("nan"),
        ranked=float(np.nanmean(ranked)) if np.any(numbers) else float("nan"),
    )


def describe(found: Sequence[Ranked]) -> dict[str, Any]:
    """What the template shows."""
    changes = [change[0] for one in found for change in one.change.values()]
    shown = [
        change[0] for one in found for change in one.change.values() if change[2] < 0
    ]
    return {
        "average_table": _average_table(found),
        "first_table": _first_table(found),
        "change_table": _change_table(found),
        "flag_table": _flag_table(found),
        "foretold_table": _foretold_table(found),
        "foretold": [one for case in found for one in case.foretold],
        "against": _against(found),
        "ahead": _ahead([one for one in found if not one.made]),
        "behind": _behind(found),
        "flags_judged": _flags_against([one for one in found if not one.made]),
        "flags_made": _flags_against([one for one in found if one.made]),
        "few": _FEW,
        "inside": sum(
            one.lower <= one.actual <= one.upper
            for case in found
            for one in case.foretold
        ),
        "num_cases": len(found),
        "flipped": ranking_cases.FLIPPED,
        "small_changes": np.mean(np.abs(changes) < 0.01) if changes else np.nan,
        "worse_changes": len(shown) / max(len(changes), 1),
    }


def _against(found: Sequence[Ranked]) -> list[tuple[str, int, int, int]]:
    """Of each score: cases in which it is better than the pool, worse, or neither."""
    with_pool = [one for one in found if ranking_scores.POOL in one.calibrated]
    rows = []
    for name in _names(with_pool):
        if name == ranking_scores.POOL:
            continue
        scores = [one.calibrated[name] for one in with_pool]
        better = sum(score.behind_low > 0 for score in scores)
        worse = sum(score.behind_high < 0 for score in scores)
        rows.append((name, better, worse, len(scores) - better - worse))
    return rows


def _behind(found: Sequence[Ranked]) -> dict[str, Any]:
    """Cases in which another score has a higher average precision than the pool."""
    with_pool = [one for one in found if ranking_scores.POOL in one.calibrated]
    best = [
        (one, *max(one.calibrated.items(), key=lambda item: item[1].behind))
        for one in with_pool
    ]
    return {
        "num_cases": len(with_pool),
        "cases": [
            f"{_named(one)} models ({name}, {report.number(score.behind, 1, 100)})"
            for one, name, score in best
            if score.behind > 0
        ],
        "most": report.number(max([0.0, *(one[2].behind for one in best)]), 1, 100),
    }


def _ahead(found: Sequence[Ranked]) -> dict[str, Any]:
    """The best score by other answers, less the default score, over cases."""
    gaps = [
        max(one.calibrated[n].behind for n in _AGAINST if n in one.calibrated)
        for one in found
    ]
    return _counted(np.array(gaps))


def _flags_against(found: Sequence[Ranked]) -> dict[str, Any]:
    """Precision of flags by other answers, less that of as many first labels."""
    flags = [one.flags[n] for one in found for n in _FLAGS_AGAINST if n in one.flags]
    gaps = np.array([one.precision - one.ranked for one in flags])
    large = np.array([one.num_flagged >= _FEW for one in flags], bool)
    return _counted(gaps) | {"large": _counted(gaps[large])}


def _counted(gaps: np.ndarray) -> dict[str, Any]:
    gaps = gaps[np.isfinite(gaps)]
    return {
        "num": len(gaps),
        "above": int((gaps > 0).sum()),
        "below": int((gaps < 0).sum()),
        "low": report.number(min(gaps, default=np.nan), 1, 100),
        "high": report.number(max(gaps, default=np.nan), 1, 100),
    }


def _named(one: Ranked) -> str:
    return f"{one.title}, {one.num_models}"


def _names(found: Sequence[Ranked]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in one.calibrated))


def _average_table(found: Sequence[Ranked]) -> str:
    """Average precision, a row for each case and a column for each score."""

    def cells(one: Ranked, names: Sequence[str]) -> list[str]:
        best = max(other.average_precision for other in one.calibrated.values())
        texts = []
        for name in names:
            ranking = one.calibrated.get(name)
            text = "" if ranking is None else report.number(ranking.average_precision)
            bold = ranking is not None and ranking.average_precision == best
            texts.append(f"**{text}**" if bold else text)
        return [_named(one), *texts]

    names = _names(found)
    return report.grid(["labels, models", *names], [cells(one, names) for one in found])


def _first_table(found: Sequence[Ranked]) -> str:
    """Precision of the first labels, of the default score and of the best other."""

    def cells(one: Ranked) -> list[str]:
        name = _default(one.calibrated)
        own = one.calibrated[name]
        return [
            _named(one),
            f"{one.num_wrong:,} of {one.num_judged:,}",
            *(report.percent(value) for value in own.precision),
            report.percent(own.recall) if one.is_complete else "",
            f"{report.number(own.average_precision)} "
            f"{report.interval((own.low, own.high))}",
        ]

    head = ["labels, models", "wrong", *(f"first {n}" for n in LENGTHS)]
    head += ["recall at the number of wrong ones", "average precision"]
    return report.grid(head, map(cells, found))


def _change_table(found: Sequence[Ranked]) -> str:
    """Average precision after less before calibration, in points."""

    def cell(one: Ranked, name: str) -> str:
        if name not in one.change:
            return ""
        middle, low, high = one.change[name]
        mark = "" if low <= 0 <= high else " \\*"
        return f"{report.number(middle, 1, 100)}{mark}"

    names = _names(found)
    return report.grid(
        ["labels, models", *names],
        [[_named(one), *(cell(one, name) for name in names)] for one in found],
    )


def _flag_table(found: Sequence[Ranked]) -> str:
    rows = [
        [
            _named(one),
            name,
            report.thousands(flags.num_flagged),
            report.percent(flags.precision),
            report.percent(flags.ranked),
        ]
        for one in found
        for name, flags in one.flags.items()
    ]
    head = ["labels, models", "method", "flagged", "precision (%)"]
    return report.grid([*head, "as many first ones (%)"], rows)


def _foretold_table(found: Sequence[Ranked]) -> str:
    """Expected and actual share of wrong labels, a column for each length."""

    def cell(one: Foretold) -> str:
        ends = report.interval((one.lower, one.upper), 0, 100)
        inside = one.lower <= one.actual <= one.upper
        text = f"{report.percent(one.estimate, 0)} {ends}"
        actual = report.percent(one.actual, 0)
        return f"{actual}: {text}" if inside else f"**{actual}**: {text}"

    rows = [one for one in found if one.foretold]
    return report.grid(
        ["labels, models", *(f"first {length}" for length in FORETOLD)],
        [
            [_named(one), *_filled([cell(foretold) for foretold in one.foretold])]
            for one in rows
        ],
    )


def _filled(cells: list[str]) -> list[str]:
    return cells + [""] * (len(FORETOLD) - len(cells))
