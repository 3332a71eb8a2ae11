"""Figures show the numbers of their tables, named and with units."""

import dataclasses
import io
import subprocess
import sys
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from scipy import stats

import calib_jax as cj

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.once

from matplotlib import colors as mcolors  # noqa: E402

from calib_jax import plots  # noqa: E402

SMALL = np.array([0.2, 0.9, 0.4, 0.8, 0.6, 0.7], np.float32)
LARGE = np.array([0.8, 0.9, 0.9, 0.7, 0.9, 0.9], np.float32)
SMALL_CORRECT = np.array([0, 1, 0, 1, 1, 1])
LARGE_CORRECT = np.array([1, 1, 1, 0, 1, 1])


@pytest.fixture
def table():
    bins = cj.equal_count_bins(SMALL, 3)
    return cj.reliability_table(bins, SMALL, SMALL_CORRECT)


@pytest.fixture
def curve():
    router = cj.fit_router(SMALL, LARGE, num_bins=3)
    return cj.cascade_curve(router, SMALL, SMALL_CORRECT, LARGE_CORRECT)


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def lines(figure):
    """The drawn lines by name."""
    drawn = figure.axes[0].lines
    return {line.get_label(): line.get_xydata() for line in drawn}


def test_reliability_diagram_shows_the_table(table):
    figure = plots.reliability_diagram({"before": table}, title="Small model")
    (axes,) = figure.axes
    points = axes.collections[0].get_offsets()
    np.testing.assert_allclose(points, np.stack([table.confidence, table.outcome], 1))
    error = cj.expected_calibration_error(SMALL, SMALL_CORRECT, num_bins=3)
    assert legend(figure) == [f"before, ECE {float(error):.3f}"]
    assert axes.get_xlabel() == "Mean confidence"
    assert axes.get_ylabel() == "Accuracy (mean outcome)"
    assert axes.get_legend().get_title().get_text() == "Small model"
    assert axes.get_xlim() == axes.get_ylim()


def test_reliability_diagram_leaves_out_empty_bins():
    bins = cj.equal_width_bins(10)
    table = cj.reliability_table(bins, SMALL, SMALL_CORRECT, weights=[1, 1, 1, 1, 1, 3])
    figure = plots.reliability_diagram({"weighted": table})
    marks = figure.axes[0].collections[0]
    assert len(marks.get_offsets()) == np.sum(table.count > 0)
    areas = marks.get_sizes()
    np.testing.assert_allclose(areas / areas.max(), table.weight[table.count > 0] / 3)


def bars(figure):
    """Confidence, lower and upper end of the error bars, of the tables in turn."""
    from matplotlib.collections import LineCollection

    drawn = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    segments = [np.reshape(found.get_segments(), (-1, 2, 2)) for found in drawn]
    return [(x[:, 0, 0], x[:, 0, 1], x[:, 1, 1]) for x in segments]


def test_error_bars_are_exact_for_right_and_wrong_answers(table):
    figure = plots.reliability_diagram({"before": table}, confidence_level=0.9)
    ((confidence, lower, upper),) = bars(figure)
    np.testing.assert_allclose(confidence, table.confidence, rtol=1e-6)
    # Beta quantiles of 0 and 2 right answers among 2; 0.9 leaves out 0.05 at each end.
    right = np.round(np.multiply(table.count, table.outcome))
    assert right.tolist() == [0, 2, 2]
    end = 0.05**0.5
    np.testing.assert_allclose(lower, [0, end, end], atol=1e-9)
    np.testing.assert_allclose(upper, [1 - end, 1, 1], atol=1e-9)
    assert bars(plots.reliability_diagram({"a": table}, error_bars=False)) == []
    for level in (0, 1, 95, np.nan):
        with pytest.raises(ValueError, match="confidence_level: expected a number in"):
            plots.reliability_diagram({"a": table}, confidence_level=level)


