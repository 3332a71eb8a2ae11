"""Reports made by hand, one for each command, with texts of the caller's choice."""

import dataclasses
import functools

import jax
import numpy as np

import calib_jax as cj
from calib_jax.binning.bins import DEFAULT_NUM_BINS
from calib_jax.io.outputs import Outputs
from calib_jax.report import calibration, models
from calib_jax.report.cascade import CascadeReport, Point
from calib_jax.report.checking import CheckReport, Verdict
from calib_jax.report.cleaning import Answer, CleaningReport, Suspect

# Texts that a page must show as they are, or in another way that does no harm.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(2)">',
    "</script><script>alert(3)</script>",
    "</style><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- & &lt; -->",
    "right\u202eleft\u2066\u200f",
    "nul\x00 bell\x07 line\nbreak\ttab \ud800",
    "$\\frac{1}{0}$",
    "x" * 3000,
    "שלום",
)
NUM_ROWS = 600
COMMANDS = ("calibrate", "cascade", "clean", "check")


@functools.cache
def _model(seed: int, skill: float) -> models.Model:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, NUM_ROWS)
    logits = rng.normal(size=(NUM_ROWS, 4)) + skill * np.eye(4)[labels]
    names = ("law", "maths", "history", "physics")
    outputs = Outputs(
        ids=tuple(f"question-{i}" for i in range(NUM_ROWS)),
        format="lm-eval",
        kind="log_probabilities",
        name="outputs.jsonl",
        logits=np.float32(3 * logits),
        labels=labels.astype(np.int32),
        choices=("A", "B", "C", "D"),
        groups=tuple(names[i % 4] for i in range(NUM_ROWS)),
        dropped={"no log-probabilities": 12, "same id as before": 3},
        dropped_at={"no log-probabilities": ("line 3", "line 17")},
        notes=("2 probabilities are 0, which is -inf here.",),
    )
    return calibration.calibration_report(outputs).model


def _named(model: models.Model, role: str, text: str) -> models.Model:
    """A model whose every text from a file is this one, unless it is empty."""
    source = dataclasses.replace(model.source, role=role)
    if not text:
        return dataclasses.replace(model, source=source)
    source = dataclasses.replace(
        source,
        name=text,
        dropped={text: 12},
        dropped_at={text: (text, text)},
        notes=(text,),
    )
    groups = tuple(dataclasses.replace(group, name=text) for group in model.groups)
    return dataclasses.replace(model, source=source, groups=groups)


def report(command: str, text: str = ""):
    """The report of a command; `text` takes the place of all texts from files."""
    return {
        "calibrate": _calibration,
        "cascade": _cascade,
        "clean": _cleaning,
        "check": _check,
    }[command](text)


def _calibration(text: str) -> calibration.CalibrationReport:
    model = _named(_model(0, 1.0), "outputs", text)
    rng = np.random.default_rng(1)
    return calibration.CalibrationReport(
        sources=(model.source,),
        seed=0,
        confidence_level=0.95,
        model=model,
        ids=(text or "question",) * NUM_ROWS,
        confidence=rng.uniform(size=NUM_ROWS).astype(np.float32),
        outcome=np.ones(NUM_ROWS, np.float32),
        fitted=np.ones(NUM_ROWS, bool),
    )


@functools.cache
def _rows():
    rng = np.random.default_rng(2)
    small = rng.uniform(0.2, 1, (2, NUM_ROWS)).astype(np.float32)
    large = (0.75 + 0.2 * small).astype(np.float32)
    small_right = rng.uniform(size=small.shape) < small
    large_right = rng.uniform(size=small.shape) < large
    router = cj.fit_router(small[0], large[0])
    judged = router, small[1], small_right[1], large_right[1]
    curve = cj.cascade_curve(*judged)
    interval = cj.cascade_interval(jax.random.key(0), *judged, num_resamples=200)
    selection = cj.cascade.control_accuracy_drop(*judged, max_drop=0.05)
    return router, curve, interval, selection


def _judged():
    rng = np.random.default_rng(2)
    small = rng.uniform(0.2, 1, (2, NUM_ROWS)).astype(np.float32)[1]
    return small, rng.uniform(size=NUM_ROWS) < small


