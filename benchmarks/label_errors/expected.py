"""How many suspect labels are wrong: expected before anybody looks, and found.

Shapes: S splits, K numbers of top bins, M models, N examples.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import optimize

import calib_jax as cj
from benchmarks.kit import outputs, report
from benchmarks.kit.report import Draw, number, percent

from . import ranking_cases, ranking_scores
from .ranking_cases import Case

NUM_TOP_BINS = (5, 8, 10, 12, 15)
# The one of `calib-jax clean`.
_DEFAULT = NUM_TOP_BINS.index(10)
# Shares of the labels found right that are flipped.
FLIPPED = (0.01, 0.03, 0.1)
# With fewer judged flags the actual share is too uncertain to compare with.
_LEAST_JUDGED = 10
_SEED = 2022


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreseen:
    """Expectations of one case; arrays `[S, K]`, NaN with fewer than 10 judged flags.

    Attributes:
      title: the labels, and who says which are wrong.
      num_models: that judge them.
      made: whether labels were flipped.
      num_flagged: labels that all models contradict, each in its K best bins.
      num_judged: those that people judged.
      actual: share of these that are wrong.
      independent: expected share, if models err independently.
      expected: expected share, for models that share errors.
      lower: end of its 95 % interval.
      upper: the other end.
    """

    title: str
    num_models: int
    made: bool
    num_flagged: np.ndarray
    num_judged: np.ndarray
    actual: np.ndarray
    independent: np.ndarray
    expected: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """Whether the interval holds the actual share, `[S, K]`; NaN where unknown.

        Flags that nobody judged leave the share open, by two standard errors.
        """
        wrong = (self.actual * self.num_judged + 1) / (self.num_judged + 2)
        judged = np.maximum(self.num_judged, 1)
        unjudged = 1 - judged / np.maximum(self.num_flagged, 1)
        error = 2 * np.sqrt(wrong * (1 - wrong) * unjudged / judged)
        held = (self.lower <= self.actual + error) & (self.actual - error <= self.upper)
        return np.where(np.isnan(self.actual), np.nan, held)


def evaluate(
    folder: Path,
    *,
    seed: int,
    num_splits: int,
    advance: Callable[[str], None] = lambda step: None,
) -> list[Foreseen]:
    """Expectations for every case of the folder."""
    found = []
    for case in cases(folder, seed):
        splits = [_of_split(case, seed + split) for split in range(num_splits)]
        parts = {name: np.stack([one[name] for one in splits]) for name in splits[0]}
        found.append(
            Foreseen(
                title=case.title,
                num_models=len(case.outputs.models),
                made=case.made,
                **parts,
            )
        )
        advance(f"{case.title}, {len(case.outputs.models)} models")
    return found


def cases(folder: Path, seed: int) -> Iterator[Case]:
    """Labels that people judged, and those that they found right with some flipped."""
    for case in ranking_cases.read(folder, seed):
        # Labels flipped among labels that may be wrong already have no known share.
        if case.made:
            continue
        yield case
        if case.is_complete and case.outputs.prediction is not None:
            for number_, share in enumerate(FLIPPED):
                yield _flipped(case, share, (seed, _SEED, number_))
    if (folder / _LLAMA_3).is_file():
        yield _llama_3(folder)


_LLAMA_3 = "language/mmlu_redux_llama3.npz"


def _llama_3(folder: Path) -> Case:
    """The two models that were asked other questions of MMLU."""
    with np.load(folder / _LLAMA_3, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    verdict, names = arrays["verdict"], arrays["verdict_names"].tolist()
    confidence = arrays["confidence"]
    return Case(
        title="MMLU-Redux, other questions, not ok",
        outputs=outputs.Outputs(
            name="mmlu_redux_llama3",
            title="MMLU-Redux, other questions",
            models=tuple(arrays["models"].tolist()),
            confidence=confidence,
            score=np.asarray(cj.log_odds(confidence)),
            correct=arrays["correct"],
            is_judged=verdict >= 0,
            is_error=(verdict >= 0) & (verdict != names.index("ok")),
        ),
        num_options=4,
        is_complete=True,
    )


def _flipped(case: Case, share: float, seed: tuple[int, ...]) -> Case:
    task, rng = case.outputs, np.random.default_rng(seed)
    right = np.flatnonzero(task.is_judged & ~task.is_error)
    wrong = rng.random(len(right)) < share
    moved = rng.integers(1, case.num_options, len(right))
    label = task.label[right]
    label = np.where(wrong, (label + moved) % case.num_options, label).astype(np.int32)
    prediction = task.prediction[:, right]
    return dataclasses.replace(
        case,
        title=f"{case.title.partition(',')[0]}, {percent(share, 0)} % flipped",
        outputs=dataclasses.replace(
            task,
            confidence=task.confidence[:, right],
            score=task.score[:, right],
            logits=None if task.logits is None else task.logits[:, right],
            prediction=prediction,
            label=label,
            correct=prediction == label,
            is_error=wrong,
            is_judged=np.ones_like(wrong),
        ),
        made=True,
    )


def _of_split(case: Case, seed: int) -> dict[str, np.ndarray]:
    task = case.outputs
    confidence = np.float32(ranking_scores.calibrated(case, seed)[0])
    contradicted = ~task.correct.any(axis=0)
    shared = cj.cleaning.fit_shared_errors(confidence, task.correct)
    sure, accuracy = _bins(task.correct, confidence, seed)
    found = []
    for candidate in sure:
        flagged = candidate & contradicted
        judged = flagged & task.is_judged
        row = {
            "num_flagged": float(flagged.sum()),
            "num_judged": float(judged.sum()),
        } | dict.fromkeys(
            ("actual", "independent", "expected", "lower", "upper"), np.nan
        )
        if judged.sum() >= _LEAST_JUDGED:
            interval = cj.cleaning.expected_precision_interval(
                shared, confidence[:, flagged], np.ones(int(flagged.sum()), bool)
            )
            row |= {
                "actual": task.is_error[judged].mean(),
                "independent": independent(
                    accuracy[:, candidate], int(flagged.sum()), case.num_options
                ),
                "expected": float(interval.estimate),
                "lower": float(interval.lower),
                "upper": float(interval.upper),
            }
        found.append(row)
    return {name: np.array([row[name] for row in found]) for name in found[0]}


def _bins(
    correct: np.ndarray, confidence: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows on which all models are in their K best bins, `[K, N]`, and accuracies.

    Bins are cut on one half of the rows for the other; the accuracy `[M, N]` is that
    of the bin of each confidence.
    """
    num_rows = confidence.shape[1]
    half = np.random.default_rng((seed, _SEED)).permutation(num_rows) % 2 == 0
    sure = np.zeros((len(NUM_TOP_BINS), num_rows), bool)
    accuracy = np.zeros(confidence.shape)
    contradiction = np.ones(confidence.shape, np.int32), np.zeros(num_rows, np.int32)
    for judged in (half, ~half):
        experts = cj.fit_expert_bins(confidence, correct, where=~judged)
        for place, top in enumerate(NUM_TOP_BINS):
            found = cj.high_confidence_disagreement(
                experts, contradiction[0], confidence, contradiction[1], top
            )
            sure[place, judged] = np.asarray(found)[judged]
        for m, outcome in enumerate(np.asarray(experts.table.outcome)):
            own = jax.tree.map(lambda leaf, m=m: leaf[m], experts.bins)
            of_row = outcome[np.asarray(cj.bin_index(own, confidence[m]))]
            accuracy[m, judged] = of_row[judged]
    return sure, np.nan_to_num(accuracy)


