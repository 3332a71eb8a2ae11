"""The report of several models on several tasks: `calib-jax compare`."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..io.outputs import Outputs
from . import budgets, figures, on_tasks, pairings, phrases, shared_fits
from .budgets import Alone, Best
from .drawings import Drawing
from .methods import Method
from .on_tasks import Fits, OnTask
from .pairings import Pairing
from .records import Report, Writer, in_shell, source
from .shared_fits import OnOne, Shared

TABLE = "comparison.json"
FILES = (TABLE,)
# So many sentences on single models or failures; the page has all.
_MOST_SENTENCES = 4
_MOST_PRICES = 6


class MeanPair(NamedTuple):
    """An ordered pair of models on all tasks that both have.

    Attributes:
      small: the model that is asked first.
      large: the model that is asked for the rest.
      num_tasks: their tasks.
      gap: mean gap in accuracy over the tasks.
      gap_standard_error: its standard error, of paired rows.
      apgr: share of this gap that is recovered: the mean of each task's APGR times its
        gap, divided by the mean gap; None where the gap is less than twice its
        standard error.
    """

    small: str
    large: str
    num_tasks: int
    gap: float
    gap_standard_error: float
    apgr: float | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonReport(Report):
    """Several models on several tasks: calibration, pairs, prices, what repeats.

    Attributes:
      on_tasks: each model on each task.
      pairs: ordered pairs of models on each task that both have.
      best: the best model or pair within each price, for all tasks and for each; empty
        without prices.
      alone: models alone, beside these.
      shared: for each model with several tasks, one calibrator for all against one for
        each, and against one from other tasks.
      shared_on_tasks: the same on each task.
      prices: of a question, by model, as given; empty where costs are the files'.
      num_by_order: files without ids, beside others of their task: rows are joined by
        their order.
      not_compared: what could not be compared, and why, in sentences.
    """

    command: ClassVar[str] = "compare"
    title: ClassVar[str] = "Comparison"

    on_tasks: tuple[OnTask, ...]
    pairs: tuple[Pairing, ...]
    best: tuple[Best, ...]
    alone: tuple[Alone, ...]
    shared: tuple[Shared, ...]
    shared_on_tasks: tuple[OnOne, ...]
    prices: Mapping[str, float]
    num_by_order: int
    not_compared: tuple[str, ...]

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
    def mean_pairs(self) -> tuple["MeanPair", ...]:
        """For each ordered pair its tasks together, the largest APGR first."""
        found: dict[tuple[str, str], list[Pairing]] = collections.defaultdict(list)
        for one in self.pairs:
            if one.why_not is None:
                found[one.small, one.large].append(one)
        rows = [_mean_pair(*names, some) for names, some in found.items()]
        return tuple(
            sorted(
                rows,
                key=lambda one: (one.apgr is None, -(one.apgr or 0), one.small),
            )
        )

    def headline(self) -> dict[str, Any]:
        before = [one.ece_before for one in self.calibrated if one.ece_before]
        return {
            "num_models": len(self.models),
            "num_tasks": len(self.tasks),
            "num_rows": sum(one.num_rows for one in self.on_tasks),
            "num_calibrated": len(self.calibrated),
            "mean_ece_before": _mean(before),
            "mean_ece_after": _mean([one.ece_after for one in self.calibrated]),
        }

    def sentences(self) -> tuple[str, ...]:
        models, tasks = len(self.models), len(self.tasks)
        rows = sum(one.num_rows for one in self.on_tasks)
        return (
            f"{_count(models, 'model')} on {_count(tasks, 'task')}, {rows:,} rows in "
            f"all: everything is fitted on one half of each and judged on the other.",
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
            "Models are joined by the order of their rows where files have no ids: "
            f"{self.num_by_order} have none."
        ]

    def _on_errors(self) -> list[str]:
        known = [one for one in self.calibrated if one.ece_before is not None]
        after = [one.ece_after for one in self.calibrated]
        more = sum((one.ece_after_lower or 0) > 0 for one in self.calibrated)
        floor = phrases.number(_mean([one.ece_floor for one in self.calibrated]))
        of = _count(len(self.calibrated), "calibrated file")
        said = f"The ECE after calibration is {phrases.number(_mean(after))} on average"
        if known and len(known) == len(self.calibrated):
            before = phrases.number(_mean([one.ece_before for one in known]))
            said = (
                f"Calibration changes the ECE from {before} to "
                f"{phrases.number(_mean(after))} on average"
            )
        found = [
            f"{said} over {of}; perfectly calibrated models would have {floor}. What "
            f"remains is more than chance in {more or 'none'} of them."
        ]
        worse = sum((one.ece_after or 0) > (one.ece_before or 0) for one in known)
        if worse:
            found.append(
                f"In {worse} of {len(known)} the ECE is not smaller than before."
            )
        return found

    def _on_pairs(self) -> list[str]:
        if not self.mean_pairs:
            return []
        best = self.mean_pairs[0]
        if best.apgr is None:
            return ["No pair of models differs by more than chance in accuracy."]
        return [
            f"Of {len(self.mean_pairs)} ordered pairs of models, {best.small} then "
            f"{best.large} recovers most: an APGR of {best.apgr:.2f} on "
            f"{_count(best.num_tasks, 'task')}, of a gap of "
            f"{phrases.points(best.gap)}."
        ]

    def _on_prices(self) -> list[str]:
        if not self.best:
            if len(self.models) < 2:
                return []
            return [
                "Without prices nothing says which model is the cheap one: give one "
                "for each with --cost NAME=PRICE, for the best pair at each price."
            ]
        first = self.best[0].task
        rows = [one for one in self.best if one.task == first]
        place = "all tasks together" if first is None else f"task {first}"
        found = [
            f"The best within each price was chosen on the fitting half of {place}, "
            "and its accuracy is that on the other half."
        ]
        groups = itertools.groupby(rows, lambda one: (one.first, one.then))
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
            f"One calibrator of a model for all tasks, or one for each: {said} of "
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
        steps = [
            "Look at one model, and keep its calibrator: calib-jax calibrate "
            f"FILE{self.reading}",
        ]
        if self.pairs:
            steps.append(
                "Build a cascade of two of them, with a promise: calib-jax cascade "
                f"SMALL_FILE LARGE_FILE --cost 1:10{self.reading}"
            )
        table = in_shell(folder, TABLE)
        return (*steps, f"All numbers are in {table}, for a script.")

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        found = {
            "errors": figures.errors(self.models, self.calibrated, f"{prefix}errors")
        }
        if self.best:
            first = self.best[0].task
            best = [one for one in self.best if one.task == first]
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
      `ComparisonReport`. Files with fewer than 40 rows, without labels, or of which
      nothing can be fitted, are in it with the reason.

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
    bests = (
        budgets.of(usable, prices, fits) if with_prices else budgets.Bests((), (), ())
    )
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
        best=bests.best,
        alone=bests.alone,
        shared=repeats.shared,
        shared_on_tasks=repeats.on_one,
        prices=prices,
        num_by_order=sum(
            not one.has_ids for one in outputs if len(by_task[one.task]) > 1
        ),
        not_compared=(
            *(f"{one.file}: {one.why_not}" for one in cells if one.why_not),
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


def _mean_pair(small: str, large: str, some: Sequence[Pairing]) -> MeanPair:
    gaps = np.array([one.gap for one in some], np.float64)
    errors = np.array([one.gap_standard_error for one in some], np.float64)
    gap, error = float(gaps.mean()), float(np.sqrt((errors**2).sum()) / len(some))
    recovered = np.mean([(one.apgr or 0.0) * (one.gap or 0.0) for one in some])
    apgr = float(recovered) / gap if gap > 2 * error else None
    return MeanPair(small, large, len(some), gap, error, apgr)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
