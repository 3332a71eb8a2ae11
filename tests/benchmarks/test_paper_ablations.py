"""Tables 4 and 5 of benchmarks/paper against float64, without masks and padding."""

import numpy as np
import pytest
import reference

from calib_jax import plots

pytest.importorskip("rich")

from benchmarks.paper import ablation_bins, ablation_sizes, ablations, judging  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("ablations").numbers


def edges_of(scores, num_bins, equal_width=False):
    if equal_width:
        return (np.arange(1, num_bins) / num_bins).astype(np.float32)
    return reference.equal_count_edges(scores, num_bins)


def cascade(seen, new, correct, edges):
    """APGR, and how many bins of the router hold examples; pairs of rows `[2, n]`."""
    table = reference.advantage_table(edges, *seen)
    # The order is by float32 means, where other bins may tie than in float64.
    high, low = (
        np.float32(means) for means in (table.large_confidence, table.small_confidence)
    )
    order = reference.order_bins(high - low, table.count)
    router = reference.Router(edges, table, order)
    curve = reference.cascade_curve(router, new[0], *correct)
    recovered = reference.average_performance_gap_recovered(curve)
    return recovered, np.sum(table.count > 0)


def calibrated(outputs, halves, calibrator, sizes):
    """The library's fits on the first rows: `[S, Z, M, L]` on both halves."""
    length = judging.length_for(max(sizes))
    seen = judging.sample(outputs, halves.calibration.rows, length)
    new = judging.sample(outputs, halves.test.rows, length)
    where = np.arange(length) < np.array(sizes)[:, None]
    where = np.broadcast_to(where, (len(seen.rows), *where.shape))
    if calibrator == judging.TEMPERATURE:
        return judging.calibrate_logits(outputs, seen, where, new)
    return judging.calibrate(calibrator, seen, where, new)


def each_fit(study, numbers):
    """Task, calibrator, split, place of the size, size, confidences of both halves."""
    for name, task in numbers.sizes.items():
        for calibrator in task.judged:
            halves = study.halves[name]
            seen, new = calibrated(
                study.tasks[name], halves, calibrator, task.sizes.tolist()
            )
            count = halves.test.rows.shape[1]
            for split in range(study.settings.num_halves):
                for z, size in enumerate(task.sizes):
                    place = split, z
                    both = seen[place][:, :size], new[place][:, :count]
                    yield name, calibrator, split, z, size, *both


def fit(outputs, calibrator, rows, m):
    """A calibrator for model m in float64: a function from rows to confidences."""
    correct = outputs.correct[m]
    if calibrator == judging.NONE:
        return lambda new: outputs.confidence[m, new]
    if calibrator == judging.HISTOGRAM:
        values = outputs.confidence[m]
        edges, means = reference.fit_histogram(values[rows], correct[rows])
        count = reference.reliability_table(edges, values[rows], correct[rows]).count
        means = np.where(count > 0, means, correct[rows].mean())
        return lambda new: means[reference.bin_index(edges, values[new])]
    if calibrator == judging.PLATT:
        params = reference.fit_platt(outputs.score[m, rows], correct[rows])
        return lambda new: reference.platt(params, outputs.score[m, new])
    logits = outputs.logits[m]
    temperature = reference.fit_temperature(logits[rows], outputs.label[rows])
    return lambda new: reference.top1(logits[new], temperature)[0]


def test_calibrators(paper_study, numbers):
    for name, calibrator, split, _, size, seen, new in each_fit(paper_study, numbers):
        outputs, halves = paper_study.tasks[name], paper_study.halves[name]
        rows = halves.calibration.rows[split, :size]
        for m in range(len(outputs.models)):
            confidence = fit(outputs, calibrator, rows, m)
            for rows_of, found in ((rows, seen), (halves.test.rows[split], new)):
                np.testing.assert_allclose(found[m], confidence(rows_of), atol=1e-4)


