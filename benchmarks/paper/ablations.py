"""Calibrators (Table 4), bins (Table 5) and the size of the calibration set.

Shapes: S splits, Z sizes, M models, P pairs, B numbers of bins.
"""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Claim, Section

from . import ablation_bins, ablation_sizes, judging
from .ablation_bins import BinNumbers
from .ablation_sizes import Judged, SizeNumbers
from .judging import HISTOGRAM, NONE, PLATT, TEMPERATURE
from .study import Advance, Study

CALIBRATORS = (NONE, HISTOGRAM, PLATT, TEMPERATURE)

# In place of a calibrator that takes what was not saved.
_ABSENT = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the ablations found.

    Attributes:
      sizes: `SizeNumbers` by task: every calibrator, at every size.
      bins: `BinNumbers` by task.
    """

    sizes: Mapping[str, SizeNumbers]
    bins: Mapping[str, BinNumbers]


def num_steps(study: Study) -> int:
    return 2 * len(study.tasks)


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Fits and judges every task once for each of the settings."""

    def measure(name: str) -> tuple[SizeNumbers, BinNumbers]:
        task, halves = study.tasks[name], study.halves[name]
        sizes = ablation_sizes.evaluate(task, halves, study.settings)
        advance(f"{task.title}, sizes")
        bins = ablation_bins.evaluate(task, halves, study.settings)
        advance(f"{task.title}, bins")
        return sizes, bins

    # Tasks of one length share their programs. Programs of other lengths are compiled,
    # which one core does, at the same time.
    groups: dict[int, list[str]] = {}
    for name, halves in study.halves.items():
        length = judging.length_for(halves.test.rows.shape[1])
        groups.setdefault(length, []).append(name)
    with ThreadPoolExecutor(len(groups)) as pool:
        parts = list(pool.map(lambda group: list(map(measure, group)), groups.values()))
    found = {
        name: measured
        for group, part in zip(groups.values(), parts, strict=True)
        for name, measured in zip(group, part, strict=True)
    }
    return Numbers(
        sizes={name: found[name][0] for name in study.tasks},
        bins={name: found[name][1] for name in study.tasks},
    )


def describe(study: Study, numbers: Numbers) -> Section:
    """Tables 4 and 5, and how many calibration examples it takes."""
    splits = {
        f"{len(task.gap)} ({study.tasks[name].title})"
        for name, task in numbers.sizes.items()
        if len(task.gap) < study.settings.num_halves
    }
    fewer = (
        f" Of large tasks fewer splits suffice: {', '.join(sorted(splits))}."
        if splits
        else ""
    )
    blocks = [
        "Everything is fitted on the calibration half and judged on the test half: ECE "
        "of every model, and the APGR of the calibration-aware router of every small-"
        "large pair (0.5 is random routing). APGR divides by the gap between the two "
        "models: it is averaged, and printed, only for pairs whose large model is at "
        f"least {report.percent(judging.LEAST_GAP, 0)} point more accurate in every "
        "split, a weaker condition than an interval above 0. The splits are the first "
        f"of {study.settings.num_halves} random halves.{fewer}",
        "### Calibrators (Table 4)",
        *_calibrator_blocks(study, numbers.sizes),
        "### Number and kind of bins (Table 5)",
        *ablation_bins.blocks(study, numbers.bins),
        "### Size of the calibration set",
        *ablation_sizes.blocks(study, numbers.sizes),
        *judging.missing(study),
    ]
    return Section(
        title="Ablations (Tables 4 and 5)",
        blocks=blocks,
        figures={
            **ablation_bins.figures(study, numbers.bins),
            **ablation_sizes.figures(study, numbers.sizes),
        },
        claims=[
            *_best_calibrator(numbers.sizes),
            *ablation_bins.claims(numbers.bins),
            *ablation_sizes.claims(study, numbers.sizes),
        ],
        numbers=judging.over_splits(numbers),
    )


def _whole(task: SizeNumbers, calibrator: str) -> Judged:
    """What a calibrator gets from the whole calibration half: axes `[S, M or P]`."""
    judged = task.judged[calibrator]
    return Judged(
        error=judged.error[:, -1],
        recovered=judged.recovered[:, -1],
        filled=judged.filled[:, -1],
    )