def independent(agrees: np.ndarray, num_flagged: int, num_options: int) -> float:
    """Expected share of wrong labels among flags, if models err independently.

    The share of wrong labels is the one at which models that err independently would
    contradict as many labels as they do; it is taken out of the accuracies.

    Args:
      agrees: `[M, N]`, how often answers of such a confidence agree with the given
        label, for the rows on which all models are confident.
      num_flagged: how many of their labels all models contradict.
      num_options: that labels have.
    """

    def errors(rate: float) -> np.ndarray:
        other = rate / (num_options - 1)
        return 1 - np.clip((agrees - other) / (1 - rate - other), 0.0, 1.0)

    def surplus(rate: float) -> float:
        wrong = errors(rate)
        hit = np.prod(1 - wrong / (num_options - 1), axis=0)
        both = (1 - rate) * np.prod(wrong, axis=0) + rate * hit
        return float(both.sum()) - num_flagged

    most = 0.99 * (1 - 1 / num_options)
    if surplus(0.0) >= 0:
        rate = 0.0
    elif surplus(most) <= 0:
        rate = most
    else:
        rate = optimize.brentq(surplus, 0.0, most, xtol=1e-6)
    return max(0.0, 1 - float(np.prod(errors(rate), axis=0).sum()) / num_flagged)