def test_every_size(paper_study, numbers):
    for name, calibrator, split, z, size, seen, new in each_fit(paper_study, numbers):
        task, halves = numbers.sizes[name], paper_study.halves[name]
        assert list(task.sizes) == [
            *(m for m in ablation_sizes.SIZES if m < halves.test.rows.shape[1]),
            halves.test.rows.shape[1],
        ]
        assert size == task.sizes[z]
        correct, judged = halves.test.correct[split], task.judged[calibrator]
        for m, confidence in enumerate(new):
            error = reference.expected_calibration_error(confidence, correct[m])
            np.testing.assert_allclose(judged.error[split, z, m], error, atol=1e-6)
        for p, pair in enumerate(paper_study.tasks[name].small_large):
            both = list(pair)
            assert list(task.pairs[p]) == both
            recovered, filled = cascade(
                seen[both], new[both], correct[both], edges_of(seen[pair[0]], 15)
            )
            np.testing.assert_allclose(
                judged.recovered[split, z, p], recovered, rtol=1e-5, atol=2e-5
            )
            assert judged.filled[split, z, p] == filled
            gap = correct[pair[1]].mean() - correct[pair[0]].mean()
            np.testing.assert_allclose(task.gap[split, p], gap, atol=1e-12)


def test_every_number_of_bins(paper_study, numbers):
    for name, task in numbers.bins.items():
        halves = paper_study.halves[name]
        outcomes = ablation_bins.draw_outcomes(
            paper_study.settings.seed, halves.test.calibrated
        )
        # Right as often as the models say, within five standard errors.
        confidence = halves.test.calibrated.astype(np.float64)
        error = np.sqrt(np.sum(confidence * (1 - confidence))) / confidence.size
        assert abs(outcomes.mean() - confidence.mean()) < 5 * error
        for kind, binned in task.binned.items():
            width = kind == ablation_bins.EQUAL_WIDTH
            for split, k in np.ndindex(len(outcomes), len(task.counts)):
                seen = halves.calibration.calibrated[split]
                new, correct = halves.test.calibrated[split], halves.test.correct[split]
                count = int(task.counts[k])
                for m, scores in enumerate(new):
                    edges = edges_of(scores, count, width)
                    for found, right in (
                        (binned.error, correct),
                        (binned.chance_error, outcomes[split]),
                    ):
                        expected = reference.expected_calibration_error(
                            scores, right[m], edges=edges
                        )
                        np.testing.assert_allclose(
                            found[split, m, k], expected, atol=1e-6
                        )
                for p, pair in enumerate(paper_study.tasks[name].small_large):
                    both = list(pair)
                    recovered, filled = cascade(
                        seen[both],
                        new[both],
                        correct[both],
                        edges_of(seen[pair[0]], count, width),
                    )
                    np.testing.assert_allclose(
                        binned.recovered[split, p, k], recovered, rtol=1e-5, atol=2e-5
                    )
                    assert binned.filled[split, p, k] == filled


def test_batches_lengths_and_clear_pairs():
    lengths = [judging.length_for(n) for n in (1, 1000, 1001, 25_000)]
    assert lengths == [1000, 1000, 5000, 25_000]
    gap = np.array([[0.02, 0.005, 0.3], [0.01, 0.1, -0.1]])
    assert judging.is_clear(gap).tolist() == [True, False, False]
    values = np.arange(12.0).reshape(2, 2, 3)
    assert judging.over_clear_pairs(values, gap).tolist() == [3.0, 6.0]
    assert np.isnan(judging.over_clear_pairs(values, -gap)).all()
    # "Enough" is the size after which none is far off again.
    recovered = np.array([0.5, 0.7, 0.6, 0.695, 0.7])
    assert ablation_sizes._enough(recovered) == 3
    assert ablation_sizes._enough(recovered[-1:]) == 0


def test_text_and_figures(paper_study, numbers, paper_section):
    assert len(paper_section("ablations").steps) == ablations.num_steps(paper_study)
    section = ablations.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    for name in section.figures:
        assert f"figures/{name}.png" in text
    for dark in (False, True):
        with plots.style(dark=dark):
            for draw in section.figures.values():
                assert len(draw(dark).axes) >= len(paper_study.tasks)
    assert {claim.verdict for claim in section.claims} <= {
        "holds",
        "holds in part",
        "does not hold",
    }
    assert len(section.claims) == 4
    # Every model has a row, and every calibrator without logits a dash.
    for outputs in paper_study.tasks.values():
        for model in outputs.models:
            rows = [
                row for row in text.splitlines() if f"{outputs.title}, {model} |" in row
            ]
            assert len(rows) == 1
            assert rows[0].endswith("| - |") == (outputs.logits is None)
