"""The examples of the README and of the pages run and print what is shown there."""

import csv
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
    if BLOCK.search(path.read_text("utf-8"))
]


def run(text: str, names: dict[str, object], capsys: pytest.CaptureFixture) -> None:
    """Runs the blocks of a page in order, and compares what they print."""
    for match in BLOCK.finditer(text):
        exec(match["code"], names)
        printed = capsys.readouterr().out
        if match["printed"] is not None:
            assert_same(printed, match["printed"])
        else:
            assert printed == "", "the page does not show what this block prints"


NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")


def assert_same(printed: str, shown: str) -> None:
    """The same words, and numbers that differ by at most a unit of the last digit."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    for ours, theirs in zip(
        NUMBER.findall(printed), NUMBER.findall(shown), strict=True
    ):
        unit = 10.0 ** -len(theirs.partition(".")[2])
        unit = unit if "." in theirs else 0.0
        assert abs(float(ours) - float(theirs)) <= 1.01 * unit, (printed, shown)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's session: an empty folder and JAX with its defaults."""
    monkeypatch.chdir(tmp_path)
    standard = jax.numpy_dtype_promotion("standard")
    with standard, jax.numpy_rank_promotion("allow"), np.printoptions():
        yield tmp_path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_runs_from_top_to_bottom(path, reader, capsys):
    names: dict[str, object] = {}
    run(path.read_text("utf-8"), names, capsys)
    CLAIMS.get(path.stem, lambda names: None)(names)


def readme_says(names: dict[str, object]) -> None:
    assert names["report"].status == cj.FitStatus.CONVERGED
    labels, test = names["labels"], names["test"]
    before, after = (
        cj.expected_calibration_error(best.confidence, best.prediction == labels[test])
        for best in (cj.top1(names["small_logits"][test]), names["best"])
    )
    assert after < before
    assert 0.5 < names["apgr"] < 1.5 and names["chosen"].feasible
    wrong = names["given"] != labels[test]
    assert np.mean(wrong[np.asarray(names["flagged"])]) > 0.6
    assert np.mean(names["repaired"] == labels[test]) > np.mean(~wrong)


def error_bars_say(names: dict[str, object]) -> None:
    raw = jax.nn.sigmoid(names["small_scores"])
    right = names["small_right"][1]
    over = cj.calibration_error_interval(names["key"], names["bins"], raw[1], right)
    assert over.p_value < 0.05 and over.null_error < over.estimate
    assert over.lower <= over.estimate <= over.upper
    calibrated = names["error"]
    assert calibrated.p_value > 0.05 and calibrated.estimate < over.estimate
    answers = names["small"][1], right, names["large_right"][1]
    curve = cj.cascade_curve(names["router"], *answers)
    apgr = cj.average_performance_gap_recovered(curve)
    np.testing.assert_allclose(names["apgr"].estimate, apgr, rtol=1e-5)


def bins_and_k_says(names: dict[str, object]) -> None:
    # The half that K is chosen on is the larger one.
    chosen = names["chosen"]
    assert chosen.num_rows == 2001 and not chosen.same_rows


