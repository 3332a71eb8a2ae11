"""RESULTS.md, results.json and the figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from benchmarks.kit.report import Section, figure, number, percent, table, write

from .digits import RENAMED, Corrupted
from .measure import LABELLED, LEVEL, NUM_BINS, SIZES, Judged
from .saved import Shifted
from .simulation import Simulated

# An accuracy or APGR has fallen where it is so much lower; an alarm has come where so
# many batches raise one.
FALLEN, FALLEN_RECOVERED, COME = 0.02, 0.05, 0.8
# Which of the sizes of a batch the estimates are shown of.
_SHOWN = 1
# Points between series of the figure that would hide each other.
_APART = 3.0

_METHOD = """\
Is the router still right? A cascade is calibrated and its K chosen (to lose no
accuracy) on some rows, others are its *reference*, and new rows come in batches of
{sizes}. Without labels: an alarm of a batch is `occupancy_drift` with p up to {level};
a stream is all new rows one by one, watched by `drift_monitor` with an error
probability of {level} for the whole stream; `estimated_accuracy` is what the cascade is
thought to be worth. With labels: `calibration_drift`. An accuracy has *fallen* where it
is {fallen} points or more below that without drift, APGR where it is {recovered} or
more below. An alarm has *come* where at least {come} % of batches (or streams) raise
it."""


def write_results(
    folder: Path,
    simulated: Sequence[Simulated],
    corrupted: Corrupted,
    shifted: Sequence[Shifted],
    num_samples: int,
) -> None:
    """Writes what came of the simulation, of digits, and of saved outputs."""
    preface = [
        "# Is the router still right?",
        "Written by `python -m benchmarks.alarms`; nothing here is typed by hand. The "
        "numbers behind the tables are in `results.json`.",
        _METHOD.format(
            sizes=_listed([f"{size:,}" for size in SIZES]),
            level=LEVEL,
            fallen=number(100 * FALLEN, 0),
            recovered=FALLEN_RECOVERED,
            come=percent(COME, 0),
        ),
    ]
    sections = [
        _false_alarms(simulated, num_samples),
        _coverage(simulated),
        _before(corrupted),
        _every(corrupted),
        _unseen(corrupted),
    ]
    if shifted:
        sections.append(_shifts(shifted))
    write(folder, preface, sections)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _false_alarms(simulated: Sequence[Simulated], num_samples: int) -> Section:
    error = np.sqrt(LEVEL * (1 - LEVEL) / num_samples)
    most = LEVEL + 2 * error
    still = [one for one in simulated if not one.setting.drift]
    rows = []
    for one in still:
        setting = one.setting
        kind = "reference that the bins were cut from" if setting.fitted else "other"
        rows.append(
            [
                f"{kind}{', ties' if setting.tied else ''}",
                f"{setting.num_reference:,}",
                f"{setting.num_rows:,}",
                percent(one.occupancy),
                percent(one.stream),
                percent(one.changed),
            ]
        )
    others = [one for one in still if not one.setting.fitted]
    own = [one for one in still if one.setting.fitted and one.occupancy > most]
    exceeded = _listed(
        [
            f"{percent(one.occupancy)} % for {one.setting.num_reference:,} reference "
            f"and {one.setting.num_rows:,} new rows"
            for one in own
        ]
    )
    shifted_rows = [
        [
            f"{one.setting.drift}{', nearly all right' * one.setting.accurate}",
            one.setting.num_bins,
            f"{one.setting.num_reference:,}",
            f"{one.setting.num_rows:,}",
            percent(one.changed),
        ]
        for one in simulated
        if one.setting.drift
    ]
    counts = {
        "`occupancy_drift` on other rows": [one.occupancy for one in others],
        "`drift_monitor`": [one.stream for one in still],
        "`calibration_drift`": [one.changed for one in still],
        "`calibration_drift` of shifted confidences": [
            one.changed for one in simulated if one.setting.drift
        ],
    }
    kept = _listed(
        [
            f"{name} {sum(share <= most for share in shares)} of {len(shares)}"
            for name, shares in counts.items()
        ]
    )
    return Section(
        title="False alarms, simulated",
        blocks=[
            "Nothing drifts. Confidences are continuous or rounded to one of 20 values "
            f"(ties); {NUM_BINS} bins; {num_samples} samples of each setting. Promised "
            f"are {percent(LEVEL)} %, of which {percent(most)} % is two standard "
            f"errors above. At or below that are: {kept} settings. The bins of the "
            "last rows were cut from the very reference, whose counts are equal by "
            "construction: there `occupancy_drift` promises nothing, `drift_monitor` "
            "does" + (f". Its false alarms are {exceeded}." if own else "."),
            table(
                (
                    "reference",
                    "reference rows",
                    "new rows",
                    "occupancy (%)",
                    "stream (%)",
                    "outcomes changed (%)",
                ),
                rows,
            ),
            "False alarms of `calibration_drift` where confidences shift (their "
            "log-odds are lower by so much, of a standard deviation of 1) and are "
            "calibrated before and after:",
            table(
                (
                    "shift",
                    "bins",
                    "reference rows",
                    "new rows",
                    "outcomes changed (%)",
                ),
                shifted_rows,
            ),
        ],
        numbers=still,
    )


def _coverage(simulated: Sequence[Simulated]) -> Section:
    rows = []
    for one in simulated:
        setting = one.setting
        if setting.tied or setting.fitted or setting.num_bins != NUM_BINS:
            continue
        kind = f"shifted by {setting.drift}" if setting.drift else "as before"
        rows.append(
            [
                f"{kind}{', nearly all right' if setting.accurate else ''}",
                f"{setting.num_reference:,}",
                f"{setting.num_rows:,}",
                number(one.wrong, 1),
                f"{percent(one.by_bins.min())} to {percent(one.by_bins.max())}",
                f"{percent(one.by_confidence.min())} to "
                f"{percent(one.by_confidence.max())}",
                percent(one.occupancy),
                percent(one.stream),
            ]
        )
    return Section(
        title="Estimated accuracy, simulated",
        blocks=[
            "How often the 95 % intervals of `estimated_accuracy` hold the true "
            "accuracy, least and greatest over K, where both suppositions are true: "
            "confidences are calibrated before and after. By bins also supposes that "
            "confidences within a bin are as they were, which drift makes slightly "
            "false. *Wrong* is the mean number of wrong answers of the small model in "
            "the reference.",
            table(
                (
                    "new inputs",
                    "reference rows",
                    "new rows",
                    "wrong",
                    "by bins (%)",
                    "by confidence (%)",
                    "occupancy alarm (%)",
                    "stream alarm (%)",
                ),
                rows,
            ),
        ],
        numbers=simulated,
    )


def _is_fair(judged: Judged) -> np.ndarray:
    """Where the large model is the better one beyond doubt: APGR means something."""
    gap = judged.large_accuracy - judged.small_accuracy
    return np.all(gap > 2 * judged.gap_error, axis=0)


def _first(reached: np.ndarray) -> int | None:
    """The first severity at which something is so."""
    found = np.flatnonzero(reached)
    return int(found[0]) if len(found) else None


def _before(found: Corrupted) -> Section:
    judged = found.judged
    accuracy, recovered = (
        np.mean(part, axis=0) for part in (judged.accuracy, judged.recovered)
    )
    fair = _is_fair(judged)
    alarms, streams = judged.alarms.mean(axis=0), judged.stream_alarms.mean(axis=0)
    fell = accuracy[:, :1] - accuracy >= FALLEN
    less = fair & fair[:, :1] & (recovered[:, :1] - recovered >= FALLEN_RECOVERED)
    names = [*(f"batches of {size:,}" for size in SIZES), "stream"]
    come = np.concatenate([alarms, streams[..., None]], axis=-1) >= COME
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
    said = [
        f"{alarm}: {n} of {of} for accuracy, {m} of {of_recovered} for APGR"
        for alarm, (n, of, m, of_recovered) in in_time.items()
    ]
    of_all = [
        f"{name} {int(np.sum(fell & come[..., place]))}"
        for place, name in enumerate(names)
    ]
    shares = np.concatenate([alarms, streams[..., None]], axis=-1)
    missed = [
        [
            f"{name}, {severity}",
            percent(accuracy[c, 0] - accuracy[c, severity]),
            *(
                f"{percent(share, 0)}{'' if came else ', missed'}"
                for share, came in zip(
                    shares[c, severity], come[c, severity], strict=True
                )
            ),
        ]
        for c, name in enumerate(found.corruptions)
        for severity in range(accuracy.shape[1])
        if fell[c, severity] and not np.all(come[c, severity])
    ]
    early = int(np.sum(come[..., _SHOWN] & ~fell & ~less))
    caption = (
        "Alarms without labels against what the cascade has lost, and both estimates "
        "of its accuracy against the truth: seven corruptions at severities 0 to 5. "
        "On the left the four series are set apart vertically by "
        f"{number(_APART, 1)} points each, so that equal shares can be told apart."
    )
    return Section(
        title="Does the alarm come before the cascade gets worse?",
        blocks=[
            "The small and the large network of `calib-jax demo` on digits, trained "
            f"{len(judged.accuracy)} times; {found.num_calibration:,} clean images "
            f"calibrate, {found.num_reference:,} others are the reference, and "
            f"{found.num_new:,} more are the new ones, corrupted. The first severity, "
            "0 to 5, at which something is so; - for never. APGR is looked at where "
            "the large model is the better one by two standard errors in every "
            "repetition.",
            table(
                ("corruption", "accuracy fallen", "APGR fallen", *names),
                rows,
            ),
            f"The first alarm comes no later than the first fall: {'; '.join(said)}. "
            "An alarm at a lower severity does not mean one at a higher: of "
            f"{int(np.sum(fell))} corruptions and severities at which accuracy has "
            f"fallen, the alarm has come in {_listed(of_all)}. Those that any of them "
            "misses:",
            table(
                (
                    "corruption, severity",
                    "points lost",
                    *(f"{name} (%)" for name in names),
                ),
                missed,
            ),
            f"And for {early} of {fell.size - len(fell)} corruptions and severities "
            f"batches of {SIZES[_SHOWN]} raise it where neither has fallen: other "
            "inputs need not be answered worse.",
            figure("alarms", caption),
        ],
        figures={"alarms": lambda dark: _draw(found)},
        numbers=found,
    )


def _rows_until(rows: ArrayLike) -> str:
    middle = float(np.median(np.asarray(rows)))
    return f"{middle:,.0f}" if np.isfinite(middle) else "-"


_HEADER = (
    "accuracy (%)",
    "by confidence (%)",
    "by bins (%)",
    "APGR",
    *(f"alarm, {size:,} rows (%)" for size in SIZES),
    "stream (%)",
    "median rows",
    *(f"changed, {size} labels (%)" for size in LABELLED),
    *(f"ECE, {size} labels (%)" for size in LABELLED),
)


def _cells(judged: Judged, place: tuple) -> list[str]:
    """Of one condition, the mean over repetitions."""
    few = range(len(LABELLED))
    every = (slice(None), *place)
    return [
        percent(judged.accuracy[every].mean()),
        percent(judged.by_confidence[every][:, _SHOWN].mean()),
        percent(judged.by_bins[every][:, _SHOWN].mean()),
        number(judged.recovered[every].mean(), 2) if _is_fair(judged)[place] else "-",
        *(percent(share, 0) for share in judged.alarms[every].mean(axis=0)),
        percent(judged.stream_alarms[every].mean(), 0),
        _rows_until(judged.stream_rows[every]),
        *(percent(judged.changed[every][:, k].mean(), 0) for k in few),
        *(percent(judged.miscalibrated[every][:, k].mean(), 0) for k in few),
    ]


def _every(found: Corrupted) -> Section:
    judged = found.judged
    rows = [["none, 0", *_cells(judged, (0, 0))]]
    rows += [
        [f"{name}, {severity}", *_cells(judged, (c, severity))]
        for c, name in enumerate(found.corruptions)
        for severity in range(1, judged.accuracy.shape[2])
    ]
    truth = judged.accuracy.mean(axis=0)
    off = [
        np.abs(part[..., _SHOWN].mean(axis=0) - truth)[:, 1:]
        for part in (judged.by_confidence, judged.by_bins)
    ]
    too_high = [
        np.mean((part[..., _SHOWN].mean(axis=0) > truth)[:, 1:])
        for part in (judged.by_confidence, judged.by_bins)
    ]
    return Section(
        title="Every corruption and severity",
        blocks=[
            "Accuracy of the cascade at its K; both estimates of it without labels, "
            f"from batches of {SIZES[_SHOWN]}; APGR; shares of batches, or streams, "
            "with an alarm, and the median number of rows until that of the stream. "
            "With labels: shares of batches in which outcomes at the same confidence "
            "seem to have changed (`p_value` of `calibration_drift`), and in which the "
            "small model's ECE is above that of a calibrated model (`new.p_value`).",
            table(("corruption, severity", *_HEADER), rows),
            "Under corruption the estimates are off by "
            f"{number(100 * off[0].mean(), 1)} points (by confidence) and "
            f"{number(100 * off[1].mean(), 1)} points (by bins) on average, at most by "
            f"{number(100 * off[0].max(), 1)} and {number(100 * off[1].max(), 1)}; too "
            f"high in {percent(too_high[0], 0)} and {percent(too_high[1], 0)} % of the "
            "conditions.",
        ],
        numbers={"off": off},
    )


def _unseen(found: Corrupted) -> Section:
    clean = Judged(*(part[:, 0, 0] for part in found.judged))
    rows = [
        ["as before", *_cells(clean, ())],
        [f"{RENAMED[0]} and {RENAMED[1]} renamed", *_cells(found.renamed, ())],
    ]
    lost = clean.accuracy.mean() - found.renamed.accuracy.mean()
    before, after = (
        part.alarms.mean(axis=0)[_SHOWN] for part in (clean, found.renamed)
    )
    seen = found.renamed.changed.mean(axis=0)
    return Section(
        title="What no alarm without labels can see",
        blocks=[
            f"Clean images, but what is called {RENAMED[0]} and what is called "
            f"{RENAMED[1]} have changed places: the inputs and all confidences are as "
            "before, and the answers are wrong.",
            table(("labels", *_HEADER), rows),
            f"The cascade loses {number(100 * lost, 1)} points. Of batches of "
            f"{SIZES[_SHOWN]} {percent(after, 0)} % raise an alarm, and "
            f"{percent(before, 0)} % without the change; both estimates stay where "
            f"they were. {LABELLED[0]} labels show it in {percent(seen[0], 0)} % of "
            f"the batches, {LABELLED[1]} in {percent(seen[1], 0)} %.",
        ],
        numbers=found.renamed,
    )


def _shifts(shifted: Sequence[Shifted]) -> Section:
    rows, fallen, caught, high, silent = [], 0, 0, 0, []
    alarmed, risen, needless = 0, 0, 0
    for one in shifted:
        judged = one.judged
        for place, name in enumerate(("as before", "shifted")):
            cells = _cells(judged, (place,))
            # Fewer rows than a batch is meant to have are all there are.
            for k, size in enumerate(SIZES):
                if one.num_rows[place] < size:
                    cells[4 + k] = "-"
            for k, size in enumerate(LABELLED):
                if one.num_rows[place] < size:
                    cells[9 + k] = cells[11 + k] = "-"
            rows.append([f"{one.shift.title}, {name}", *cells])
        accuracy = judged.accuracy.mean(axis=0)
        off = judged.by_bins[:, 1, _SHOWN].mean() - accuracy[1]
        high += bool(off > FALLEN)
        came = bool(judged.alarms[:, 1, _SHOWN].mean() >= COME)
        alarmed += came
        if accuracy[1] - accuracy[0] >= FALLEN:
            risen += 1
            needless += came
        if accuracy[0] - accuracy[1] >= FALLEN:
            fallen += 1
            caught += came
            if not came:
                silent.append(one.shift.title)
    missed = f" It does not for: {'; '.join(silent)}." if silent else ""
    return Section(
        title="Other questions, other classes",
        blocks=[
            "Platt scaling, a router and K from a third of one task, the reference "
            "from another, and batches of the last third (as before) or of another "
            "task, or of classes that the calibration has not seen (shifted); mean "
            "over random thirds. Columns as above; - where there are fewer rows.",
            table(("cascade", *_HEADER), rows),
            f"Of {len(shifted)} shifts {fallen} make the cascade less accurate, and in "
            f"{caught} of these batches of {SIZES[_SHOWN]} raise the alarm.{missed} "
            f"They raise it in {alarmed} of all {len(shifted)}, and in {needless} of "
            f"the {risen} that make it more accurate: it says that inputs are "
            "others, not that answers are worse. By bins "
            f"the estimate is too high by more than {number(100 * FALLEN, 0)} "
            f"points in {high}: there answers of the same confidence are right less "
            "often than those of the reference.",
        ],
        numbers=shifted,
    )


def _draw(found: Corrupted) -> Figure:
    drawn = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, right = drawn.subplots(1, 2)
    judged = found.judged
    truth = judged.accuracy.mean(axis=0)
    lost = 100 * (truth[:, :1] - truth)
    series = [
        (f"batches of {size:,}", judged.alarms[..., place].mean(axis=0))
        for place, size in enumerate(SIZES)
    ]
    series.append(("stream", judged.stream_alarms.mean(axis=0)))
    for place, ((label, share), marker) in enumerate(zip(series, "osD^", strict=True)):
        _dots(left, lost, 100 * share + _APART * (place - 1.5), place, marker, label)
    left.axhline(100 * LEVEL, color="0.5", linewidth=0.7, linestyle=":")
    left.axvline(100 * FALLEN, color="0.5", linewidth=0.7, linestyle=":")
    left.set(
        xlabel="Accuracy lost (points)", ylabel="With an alarm (%)", ylim=(-8, 108)
    )
    left.set_xscale("symlog", linthresh=2.0)
    left.set_xlim(-0.3, 60)
    left.set_xticks([0, 1, 2, 10, 40], ["0", "1", "2", "10", "40"])
    left.minorticks_off()
    for place, (label, part, marker) in enumerate(
        (
            ("by confidence", judged.by_confidence, "o"),
            ("by bins", judged.by_bins, "s"),
        )
    ):
        estimate = part[..., _SHOWN].mean(axis=0)
        _dots(right, 100 * truth, 100 * estimate, place, marker, label)
    ends = [100 * truth.min(), 100 * truth.max()]
    right.plot(ends, ends, color="0.5", linewidth=0.7)
    right.set(xlabel="Accuracy (%)", ylabel="Estimated accuracy (%)")
    for axes in (left, right):
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderpad=0.0)
    return drawn


def _dots(
    axes: Axes, x: ArrayLike, y: ArrayLike, place: int, marker: str, label: str
) -> None:
    axes.plot(
        np.ravel(x),
        np.ravel(y),
        marker,
        color=f"C{place}",
        fillstyle="full" if place % 2 == 0 else "none",
        markersize=3.5,
        alpha=0.8,
        label=label,
    )
