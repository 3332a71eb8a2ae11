"""Table 3 and Figure 4 of benchmarks/paper against float64, by another route."""

import dataclasses

import numpy as np
import pytest
import reference
from scipy import stats

pytest.importorskip("rich")
cleanlab = pytest.importorskip("cleanlab.filter")

from benchmarks.kit import flags  # noqa: E402
from benchmarks.paper import cleaning, flag_counts  # noqa: E402
from benchmarks.paper.study import Study  # noqa: E402
from calib_jax import plots  # noqa: E402

pytestmark = pytest.mark.once

NAMES = ("imagenet", "cifar10")


def equal(actual, expected):
    np.testing.assert_array_equal(actual, expected)


def close(actual, expected, rtol=0.0, atol=1e-6):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def numbers(paper_study, paper_section):
    evaluated = paper_section("cleaning")
    assert tuple(evaluated.numbers) == NAMES
    assert len(evaluated.steps) == cleaning.num_steps(paper_study) == len(NAMES)
    return evaluated.numbers


class Expected:
    """Flags of every method on one task, by the float64 reference.

    Bins and rankings use the library's float32 confidences, which are compared with the
    reference themselves; probabilities are the reference's own.
    """

    def __init__(self, task, halves, num_bins):
        self.task, self.num_bins = task, num_bins
        fitted = flags.cross_fit(task, halves)
        self.in_first = np.isin(
            np.arange(task.num_examples), halves.calibration.rows[0]
        )
        equal(fitted.in_first, self.in_first)
        self.confidence = np.where(self.in_first, *fitted.by_half[::-1])
        self.experts = [
            reference.fit_expert_bins(
                fitted.by_half[half], task.correct, num_bins, where=where
            )
            for half, where in enumerate((self.in_first, ~self.in_first))
        ]
        self.by_half = fitted.by_half
        self.probabilities = []
        for m in range(len(task.models)):
            rows = [np.flatnonzero(self.in_first), np.flatnonzero(~self.in_first)]
            confidence = np.empty(task.num_examples)
            probabilities = None
            if task.logits is not None:
                probabilities = np.empty(task.logits.shape[1:])
            for here, other in (rows, rows[::-1]):
                if task.logits is None:
                    line = reference.fit_platt(
                        task.score[m, here], task.correct[m, here]
                    )
                    confidence[other] = reference.platt(line, task.score[m, other])
                else:
                    temperature = reference.fit_temperature(
                        task.logits[m, here], task.label[here]
                    )
                    calibrated = reference.softmax(task.logits[m, other], temperature)
                    probabilities[other] = calibrated
                    confidence[other] = calibrated.max(-1)
            close(fitted.confidence[m], confidence, rtol=1e-4)
            self.probabilities.append(probabilities)

    def contradicted(self, group):
        """Method 1, row by row."""
        answers = self.task.prediction[list(group)].T.tolist()
        return np.array(
            [
                label not in row
                for row, label in zip(answers, self.task.label.tolist(), strict=True)
            ]
        )

    def sure(self, group, num_top_bins, consensus=False):
        """Method 2: each half by the experts of the other."""
        group = list(group)
        of_first, of_second = (
            reference.high_confidence_disagreement(
                [self.experts[half][m] for m in group],
                self.task.prediction[group],
                self.by_half[half][group],
                self.task.label,
                num_top_bins,
                consensus,
            )
            for half in (1, 0)
        )
        return np.where(self.in_first, of_first, of_second)

    def learned(self, m):
        """Method 3."""
        issues = reference.confident_learning(self.probabilities[m], self.task.label)
        return issues.flagged

    def peer(self, probabilities, name):
        return cleanlab.find_label_issues(
            self.task.label, probabilities, filter_by=name, n_jobs=1
        )

    def check_counts(self, counts, flagged):
        """One `Counts` against a set of flagged rows."""
        rows = set(np.flatnonzero(flagged).tolist())
        judged = rows & set(np.flatnonzero(self.task.is_judged).tolist())
        errors = set(np.flatnonzero(self.task.is_error).tolist())
        wrong = judged & errors
        assert counts.flagged == len(rows)
        assert counts.judged == len(judged)
        assert counts.wrong == len(wrong)
        if judged:
            interval = stats.binomtest(len(wrong), len(judged)).proportion_ci(
                method="wilson"
            )
            close(counts.precision, len(wrong) / len(judged), atol=1e-12)
            close(counts.low, interval.low, atol=1e-12)
            close(counts.high, interval.high, atol=1e-12)
        else:
            assert np.isnan([counts.precision, counts.low, counts.high]).all()
        if np.mean(self.task.is_judged) > 0.5:
            close(counts.recall, len(wrong) / len(errors), atol=1e-12)
        else:
            assert np.isnan(counts.recall)

    def check(self, found, filters):
        """All of `FlagNumbers`."""
        task = self.task
        assert found.num_examples == len(task.label)
        assert found.num_judged == np.count_nonzero(task.is_judged)
        assert found.num_wrong == np.count_nonzero(task.is_error)
        for m, answers in enumerate(task.prediction):
            contradicted = answers[task.is_judged] != task.label[task.is_judged]
            assert found.num_contradicted[m] == contradicted.sum()
        assert len(found.experts) == len(task.experts)
        for g, group in enumerate(task.experts):
            assert found.experts[g] == tuple(task.models[m] for m in group)
            self.check_group(found, g, group, filters)
        if task.logits is None:
            fields = ("method_3", "method_3_alone", "peer", "peer_common", "peer_alone")
            assert all(getattr(found, name) is None for name in fields)
            return
        for m, probabilities in enumerate(self.probabilities):
            self.check_counts(found.method_3_alone[m], self.learned(m))
            for f, name in enumerate(filters):
                flagged = self.peer(probabilities, name)
                self.check_counts(found.peer_alone[f, m], flagged)

    def check_group(self, found, g, group, filters):
        method_1 = self.contradicted(group)
        answers = self.task.prediction[list(group)]
        self.check_counts(found.method_1[g], method_1)
        same = np.array([len(set(row)) == 1 for row in answers.T.tolist()])
        self.check_counts(found.agreed[g], method_1 & same)
        equal(self.sure(group, self.num_bins, consensus=True), method_1 & same)
        method_2 = [self.sure(group, k) for k in range(self.num_bins + 1)]
        equal(method_2[-1], method_1)
        for k, flagged in enumerate(method_2):
            self.check_counts(found.method_2[g, k], flagged)

        def nearest(target):
            return min(
                range(self.num_bins + 1),
                key=lambda k: (abs(np.count_nonzero(method_2[k]) - target), k),
            )

        assert found.half[g] == nearest(np.count_nonzero(method_1) / 2)
        compared, other = {}, method_1
        if self.task.logits is None:
            assert found.matched[g] == found.half[g]
        else:
            method_3 = np.all([self.learned(m) for m in group], axis=0)
            self.check_counts(found.method_3[g], method_3)
            mean = np.mean([self.probabilities[m] for m in group], axis=0)
            for f, name in enumerate(filters):
                self.check_counts(found.peer[f, g], self.peer(mean, name))
                common = [self.peer(self.probabilities[m], name) for m in group]
                self.check_counts(found.peer_common[f, g], np.all(common, axis=0))
            compared = {"Method 1": method_1, "Method 3": method_3}
            other = self.peer(mean, filters[0])
            assert found.matched[g] == nearest(np.count_nonzero(other))
        compared["Method 2"] = method_2[found.matched[g]]
        assert set(found.overlap) == set(compared)
        for name, one in compared.items():
            self.check_counts(found.overlap[name][g, 0], one & other)
            self.check_counts(found.overlap[name][g, 1], one > other)
            self.check_counts(found.overlap[name][g, 2], other > one)
        self.check_ranking(found, g, method_1, self.confidence[list(group)].min(axis=0))

    def check_ranking(self, found, g, method_1, least):
        task = self.task
        judged = method_1 & task.is_judged
        score = np.where(method_1, least, -np.inf)
        curve = reference.cleaning_curve(score, task.is_error, where=task.is_judged)
        number = np.count_nonzero(judged)
        assert number > 0
        # The first row counts 1: from 20 flags on, or from all where there are fewer.
        first = min(20, number)
        ranked = [first + (number - first) * step // 98 - 1 for step in range(99)]
        rows = [*ranked, task.num_examples - 1]
        for name in ("threshold", "flagged_share", "precision", "recall"):
            actual = getattr(found.ranking, name)[g]
            close(actual, getattr(curve, name)[rows])
        # After the flags of Method 1 comes the share of wrong labels.
        share = found.num_wrong / found.num_judged
        close(found.ranking.precision[g, -1], share)

        edges = reference.equal_count_edges(least, self.num_bins, where=judged)
        table = reference.reliability_table(edges, least, task.is_error, where=judged)
        equal(found.table.count[g], table.count)
        close(found.table.weight[g], table.weight)
        close(found.table.confidence[g], table.confidence)
        close(found.table.outcome[g], table.outcome)
        filled = table.count > 0
        # From the shares as fractions, since the reference's sums round.
        outcome = np.round(table.outcome[filled], 12)
        correlation = np.nan
        if len(set(outcome.tolist())) > 1:
            correlation = stats.spearmanr(table.confidence[filled], outcome).statistic
        close(found.rank_correlation[g], correlation, atol=1e-5)
        index = reference.bin_index(edges, least)
        third = int(np.ceil(self.num_bins / 3))
        for part, inside in enumerate((index < third, index >= self.num_bins - third)):
            rows = task.is_error[judged & inside]
            close(found.thirds[g, part], rows.mean() if rows.size else np.nan)


@pytest.mark.parametrize("name", NAMES)
def test_every_number(paper_study, numbers, name):
    task, halves = paper_study.tasks[name], paper_study.halves[name]
    expected = Expected(task, halves, paper_study.settings.num_bins)
    expected.check(numbers[name], flags.FILTERS)


def test_probabilities_decide_what_runs_and_judges_what_is_recalled(numbers):
    assert numbers["imagenet"].peer is None and numbers["imagenet"].is_complete
    assert numbers["cifar10"].peer is not None and not numbers["cifar10"].is_complete


def test_wrong_labels_are_found(numbers):
    # A tenth of the labels was made wrong, and strong experts contradict these.
    for found in numbers.values():
        share = found.num_wrong / found.num_judged
        assert np.all(found.method_1.low > share)


def test_the_bounds_of_an_empty_set_are_undefined():
    nothing, some = np.zeros(4, bool), np.array([True, False, True, True])
    counts = flag_counts.count_wrong(nothing, is_judged=some, is_error=some)
    assert (counts.flagged, counts.judged, counts.recall) == (0, 0, 0.0)
    assert np.isnan([counts.precision, counts.low, counts.high]).all()
    assert counts.cell() == "-"


def test_describe(paper_study, numbers):
    section = cleaning.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text.lower().replace("nance", "")
    assert section.numbers is numbers
    names = {f"cleaning-{name}" for name in NAMES}
    names |= {"cleaning-imagenet-experts", "cleaning-confidence"}
    assert set(section.figures) == names
    # The page on benchmarks shows a figure that the text does not.
    for name in names - {"cleaning-imagenet-experts"}:
        assert f"figures/{name}.png" in text
    assert "cannot run here" in text and text.count("there is no recall") == 1
    for name in NAMES:
        found = numbers[name]
        assert f"| 2, Method 1 | {found.method_1.flagged[0]:,} |" in text
    assert len(section.claims) == 4
    for claim in section.claims:
        assert claim.verdict in ("holds", "holds in part", "does not hold")
        assert "nan" not in claim.evidence


def test_figures(paper_study, numbers):
    section = cleaning.describe(paper_study, numbers)
    for name, draw in section.figures.items():
        with plots.style():
            figure = draw(False)
        panels = figure.axes
        labels = [axes.get_xlabel() for axes in panels]
        if name == "cleaning-confidence":
            assert len(panels) == len(NAMES)
            for axes, task in zip(panels, NAMES, strict=True):
                table = numbers[task].table
                for group, line in enumerate(axes.lines):
                    filled = table.count[group] > 0
                    close(line.get_xdata(), 100 * table.confidence[group][filled])
                    close(line.get_ydata(), 100 * table.outcome[group][filled])
            continue
        assert set(labels) == {"Judged labels flagged (%)"}
        task = name.removeprefix("cleaning-").removesuffix("-experts")
        groups = [len(numbers[task].experts) - 1]
        if not name.endswith("-experts"):
            groups = range(len(numbers[task].experts))
        for axes, group in zip(panels, groups, strict=True):
            line = next(
                line for line in axes.lines if line.get_label() == "Method 2, every K"
            )
            counts = numbers[task].method_2[group]
            close(line.get_xdata(), 100 * counts.judged / numbers[task].num_judged)
            drawn = counts.judged >= 20
            close(line.get_ydata()[drawn], 100 * counts.precision[drawn])
            assert np.isnan(line.get_ydata()[~drawn]).all()


def test_absent_tasks(paper_study, numbers):
    empty = Study(paper_study.settings, paper_study.folder, {}, {}, NAMES)
    assert cleaning.num_steps(empty) == 0
    section = cleaning.describe(empty, cleaning.evaluate(empty, print))
    assert "Missing here: imagenet, cifar10" in section.text
    # One task is left.
    one = dataclasses.replace(
        paper_study,
        tasks={"imagenet": paper_study.tasks["imagenet"]},
        missing=("cifar10",),
    )
    section = cleaning.describe(one, {"imagenet": numbers["imagenet"]})
    assert len(section.claims) == 3
