"""What shift of the task does, in words, tables and a figure."""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Claim, Section

from . import judging
from .study import Study

if TYPE_CHECKING:
    from .task_shift import HeldOut, Numbers, Target, Worth

STATED, PUBLISHED = "none", "published split"

_MARKERS = "xosD^v"


def describe(study: Study, numbers: "Numbers") -> Section:
    """What is left of calibration on other tasks and on other classes."""
    blocks = [
        "So far both halves were random halves of one and the same test set. Here "
        "calibrators and routers come from other examples than those they are judged "
        "on, and everything else is as before.",
    ]
    figures = {}
    claims: list[Claim] = []
    if numbers.targets:
        blocks += _transfer_blocks(study, numbers.targets)
        claims += _transfer_claims(study, numbers.targets)
        figures["task-shift"] = functools.partial(_draw, study, numbers.targets)
    if numbers.held_out:
        blocks += _held_out_blocks(study, numbers.held_out)
        claims += _held_out_claims(numbers.held_out)
    if not numbers.targets and not numbers.held_out:
        blocks.append("None of the tasks at hand can be looked at in this way.")
    blocks += judging.missing(study)
    return Section(
        title="Shift of the task (appendix)",
        blocks=blocks,
        figures=figures,
        claims=claims,
        numbers=judging.over_splits(numbers),
    )


def _ways(study: Study, name: str, target: "Target") -> dict[str, "Worth"]:
    """By what the target was calibrated, its own half first."""
    ways = {STATED: target.stated, study.tasks[name].title: target.sources[name]}
    ways |= {
        study.tasks[source].title: worth for source, worth in target.sources.items()
    }
    if target.published is not None:
        ways[PUBLISHED] = target.published
    return ways


def _transfer_blocks(study: Study, targets: Mapping[str, "Target"]) -> list[str]:
    blocks = [
        "### From task to task",
        "Platt scaling of every model, and the bins and their order of every router, "
        "are fitted on the calibration half of one task (*calibrated on*) and used on "
        "the test half of another (*judged on*), beside that task's own calibration "
        "half. *None* are the stated confidences, with a router of them fitted on the "
        "task's own calibration half (UC). Mean ± standard deviation over "
        f"{study.settings.num_halves} random halves; APGR over the pairs whose large "
        "model is clearly better (see the ablations).",
    ]
    if "gsm8k" in targets:
        own = study.tasks["gsm8k"].title
        blocks.append(
            f"The confidence on {own} is another quantity than on the other tasks: the "
            "probability a model gives to its own answer being correct, where the "
            "others have the probability of the token that names the answer. What is "
            "fitted on the one need not say anything of the other."
        )
    published = [
        f"{target.num_published} questions for {study.tasks[name].title}"
        for name, target in targets.items()
        if target.published is not None
    ]
    if published:
        blocks.append(
            "The *published split* is the one the outputs came with for calibration: "
            f"{', '.join(published)}, of another make than the test questions. It is "
            "judged on the same test halves."
        )
    for models in dict.fromkeys(target.models for target in targets.values()):
        some = {n: target for n, target in targets.items() if target.models == models}
        blocks.append(_targets_table(study, some, models))
    blocks.append(
        report.figure(
            "task-shift",
            "ECE of every model on the test half of each task, by what it was "
            "calibrated on; the bars are one standard deviation over the random "
            "halves.",
        )
    )
    return blocks


def _targets_table(
    study: Study, targets: "Mapping[str, Target]", models: tuple[str, ...]
) -> str:
    """The tasks of one set of models."""
    rows = []
    for name, target in targets.items():
        clear = judging.is_clear(target.gap)
        for label, worth in _ways(study, name, target).items():
            recovered = (
                worth.recovered[:, clear].mean(axis=1) if clear.any() else [np.nan]
            )
            rows.append(
                [
                    f"{study.tasks[name].title} ← {label}",
                    *(report.number(error) for error in worth.error.mean(axis=0)),
                    report.spread(worth.error.mean(axis=1)),
                    report.spread(recovered),
                ]
            )
    header = ["judged on ← calibrated on", *models, "mean ECE", "mean APGR"]
    return report.table(header, rows)


