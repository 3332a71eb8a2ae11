"""The report of a small and a large model in a cascade: `calib-jax cascade`.

Shapes: N joined rows, `num_bins` bins, K from 0 to num_bins.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from ..binning import tables
from ..binning.bins import DEFAULT_NUM_BINS
from ..binning.tables import ReliabilityTable
from ..cascade import risk_control, routers
from ..cascade.curves import CascadeCurve
from ..cascade.intervals import CascadeInterval
from ..cascade.routers import Router
from ..cascade.selection import Selection
from ..io import cascade_files
from ..io.cascade_records import Promise
from ..io.outputs import Outputs
from . import conferring, costs, figures, gaps, models, pairs, phrases, points, promises
from .conferring import Conferring
from .drawings import Drawing
from .methods import Method
from .models import Model
from .points import JudgedRows, Point
from .records import Report, Writer, in_shell, place

RECORD = "cascade.json"
FILES = (RECORD,)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeReport(Report):
    """A cascade, fitted on one half of the rows; K is chosen and judged on the other.

    Attributes:
      small: the small model, calibrated.
      large: the large model, calibrated.
      conferring: whose answer is taken where both models were asked; None if that is
        the large model's by request.
      router: `Router`, from the first half.
      max_drop: the loss of accuracy that is allowed.
      given_num_small_bins: K if it was given, about which nothing is promised; None if
        it was chosen for the promise.
      selection: `Selection` of `control_accuracy_drop` on the second half.
      rows_needed: about how many rows, of both halves, might make the promise possible
        if they are like these; None if it is possible, or more rows would not help.
      plain_num_small_bins: the K with the fewest large calls that loses no more than
        `max_drop` on the first half. It promises nothing.
      interval: `CascadeInterval` on the second half; its advantages of bins are those
        of the answer that is taken where both models were asked. Its K = 0 is that of
        `points`.
      reference: `ReliabilityTable` of the small model on the second half, in the bins
        of the router: what later inputs are compared with.
      points: what every K achieves, K = 0 first. With an arbiter that is asking both
        models for every input; if none is possible it is the large model alone, which
        is then written, and only the other K are with the arbiter.
      small_cost: mean cost of a small call on the second half, or its price; None
        without costs.
      large_cost: likewise of a large call.
      cost_unit: what costs are counted in, such as "of the files", or "".
      cost_reason: where costs come from, or why there are none, in a sentence.
    """

    command: ClassVar[str] = "cascade"
    title: ClassVar[str] = "Cascade"
    has_slider: ClassVar[bool] = True

    small: Model
    large: Model
    conferring: Conferring | None
    router: Router
    max_drop: float
    given_num_small_bins: int | None
    selection: Selection
    rows_needed: int | None
    plain_num_small_bins: int
    interval: CascadeInterval
    reference: ReliabilityTable
    points: tuple[Point, ...]
    small_cost: float | None
    large_cost: float | None
    cost_unit: str
    cost_reason: str

    @property
    def num_rows(self) -> int:
        """Joined rows, of both halves."""
        return self.small.num_fitted + self.small.num_judged

    @property
    def weighed(self) -> bool:
        """Whether every K was judged with an arbiter's answers."""
        return self.conferring is not None and self.conferring.used

    @property
    def confers(self) -> bool:
        """Whether the arbiter is used: with a promise, or for a K that was given."""
        return self.weighed and (self.feasible or self.given_num_small_bins is not None)

    @property
    def num_small_bins(self) -> int:
        """K, 0 if the promise is not possible: the large model is always asked."""
        given = self.given_num_small_bins
        return int(self.selection.num_small_bins) if given is None else given

    @property
    def chosen(self) -> Point:
        """What the chosen K achieves; the large model alone if none is possible."""
        return self.points[self.num_small_bins]

    @property
    def feasible(self) -> bool:
        """Whether the promise is possible, and made: not about a K that was given."""
        return bool(self.selection.feasible) and self.given_num_small_bins is None

    @property
    def least_max_drop(self) -> float | None:
        """The least limit that is possible, or None if none is."""
        least = points.short(self.selection.min_feasible_level)
        return least if least < 1 else None

    @property
    def apgr(self) -> float:
        """Average performance gap recovered, on the second half."""
        return points.short(self.interval.apgr.estimate)

    @property
    def curve(self) -> CascadeCurve:
        """What every K achieves on the second half."""
        accuracy = self.interval.accuracy.estimate
        return CascadeCurve(
            small_share=self.interval.small_share.estimate,
            accuracy=accuracy,
            small_accuracy=accuracy[-1],
            large_accuracy=accuracy[0] - self.interval.over_large.estimate[0],
        )

    def headline(self) -> dict[str, Any]:
        chosen, both = self.chosen, self.conferring if self.weighed else None
        return {
            "num_rows": self.num_rows,
            "small_accuracy": self.small.accuracy,
            "large_accuracy": self.large.accuracy,
            "num_small_bins": self.num_small_bins,
            "apgr": self.apgr,
            "feasible": self.feasible,
            "small_share": chosen.small_share,
            "accuracy": chosen.accuracy,
            "max_drop": self.max_drop,
            "least_max_drop": self.least_max_drop,
            "cost_saved_share": chosen.cost_saved_share,
            "arbiter": self.confers,
            "both_accuracy": None if both is None else both.both_accuracy,
            "both_gain": None if both is None else both.gain,
        }

    def sentences(self) -> tuple[str, ...]:
        small, large = self.small, self.large
        level = phrases.level(self.confidence_level)
        found = [
            f"{self.num_rows:,} rows are in both files: calibrators and router are "
            f"fitted on {small.num_fitted:,} of them; K is chosen and judged on the "
            f"other {small.num_judged:,}.",
            f"On those rows the small model is right {phrases.percent(small.accuracy)} "
            f"of the time, the large model {phrases.percent(large.accuracy)}.",
            *self._on_roles(),
            f"Small model: {_calibration(small)} Large model: {_calibration(large)}",
        ]
        for one in (self.small, self.large):
            found += one.remarks
        if self.conferring is not None:
            found += self.conferring.sentences(self.confidence_level, self.confers)
        found += gaps.sentences(
            self.interval,
            (small.accuracy, large.accuracy),
            self.confidence_level,
            unused_arbiter=self.weighed and not self.confers,
        )
        if self.feasible:
            found += self._on_promise(level)
        elif self.given_num_small_bins is not None:
            found += [
                *self._on_k(level),
                "K was given, so nothing is promised about its accuracy.",
            ]
        else:
            found += self._on_none(level)
        money = costs.sentence(self.cost_reason, self.chosen, self.confidence_level)
        return (*found, money)

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        steps: list[str] = []
        record = in_shell(folder, RECORD)
        given = self.given_num_small_bins is not None
        if not self.feasible and not given:
            least = self.least_max_drop
            if least is not None:
                might = self.max_drop, self.selection
                more = (
                    ", or use more labelled rows"
                    if promises.rows_might_help(self.points[1], *might)
                    else ""
                )
                what = "Allow a larger loss" if least >= 0 else "Ask for a smaller gain"
                steps.append(f"{what} (--max-drop {_rounded_up(least)}){more}.")
            return (*steps, "Until then ask the large model for every input.")
        later = "whether inputs changed" if given else "that the promise still holds"
        return (
            *steps,
            f"Decide for new inputs: calib-jax apply {record} NEW_FILE{self.reading}",
            *(
                [
                    "For those sent on, see whose answer to take: calib-jax apply "
                    f"{record} NEW_SMALL NEW_LARGE{self.reading}{self.second}"
                ]
                if self.confers
                else []
            ),
            f"Check later {later}: calib-jax check "
            f"{record} NEW_SMALL NEW_LARGE{self.reading}{self.second}{self.labelling}",
            f"Serve {place(folder, RECORD)} without JAX: see the page on serving in "
            "the docs.",
        )

    def _on_roles(self) -> list[str]:
        if self.small.accuracy > self.large.accuracy:
            return [
                "The small model is the more accurate one: are the files in the wrong "
                "order?"
            ]
        if self.small.accuracy == self.large.accuracy:
            return [
                "Both models are equally accurate, so there is no gap to recover, and "
                "no APGR."
            ]
        return []

    def _on_promise(self, level: str) -> list[str]:
        return [
            f"With confidence {level}, the cascade {phrases.promised(self.max_drop)}, "
            "on new inputs like these.",
            *self._on_k(level),
            "K was chosen on the same rows, so its accuracy and interval are slightly "
            "optimistic; the promise is not affected.",
        ]

    def _on_k(self, level: str) -> list[str]:
        chosen = self.chosen
        num_bins, used = len(self.points) - 1, _num_used(self.router)
        hold = "" if used == num_bins else f", of which {used} hold rows"
        return [
            f"K is {self.num_small_bins} of {num_bins} bins{hold}: the small model "
            f"answers {phrases.percent(chosen.small_share)} of inputs, and the cascade "
            f"is right {phrases.percent(chosen.accuracy)} of the time ({level} "
            f"interval {phrases.between(chosen.accuracy_interval)}).",
        ]

    def _on_none(self, level: str) -> list[str]:
        plain, least = self.points[self.plain_num_small_bins], self.least_max_drop
        found = [
            f"No K can promise with confidence {level} that the cascade "
            f"{phrases.promised(self.max_drop)}, so K is 0: the large model answers "
            f"everything{', without the arbiter' if self.weighed else ''}.",
            *promises.impossible(
                self.points,
                self.max_drop,
                self.selection,
                self.rows_needed,
                weighed=self.weighed,
            ),
        ]
        return [*found, *promises.instead(plain, least, self.weighed)]

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        small, large = self.small_cost, self.large_cost
        found = {
            name: figures.reliability(model, self.confidence_level, f"{prefix}{name}")
            for name, model in (("small", self.small), ("large", self.large))
        }
        found["curve"] = figures.cascade_curve(
            self.curve,
            self.interval,
            self.num_small_bins,
            (small, large) if small is not None and large else None,
            f"{prefix}curve",
            unused_arbiter=self.weighed and not self.confers,
        )
        found["advantage"] = figures.advantage(
            self.router, self.num_small_bins, f"{prefix}advantage"
        )
        return found

    def files(self) -> Mapping[str, Writer]:
        return {RECORD: self._write_record}

    def _write_record(self, path: Path) -> None:
        given = self.given_num_small_bins is not None
        promise = Promise(
            made_by=risk_control.control_accuracy_drop,
            confidence_level=self.confidence_level,
        )
        cascade_files.save_cascade(
            path,
            router=self.router,
            num_small_bins=self.num_small_bins,
            small_params=self.small.params,
            large_params=self.large.params,
            arbiter=None
            if self.conferring is None or not self.confers
            else self.conferring.arbiter,
            selection=None if given else self.selection,
            num_rows=self.small.num_judged,
            promise=None if given else promise,
            reference=self.reference,
            small_input=self.small.taken,
            large_input=self.large.taken,
        )


