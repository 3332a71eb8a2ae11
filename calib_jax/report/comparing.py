"""The report of several models on several tasks: `calib-jax compare`."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..io.outputs import Outputs
from ..plots.comparisons import mean_known
from . import budgets, figures, on_tasks, pairings, phrases, shared_fits
from .budgets import Alone, Best
from .drawings import Drawing
from .methods import Method
from .on_tasks import Fits, OnTask
from .pairings import MeanPair, Pairing
from .records import Report, Writer, in_shell, source
from .shared_fits import OnOne, Shared

TABLE = "comparison.json"
FILES = (TABLE,)
# So many sentences on single models or failures; the page has all.
_MOST_SENTENCES = 4
_MOST_PRICES = 6


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonReport(Report):
    """Several models on several tasks: calibration, pairs, prices, what repeats.

    Attributes:
      on_tasks: each model on each task.
      pairs: ordered pairs of models on each task that both have.
      mean_pairs: each ordered pair on its tasks together, the largest APGR on the
        fitting halves first, and those last whose gap may be chance on a half.
      best: the best model or pair within each price, for several tasks together, if
        there are two that share models, and for each; empty without prices.
      alone: models alone, beside these.
      shared: for each model with several tasks, one calibrator for all against one for
        each, and against one from other tasks.
      shared_on_tasks: the same on each task.
      tasks_together: the tasks that `best` has together: those with all models.
      prices: of a question, by model, as given; empty where costs are the files'.
      has_prices: whether prices were given, or all files have costs.
      num_by_order: files without ids, beside others of their task: rows are joined by
        their order.
      not_compared: what could not be compared, and why, in sentences.
      folder: that the names of files are below; None if it is not known.
    """

    command: ClassVar[str] = "compare"
    title: ClassVar[str] = "Comparison"

    on_tasks: tuple[OnTask, ...]
    pairs: tuple[Pairing, ...]
    mean_pairs: tuple[MeanPair, ...]
    best: tuple[Best, ...]
    alone: tuple[Alone, ...]
    shared: tuple[Shared, ...]
    shared_on_tasks: tuple[OnOne, ...]
    tasks_together: tuple[str, ...]
    prices: Mapping[str, float]
    has_prices: bool
    num_by_order: int
    not_compared: tuple[str, ...]
    folder: str | None = dataclasses.field(default=None, metadata={"plain": False})

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, the most accurate first, by the mean of their tasks."""
        found: dict[str, list[float]] = {one.model: [] for one in self.on_tasks}
        for one in self.on_tasks:
            if one.accuracy is not None:
                found[one.model].append(one.accuracy)
        mean = {name: float(np.mean(all or [-1.0])) for name, all in found.items()}
        return tuple(sorted(found, key=lambda name: (-mean[name], name)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in alphabetical order."""
        return tuple(sorted({one.task for one in self.on_tasks}))

    @property
    def by_name(self) -> dict[tuple[str, str], OnTask]:
        """The same by the names of model and task."""
        return {(one.model, one.task): one for one in self.on_tasks}

    @property
    def calibrated(self) -> tuple[OnTask, ...]:
        """Models on tasks that were calibrated."""
        return tuple(one for one in self.on_tasks if one.why_not is None)

    @property
    def main_best(self) -> tuple[Best, ...]:
        """The best at each price for tasks together, or for the only task that has it.

        Empty if several tasks have it and none together.
        """
        tasks = {one.task for one in self.best}
        if None in tasks:
            return tuple(one for one in self.best if one.task is None)
        return self.best if len(tasks) == 1 else ()

    @property
    def main_tasks(self) -> str:
        """Which tasks `main_best` is about, in words."""
        if not self.tasks_together:
            return f"task {self.main_best[0].task}" if self.main_best else ""
        if len(self.tasks_together) == len(self.tasks):
            return "all tasks together"
        count = f"{len(self.tasks_together)} of {len(self.tasks)} tasks together"
        if len(self.tasks_together) > _MOST_SENTENCES:
            return count
        return f"{count} ({', '.join(self.tasks_together)})"

    def headline(self) -> dict[str, Any]:
        return {
            "num_models": len(self.models),
            "num_tasks": len(self.tasks),
            "num_rows": sum(one.num_rows for one in self.on_tasks),
            "num_calibrated": len(self.calibrated),
            "mean_ece_before": mean_known([one.ece_before for one in self.calibrated]),
            "mean_ece_after": mean_known([one.ece_after for one in self.calibrated]),
        }

    def sentences(self) -> tuple[str, ...]:
        models, tasks = len(self.models), len(self.tasks)
        rows = sum(one.num_rows for one in self.on_tasks)
        return (
            f"{_count(models, 'model')} on {_count(tasks, 'task')}, {rows:,} rows in "
            "all: each file is fitted on one half of its rows and judged on the other.",
            *self._on_order(),
            *self._on_errors(),
            *self._on_pairs(),
            *self._on_prices(),
            *self._on_repeats(),
            *self._on_failures(),
        )

    def _on_order(self) -> list[str]:
        if not self.num_by_order:
            return []
        return [
            f"{_count(self.num_by_order, 'file')} without ids: rows are joined by "
            "their order."
        ]

    def _on_errors(self) -> list[str]:
        known = [one for one in self.calibrated if one.ece_before is not None]
        after = phrases.number(mean_known([one.ece_after for one in self.calibrated]))
        floor = phrases.number(mean_known([one.ece_floor for one in self.calibrated]))
        of = _count(len(self.calibrated), "calibrated file")
        said = f"The ECE after calibration is {after} on average"
        if known and len(known) == len(self.calibrated):
            before = phrases.number(mean_known([one.ece_before for one in known]))
            said = f"Calibration changes the ECE from {before} to {after} on average"
        more = sum(bool(one.ece_after_lower) for one in self.calibrated)
        left = f"in {more} of them more error remains than chance explains."
        if more == 0:
            left = "in none of them does more error remain than chance explains."
        found = [
            f"{said} over {of}, where perfectly calibrated models would have {floor}; "
            f"{left}"
        ]
        worse = sum((one.ece_after or 0) > (one.ece_before or 0) for one in known)
        if worse:
            found.append(
                f"In {worse} of {_count(len(known), 'file')} calibration makes the ECE "
                "larger."
            )
        return found

    def _on_pairs(self) -> list[str]:
        if not self.mean_pairs:
            return []
        best, number = self.mean_pairs[0], len(self.mean_pairs)
        if best.apgr is None or best.fitted_apgr is None:
            return ["No two models differ in accuracy by more than chance."]
        gap = (
            f"{phrases.hundred(best.gap)} points (standard error "
            f"{phrases.hundred(best.gap_standard_error)})"
        )
        found = (
            f"Of {number:,} ordered pairs of models, {best.small} then {best.large} "
            "has the largest APGR on the fitting half"
        )
        return [
            f"{found}. On the other half its APGR is {best.apgr:.2f}, with a gap in "
            f"accuracy of {gap}, over {_count(best.num_tasks, 'task')}."
        ]

    def _on_prices(self) -> list[str]:
        if not self.has_prices:
            if len(self.models) < 2:
                return []
            return [
                "Without prices nothing says which model is the cheap one: give one "
                "for each with --cost NAME=PRICE, for the best pair at each price."
            ]
        if not self.best:
            return [
                "There is no best model or pair at each price: no task has two models "
                "that share enough rows."
            ]
        if not self.main_best:
            return [
                "The page has the best at each price for each task. There is none for "
                "several tasks together, because no two tasks have the same models."
            ]
        found = [
            f"The best within each price was chosen on the fitting half of "
            f"{self.main_tasks}; its accuracy is that on the other half."
        ]
        groups = itertools.groupby(self.main_best, lambda one: (one.first, one.then))
        lasts = [[*some][-1] for _, some in groups]
        # The page has all.
        step = -(-len(lasts) // _MOST_PRICES)
        shown = lasts[::-step][::-1]
        found += [_on_price(one) for one in shown]
        if len(shown) < len(lasts):
            found.append(f"The page has {len(lasts) - len(shown)} more prices.")
        return found

    def _on_repeats(self) -> list[str]:
        if len(self.shared) <= _MOST_SENTENCES:
            return [one.sentence() for one in self.shared]
        counts = collections.Counter(one.verdict for one in self.shared)
        helped = sum(one.num_helped or 0 for one in self.shared)
        tasks = sum(one.num_tasks for one in self.shared if one.num_helped is not None)
        said = ", ".join(f"{name} for {count}" for name, count in counts.most_common())
        found = (
            f"One calibrator for all tasks of a model, or one for each: {said}, among "
            f"{len(self.shared)} models."
        )
        if tasks:
            found += (
                " On a task that it has not seen, a calibrator from the other tasks is "
                f"better than none in {helped} of {tasks} cases."
            )
        return [found]

    def _on_failures(self) -> list[str]:
        if len(self.not_compared) <= _MOST_SENTENCES:
            return list(self.not_compared)
        first = self.not_compared[: _MOST_SENTENCES - 1]
        rest = len(self.not_compared) - len(first)
        return [*first, f"And {rest} more could not be compared; the page lists them."]

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        file, small, large, cost = "FILE", "SMALL_FILE", "LARGE_FILE", ""
        if self.mean_pairs:
            pair = self.mean_pairs[0]
            if self.prices:
                cost = (
                    f" --cost {self.prices[pair.small]:g}:{self.prices[pair.large]:g}"
                )
            if (files := self._files_of(pair)) is not None:
                file = small = files[0]
                large = files[1]
        steps = [
            f"Look at one model, and keep its calibrator: calib-jax calibrate {file}"
            f"{self.reading}",
        ]
        if self.mean_pairs:
            steps.append(
                "Build a cascade of two of them, with a promise: calib-jax cascade "
                f"{small} {large}{cost}{self.reading}"
            )
        table = in_shell(folder, TABLE)
        return (*steps, f"All numbers are in {table}, for a script.")

    def _files_of(self, pair: MeanPair) -> list[str] | None:
        """Paths of a pair's files on its first task, as words of a command."""
        if self.folder is None or self.labelling:
            return None
        counts = collections.Counter(one.file for one in self.on_tasks)
        task = next(
            one.task
            for one in self.pairs
            if one.why_not is None
            and (one.small, one.large) == (pair.small, pair.large)
        )
        files = [self.by_name[name, task].file for name in (pair.small, pair.large)]
        # A file of several models needs more options.
        if any(counts[one] > 1 for one in files):
            return None
        return [in_shell(Path(self.folder), one) for one in files]

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        found = {
            "errors": figures.errors(self.models, self.calibrated, f"{prefix}errors")
        }
        if best := self.main_best:
            first = best[0].task
            alone = [one for one in self.alone if one.task == first]
            found["prices"] = figures.prices(best, alone, f"{prefix}prices")
        return found

    def files(self) -> Mapping[str, Writer]:
        return {TABLE: self._write_table}

    def _write_table(self, path: Path) -> None:
        text = json.dumps(self.to_dict(), allow_nan=False, indent=1)
        path.write_text(f"{text}\n", encoding="utf-8")


def comparison_report(
    outputs: Sequence[Outputs],
    *,
    prices: Mapping[str, float] | None = None,
    method: Method | None = None,
    confidence_level: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ComparisonReport:
    """Compares several models on several tasks.

    Each model is calibrated on a random half of the rows of each task and judged on the
    other, as `calibration_report` does. Each ordered pair of models is a cascade on the
    rows of a task that both have, as `cascade_report` has it with
    `large_decides=True`. With prices the best model or pair within each price is chosen
    on the first half and judged on the second. For each model with several tasks, one
    calibrator for all is compared with one for each, and with one from other tasks.

    Args:
      outputs: from `calib_jax.io.read_many`, with labels or outcomes, model and task.
      prices: of a question, by model, in any unit: for all models, or None for the
        costs of the files, if all have them.
      method: the calibrator of all; by default one that suits each.
      confidence_level: of the intervals, in `(0, 1)`.
      seed: of the halves and of the draws of intervals.
      progress: called with the steps done so far and in all.

    Returns:
      `ComparisonReport`. Files with fewer than 40 rows, without labels, or to which
      nothing can be fitted, are in it with the reason. A model whose answers in the
      fitting half are all right is alone among the best at each price, and in no pair:
      a pair needs its confidence.

    Raises:
      ValueError: for outputs without a model or task, two of one model and task, prices
        of other models or not of all; if nothing can be calibrated.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name, wrong in (("a/law", 4), ("a/art", 4), ("b/law", 3), ("b/art", 3)):
      ...     rows = [f"{i},{i % 10 / 10},{int(i % 10 >= wrong)}" for i in range(400)]
      ...     path = folder / f"{name}.csv"
      ...     path.parent.mkdir(exist_ok=True)
      ...     _ = path.write_text("\\n".join(["id,score,correct", *rows]))
      >>> outputs = cj.io.read_many(folder, pattern="{model}/{task}.csv")
      >>> report = comparison_report(outputs, prices={"a": 1, "b": 10})
      >>> print(report.models, report.tasks, len(report.pairs))
      ('b', 'a') ('art', 'law') 4
    """
    outputs = _checked(outputs)
    prices = dict(prices or {})
    with_prices = budgets.priced(outputs, prices)
    by_task = {
        task: list(some)
        for task, some in itertools.groupby(outputs, lambda one: one.task)
    }
    num_pairs = sum(len(some) * (len(some) - 1) for some in by_task.values())
    total, steps = len(outputs) + num_pairs + 2, itertools.count(1)

    def done() -> None:
        if progress is not None:
            progress(next(steps), total)

    fits, cells = Fits(method, seed), []
    for one in outputs:
        cells.append(on_tasks.of(one, fits, seed, confidence_level))
        done()
    why = {(one.model, one.task): one.why_not for one in cells}
    usable = [one for one in outputs if why[one.model, one.task] is None]
    if not usable:
        raise ValueError(f"{cells[0].file}: {cells[0].why_not}")
    found = []
    for some in by_task.values():
        kept = [one for one in some if why[one.model, one.task] is None]
        for small, large in itertools.permutations(kept, 2):
            found.append(pairings.of(small, large, fits, seed, confidence_level))
            done()
    bests = budgets.Bests((), (), (), ())
    if with_prices:
        known = {(one.model, one.task) for one in cells if one.accuracy is not None}
        some = [one for one in outputs if (one.model, one.task) in known]
        bests = budgets.of(some, prices, fits)
    done()
    repeats = shared_fits.of([fits.of(one) for one in usable])
    if progress is not None:
        progress(total, total)
    return ComparisonReport(
        sources=tuple(source(f"{one.model} on {one.task}", one) for one in outputs),
        seed=seed,
        confidence_level=confidence_level,
        on_tasks=tuple(cells),
        pairs=tuple(found),
        mean_pairs=pairings.means(found),
        best=bests.best,
        alone=bests.alone,
        shared=repeats.shared,
        shared_on_tasks=repeats.on_one,
        tasks_together=bests.together,
        prices=prices,
        has_prices=with_prices,
        num_by_order=sum(
            not one.has_ids for one in outputs if len(by_task[one.task]) > 1
        ),
        not_compared=(
            *(_of_file(one) for one in cells if one.why_not),
            *_of_pairs(found),
            *bests.reasons,
            *repeats.reasons,
        ),
    )


def _on_price(one: Best) -> str:
    who = f"{one.first} alone"
    if one.then is not None:
        who = f"{one.first}, then {one.then} for {phrases.percent(one.large_share, 0)}"
    return (
        f"Up to {one.budget:g} a question: {who}, right "
        f"{phrases.percent(one.accuracy)} of the time (standard error "
        f"{phrases.hundred(one.accuracy_standard_error)} points), for {one.cost:.4g} a "
        "question."
    )


def _checked(outputs: Sequence[Outputs]) -> list[Outputs]:
    """The outputs by task and model, each once."""
    if not outputs:
        raise ValueError("outputs: expected those of one model or more, got none.")
    for number, one in enumerate(outputs):
        if not isinstance(one, Outputs):
            raise ValueError(
                f"outputs[{number}]: expected Outputs, got {type(one).__name__}."
            )
        if not (one.model and one.task):
            raise ValueError(
                f"{one.name}: expected outputs with a model and a task, as "
                "calib_jax.io.read_many names them."
            )
    found = sorted(outputs, key=lambda one: (one.task, one.model))
    for one, other in itertools.pairwise(found):
        if (one.model, one.task) == (other.model, other.task):
            raise ValueError(
                f"{one.name} and {other.name}: both are of model {one.model} on task "
                f"{one.task}; keep one."
            )
    return found


def _of_file(one: OnTask) -> str:
    """Why a file was not calibrated, and what is known all the same."""
    if one.accuracy is None:
        return f"{one.file}: {one.why_not}"
    return (
        f"{one.file}: {one.why_not} It is compared by its accuracy, and is in no pair, "
        "which would need its confidence."
    )


def _of_pairs(found: Sequence[Pairing]) -> list[str]:
    """Why pairs were not fitted: both orders of two models fail alike."""
    reasons = {
        (one.task, *sorted((one.small, one.large))): one.why_not
        for one in reversed(found)
        if one.why_not
    }
    return [
        f"{one} and {other} on {task}: {why}"
        for (task, one, other), why in reversed(reasons.items())
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