def two_files_say(names: dict[str, object]) -> None:
    folder = Path.cwd()
    params, record = cj.load("temperature.json"), cj.load("cascade.json")
    assert 1.0 < params.temperature < 4.0
    assert record.small_params.temperature == params.temperature
    # The record alone gives what the page says.
    best = cj.top1(names["logits"][names["test"]], record.small_params.temperature)
    keep = record.keep_small(best.confidence)
    np.testing.assert_allclose(keep.mean(), names["share"], atol=1e-6)
    right = np.where(keep, names["small_correct"], names["large_correct"])
    assert right.mean() > names["large_correct"].mean() - 0.02
    with open(folder / "suspects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "given", "suggestion", "confidence"]
    truth, labels = names["truth"], np.load(folder / "labels.npy")
    row = np.array([int(entry["row"]) for entry in rows])
    assert len(set(row)) == len(row)
    assert all(
        int(entry["given"]) == labels[r] for entry, r in zip(rows, row, strict=True)
    )
    confidence = [float(entry["confidence"]) for entry in rows]
    assert confidence == sorted(confidence, reverse=True)
    wrong = labels[row] != truth[row]
    # The surest suspects are mostly wrong, and most wrong labels are on the list.
    assert wrong[: len(wrong) // 4].mean() > 0.8
    assert wrong.sum() > 0.6 * (labels != truth).sum()


def which_model_says(names: dict[str, object]) -> None:
    """What not to do about zeros, and about tails that were rounded away."""
    y, fitted, test = names["y"], names["fitted"], names["test"]

    def error(probabilities: np.ndarray) -> float:
        logits = np.log(probabilities)
        params, report = cj.fit_temperature(logits[fitted], y[fitted])
        assert report.converged
        best = cj.top1(logits[test], params.temperature)
        right = best.prediction == y[test]
        return float(cj.expected_calibration_error(best.confidence, right))

    votes, smooth, rounded = names["votes"], names["smooth"], names["rounded"]
    right = votes.argmax(axis=1) == y
    before = cj.expected_calibration_error(votes[test].max(axis=1), right[test])
    floored = error(np.maximum(votes, 1e-30))
    page = " ".join((DOCS / "which_model.md").read_text("utf-8").split())
    assert f"With 1e-30 the ECE below would be {floored:.3f}, worse than" in page
    assert error(smooth) < 0.03 < before < floored
    for s in (0.01, 0.3):
        scores = cj.log_odds(((1 - s) * votes + s / votes.shape[1]).max(axis=1))
        platt, _ = cj.fit_platt(scores[fitted], right[fitted])
        confidence = cj.calibrate(platt, scores[test])
        assert cj.expected_calibration_error(confidence, right[test]) < 0.03
    # Half a unit of the last digit, or a tenth, for each class.
    size, top = rounded.shape[1], cj.calibrate(names["binned"], names["top"][test])
    right = rounded.argmax(axis=1) == y
    binned = cj.expected_calibration_error(top, right[test])
    shares = [(rounded + unit / 100) / (1 + size * unit / 100) for unit in (0.5, 0.1)]
    assert min(map(error, shares)) > 1.3 * binned


CLAIMS = {
    "README": readme_says,
    "error_bars": error_bars_say,
    "bins_and_k": bins_and_k_says,
    "two_files": two_files_say,
    "which_model": which_model_says,
}


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "probabilities"])
def test_files_of_any_kind_serve(kind, reader, capsys):
    """Up to the calibrated model, with the page's line for probabilities."""
    page = (DOCS / "two_files.md").read_text("utf-8")
    make, _, rest = page.partition("## Read and check")
    calibrate, _, _ = rest.partition("## Route")
    names: dict[str, object] = {}
    run(make, names, capsys)
    logits, labels = np.load("logits.npy"), np.load("labels.npy")
    half = np.split(np.random.default_rng(1).permutation(len(labels)), 2)[0]
    expected, _ = cj.fit_temperature(logits[half], labels[half].astype(np.int32))
    if kind == "probabilities":
        np.save("logits.npy", cj.scaled_softmax(logits))
        first = 'logits = read_logits("logits.npy")\n'
        (line,) = re.findall(r"^    (logits = np\.log.*\n)", page, re.MULTILINE)
        assert first in calibrate
        calibrate = calibrate.replace(first, first + line)
    else:
        np.save("logits.npy", logits.astype(jnp.dtype(kind)))
    for match in BLOCK.finditer(calibrate):
        exec(match["code"], names)
    # bfloat16 holds three digits of each logit.
    found = names["params"].temperature
    np.testing.assert_allclose(found, expected.temperature, rtol=2e-3)
    assert cj.FitStatus(int(names["report"].status)).name == "CONVERGED"


def test_quotes_agree_with_the_results():
    results = (ROOT / "benchmarks/paper/RESULTS.md").read_text("utf-8")
    lines = set(results.splitlines())
    for name in ("bins_and_k", "few_examples"):
        page = (DOCS / f"{name}.md").read_text("utf-8")
        quoted = [line for line in page.splitlines() if re.match(r"\|.*\d\.\d", line)]
        assert quoted and set(quoted) <= lines
    page = " ".join((DOCS / "bins_and_k.md").read_text("utf-8").split())
    assert "saves 8 % of the calls in the median of 46 pairs" in page
    assert "CC saves 8 % of the calls (median of 46 pairs)" in results
    assert "up to 1.08 points" in page and "worst -1.08 points" in results

    promises = (ROOT / "benchmarks/guarantees/RESULTS.md").read_text("utf-8")
    kept = re.findall(r"^\| (.+?) \| (\d+ of \d+) \|", promises, re.MULTILINE)
    assert "All promises held on all 46 real pairs" in page
    assert kept and {count for _, count in kept} == {"46 of 46"}
    (promised,) = re.findall(
        r"promised in ([\d.]+) % of the splits, and saved ([\d.]+) %", page
    )
    share, saved = promised
    row = f"| drop 0.01 | 46 of 46 | 0.0 % broken | {saved} | {share} |"
    assert row in promises
    (unlabelled,) = re.findall(r"without a promise, saved ([\d.]+) %", page)
    assert f"| {unlabelled} | {saved} |" in promises