def cascade_report(
    small: Outputs,
    large: Outputs,
    *,
    max_drop: float = 0.01,
    confidence_level: float = 0.95,
    small_cost: float | None = None,
    large_cost: float | None = None,
    method: Method | None = None,
    num_bins: int = DEFAULT_NUM_BINS,
    num_small_bins: int | None = None,
    large_decides: bool = False,
    seed: int = 0,
) -> CascadeReport:
    """Builds a cascade of two models from their outputs on the same labelled inputs.

    Both calibrators and the router are fitted on one random half of the shared rows
    (Algorithm 1 of the paper). On the other half the cascade is judged, and K is the
    largest for which `calib_jax.cascade.control_accuracy_drop` promises that no more
    than `max_drop` of accuracy is lost against always asking the large model.

    Where both models were asked, an arbiter that was fitted on the first half takes one
    of their answers (`calib_jax.cascade.fit_arbiter`), if it does better there than the
    better model; then bins are kept small in the order of the advantage of that answer.
    Otherwise the large model's answer is taken, as in the paper. If both files say
    which of the same options were chosen, only rows with different answers count.

    Args:
      small: of the small model, from `calib_jax.io.read_outputs`, with labels or
        outcomes.
      large: of the large model, likewise. They may be of one model, such as asked
        directly and after thinking.
      max_drop: the loss of accuracy that is allowed, in `[-1, 1]`.
      confidence_level: of the promise and the intervals, in `(0, 1)`.
      small_cost: price of a call of the small model, in any unit; by default costs are
        those of the files, if both have them.
      large_cost: price of a call of the large model, in the same unit.
      method: the calibrator of both; by default one that suits each.
      num_bins: bins of the router.
      num_small_bins: K, from 0 to `num_bins`, such as one seen on the page's slider.
        Nothing is promised then; by default K is chosen for the promise.
      large_decides: whether the large model's answer is taken wherever it is asked, so
        that no arbiter is fitted.
      seed: of the halves and of the draws of intervals.

    Returns:
      `CascadeReport`.

    Raises:
      ValueError: if the files share no row, or fewer than 40; if nothing says which
        answers are right, or all of one model are right or wrong; for negative or
        infinite prices, a limit outside `[-1, 1]`, and a K out of range.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 3.2 and Algorithm 1.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> folder, read = pathlib.Path(tempfile.mkdtemp()), []
      >>> for name, wrong in (("small", 4), ("large", 3)):
      ...     rows = [f"{i},{i % 10 / 10},{int(i % 10 >= wrong)}" for i in range(4000)]
      ...     path = folder / f"{name}.csv"
      ...     _ = path.write_text("\\n".join(["id,score,correct", *rows]))
      ...     read.append(cj.io.read_outputs(path))
      >>> report = cascade_report(*read, small_cost=1, large_cost=10)
      >>> print(report.feasible, report.chosen.cost_saved_share > 0.3)
      True True
    """
    if not -1 <= max_drop <= 1:
        raise ValueError(f"max_drop: expected a number in [-1, 1], got {max_drop}.")
    if num_small_bins is not None and not 0 <= num_small_bins <= num_bins:
        raise ValueError(
            f"num_small_bins: expected K from 0 to num_bins, {num_bins}, got "
            f"{num_small_bins}."
        )
    small, large = pairs.joined(small, large)
    price = costs.of(small, large, small_cost, large_cost)
    first, second = models.halves(len(small), seed)
    fitted = [
        models.fit(
            outputs,
            role,
            first,
            second,
            method=method,
            seed=seed,
            confidence_level=confidence_level,
        )
        for outputs, role in ((small, "small model"), (large, "large model"))
    ]
    confidence = fitted[0].confidence
    pair = (
        conferring.of_large(fitted[1])
        if large_decides
        else conferring.fit(
            (small, large), (fitted[0], fitted[1]), first, second, confidence_level
        )
    )
    router = routers.fit_router(
        confidence[first], pair.confidence[first], num_bins=num_bins
    )

    def rows_of(half: np.ndarray) -> JudgedRows:
        asked = pair.conferred_outcome
        return JudgedRows(
            small_confidence=confidence[half],
            small_outcome=fitted[0].outcome[half],
            large_outcome=fitted[1].outcome[half],
            conferred_outcome=None if asked is None else asked[half],
        )

    router = points.with_outcomes(router, rows_of(first), pair.confidence[first])
    rows = rows_of(second)
    key = jax.random.key(seed)
    interval = points.interval(key, router, rows, confidence_level)
    chosen = risk_control.control_accuracy_drop(
        router,
        max_drop=max_drop,
        confidence_level=confidence_level,
        **rows._asdict(),
    )
    each = price.of_rows(second)
    saved = points.for_every_k(key, router, rows, each, confidence_level)
    confers = rows.conferred_outcome is not None
    if confers and num_small_bins is None and not bool(chosen.feasible):
        paper = rows._replace(conferred_outcome=None)
        alone = points.interval(key, router, paper, confidence_level)
        interval, confers = points.with_large_alone(interval, alone), False
    return CascadeReport(
        sources=tuple(one.model.source for one in fitted),
        seed=seed,
        confidence_level=confidence_level,
        small=fitted[0].model,
        large=fitted[1].model,
        conferring=pair.conferring,
        router=router,
        max_drop=float(max_drop),
        given_num_small_bins=num_small_bins,
        selection=chosen,
        rows_needed=points.rows_needed(
            router, rows, max_drop, confidence_level, len(small), chosen
        ),
        plain_num_small_bins=points.plain_choice(router, rows_of(first), max_drop),
        interval=interval,
        reference=tables.reliability_table(router.bins, *rows[:2]),
        points=points.of(interval, chosen, saved, confers=confers),
        small_cost=None if price.small is None else float(np.mean(each[0])),
        large_cost=None if price.large is None else float(np.mean(each[1])),
        cost_unit=price.unit,
        cost_reason=price.reason,
    )


def _rounded_up(limit: float) -> str:
    return f"{float(phrases.rounded_up(limit, 4)):g}"


def _num_used(router: Router) -> int:
    """Bins of a router that held rows when it was fitted."""
    return int(np.count_nonzero(router.table.count))


def _calibration(model: Model) -> str:
    after = f"{float(model.after.error.estimate):.4f}"
    ece = f"ECE {after}"
    if model.before is not None:
        before = float(model.before.error.estimate)
        ece = f"ECE {before:.4f} before and {after} after"
    return f"{model.reason.rstrip('.')}; {ece}."