def _transfer_claims(study: Study, targets: Mapping[str, "Target"]) -> list[Claim]:
    """Over every task, other source and model, the mean over the splits."""
    own, foreign, stated, lost = [], [], [], []
    for name, target in targets.items():
        clear = judging.is_clear(target.gap)
        home = target.sources[name]
        for source, worth in target.sources.items():
            if source != name:
                foreign.append(worth.error.mean(axis=0))
                own.append(home.error.mean(axis=0))
                stated.append(target.stated.error.mean(axis=0))
                lost.append((home.recovered - worth.recovered)[:, clear].mean(axis=0))
    claims = []
    if foreign:
        ours, theirs, none, loss = map(np.concatenate, (own, foreign, stated, lost))
        worse, useless = int(np.sum(theirs > ours)), int(np.sum(theirs >= none))
        claims.append(
            Claim(
                "Calibration degrades when the task shifts",
                report.verdict(worse, len(theirs)),
                f"ECE is higher than with the task's own calibration in {worse} of "
                f"{len(theirs)} cases (task, other task, model), median "
                f"{report.number(np.median(theirs))} against "
                f"{report.number(np.median(ours))}; in {useless} no lower than without "
                f"calibration ({report.number(np.median(none))})",
            )
        )
        if len(loss):
            down = int(np.sum(loss > 0))
            claims.append(
                Claim(
                    "The cascade degrades when the task shifts",
                    report.verdict(down, len(loss)),
                    f"APGR falls in {down} of {len(loss)} cases (task, other task, "
                    f"pair), by {report.number(np.median(loss))} in the median and "
                    f"{report.number(loss.max())} at most",
                )
            )
    split = [
        (t.sources[name], t.published) for name, t in targets.items() if t.published
    ]
    if split:
        ours = np.concatenate([home.error.mean(axis=0) for home, _ in split])
        theirs = np.concatenate([other.error.mean(axis=0) for _, other in split])
        none = np.concatenate(
            [t.stated.error.mean(axis=0) for t in targets.values() if t.published]
        )
        better = int(np.sum(theirs < none))
        claims.append(
            Claim(
                "A published calibration split serves its own test questions",
                report.verdict(better, len(theirs)),
                f"ECE lower than without calibration for {better} of {len(theirs)} "
                f"models and tasks: median {report.number(np.median(theirs))}, without "
                f"{report.number(np.median(none))}, by a random half of the test "
                f"questions {report.number(np.median(ours))}",
            )
        )
    return claims


def _held_out_blocks(study: Study, held_out: Mapping[str, "HeldOut"]) -> list[str]:
    rows = []
    for name, task in held_out.items():
        rows += [
            [
                f"{study.tasks[name].title}, {model}: ECE",
                *(
                    report.spread(worth.error[:, m])
                    for worth in (task.stated, task.all_classes, task.other_classes)
                ),
            ]
            for m, model in enumerate(task.models)
        ]
        for p in np.flatnonzero(judging.is_clear(task.gap)):
            small, large = (task.models[model] for model in task.pairs[p])
            rows.append(
                [
                    f"{study.tasks[name].title}, {small} → {large}: APGR",
                    *(
                        report.spread(worth.recovered[:, p])
                        for worth in (task.stated, task.all_classes, task.other_classes)
                    ),
                ]
            )
    sizes = [
        f"{task.num_fitted.mean():,.0f} examples on {study.tasks[name].title}"
        for name, task in held_out.items()
    ]
    return [
        "### From classes to other classes",
        "One half of the classes is drawn at random for every split. A temperature and "
        "a router are fitted on calibration examples of these classes alone and judged "
        "on test examples of the others, beside as many calibration examples of all "
        f"classes ({', '.join(sizes)} on average) and the same test examples. Mean ± "
        "standard deviation over the splits.",
        report.table(
            ["", "not calibrated", "on all classes", "on other classes only"], rows
        ),
    ]


def _held_out_claims(held_out: Mapping[str, "HeldOut"]) -> list[Claim]:
    def means(kind: str) -> np.ndarray:
        return np.concatenate(
            [getattr(task, kind).error.mean(axis=0) for task in held_out.values()]
        )

    stated, ours, theirs = map(means, ("stated", "all_classes", "other_classes"))
    better = int(np.sum(theirs < stated))
    return [
        Claim(
            "A calibration fitted on some classes serves others",
            report.verdict(better, len(theirs)),
            f"ECE on held-out classes is lower than without calibration for {better} "
            f"of {len(theirs)} models: median {report.number(np.median(theirs))}, "
            f"without {report.number(np.median(stated))}, with calibration examples of "
            f"all classes {report.number(np.median(ours))}",
        )
    ]


def _draw(study: Study, targets: Mapping[str, "Target"], dark: bool) -> Figure:
    del dark
    columns = min(3, len(targets))
    rows = math.ceil(len(targets) / columns)
    figure = Figure(figsize=(7.0, 2.5 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    # One look for each way, whatever the panel.
    names = [STATED, *(study.tasks[name].title for name in targets), PUBLISHED]
    handles = {}
    for axes, (name, target) in zip(grid.flat, targets.items(), strict=False):
        ways = _ways(study, name, target)
        for number, label in enumerate(names):
            if label not in ways:
                continue
            error = ways[label].error
            place = np.arange(error.shape[1]) + 0.15 * (number - (len(names) - 1) / 2)
            hollow = mpl.rcParams["axes.facecolor"] if number % 2 else f"C{number}"
            handles[label] = axes.errorbar(
                place,
                error.mean(axis=0),
                error.std(axis=0),
                color=f"C{number}",
                linestyle="none",
                marker=_MARKERS[number % len(_MARKERS)],
                markerfacecolor=hollow,
                elinewidth=0.8,
            )
        axes.set_title(f"judged on {study.tasks[name].title}")
        axes.set_xticks(
            range(len(target.models)), target.models, rotation=40, ha="right"
        )
        axes.grid(visible=False, axis="x")
    for axes in list(grid.flat)[len(targets) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("ECE")
    # All panels share it.
    grid[0, 0].set_ylim(bottom=0.0)
    labels = [label for label in names if label in handles]
    figure.legend(
        [handles[label] for label in labels],
        labels,
        title="calibrated on",
        loc="outside lower center",
        ncols=len(labels),
    )
    return figure