def test_error_bars_of_partial_credit_are_too_long_rather_than_too_short():
    bins = cj.equal_width_bins(1)
    credit = np.array([0.25, 0.5, 1.0, 0.5, 0.25, 0.0], np.float32)  # Sum 2.5.
    figure = plots.reliability_diagram({"a": cj.reliability_table(bins, SMALL, credit)})
    ((_, lower, upper),) = bars(figure)
    ends = stats.beta.ppf([0.025, 0.975], [2, 4], [5, 3])
    np.testing.assert_allclose([lower[0], upper[0]], ends, rtol=1e-9)
    # Large sums of whole outcomes are whole again, although their mean is rounded.
    right = np.arange(300_000) % 3 == 0
    scores = np.full(right.shape, 0.4, np.float32)
    table = cj.reliability_table(bins, scores, right)
    ((_, lower, upper),) = bars(plots.reliability_diagram({"a": table}))
    ends = stats.beta.ppf([0.025, 0.975], [100_000, 100_001], [200_001, 200_000])
    np.testing.assert_allclose([lower[0], upper[0]], ends, rtol=1e-9)


def test_bins_with_weights_have_no_error_bars():
    """Nor do bins without rows, nor means that are not numbers."""
    bins = cj.equal_width_bins(10)
    given = {"weights": [1, 1, 1, 1, 1, 3]}
    table = cj.reliability_table(bins, SMALL, SMALL_CORRECT, **given)
    ((confidence, *_),) = bars(plots.reliability_diagram({"weighted": table}))
    # The row at 0.7 weighs 3.
    np.testing.assert_allclose(confidence, [0.2, 0.4, 0.6, 0.8, 0.9], rtol=1e-6)
    unknown = dataclasses.replace(table, outcome=table.outcome * np.float32(np.nan))
    ((confidence, *_),) = bars(plots.reliability_diagram({"unknown": unknown}))
    assert confidence.size == 0


def test_densities_are_drawn_below_on_the_same_axis(table):
    fine = cj.reliability_table(cj.equal_width_bins(20), SMALL, SMALL_CORRECT)
    tables = {"before": table, "after": table}
    figure = plots.reliability_diagram(tables, densities={"after": fine})
    (axes,) = figure.axes
    (below,) = axes.child_axes
    filled, outline = below.patches
    for drawn in (filled, outline):
        shares, edges, _ = drawn.get_data()
        np.testing.assert_allclose(shares, 100 * np.asarray(fine.weight) / 6)
        np.testing.assert_allclose(edges, np.linspace(0, 1, 21))
    line = lines(figure)[legend(figure)[1]]
    assert line.size == 0  # The empty line of the legend.
    handle = axes.get_legend().legend_handles[1]
    assert mcolors.to_hex(outline.get_edgecolor()) == handle.get_color()
    assert below.get_xlim() == axes.get_xlim() and axes.get_xlim()[0] < 0.2
    assert (below.get_xlabel(), below.get_ylabel()) == ("Confidence", "Inputs (%)")
    with pytest.raises(ValueError, match="densities: expected names that are in table"):
        plots.reliability_diagram({"before": table}, densities={"other": fine})


def test_cascade_curves_are_in_per_cent(curve):
    curves = {"random": cj.random_curve(curve), "calibrated (CC)": curve}
    figure = plots.cascade_curves(curves)
    (axes,) = figure.axes
    recovered = cj.average_performance_gap_recovered(curve)
    assert legend(figure) == [
        "random, APGR 0.500",
        f"calibrated (CC), APGR {float(recovered):.3f}",
    ]
    drawn = lines(figure)[legend(figure)[1]]
    expected = np.stack([100 * curve.small_share, 100 * curve.accuracy], 1)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    assert axes.get_xlabel() == "Inputs answered by the small model (%)"
    assert axes.get_ylabel() == "Accuracy (%)"
    notes = [text.get_text() for text in axes.texts]
    assert notes == ["small\n66.7%", "large\n83.3%"]


@pytest.fixture
def interval():
    router = cj.fit_router(SMALL, LARGE, num_bins=3)
    return cj.cascade_interval(
        jax.random.key(0), router, SMALL, SMALL_CORRECT, LARGE_CORRECT, num_resamples=9
    )