def describe(found: Sequence[Foreseen]) -> dict[str, Any]:
    """What the template shows."""
    judged, made = (
        [one for one in found if one.made == kind] for kind in (False, True)
    )
    return {
        "summary_table": _summary({"people judged": judged, "flipped": made}),
        "case_table": _by_case(found),
        "top_table": _by_top_bins(judged),
        "bad": [_missed(one) for one in found if _coverage(one) < 0.95],
        "tenth": _tenth(found),
        "num_cases": len(found),
        "worst_independent": percent(
            _over(judged, lambda one: one.independent - one.actual, np.nanmax), 0
        ),
        "constant_judged": percent(_constant_error(judged), 0),
        "error_judged": percent(
            _over(judged, lambda one: np.abs(one.expected - one.actual)), 0
        ),
        "coverage_judged": percent(_over(judged, lambda one: one.covered)),
        "width_judged": percent(_over(judged, lambda one: one.upper - one.lower), 0),
    }


def _named(one: Foreseen) -> str:
    return f"{one.title}, {one.num_models} models"


def _coverage(one: Foreseen) -> float:
    return float(np.nanmean(one.covered))


def _missed(one: Foreseen) -> dict[str, Any]:
    """Where the interval misses the actual share in some split, and by how much."""
    missed = one.covered == 0
    too_high, too_low = one.lower - one.actual, one.actual - one.upper
    places = np.flatnonzero(missed.any(axis=0))
    distance = max(
        np.maximum(too_high, too_low)[missed[:, k], k].mean() for k in places
    )
    return {
        "name": _named(one),
        "num_models": one.num_models,
        "made": one.made,
        "coverage": percent(_coverage(one), 0),
        "top_bins": [str(NUM_TOP_BINS[k]) for k in places],
        "too_high": bool((too_high[missed] > 0).all()),
        "distance": number(distance, 1, 100),
    }


def _tenth(found: Sequence[Foreseen]) -> dict[str, Any] | None:
    """What is expected with the most labels flipped."""
    title = f"{percent(FLIPPED[-1], 0)} % flipped"
    cases = [one for one in found if one.title.endswith(title)]
    if not cases:
        return None
    bias = [float(np.nanmean(one.expected - one.actual)) for one in cases]
    return {
        "least": percent(-max(bias), 0),
        "most": percent(-min(bias), 0),
        "too_low": max(bias) < 0,
        "num_cases": len(cases),
        "held": sum(_coverage(one) == 1 for one in cases),
    }


def _over(
    group: Sequence[Foreseen],
    of: Callable[[Foreseen], np.ndarray],
    over: Callable[[Any], Any] = np.mean,
) -> float:
    """Over cases, of means over splits and K."""
    if not group:
        return float("nan")
    return float(over([np.nanmean(of(one)) for one in group]))


def _constant_error(group: Sequence[Foreseen]) -> float:
    """Mean error of the mean actual share of all other data sets, as a guess."""

    def name(one: Foreseen) -> str:
        # The same images, judged by others.
        return one.title.partition(",")[0].removesuffix("H")

    mean = {id(one): np.nanmean(one.actual) for one in group}
    errors = []
    for one in group:
        others = [mean[id(other)] for other in group if name(other) != name(one)]
        if others:
            errors.append(np.nanmean(np.abs(np.mean(others) - one.actual)))
    return float(np.mean(errors)) if errors else float("nan")


