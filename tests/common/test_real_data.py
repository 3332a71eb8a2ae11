"""Outputs of real models, from logits to decisions, against the float64 reference.

Two comparisons. Parameters and calibrated confidences are held to 1e-5 of a
reference that does everything in float64. Tables, curves and flags are held to 1e-6
(flags and counts exactly) of a reference that is given the library's own float32
confidences, because one rounded tie more or less moves a row from bin to bin; the
result of the whole float64 pipeline is recorded, not judged.
"""

import numpy as np
import pytest
import reference

import calib_jax as cj

pytestmark = pytest.mark.once

equal = np.testing.assert_array_equal


def close(actual, expected, rtol=0.0, atol=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def halves(num_rows):
    """Row numbers of a calibration and a test half, the same on every machine."""
    return np.split(np.random.default_rng(0).permutation(num_rows), [num_rows // 2])


def log(probabilities):
    """float32 logits of given probabilities; a zero becomes -inf."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


@pytest.fixture
def report(record_property):
    """Records a number of the end-to-end comparison and prints it."""

    def record(name, ours, end_to_end):
        difference = np.max(np.abs(np.asarray(ours) - np.asarray(end_to_end)))
        record_property(f"end-to-end {name}", float(difference))
        print(f"end-to-end difference of {name}: {difference:.2e}")

    return record


class Model:
    """One model's float32 confidences from the library, float64 from the reference.

    `raw` and `calibrated` are the library's confidences on every row, the `exact_`
    ones the reference's own; `correct` is the verifier's outcome.
    """

    def __init__(self, logits, labels, calibration):
        params, report = cj.fit_temperature(logits[calibration], labels[calibration])
        assert report.status == cj.FitStatus.CONVERGED
        exact = reference.fit_temperature(logits[calibration], labels[calibration])
        close(params.temperature, exact, rtol=1e-5, atol=0)
        self.temperature = exact
        self.raw = np.asarray(cj.top1(logits).confidence)
        top = cj.top1(logits, params.temperature)
        self.calibrated = np.asarray(top.confidence)
        self.prediction = np.asarray(top.prediction)
        self.exact_raw, prediction = reference.top1(logits)
        self.exact_calibrated, _ = reference.top1(logits, exact)
        equal(self.prediction, prediction)
        close(self.raw, self.exact_raw, rtol=1e-5, atol=0)
        close(self.calibrated, self.exact_calibrated, rtol=1e-5, atol=0)
        self.correct = self.prediction == labels


def choices(data, name):
    """Logits of the four answers of a question with options A to F."""
    return np.asarray(cj.choice_logits(data[f"{name}_logits"], np.arange(4)))


PAIRS = {
    "cifar10": ("lenet_5", "wideresnet_16_4"),
    "cifar100": ("lenet_5", "densenet_bc_100"),
    "cifar100 large": ("wideresnet_16_4", "densenet_bc_100"),
    "emotion qwen": ("qwen_1_8b", "qwen_14b"),
    "emotion llama": ("llama2_7b", "llama2_13b"),
    "emotion large": ("qwen_14b", "llama2_13b"),
}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, data_folder):
    """A small and a large model, with the halves to calibrate and to test on."""
    if request.param.startswith("emotion"):
        data = np.load(data_folder / "language" / "emotion.npz")
        logits = [choices(data, name) for name in PAIRS[request.param]]
    else:
        data = np.load(data_folder / "vision" / f"{request.param.split()[0]}.npz")
        logits = [log(data[f"{name}_probs"]) for name in PAIRS[request.param]]
    labels = data["label"].astype(np.int32)
    split = halves(len(labels))
    small, large = (Model(z, labels, split[0]) for z in logits)
    return request.param, small, large, split


def check_table(table, expected):
    equal(table.count, expected.count)
    close(table.confidence, expected.confidence)
    close(table.outcome, expected.outcome)
    close(table.squared_error, expected.squared_error)


def test_calibration_errors(pair, report):
    name, small, large, (_, test) = pair
    for size, model in (("small", small), ("large", large)):
        for kind in ("raw", "calibrated"):
            ours = getattr(model, kind)[test], model.correct[test]
            exact = getattr(model, f"exact_{kind}")[test], model.correct[test]
            error = cj.expected_calibration_error(*ours)
            close(error, reference.expected_calibration_error(*ours))
            end_to_end = reference.expected_calibration_error(*exact)
            report(f"ECE, {name}, {size} {kind}", error, end_to_end)
            edges = reference.equal_count_edges(ours[0])
            bins = cj.equal_count_bins(ours[0])
            equal(bins.edges, edges)
            table = cj.reliability_table(bins, *ours)
            check_table(table, reference.reliability_table(edges, *ours))


@pytest.mark.parametrize("kind", ["raw", "calibrated"])
def test_cascade(pair, kind, report):
    name, small, large, (calibration, test) = pair
    confidences = getattr(small, kind), getattr(large, kind)
    fitted = [confidence[calibration] for confidence in confidences]
    router = cj.fit_router(*fitted)
    expected_router = reference.fit_router(*fitted)
    equal(router.bins.edges, expected_router.edges)
    equal(router.order, expected_router.order)
    outcomes = small.correct, large.correct
    table = cj.advantage_table(
        router.bins,
        *fitted,
        small_outcome=outcomes[0][calibration],
        large_outcome=outcomes[1][calibration],
    )
    expected = reference.advantage_table(
        expected_router.edges, *fitted, *(v[calibration] for v in outcomes)
    )
    equal(table.count, expected.count)
    close(table.small_confidence, expected.small_confidence)
    close(table.large_confidence, expected.large_confidence)
    close(table.advantage, expected.advantage)
    close(table.outcome_advantage, expected.outcome_advantage)
    close(table.outcome_advantage_standard_error, expected.standard_error)

    tested = confidences[0][test], *(v[test] for v in outcomes)
    curve = cj.cascade_curve(router, *tested)
    expected = reference.cascade_curve(expected_router, *tested)
    close(curve.small_share, expected.small_share)
    close(curve.accuracy, expected.accuracy)
    close(curve.small_accuracy, expected.small_accuracy)
    close(curve.large_accuracy, expected.large_accuracy)
    close(
        cj.performance_gap_recovered(curve),
        reference.performance_gap_recovered(expected),
        rtol=1e-5,
    )
    recovered = cj.average_performance_gap_recovered(curve)
    expected_recovered = reference.average_performance_gap_recovered(expected)
    close(recovered, expected_recovered, rtol=1e-6)
    for target in (0.2, 0.5, 0.8):
        share = cj.call_performance_threshold(curve, target)
        expected_share = reference.call_performance_threshold(expected, target)
        close(share, expected_share, rtol=1e-5)
    kept = cj.use_small(router, confidences[0], 7)
    equal(kept, reference.use_small(expected_router, confidences[0], 7))

    exact = getattr(small, f"exact_{kind}"), getattr(large, f"exact_{kind}")
    exact_router = reference.fit_router(*(c[calibration] for c in exact))
    exact_curve = reference.cascade_curve(exact_router, exact[0][test], *tested[1:])
    end_to_end = reference.average_performance_gap_recovered(exact_curve)
    report(f"APGR, {name}, {kind}", recovered, end_to_end)


# Temperatures, calibration errors before and after (small, large), and the APGR of
# the calibrated router, as an independent float64 pilot printed them.
PILOT = {
    "emotion qwen": ([0.741, 1.311], [0.111, 0.097], [0.056, 0.031], 0.836),
    "emotion llama": ([0.354, 0.676], [0.125, 0.108], [0.042, 0.024], 0.590),
}


@pytest.mark.parametrize("pair", PILOT, indirect=True)
def test_pilot(pair):
    name, small, large, (calibration, test) = pair
    temperatures, before, after, recovered = PILOT[name]
    curves = {}
    for kind, errors in (("raw", before), ("calibrated", after)):
        for model, error in zip((small, large), errors, strict=True):
            scores = getattr(model, kind)[test]
            ours = cj.expected_calibration_error(scores, model.correct[test])
            close(ours, error, atol=1e-3)
        confidences = getattr(small, kind), getattr(large, kind)
        router = cj.fit_router(*(c[calibration] for c in confidences))
        curve = cj.cascade_curve(
            router, confidences[0][test], small.correct[test], large.correct[test]
        )
        curves[kind] = cj.average_performance_gap_recovered(curve)
    close([small.temperature, large.temperature], temperatures, atol=5e-4)
    # The pilot split tied confidences by position, which moves the curve slightly.
    close(curves["calibrated"], recovered, atol=5e-3)
    assert curves["calibrated"] > curves["raw"] + 0.1
    assert (curves["raw"] < 0.5) == (name == "emotion llama")


SCORES = [
    ("language", "mmlu_llama_train", "mmlu_llama_test"),
    ("language", "medmcqa_llama_train", "medmcqa_llama_test"),
    ("language", "gsm8k_llama_train", None),
    ("vision", "imagenet", None),
]


def load_scores(data_folder, folder, train, test):
    """Scores and outcomes `[M, N]` to calibrate on and to test on."""
    data = np.load(data_folder / folder / f"{train}.npz")
    if folder == "vision":
        names = [key.removesuffix("_conf") for key in data if key.endswith("_conf")]
        scores = np.stack([data[f"{name}_conf"] for name in names])
        correct = np.stack([data[f"{name}_pred"] == data["label"] for name in names])
    else:
        scores, correct = data["log_confidence"], data["correct"]
    if test is None:
        return [(scores[:, rows], correct[:, rows]) for rows in halves(scores.shape[1])]
    held_out = np.load(data_folder / folder / f"{test}.npz")
    return (scores, correct), (held_out["log_confidence"], held_out["correct"])


def fill(*arrays):
    """Arrays padded with NaN to a shared size, and the mask: one trace for all."""
    size = 25_000 if len(arrays[0]) > 2000 else 2000
    mask = np.arange(size) < len(arrays[0])
    filled = [np.full(size, np.nan, np.float32) for _ in arrays]
    for target, values in zip(filled, arrays, strict=True):
        target[mask] = values
    return filled, mask


@pytest.mark.parametrize(("folder", "train", "test"), SCORES)
def test_score_calibrators(data_folder, folder, train, test, report):
    fitted, tested = load_scores(data_folder, folder, train, test)
    for model, (scores, correct) in enumerate(zip(*fitted, strict=True)):
        filled, mask = fill(scores, correct)
        params, fit = cj.fit_platt(*filled, where=mask)
        exact = reference.fit_platt(scores, correct)
        rising = cj.FitStatus.CONVERGED if exact[0] > 0 else cj.FitStatus.REVERSED
        assert fit.status == rising
        close([params.slope, params.intercept], exact, rtol=1e-5, atol=0)
        histogram, _ = cj.fit_histogram(*filled, where=mask)
        edges, values = reference.fit_histogram(scores, correct)
        equal(histogram.bins.edges, edges)
        used = reference.reliability_table(edges, scores, correct).count > 0
        close(np.asarray(histogram.values)[used], values[used])

        scores, correct = tested[0][model], tested[1][model]
        filled, mask = fill(scores, correct)
        calibrated = np.asarray(cj.calibrate(params, filled[0]))
        expected = reference.platt(exact, scores)
        close(calibrated[mask], expected, rtol=1e-5, atol=0)
        error = cj.expected_calibration_error(calibrated, filled[1], where=mask)
        ours = reference.expected_calibration_error(calibrated[mask], correct)
        close(error, ours)
        end_to_end = reference.expected_calibration_error(expected, correct)
        report(f"ECE, {train}, model {model}, Platt", error, end_to_end)


EXPERTS = {
    "cifar10": ("cifar10", "_probs", ["lenet_5", "wideresnet_16_4"]),
    "cifar100": (
        "cifar100",
        "_probs",
        ["lenet_5", "wideresnet_16_4", "densenet_bc_100"],
    ),
    "imagenet": (
        "imagenet",
        "_conf",
        ["resnet34", "efficientnet_b3a", "gluon_senet154", "ix_vit"],
    ),
}


@pytest.mark.parametrize("name", EXPERTS)
def test_expert_disagreement(data_folder, name):
    file, kind, names = EXPERTS[name]
    data = np.load(data_folder / "vision" / f"{file}.npz")
    labels = data["label"].astype(np.int32)
    if kind == "_conf":
        confidences = np.stack([data[f"{name}_conf"] for name in names])
        predictions = np.stack([data[f"{name}_pred"] for name in names]).astype(int)
    else:
        tops = [cj.top1(log(data[f"{name}_probs"])) for name in names]
        confidences = np.stack([top.confidence for top in tops])
        predictions = np.stack([top.prediction for top in tops])
    calibration, test = halves(len(labels))
    correct = predictions == labels
    fitted = confidences[:, calibration], correct[:, calibration]
    experts = cj.fit_expert_bins(*fitted)
    expected_experts = reference.fit_expert_bins(*fitted)
    for model, (edges, order) in enumerate(expected_experts):
        equal(experts.bins.edges[model], edges)
        equal(experts.order[model], order)
    tested = predictions[:, test], confidences[:, test], labels[test]
    flagged = cj.top1_disagreement(tested[0], tested[2])
    equal(flagged, reference.top1_disagreement(tested[0], tested[2]))
    counts = []
    for num_top_bins in (0, 1, 5, 10, 15):
        for consensus in (False, True):
            flagged = cj.high_confidence_disagreement(
                experts, *tested, num_top_bins, consensus=consensus
            )
            expected = reference.high_confidence_disagreement(
                expected_experts, *tested, num_top_bins, consensus
            )
            equal(flagged, expected)
        counts.append(int(expected.sum()))
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] > 20


@pytest.mark.parametrize(
    ("file", "model", "num_flagged"),
    [
        ("cifar10", "crossval", 244),  # as cleanlab 2.9 in float64
        ("cifar10", "wideresnet_16_4", None),
        ("cifar100", "densenet_bc_100", None),
    ],
)
def test_confident_learning(data_folder, file, model, num_flagged):
    data = np.load(data_folder / "vision" / f"{file}.npz")
    probabilities, labels = data[f"{model}_probs"], data["label"].astype(np.int32)
    issues = cj.confident_learning(probabilities, labels)
    expected = reference.confident_learning(probabilities, labels)
    equal(issues.flagged, expected.flagged)
    equal(issues.suggestion, expected.suggestion)
    close(issues.thresholds, expected.thresholds)
    if num_flagged is not None:
        assert issues.flagged.sum() == num_flagged


def test_cleaning_curve_against_the_raters(data_folder):
    # Raters were asked about 275 labels; fewer than three of five kept 54 of them.
    data = np.load(data_folder / "vision" / "cifar10.npz")
    given, *_ = data["rater_votes"].T
    asked = given >= 0
    wrong = asked & (given < 3)
    assert (asked.sum(), wrong.sum()) == (275, 54)
    probabilities, labels = data["crossval_probs"], data["label"].astype(int)
    score = 1 - probabilities[np.arange(len(labels)), labels]
    curve = cj.cleaning_curve(score, wrong, where=asked)
    expected = reference.cleaning_curve(score, wrong, where=asked)
    close(curve.threshold, expected.threshold)
    close(curve.flagged_share, expected.flagged_share)
    close(curve.precision, expected.precision)
    close(curve.recall, expected.recall)
    close(curve.precision[-1], 54 / 275)
