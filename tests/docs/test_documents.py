"""Commands, names and numbers in the README, the changelog and pages are right.

`test_pages` runs their blocks as they are; here some run on other data.
"""

import dataclasses
import json
import pkgutil
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_export
import test_sharding

import calib_jax as cj

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def test_readme_is_short_and_has_the_two_commands():
    text = text_of("README.md")
    assert text.count("\n") < 200
    assert re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL) == [
        'pip install ".[demo]" && calib-jax demo',
        'pip install -e ".[test]" && pytest && JAX_ENABLE_X64=1 pytest -m "not once"',
    ]
    linked = re.findall(r"\]\((?!http)(.*?)\)", text)
    linked += re.findall(r'(?:srcset|src)="(.*?)"', text)
    assert len(linked) > 10
    for name in linked:
        assert (ROOT / name).is_file(), name


def test_index_names_every_page():
    index = text_of("docs/index.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    listed = set(re.findall(r"\(([a-z_]+\.md)\)", index)) | {"reference.md"}
    assert pages == listed


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert len(pictures) == 4
    assert all(path.stat().st_size < 100 * 1024 for path in pictures)


def resolve(name: str) -> object:
    """The object of a name in the changelog; the last part may be a field."""
    name = re.sub(r"^cj\.", "calib_jax.", name)
    try:
        return pkgutil.resolve_name(name)
    except AttributeError:
        record, _, field = name.rpartition(".")
        fields = dataclasses.fields(pkgutil.resolve_name(record))
        (found,) = (one for one in fields if one.name == field)
        return found


# What `calib_jax` exported before the packages.
OLD_NAMES = """
AdvantageTable AuditPlan AuditedRate Bins BootstrapInterval CalibrationDrift
CalibrationErrorInterval CascadeCurve CascadeDifference CascadeGain CascadeInterval
CascadeSummary Chain ChainChoice ChainCurve CleaningCurve CleaningInterval
DecodingSummary Deferral DriftAlarm DriftMonitor EstimatedAccuracy ExpectedPrecision
ExpertBins ExpertDependence FalseFlags FitReport FitStatus GuaranteedRouter Histogram
Interval LabelIssues LikelihoodScores LogProbabilities OccupancyDrift Platt
PlattSummary ReliabilitySummary ReliabilityTable ReviewAnswer ReviewSheet Router
RunGains Selection SequenceScores Streamed StreamedCurve StreamedFit StreamedPlatt
StreamedReliability StreamedRouter Temperature TemperatureSummary Top1 advantage_table
area_under_roc array_blocks audit_sample audited_precision audited_rates
average_performance_gap_recovered best_num_small_bins best_within_cost betting_p_value
bin_index binomial_p_value bootstrap bootstrap_interval bootstrap_reliability
brier_score calibrate calibration_drift calibration_error_interval
calibration_error_of_blocks call_performance_threshold cascade_curve
cascade_difference_interval cascade_gain_of_runs cascade_gain_test cascade_interval
cascade_summary chain_answers chain_curve choice_log_probabilities choice_logits
cleaning_curve cleaning_interval clopper_pearson confident_learning cost_frontier
decoding_summary defer drift_alarm drift_monitor equal_count_bins equal_width_bins
estimate_label_noise estimated_accuracy expected_calibration_error
expected_false_flags expected_precision expected_precision_by_bin expert_dependence
fit_chain fit_expert_bins fit_histogram fit_platt fit_platt_of_blocks fit_router
fit_router_with_guarantee fit_streamed_platt fit_streamed_temperature fit_temperature
fit_temperature_of_blocks high_confidence_disagreement hoeffding_bentkus_p_value
label_error_probability likelihood_scores load log_loss log_odds log_odds_of_log
maximum_calibration_error merge_fits merge_summaries num_small_bins_for_accuracy
num_small_bins_for_accuracy_drop num_small_bins_for_cost
num_small_bins_for_expected_loss num_small_bins_for_large_share
num_small_bins_for_regret num_small_bins_for_small_error num_to_audit occupancy_drift
performance_gap_recovered platt_summary psum_fit psum_summary random_curve
rank_correlation read_log_probabilities read_review_sheet reliability_summary
reliability_table reliability_table_of_blocks repair_labels save scaled_softmax
score_buckets selection selective_accuracy sequence_log_likelihood sequence_mean_logit
sequence_scores solvers streamed_average_performance_gap_recovered
streamed_calibration_error streamed_cascade_curve streamed_reliability_table
streamed_router suggest_labels summary suspicion table_calibration_error
temperature_summary top1 top1_disagreement true_label_confidence
true_label_probabilities uniform_label_noise update_cascade update_decoding
update_drift_monitor update_platt update_reliability update_temperature use_small
validate_labels validate_logits validate_scores with_abstaining write_review_sheet
""".split()


def table_of(heading: str) -> list[tuple[str, str]]:
    """The rows of a table of the changelog, without its head."""
    text = text_of("CHANGELOG.md").split(f"### {heading}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| ")
    return rows[1:]


def test_changelog_has_every_new_name():
    rows = table_of("Old names and new") + table_of("Old keywords and fields, and new")
    new = {name for _, cell in rows for name in re.findall(r"`([\w.]+)`", cell)}
    new = {name for name in new if name.startswith(("cj.", "benchmarks."))}
    assert len(new) > 80
    for name in sorted(new):
        resolve(name)


def test_changelog_has_every_old_name():
    """A name is where it was, or it is gone and the table says where it went."""
    assert len(OLD_NAMES) == 182
    moved = [cell for cell, _ in table_of("Old names and new")]
    gone = {f"`{name}`" for name in OLD_NAMES if not hasattr(cj, name)}
    assert len(moved) == len(set(moved))
    assert set(moved) == gone


def test_page_on_streams_says_what_sharding_tests_check():
    text = text_of("docs/streams.md")
    stay, move, called = (
        set(re.findall(r"`cj\.([\w.]+)`", cell))
        for cell in re.findall(r"^\| same answers.*? \| (.*) \|$", text, re.MULTILINE)
    )
    # `tests/metrics/test_intervals.py` inspects its program.
    inspected = {"calibration_error_interval"}
    assert move == test_sharding.SORTS
    assert stay == test_sharding.COVERED - test_sharding.SORTS | inspected
    # A test of its own calls this one.
    alone = {"cascade.fit_router_with_guarantee"}
    assert called == test_sharding.OTHERS.keys() - inspected | alone
    _, _, exported = text.partition("except functions that draw rows:")
    drawn = re.findall(r"`cj\.([\w.]+)`", exported.partition("whose result")[0])
    assert set(drawn) == test_export.DRAWN


def test_page_on_streams_reads_blocks(tmp_path, capsys):
    """Several blocks of a memory map of an over-confident model."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    logits = 3 * (np.eye(5)[labels] + rng.normal(size=(600, 5)))
    np.save(tmp_path / "logits.npy", np.asarray(logits, np.float32))
    logits = np.load(tmp_path / "logits.npy", mmap_mode="r")
    (snippet,) = [
        text for text in blocks("docs/streams.md") if "blocks.from_arrays" in text
    ]
    # In memory it would be one block.
    snippet = snippet.replace("size=4096", "size=250")
    names = {"cj": cj, "logits": logits, "labels": labels}
    exec(snippet, names)
    expected, _ = cj.fit_temperature(logits, labels)
    params = names["params"]
    np.testing.assert_allclose(params.temperature, expected.temperature, rtol=1e-6)
    best = cj.top1(np.asarray(logits), params.temperature)
    error = cj.expected_calibration_error(best.confidence, best.prediction == labels)
    assert abs(names["ece"].value - error) <= names["ece"].error_bound + 1e-6
    *_, temperature, error = capsys.readouterr().out.splitlines()
    assert temperature.startswith("T = ")
    assert re.fullmatch(r"ECE 0\.\d{4}, at most 0\.\d{4} off", error)


def test_page_on_language_models_decodes_and_reads(tmp_path, monkeypatch):
    loop, reading = (
        text
        for text in blocks("docs/language_models.md")
        if "decoding" in text or "read_log" in text
    )
    rng = np.random.default_rng(0)
    table, prompt = jnp.float32(2 * rng.normal(size=(9, 9))), jnp.arange(4)
    kept = []

    def model(cache, tokens):
        logits = table[tokens] + cache
        jax.debug.callback(lambda logits: kept.append(np.asarray(logits)), logits)
        return logits, cache + 0.01

    names = {"cj": cj, "jax": jax, "jnp": jnp, "model": model, "prompt": prompt}
    names |= {"end": 0, "key": jax.random.key(1), "cache": jnp.float32(0.0)}
    exec(loop, names)
    jax.effects_barrier()
    answers, logits = np.asarray(names["answers"]).T, np.stack(kept, axis=1)
    ended = np.cumsum(answers == 0, axis=1) - (answers == 0)
    expected = cj.sequence_mean_logit(logits, answers, where=ended == 0)
    np.testing.assert_allclose(names["scores"].mean_logit, expected, rtol=1e-6)
    np.testing.assert_array_equal(names["scores"].num_tokens, np.sum(ended == 0, 1))

    lines = []
    for number in range(60):
        sure = rng.uniform(0.3, 1.0)
        options = dict(zip("ABCD", np.log([sure, *[(1 - sure) / 3] * 3]), strict=True))
        top = [{"token": token, "logprob": p} for token, p in options.items()]
        content = [{"token": "A", "logprob": np.log(sure), "top_logprobs": top}]
        choice = {"message": {"content": "A"}, "logprobs": {"content": content}}
        lines.append(json.dumps({"id": f"{sure} {number}", "choices": [choice]}))
    (tmp_path / "responses.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {"cj": cj, "np": np}
    names |= {"judge": lambda name, _: rng.random() < float(name.split()[0])}
    exec(reading, names)
    assert names["params"].slope > 0 and names["confidence"].shape == (60,)
    assert names["options"].shape == (60, 4)
    assert (cj.top1(names["options"]).prediction == 0).mean() > 0.9


def test_figures_of_the_page_on_benchmarks_are_quoted_right():
    text = " ".join(text_of("docs/measured.md").split())
    path = ROOT / "benchmarks" / "paper" / "results.json"
    results = {
        title.split(" (")[0]: numbers
        for title, numbers in json.loads(path.read_text(encoding="utf-8")).items()
    }
    cascades = results["Cascades of a small and a large model"]

    def of_pair(task: str, pair: str) -> tuple[np.ndarray, np.ndarray, dict]:
        """Means over the halves of UC and CC: APGR, saved at no loss; and the curve."""
        numbers = cascades[task]
        place = numbers["pairs"].index(pair)
        recovered, saved = (
            np.mean(
                [[kind[place] for kind in split] for split in numbers[name]], axis=0
            )
            for name in ("recovered", "calls_saved")
        )
        curve = {k: v[1][place] for k, v in numbers["curve"].items() if v is not None}
        return recovered, saved[:, 0], curve

    recovered, _, curve = of_pair("imagenet", "MobileNetV3-L → ViT-B/16")
    quoted = f"halves: {recovered[1]:.3f}, uncalibrated (UC) {recovered[0]:.3f}"
    assert quoted in text
    wins = np.array(curve["accuracy"]) > curve["large_accuracy"]
    share = np.max(np.array(curve["small_share"])[wins])
    assert f"answers {100 * share:.0f} %" in text

    recovered, saved, _ = of_pair("emotion", "Qwen 1.8B → Qwen 14B")
    assert f"APGR {recovered[1]:.3f} against {recovered[0]:.3f}" in text
    saved = [f"{100 * share:.0f} %" for share in saved]
    assert f"{saved[1]} of the calls" in text
    assert f"without calibration {saved[0]}" in text

    ends = [np.array(task["area_interval"][2]) for task in cascades.values()]
    low, high = np.concatenate(ends).T
    better, worse = np.sum(low > 0), np.sum(high < 0)
    assert f"above 0 for {better} of {len(low)} pairs, below 0 for {worse}," in text

    cleaning = results["Cleaning labels"]["imagenet"]
    found = 100 * cleaning["method_1"]["precision"][-1]
    overall = 100 * cleaning["num_wrong"] / cleaning["num_judged"]
    assert f"contradict {found:.0f} %" in text and f"where {overall:.0f} %" in text


def test_the_section_on_further_language_models_is_quoted_right():
    rows = re.findall(
        r"^\| On further language models, (.*?) \| .*? \| (.*?) \|$",
        text_of("benchmarks/paper/RESULTS.md"),
        re.MULTILINE,
    )

    def counts(claim: str) -> list[str]:
        """The first "x of y" in the evidence of every such claim."""
        found = [evidence for text, evidence in rows if claim in text]
        return [re.findall(r"\d+ of \d+", evidence)[0] for evidence in found]

    measured, confidence = (
        " ".join(text_of(f"docs/{page}.md").split())
        for page in ("measured", "which_confidence")
    )
    (lower,) = counts("softmax maximum lowers the ECE")
    assert f"lowers the ECE in {lower} cases" in measured
    by_softmax, by_logit = counts("beats routing by the uncalibrated one")
    beats = "calibrated routing by it beats uncalibrated routing for"
    assert f"{beats} {by_softmax} pairs. The raw" in measured
    assert f"{beats} {by_logit} pairs. For the paper's own two" in measured
    (as_well,) = counts("tells right from wrong")
    assert f"as well as the softmax maximum in {as_well} cases" in confidence

    path = ROOT / "benchmarks" / "paper" / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    (further,) = (
        numbers for title, numbers in results.items() if title.startswith("Further")
    )
    pair = further["mmlu_paper_pair"]["scores"]["softmax"]["cascades"]
    (without,), (calibrated,) = pair["recovered"]["mean"]
    quoted = f"APGR is {calibrated:.3f} with calibration and {without:.3f} without"
    assert quoted in measured