def _summary(groups: Mapping[str, Sequence[Foreseen]]) -> str:
    """Means over cases, of means over splits and K."""

    def cells(name: str, group: Sequence[Foreseen]) -> list[object]:
        def mean(of: Callable[[Foreseen], np.ndarray]) -> float:
            return _over(group, of)

        return [
            name,
            len(group),
            percent(mean(lambda one: one.independent - one.actual)),
            percent(mean(lambda one: one.expected - one.actual)),
            percent(mean(lambda one: np.abs(one.independent - one.actual))),
            percent(mean(lambda one: np.abs(one.expected - one.actual))),
            percent(_constant_error(group)),
            percent(mean(lambda one: one.covered)),
            percent(mean(lambda one: one.upper - one.lower)),
        ]

    head = ["labels", "cases", "bias, independent", "bias, shared"]
    head += ["error, independent", "error, shared", "error, constant"]
    head += ["coverage (%)", "width"]
    return report.grid(head, [cells(*group) for group in groups.items() if group[1]])


def _row(one: Foreseen, name: str, place: int) -> list[object]:
    def mean(values: np.ndarray) -> float:
        return float(np.nanmean(values[:, place]))

    return [
        name,
        report.thousands(mean(one.num_flagged)),
        percent(mean(one.actual), 0),
        percent(mean(one.independent), 0),
        percent(mean(one.expected), 0),
        f"{percent(mean(one.lower), 0)} to {percent(mean(one.upper), 0)}",
        percent(mean(one.covered), 0),
    ]


_HEAD = ("flagged", "actual (%)", "independent", "shared", "interval", "coverage (%)")


def _by_case(found: Sequence[Foreseen]) -> str:
    rows = []
    for one in found:
        # The default K, or the smallest with enough flags.
        known = np.flatnonzero(~np.isnan(one.actual).all(axis=0))
        if known.size:
            place = known[known >= min(_DEFAULT, known[-1])][0]
            name = f"{_named(one)}, K = {NUM_TOP_BINS[place]}"
            rows.append(_row(one, name, place))
    return report.grid(["labels", *_HEAD], rows)


def _by_top_bins(found: Sequence[Foreseen]) -> str:
    rows = [
        _row(one, f"{_named(one)}, K = {top}", place)
        for one in found
        for place, top in enumerate(NUM_TOP_BINS)
        if not np.isnan(one.actual[:, place]).all()
    ]
    return report.grid(["labels", *_HEAD], rows)


def figures(found: Sequence[Foreseen]) -> dict[str, Draw]:
    return {"expected": lambda dark: _draw(found)} if found else {}


def _draw(found: Sequence[Foreseen]) -> Figure:
    """Expected against actual shares, every case and K, means over splits."""
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 3.2), layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 100], [0, 100], color="C7", linewidth=1.0, label="as expected")
    # Also told apart in grey.
    hollow = {"color": "C1", "markersize": 3, "markerfacecolor": "none"}
    for one in found:
        known = ~np.isnan(one.actual).all(axis=0)

        def mean(values: np.ndarray, known: np.ndarray = known) -> np.ndarray:
            return 100 * np.nanmean(values[:, known], axis=0)

        actual = mean(one.actual)
        marker = "^" if one.made else "o"
        axes.vlines(
            actual, mean(one.lower), mean(one.upper), color="C0", alpha=0.2, linewidth=1
        )
        axes.plot(actual, mean(one.expected), marker, color="C0", markersize=3)
        axes.plot(actual, mean(one.independent), marker, **hollow)
    axes.plot([], [], "o", color="C0", markersize=3, label="shared errors, 95 %")
    axes.plot([], [], "o", **hollow, label="independent errors")
    axes.set(
        xlabel="Actual share of wrong labels (%)",
        ylabel="Expected share (%)",
        xlim=(0, 100),
        ylim=(0, 101),
    )
    axes.legend(loc="lower right")
    return drawn