def test_intervals_of_cascades_are_shaded(curve, interval):
    curves = {"random": cj.random_curve(curve), "CC": curve}
    figure = plots.cascade_curves(curves, intervals={"CC": interval})
    (band,) = figure.axes[0].collections
    (path,) = band.get_paths()
    corners = {tuple(point) for point in np.round(path.vertices, 3)}
    for end in (interval.accuracy.lower, interval.accuracy.upper):
        ends = np.stack([100 * curve.small_share, 100 * end], axis=1)
        assert {tuple(point) for point in np.round(ends.astype(float), 3)} <= corners
    with pytest.raises(ValueError, match=r"intervals\['random'\]: .*same router"):
        plots.cascade_curves(curves, intervals={"random": interval})
    with pytest.raises(ValueError, match="intervals: expected names that are in curve"):
        plots.cascade_curves(curves, intervals={"other": interval})


def test_the_ring_at_k_can_be_found_in_an_svg_file(curve):
    curves = {"random": cj.random_curve(curve), "CC": curve}
    figure = plots.cascade_curves(curves, num_small_bins=np.int64(2))
    (axes,) = figure.axes
    (ring,) = [line for line in axes.lines if line.get_gid() == "mark-at-k"]
    expected = [[100 * curve.small_share[2], 100 * curve.accuracy[2]]]
    np.testing.assert_allclose(ring.get_xydata(), expected, rtol=1e-6)
    assert legend(figure)[-1] == "K = 2"
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=72)
    tree = ElementTree.fromstring(file.getvalue())
    named = {
        name: [part for part in tree.iter() if part.get("id") == name]
        for name in ("mark-at-k", "mark-at-k-name")
    }
    assert [len(parts) for parts in named.values()] == [1, 1]
    (use,) = named["mark-at-k"][0].iter("{http://www.w3.org/2000/svg}use")
    # Pixels of 1 / 72 inch from the lower left corner, where SVG counts from the top.
    x, y = axes.transData.transform(expected[0])
    height = 72 * figure.get_figheight()
    place = float(use.get("x")), height - float(use.get("y"))
    scale = 72 / figure.dpi
    np.testing.assert_allclose(place, [x * scale, y * scale], atol=0.01)
    for wrong, reason in ((4, "at most 3, got 4"), (-1, "at least 0"), (1.5, "static")):
        with pytest.raises(ValueError, match=f"num_small_bins: expected .*{reason}"):
            plots.cascade_curves(curves, num_small_bins=wrong)


def test_an_axis_of_costs_is_above(curve):
    figure = plots.cascade_curves({"a": curve}, costs=(1, 10.0), cost_unit="US $")
    (axes,) = figure.axes
    (above,) = axes.child_axes
    figure.draw_without_rendering()
    assert above.get_xlabel() == "Mean cost per input (US $)"
    # Both models for every input, for half of them, and the small model alone.
    for cost, share in ((11.0, 0.0), (6.0, 50.0), (1.0, 100.0)):
        place, expected = (
            drawn.transData.transform((at, 0))[0]
            for drawn, at in ((above, cost), (axes, share))
        )
        np.testing.assert_allclose(place, expected)
    for wrong in ((1.0, 0.0), (-1.0, 2.0), (np.nan, 2.0), (1.0, np.inf)):
        with pytest.raises(ValueError, match="costs: expected"):
            plots.cascade_curves({"a": curve}, costs=wrong)


@pytest.fixture
def chain_curve():
    confidences = np.stack([SMALL, LARGE, LARGE])
    chain = cj.cascade.fit_chain(confidences, num_bins=2)
    outcomes = np.stack([SMALL_CORRECT, LARGE_CORRECT, np.ones(6, int)])
    costs = np.broadcast_to(np.float32([[1], [3], [10]]), (3, 6))
    return cj.cascade.chain_curve(chain, confidences, outcomes, costs)