def _cascade(text: str) -> CascadeReport:
    router, curve, interval, selection = _rows()
    chosen = 4
    points = []
    for k in range(DEFAULT_NUM_BINS + 1):
        share = float(curve.small_share[k])
        change = float(curve.accuracy[k] - curve.large_accuracy)
        points.append(
            Point(
                num_small_bins=k,
                small_share=share,
                accuracy=float(curve.accuracy[k]),
                accuracy_interval=(
                    float(interval.accuracy.lower[k]),
                    float(interval.accuracy.upper[k]),
                ),
                accuracy_change=change,
                accuracy_change_interval=(change - 0.02, change + 0.02),
                drop_bound=max(0.0, 0.03 - change),
                cost=1 + 10 * (1 - share),
                cost_saved_share=share - 0.1,
                cost_saved_share_interval=(share - 0.14, share - 0.06),
                allowed=k <= chosen,
            )
        )
    small = _named(_model(0, 1.0), "small model", text)
    large = _named(_model(1, 2.5), "large model", text)
    return _Cascade(
        sources=(small.source, large.source),
        seed=0,
        confidence_level=0.95,
        small=small,
        large=large,
        num_rows=2 * NUM_ROWS,
        router=router,
        max_drop=0.05,
        selection=selection,
        num_small_bins=chosen,
        feasible=True,
        least_max_drop=0.021,
        curve=curve,
        interval=interval,
        apgr=0.71,
        rows_needed=None,
        plain_num_small_bins=5,
        savings=None,
        reference=cj.reliability_table(router.bins, *_judged()),
        cost_reason="Costs are those of the files.",
        points=tuple(points),
        small_cost=1.0,
        large_cost=10.0,
        cost_unit=text,
    )


def _cleaning(text: str) -> CleaningReport:
    rng = np.random.default_rng(3)
    some = tuple(
        _named(_model(0, 1.0 + number), f"model {number + 1}", text)
        for number in range(3)
    )
    suspects = tuple(
        Suspect(
            rank=rank,
            id=text or f"question-{rng.integers(10_000)}",
            given=text or "A",
            suggestion=text or "C",
            score=0.99 - rank / 1000,
            answers=tuple(
                Answer(option=text or "C", confidence=float(rng.uniform(0.7, 1)))
                for _ in some
            ),
        )
        for rank in range(1, 251)
    )
    return _Cleaning(
        sources=tuple(one.source for one in some),
        seed=0,
        confidence_level=0.95,
        models=some,
        num_rows=NUM_ROWS,
        num_flagged=len(suspects),
        num_top_bins=4,
        suspects=suspects,
        expected_precision=0.83,
        least_precision=0.61,
        num_to_audit=58,
        audit_target=0.7,
    )


def _check(text: str) -> CheckReport:
    router, *_ = _rows()
    rng = np.random.default_rng(4)
    before, now = rng.beta(4, 2, (2, NUM_ROWS)).astype(np.float32)
    model = _named(_model(0, 1.0), "small model", text)
    return _Check(
        sources=(model.source,),
        seed=0,
        confidence_level=0.95,
        num_rows=NUM_ROWS,
        drift=cj.monitoring.occupancy_drift(
            jax.random.key(0), router.bins, before, now, num_resamples=99
        ),
        small_share=0.41,
        small_share_before=0.37,
        small_accuracy=0.84,
        small_accuracy_before=0.86,
        accuracy_p_value=0.21,
        num_small_bins=4,
        num_bins=DEFAULT_NUM_BINS,
        accuracy_fell=False,
        max_drop=0.05,
        promise_level=0.95,
        num_tests=3,
        alarm_share=0.003,
        drop=0.013,
        drop_bound=0.041,
        drop_p_value=0.02,
        verdict=Verdict.NOT_CONTRADICTED,
    )


class _Said:
    """Sentences of reports whose own are tested elsewhere."""

    def headline(self):
        return {"num_rows": self.num_rows}

    def sentences(self):
        # With a text from a file, as the sentences of commands have.
        return (
            f"{self.sources[0].name}: two sentences are enough for a page.",
            "They are as long as usual ones, so that lines break somewhere.",
        )

    def next_steps(self):
        return (
            f"Look at {self.sources[0].name} again.",
            'In Python: params = calib_jax.load("calibration.json").',
        )


class _Cascade(_Said, CascadeReport):
    pass


class _Cleaning(_Said, CleaningReport):
    pass


class _Check(_Said, CheckReport):
    pass
