"""Figures show the numbers of their tables, named and with units."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.once

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
    assert notes == ["small\n66.7 %", "large\n83.3 %"]


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
    assert axes.texts[0].get_text() == "random\n33.3 %"
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
