"""Figures 2 and 3 of benchmarks/paper against float64, example by example."""

import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax import plots

pytest.importorskip("rich")

import jax  # noqa: E402

from benchmarks.paper import cascades, routing  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("cascades").numbers


class Route:
    """One router on the examples of one split."""

    def __init__(self, halves, split, kind, pair):
        small, large = pair
        calibration, test = halves.calibration, halves.test
        confidence = calibration.confidence(kind == 1)[split]
        self.router = reference.fit_router(confidence[small], confidence[large])
        self.confidence = test.confidence(kind == 1)[split, small]
        self.outcomes = test.correct[split, small], test.correct[split, large]
        self.seen = reference.cascade_curve(
            self.router, confidence[small], *calibration.correct[split, list(pair)]
        )

    def curve(self, weights=None):
        return reference.cascade_curve(
            self.router, self.confidence, *self.outcomes, weights=weights
        )

    def num_small_bins(self, loss):
        enough = self.seen.accuracy >= self.seen.large_accuracy - loss - 1e-9
        return np.flatnonzero(enough)[-1]


def each(study):
    """Every route: task, split, kind, place of the pair, `Route`."""
    for name, task in study.tasks.items():
        for split in range(study.settings.num_halves):
            for kind in range(2):
                for p, pair in enumerate(task.small_large):
                    route = Route(study.halves[name], split, kind, pair)
                    yield name, split, kind, p, route


def area(curve):
    """Accuracy above the chord, averaged over the share."""
    above = curve.accuracy - reference.random_curve(curve).accuracy
    return np.sum(np.diff(curve.small_share) * (above[1:] + above[:-1]) / 2)


def test_curves_and_areas(paper_study, numbers):
    for name, split, kind, p, route in each(paper_study):
        task, curve = numbers[name], route.curve()
        recovered = reference.average_performance_gap_recovered(curve)
        gap = curve.large_accuracy - curve.small_accuracy
        np.testing.assert_allclose(
            task.recovered[split, kind, p], recovered, rtol=1e-5, atol=2e-5
        )
        np.testing.assert_allclose(task.area[split, kind, p], area(curve), atol=1e-6)
        np.testing.assert_allclose(task.gap[split, p], gap, atol=1e-6)
        if split == 0:
            for field in ("small_share", "accuracy"):
                np.testing.assert_allclose(
                    getattr(task.curve, field)[kind, p],
                    getattr(curve, field),
                    atol=1e-6,
                )


def test_savings(paper_study, numbers):
    priced = 0
    for name, split, kind, p, route in each(paper_study):
        outputs, task = paper_study.tasks[name], numbers[name]
        small, large = outputs.small_large[p]
        for place, loss in enumerate(routing.LOSSES):
            at = split, kind, p, place
            keep = reference.use_small(
                route.router, route.confidence, route.num_small_bins(loss)
            )
            change = np.mean(np.where(keep, *route.outcomes)) - route.outcomes[1].mean()
            np.testing.assert_allclose(task.calls_saved[at], keep.mean(), atol=1e-6)
            np.testing.assert_allclose(task.change[at], change, atol=1e-6)
            if outputs.cost is None:
                assert task.dollars_saved is None
                continue
            priced += 1
            rows = paper_study.halves[name].test.rows[split]
            cost = outputs.cost[:, rows].astype(np.float64)
            paid = cost[small].sum() + cost[large, ~keep].sum()
            np.testing.assert_allclose(
                task.dollars_saved[at], 1 - paid / cost[large].sum(), atol=1e-5
            )
    assert priced


def test_intervals_are_those_of_the_drawn_examples(paper_study, numbers):
    """Each draw again, with every example as often as it was drawn."""
    settings = paper_study.settings
    for name, outputs in paper_study.tasks.items():
        halves, task = paper_study.halves[name], numbers[name]
        counts = cj.bootstrap(
            jax.random.key(settings.seed),
            lambda rows, *, weights: weights,
            settings.num_draws,
            halves.test.rows[0],
        )
        # All pairs would take long, so a different one of each task.
        for p in [len(name) % len(outputs.small_large)]:
            pair = outputs.small_large[p]
            routes = [Route(halves, 0, kind, pair) for kind in range(2)]
            curves = [[route.curve(row) for route in routes] for row in counts]
            gaps = [row[0].large_accuracy - row[0].small_accuracy for row in curves]
            np.testing.assert_allclose(
                task.gap_interval[p], np.quantile(gaps, (0.025, 0.975)), atol=1e-6
            )
            for measure, intervals in (
                (area, task.area_interval),
                (
                    reference.average_performance_gap_recovered,
                    task.recovered_interval,
                ),
            ):
                draws = np.array([[measure(curve) for curve in row] for row in curves])
                draws = np.column_stack([draws, draws[:, 1] - draws[:, 0]])
                np.testing.assert_allclose(
                    intervals[:, p],
                    np.quantile(draws, (0.025, 0.975), axis=0).T,
                    rtol=1e-4,
                    atol=1e-4,
                )


def test_an_undefined_draw_may_be_any_number():
    """A few of them move the ends outwards; with too many there is no interval."""
    draws = np.arange(1001.0)
    np.testing.assert_array_equal(routing.interval(draws), [25, 975])
    some = np.where(np.isin(draws, (3, 400, 990)), np.nan, draws)
    low, high = routing.interval(some)
    assert low == np.sort(np.where(np.isnan(some), -1, some))[25] == 23
    assert high == np.sort(np.where(np.isnan(some), 1001, some))[975] == 977
    for count, defined in ((24, True), (26, False)):
        many = np.where(draws < count, np.nan, draws)
        assert np.isfinite(routing.interval(many)).tolist() == [defined, defined]
    both = np.stack([draws, np.full(1001, np.nan)], axis=1)
    np.testing.assert_array_equal(routing.interval(both), [[25, 975], [np.nan] * 2])


def test_report(paper_study, numbers):
    section = cascades.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    for name, task in numbers.items():
        part = text.split(f"### {paper_study.tasks[name].title} ", 1)[1]
        for p, pair in enumerate(task.pairs):
            first = next(row for row in part.splitlines() if f"| {pair} |" in row)
            values, digits, scale = (
                (task.recovered, 3, 1) if task.clear[p] else (task.area, 2, 100)
            )
            mean = scale * values[:, 1, p].mean()
            assert f"{mean:.{digits}f} ± " in first
    assert len(section.claims) == 3
    assert {f"cascades-{name}" for name in numbers} < set(section.figures)
    singles = [name for name in section.figures if name.startswith("cascade-")]
    assert len(singles) == 2
    with plots.style():
        for name in ("cascades-cifar10", *singles):
            assert section.figures[name](False).axes