def test_chain_curves_show_the_frontier(chain_curve):
    choice = cj.cascade.best_within_cost(chain_curve, 5.0)
    figure = plots.chain_curves(chain_curve, choice=choice, cost_unit="US $")
    (axes,) = figure.axes
    assert legend(figure) == ["all combinations", "best within each cost", "chosen"]
    every = axes.collections[0].get_offsets()
    assert every.shape == (9, 2)
    frontier = np.asarray(cj.cascade.cost_frontier(chain_curve))
    drawn = lines(figure)["best within each cost"]
    assert np.all(np.diff(drawn, axis=0) > 0) and len(drawn) == frontier.sum()
    for budget in (1.0, 3.0, 5.0, 20.0):
        best = cj.cascade.best_within_cost(chain_curve, budget)
        at = tuple(np.asarray(best.num_kept_bins))
        within = drawn[drawn[:, 0] <= budget + 1e-6]
        expected = [chain_curve.cost[at], 100 * chain_curve.accuracy[at]]
        np.testing.assert_allclose(within[-1], expected, rtol=1e-6)
    place = tuple(np.asarray(choice.num_kept_bins))
    expected = [[chain_curve.cost[place], 100 * chain_curve.accuracy[place]]]
    np.testing.assert_allclose(lines(figure)["chosen"], expected, rtol=1e-6)
    assert axes.get_xlabel() == "Mean cost per input (US $)"
    assert axes.get_ylabel() == "Accuracy (%)"
    other = cj.cascade.ChainChoice(num_kept_bins=np.array([3, 0]), feasible=True)
    with pytest.raises(ValueError, match=r"choice: .*below \[3, 3\].*got \[3, 0\]"):
        plots.chain_curves(chain_curve, choice=other)


def test_advantage_bars_tell_kept_bins_apart():
    router = cj.fit_router(SMALL, LARGE, num_bins=3)
    table = cj.advantage_table(
        router.bins,
        SMALL,
        LARGE,
        small_outcome=SMALL_CORRECT,
        large_outcome=LARGE_CORRECT,
    )
    figure = plots.advantage_bars(table, router=router, num_small_bins=1)
    (axes,) = figure.axes
    outcome = "outcome advantage, ± 1 standard error"
    assert legend(figure) == ["kept small, K = 1", "sent on", outcome]
    kept, sent = axes.containers[:2]
    heights = [bar.get_height() for bar in (*kept, *sent)]
    order = np.asarray(router.order)
    expected = [100 * table.advantage[k] for k in (order[0], *np.sort(order[1:]))]
    np.testing.assert_allclose(heights, expected, rtol=1e-5)
    assert all(bar.get_hatch() for bar in sent)
    assert not any(bar.get_hatch() for bar in kept)
    # Bars tile the axis and hold the means of their bins.
    ends = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    for (low, high), mean in zip(ends, np.sort(table.small_confidence), strict=True):
        assert low < mean < high
    np.testing.assert_allclose([x[1] for x in ends[:-1]], [x[0] for x in ends[1:]])
    points, _, (spread,) = axes.containers[2]
    np.testing.assert_allclose(
        points.get_ydata(), 100 * table.outcome_advantage, atol=1e-5
    )
    error = table.outcome_advantage_standard_error
    lengths = [np.ptp(segment[:, 1]) for segment in spread.get_segments()]
    np.testing.assert_allclose(lengths, 200 * error, atol=1e-4)
    assert axes.get_ylabel() == "Advantage (percentage points)"


def test_advantage_bars_without_a_router():
    router = cj.fit_router(SMALL, LARGE, bins=cj.equal_width_bins(10))
    figure = plots.advantage_bars(router.table)
    assert legend(figure) == ["confidence advantage"]
    assert len(figure.axes[0].patches) == np.sum(router.table.count > 0) == 6
    one = cj.fit_router(SMALL, LARGE, num_bins=1)
    assert len(plots.advantage_bars(one.table).axes[0].patches) == 1
    for given, reason in (
        ({"num_small_bins": 1}, "both or neither"),
        ({"router": router}, "both or neither"),
        ({"router": one, "num_small_bins": 1}, "router: expected one of 10 bins"),
        ({"router": router, "num_small_bins": 11}, "num_small_bins: expected at most"),
    ):
        with pytest.raises(ValueError, match=reason):
            plots.advantage_bars(router.table, **given)
    several = jax.tree.map(lambda leaf: np.stack([leaf] * 2), router.table)
    with pytest.raises(ValueError, match=r"table.*\[2, 10\]"):
        plots.advantage_bars(several)


