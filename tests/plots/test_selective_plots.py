"""The figure of selective prediction shows the numbers of its curves."""

import numpy as np
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.once

from calib_jax import plots  # noqa: E402

SCORES, RIGHT = [0.9, 0.8, 0.3, 0.1, 0.5], [True, False, True, True, True]


def drawn(figure):
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    return names, {line.get_label(): line.get_xydata() for line in axes.lines}


@pytest.mark.parametrize("dark", [False, True])
def test_curves_are_in_per_cent(dark):
    where = np.array([1, 1, 1, 1, 0], bool)
    curve = cj.metrics.risk_coverage_curve(SCORES, RIGHT, where=where)
    figure = plots.risk_coverage({"raw": curve}, dark=dark)
    names, lines = drawn(figure)
    area = float(cj.metrics.area_under_risk_coverage(curve))
    assert names == [f"raw, AURC {area:.3f}", "ideal"]
    # The row that does not count is not drawn.
    expected = [[25, 0], [50, 50], [75, 100 / 3], [100, 25]]
    np.testing.assert_allclose(lines[names[0]], expected, rtol=1e-5)
    ideal = lines["ideal"]
    np.testing.assert_allclose(ideal[[1, -1]], [[75, 0], [100, 25]], atol=1e-5)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["random\n25.0%"]
    assert axes.get_xlabel() == "Coverage: examples answered (%)"
    assert axes.get_ylabel() == "Risk (error rate, %)"


def test_several_curves_have_no_ideal_in_common():
    """Ideal and random answers are of one model, and dotted as a fourth curve is."""
    curve = cj.metrics.risk_coverage_curve(SCORES, RIGHT)
    figure = plots.risk_coverage(dict.fromkeys(["a", "b", "_c", "d"], curve))
    names, lines = drawn(figure)
    assert [name.split(",")[0] for name in names] == ["a", "b", " _c", "d"]
    (axes,) = figure.axes
    assert len(axes.lines) == len(lines) == 4 and not axes.texts
    assert len({line.get_color() for line in axes.lines}) == 4
    assert len({line.get_linestyle() for line in axes.lines}) >= 3


def test_a_single_long_curve_is_thinned():
    scores = np.linspace(0, 1, 5000, dtype=np.float32)
    curve = cj.metrics.risk_coverage_curve(scores, scores > 0.3)
    names, lines = drawn(plots.risk_coverage(curve))
    shown = lines[names[0]]
    assert len(shown) == 1000
    np.testing.assert_allclose(shown[[0, -1], 0], [0.02, 100], rtol=1e-4)


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one series"):
        plots.risk_coverage({})
    unknown = cj.metrics.risk_coverage_curve([np.nan, 0.5], [1, 1])
    assert "ideal" in drawn(plots.risk_coverage({"unknown": unknown}))[0]
