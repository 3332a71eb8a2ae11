"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.kit import report
from benchmarks.kit.report import Draw, number, percent, table, thousands

from . import drawing
from .digits import RENAMED, Corrupted
from .measure import LABELLED, LEVEL, NUM_BINS, SIZES, Judged
from .saved import Shifted
from .simulation import Simulated

# Accuracy or APGR has fallen if it is lower by this much; an alarm has come if this
# share of batches raises one.
FALLEN, FALLEN_RECOVERED, COME = 0.02, 0.05, 0.8
# The batch size for which estimates are shown.
SHOWN = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the simulation, of digits and of saved outputs.

    Attributes:
      simulated: by setting.
      corrupted: digits.
      shifted: saved outputs.
      num_samples: of each simulated setting.
    """

    simulated: Sequence[Simulated]
    corrupted: Corrupted
    shifted: Sequence[Shifted]
    num_samples: int

    def text(self) -> str:
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            sizes=SIZES,
            level=LEVEL,
            fallen_points=FALLEN,
            fallen_recovered=FALLEN_RECOVERED,
            come=COME,
            num_bins=NUM_BINS,
            shown=SIZES[SHOWN],
            apart=number(drawing.APART, 1),
            renamed=RENAMED,
            labelled=LABELLED,
            num_samples=self.num_samples,
            num_repeats=len(self.corrupted.judged.accuracy),
            corrupted=self.corrupted,
            shifted=self.shifted,
            **_false_alarms(self.simulated, self.num_samples),
            coverage_table=_coverage(self.simulated),
            **_before(self.corrupted),
            **_every(self.corrupted),
            **_unseen(self.corrupted),
            **_shifts(self.shifted),
        )

    def figures(self) -> dict[str, Draw]:
        return {"alarms": lambda dark: drawing.draw(self.corrupted, SHOWN, FALLEN)}


def _false_alarms(simulated: Sequence[Simulated], num_samples: int) -> dict[str, Any]:
    most = LEVEL + 2 * float(np.sqrt(LEVEL * (1 - LEVEL) / num_samples))
    still = [one for one in simulated if not one.setting.drift]
    drifting = [one for one in simulated if one.setting.drift]
    counts = {
        "`occupancy_drift` on other rows": [
            one.occupancy for one in still if not one.setting.fitted
        ],
        "`update_monitor`": [one.stream for one in still],
        "`calibration_drift`": [one.changed for one in still],
        "`calibration_drift` of shifted confidences": [one.changed for one in drifting],
    }

    def reference(one: Simulated) -> str:
        fitted, tied = one.setting.fitted, one.setting.tied
        kind = "reference that the bins were cut from" if fitted else "other"
        return f"{kind}{', ties' if tied else ''}"

    def shift(one: Simulated) -> str:
        accurate = one.setting.accurate
        return f"{one.setting.drift}{', nearly all right' if accurate else ''}"

    return {
        "most": most,
        "kept": [
            f"{name} {sum(share <= most for share in shares)} of {len(shares)}"
            for name, shares in counts.items()
        ],
        "exceeded": [
            f"{percent(one.occupancy)} % for {one.setting.num_reference:,} reference "
            f"and {one.setting.num_rows:,} new rows"
            for one in still
            if one.setting.fitted and one.occupancy > most
        ],
        "still_table": table(
            [
                ("reference", reference),
                *_ROWS,
                ("occupancy (%)", lambda one: percent(one.occupancy)),
                ("stream (%)", lambda one: percent(one.stream)),
                ("outcomes changed (%)", lambda one: percent(one.changed)),
            ],
            still,
        ),
        "shifted_table": table(
            [
                ("shift", shift),
                ("bins", lambda one: one.setting.num_bins),
                *_ROWS,
                ("outcomes changed (%)", lambda one: percent(one.changed)),
            ],
            drifting,
        ),
    }


_ROWS: Sequence[tuple[str, Callable[[Simulated], str]]] = (
    ("reference rows", lambda one: thousands(one.setting.num_reference)),
    ("new rows", lambda one: thousands(one.setting.num_rows)),
)


def _coverage(simulated: Sequence[Simulated]) -> str:
    def inputs(one: Simulated) -> str:
        drift, accurate = one.setting.drift, one.setting.accurate
        kind = f"shifted by {drift}" if drift else "as before"
        return f"{kind}{', nearly all right' if accurate else ''}"

    def ends(values: np.ndarray) -> str:
        return f"{percent(values.min())} to {percent(values.max())}"

    return table(
        [
            ("new inputs", inputs),
            *_ROWS,
            ("wrong", lambda one: number(one.wrong, 1)),
            ("by bins (%)", lambda one: ends(one.by_bins)),
            ("by confidence (%)", lambda one: ends(one.by_confidence)),
            ("occupancy alarm (%)", lambda one: percent(one.occupancy)),
            ("stream alarm (%)", lambda one: percent(one.stream)),
        ],
        [
            one
            for one in simulated
            if not (one.setting.tied or one.setting.fitted)
            and one.setting.num_bins == NUM_BINS
        ],
    )


def _is_fair(judged: Judged) -> np.ndarray:
    """Where the large model is clearly better, so that APGR is meaningful."""
    gap = judged.large_accuracy - judged.small_accuracy
    return np.all(gap > 2 * judged.gap_error, axis=0)


def _first(reached: np.ndarray) -> int | None:
    """The first severity at which it happens."""
    found = np.flatnonzero(reached)
    return int(found[0]) if len(found) else None


def _before(found: Corrupted) -> dict[str, Any]:
    judged = found.judged
    accuracy, recovered = (
        np.mean(part, axis=0) for part in (judged.accuracy, judged.recovered)
    )
    fair = _is_fair(judged)
    alarms, streams = judged.alarms.mean(axis=0), judged.stream_alarms.mean(axis=0)
    fell = accuracy[:, :1] - accuracy >= FALLEN
    less = fair & fair[:, :1] & (recovered[:, :1] - recovered >= FALLEN_RECOVERED)
    names = [*(f"batches of {size:,}" for size in SIZES), "stream"]
    shares = np.concatenate([alarms, streams[..., None]], axis=-1)
    come = shares >= COME
    rows, in_time = [], {name: [0, 0, 0, 0] for name in names}
    for c, name in enumerate(found.corruptions):
        falls = [_first(fell[c]), _first(less[c])]
        firsts = [_first(come[c, :, place]) for place in range(len(names))]
        for alarm, first in zip(names, firsts, strict=True):
            for place, fall in enumerate(falls):
                if fall is not None:
                    in_time[alarm][2 * place] += first is not None and first <= fall
                    in_time[alarm][2 * place + 1] += 1
        rows.append([name, *("-" if x is None else x for x in (*falls, *firsts))])

    def raised(c: int, severity: int, place: int) -> str:
        came = come[c, severity, place]
        return f"{percent(shares[c, severity, place], 0)}{'' if came else ', missed'}"

    return {
        "first_table": report.grid(
            ("corruption", "accuracy fallen", "APGR fallen", *names), rows
        ),
        "in_time": [
            f"{alarm}: {n} of {of} for accuracy, {m} of {of_recovered} for APGR"
            for alarm, (n, of, m, of_recovered) in in_time.items()
        ],
        "num_fallen": int(np.sum(fell)),
        "caught": [
            f"{name} {int(np.sum(fell & come[..., place]))}"
            for place, name in enumerate(names)
        ],
        "missed_table": table(
            [
                (
                    "corruption, severity",
                    lambda at: f"{found.corruptions[at[0]]}, {at[1]}",
                ),
                ("points lost", lambda at: percent(accuracy[at[0], 0] - accuracy[at])),
                *(
                    (f"{name} (%)", lambda at, place=place: raised(*at, place))
                    for place, name in enumerate(names)
                ),
            ],
            [at for at in zip(*np.nonzero(fell), strict=True) if not come[at].all()],
        ),
        "early": int(np.sum(come[..., SHOWN] & ~fell & ~less)),
        "num_conditions": fell.size - len(fell),
    }


def _rows_until(rows: ArrayLike) -> str:
    middle = float(np.median(np.asarray(rows)))
    return f"{middle:,.0f}" if np.isfinite(middle) else "-"


# A condition: its name, its numbers with repetitions as the only axis before those of
# the fields, and whether its APGR is meaningful.
_Condition = tuple[str, Judged, bool]


def _condition(name: str, judged: Judged, place: tuple) -> _Condition:
    at = (slice(None), *place)
    return name, Judged(*(part[at] for part in judged)), bool(_is_fair(judged)[place])


def _table(
    header: str,
    rows: Sequence[_Condition],
    num_rows: Sequence[float] | None = None,
) -> str:
    """Means over repetitions; "-" where a condition has fewer rows than a batch."""
    enough = dict(zip((id(row) for row in rows), num_rows or (), strict=False))

    def share(name: str, place: int, size: int) -> Callable[[_Condition], str]:
        def cell(row: _Condition) -> str:
            if enough.get(id(row), np.inf) < size:
                return "-"
            return percent(getattr(row[1], name)[:, place].mean(), 0)

        return cell

    return table(
        [
            (header, lambda row: row[0]),
            ("accuracy (%)", lambda row: percent(row[1].accuracy.mean())),
            (
                "by confidence (%)",
                lambda row: percent(row[1].by_confidence[:, SHOWN].mean()),
            ),
            ("by bins (%)", lambda row: percent(row[1].by_bins[:, SHOWN].mean())),
            (
                "APGR",
                lambda row: number(row[1].recovered.mean(), 2) if row[2] else "-",
            ),
            *(
                (f"alarm, {size:,} rows (%)", share("alarms", place, size))
                for place, size in enumerate(SIZES)
            ),
            ("stream (%)", lambda row: percent(row[1].stream_alarms.mean(), 0)),
            ("median rows", lambda row: _rows_until(row[1].stream_rows)),
            *(
                (f"changed, {size} labels (%)", share("changed", place, size))
                for place, size in enumerate(LABELLED)
            ),
            *(
                (f"ECE, {size} labels (%)", share("miscalibrated", place, size))
                for place, size in enumerate(LABELLED)
            ),
        ],
        rows,
    )


def _every(found: Corrupted) -> dict[str, Any]:
    judged = found.judged
    conditions = [_condition("none, 0", judged, (0, 0))] + [
        _condition(f"{name}, {severity}", judged, (c, severity))
        for c, name in enumerate(found.corruptions)
        for severity in range(1, judged.accuracy.shape[2])
    ]
    truth = judged.accuracy.mean(axis=0)
    estimates = [
        part[..., SHOWN].mean(axis=0) for part in (judged.by_confidence, judged.by_bins)
    ]
    return {
        "every_table": _table("corruption, severity", conditions),
        "off": [np.abs(estimate - truth)[:, 1:] for estimate in estimates],
        "too_high": [np.mean((estimate > truth)[:, 1:]) for estimate in estimates],
    }


def _unseen(found: Corrupted) -> dict[str, Any]:
    clean = Judged(*(part[:, 0, 0] for part in found.judged))
    renamed = found.renamed
    return {
        "unseen_table": _table(
            "labels",
            [
                _condition("as before", clean, ()),
                _condition(f"{RENAMED[0]} and {RENAMED[1]} renamed", renamed, ()),
            ],
        ),
        "unseen_lost": clean.accuracy.mean() - renamed.accuracy.mean(),
        "unseen_alarms": [part.alarms.mean(axis=0)[SHOWN] for part in (clean, renamed)],
        "unseen_changed": renamed.changed.mean(axis=0),
    }


def _shifts(shifted: Sequence[Shifted]) -> dict[str, Any]:
    accuracy = [one.judged.accuracy.mean(axis=0) for one in shifted]
    lost = np.array([before - after for before, after in accuracy])
    came = np.array(
        [one.judged.alarms[:, 1, SHOWN].mean() >= COME for one in shifted], bool
    )
    high = [
        one.judged.by_bins[:, 1, SHOWN].mean() - after > FALLEN
        for one, (_, after) in zip(shifted, accuracy, strict=True)
    ]
    conditions = [
        _condition(f"{one.shift.title}, {name}", one.judged, (place,))
        for one in shifted
        for place, name in enumerate(("as before", "shifted"))
    ]
    return {
        "shift_table": _table(
            "cascade", conditions, [size for one in shifted for size in one.num_rows]
        ),
        "fallen": int(np.sum(lost >= FALLEN)),
        "silent": [
            one.shift.title
            for one, fell, alarm in zip(shifted, lost >= FALLEN, came, strict=True)
            if fell and not alarm
        ],
        "alarmed": int(came.sum()),
        "risen": int(np.sum(-lost >= FALLEN)),
        "needless": int(np.sum(came & (-lost >= FALLEN))),
        "too_high_shifts": sum(map(bool, high)),
    }