HOSTILE = ["$\\frac{", "_hidden", "a<b>&amp;", "two\nlines\x07", "x" * 300, "100 % $5"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("own", [True, False], ids=["own style", "style of the caller"])
def test_names_of_files_are_drawn_as_they_are(table, curve, name, own):
    from matplotlib.figure import Figure

    given = {"title": name}
    for draw, series in (
        (plots.reliability_diagram, {name: table, "other": table}),
        (plots.cascade_curves, {name: curve, "other": curve}),
        (plots.cleaning_curves, {name: cj.cleaning_curve(SMALL, SMALL > 0.5)}),
    ):
        axes = None if own else Figure().add_subplot()
        figure = draw(series, axes=axes, **given)
        assert len(legend(figure)) == len(series)
        file = io.StringIO()
        figure.savefig(file, format="svg")
        ElementTree.fromstring(file.getvalue())
        shown = legend(figure)[0]
        assert len(shown) < 60 and shown.isprintable()
        if len(name) < 30 and name.isprintable():
            assert shown.strip().startswith(name)


def test_cascade_curves_of_other_models_are_refused(curve):
    router = cj.fit_router(SMALL, LARGE, num_bins=3)
    other = cj.cascade_curve(router, SMALL, LARGE_CORRECT, SMALL_CORRECT)
    with pytest.raises(ValueError, match="same two models"):
        plots.cascade_curves({"one": curve, "other": other})


def test_cleaning_curves_and_points():
    is_error = np.array([1, 0, 1, 0, 0, 0])
    curve = cj.cleaning_curve(SMALL, is_error)
    points = {"one": (0.5, 0.4), "dial": (np.array([0.1, 0.2]), np.array([1.0, 0.9]))}
    figure = plots.cleaning_curves({"ranked": curve}, points, max_flagged_share=0.6)
    (axes,) = figure.axes
    assert legend(figure) == ["ranked", "one", "dial"]
    drawn = lines(figure)
    expected = np.stack([100 * curve.flagged_share, 100 * curve.precision], 1)
    np.testing.assert_allclose(drawn["ranked"], expected, rtol=1e-6)
    np.testing.assert_allclose(drawn["one"], [[50, 40]])
    np.testing.assert_allclose(drawn["dial"], [[10, 100], [20, 90]])
    assert axes.get_xlabel() == "Labels flagged (%)"
    assert axes.get_ylabel() == "Precision (%)"
    assert axes.texts[0].get_text() == "random\n33.3%"
    assert 60 <= axes.get_xlim()[1] < 62


def test_a_long_cleaning_curve_is_thinned():
    score = np.linspace(0, 1, 5000, dtype=np.float32)
    figure = plots.cleaning_curves({"ranked": cj.cleaning_curve(score, score > 0.9)})
    drawn = lines(figure)["ranked"]
    assert len(drawn) == 2000
    np.testing.assert_allclose(drawn[[0, -1], 0], [0.02, 100], rtol=1e-5)


def test_series_differ_without_colour(curve):
    figure = plots.cascade_curves(dict.fromkeys("abcde", curve))
    drawn = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert len({line.get_marker() for line in drawn}) == len(drawn) == 5
    assert len({str(line._unscaled_dash_pattern) for line in drawn}) == 5


@pytest.mark.parametrize("draw", [plots.reliability_diagram, plots.cascade_curves])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="at least one series"):
        draw({})


def test_batched_tables_are_refused(table):
    batched = jax.tree.map(lambda array: array[None], table)
    with pytest.raises(ValueError, match=r"tables\['both'\].*\[P\]"):
        plots.reliability_diagram({"both": batched})


def test_figures_draw_into_given_axes(table, tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    with plots.style(dark=True):
        assert plots.reliability_diagram({"a": table}, axes=left) is figure
        assert plots.reliability_diagram({"b": table}, axes=right) is figure
        figure.savefig(tmp_path / "both.png", dpi=50)
    assert (tmp_path / "both.png").stat().st_size > 1000


def test_style_is_undone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with plots.style(dark=True):
        assert matplotlib.rcParams["figure.facecolor"] != before["figure.facecolor"]
    assert dict(matplotlib.rcParams) == before


def test_a_missing_matplotlib_is_named():
    code = "import sys; sys.modules['matplotlib'] = None; import calib_jax.plots"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "pip install 'calib-jax[plots]'" in process.stderr