def _calibrator_blocks(study: Study, sizes: Mapping[str, SizeNumbers]) -> list[str]:
    ties = np.mean([np.mean(_whole(task, HISTOGRAM).filled) for task in sizes.values()])
    left = sum(int(np.sum(~judging.is_clear(task.gap))) for task in sizes.values())
    return [
        "Mean ± standard deviation over the splits; the best mean of a row is bold. A "
        "temperature takes logits, so that it is missing ("
        f'"{_ABSENT}") where only answers and confidences were saved; Platt scaling '
        "takes the log-odds of the stated confidence of the answer, histogram binning "
        f"that confidence. Pairs left out for want of a gap: {left}.",
        report.table(
            ["task, pair: APGR", *CALIBRATORS],
            [row for name in sizes for row in _pair_rows(study, name, sizes[name])],
        ),
        f"ECE over {study.settings.num_bins} equal-count bins, likewise; the lowest of "
        "a row is bold.",
        report.table(
            ["task, model: ECE", *CALIBRATORS],
            [row for name in sizes for row in _model_rows(study, name, sizes[name])],
        ),
        "In how many pairs, and models, each has the best mean:",
        _count_table(sizes),
        f"Histogram binning gives at most {study.settings.num_bins} different "
        "confidences. Examples of one value tie, and ties share a bin of the router: "
        "its bins are those of the histogram, merged where two have the same accuracy "
        "and in another order where accuracy does not rise with confidence. On average "
        f"{report.number(ties, 1)} of {study.settings.num_bins} router bins hold "
        "examples then; the cascade can spend its large-model calls no more finely "
        "than that.",
    ]


def _row(parts: Mapping[str, np.ndarray], best: str) -> list[str]:
    """A cell for each calibrator, the best one bold."""
    cells = []
    for calibrator in CALIBRATORS:
        known = calibrator in parts
        text = report.spread(parts[calibrator]) if known else _ABSENT
        cells.append(f"**{text}**" if calibrator == best else text)
    return cells


def _pair_rows(study: Study, name: str, task: SizeNumbers) -> list[list[str]]:
    rows = []
    for p in np.flatnonzero(judging.is_clear(task.gap)):
        parts = {each: _whole(task, each).recovered[:, p] for each in task.judged}
        best = max(parts, key=lambda calibrator: parts[calibrator].mean())
        small, large = (task.models[model] for model in task.pairs[p])
        label = f"{study.tasks[name].title}, {small} → {large}"
        rows.append([label, *_row(parts, best)])
    return rows


def _model_rows(study: Study, name: str, task: SizeNumbers) -> list[list[str]]:
    rows = []
    for m, model in enumerate(task.models):
        parts = {each: _whole(task, each).error[:, m] for each in task.judged}
        best = min(parts, key=lambda calibrator: parts[calibrator].mean())
        rows.append([f"{study.tasks[name].title}, {model}", *_row(parts, best)])
    return rows


def _best(sizes: Mapping[str, SizeNumbers], with_logits: bool) -> dict[str, list[int]]:
    """For each calibrator, in how many pairs and models it is best, of the tasks
    with or without logits."""
    best = {calibrator: [0, 0] for calibrator in CALIBRATORS}
    for task in sizes.values():
        names = list(task.judged)
        if (TEMPERATURE in names) != with_logits:
            continue
        whole = [_whole(task, calibrator) for calibrator in names]
        recovered = np.stack([each.recovered.mean(axis=0) for each in whole])
        error = np.stack([each.error.mean(axis=0) for each in whole])
        for place in recovered[:, judging.is_clear(task.gap)].argmax(axis=0):
            best[names[place]][0] += 1
        for place in error.argmin(axis=0):
            best[names[place]][1] += 1
    return best


def _count_table(sizes: Mapping[str, SizeNumbers]) -> str:
    with_logits, without = _best(sizes, True), _best(sizes, False)
    rows = []
    for calibrator in CALIBRATORS:
        first, second = with_logits[calibrator], without[calibrator]
        missing = calibrator == TEMPERATURE
        rows.append(
            [calibrator, *first, *([_ABSENT] * 2 if missing else map(str, second))]
        )
    header = ["best", "pairs of tasks with logits", "models"]
    return report.table([*header, "pairs of tasks without", "models"], rows)


def _best_calibrator(sizes: Mapping[str, SizeNumbers]) -> list[Claim]:
    """Whether fitting a parameter or two serves the cascade better than a histogram."""
    gains: dict[str, list[np.ndarray]] = {HISTOGRAM: [], NONE: []}
    for task in sizes.values():
        clear = judging.is_clear(task.gap)
        for other, parts in gains.items():
            gain = _whole(task, task.default).recovered - _whole(task, other).recovered
            parts.append(gain.mean(axis=0)[clear])
    histogram, none = (np.concatenate(parts) for parts in gains.values())
    if not len(histogram):
        return []
    better, total = int(np.sum(histogram >= 0)), len(histogram)
    counts = [
        f"{calibrator} {first[0] + second[0]}"
        for (calibrator, first), second in zip(
            _best(sizes, True).items(), _best(sizes, False).values(), strict=True
        )
    ]
    return [
        Claim(
            "A temperature, or Platt scaling, serves the cascade better than histogram "
            "binning",
            report.verdict(better, total),
            f"APGR at least as high in {better} of {total} pairs, by "
            f"{report.number(np.median(histogram))} in the median (than without "
            f"calibration in {int(np.sum(none >= 0))}, by "
            f"{report.number(np.median(none))}); best of all in so many pairs: "
            f"{', '.join(counts)}",
        )
    ]
