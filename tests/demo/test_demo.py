"""The demo, with models too small and too briefly trained to be any good."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

for extra in ("mlxtend", "matplotlib", "platformdirs", "rich"):
    pytest.importorskip(extra)

from calib_jax import cli  # noqa: E402
from calib_jax.cli import caching  # noqa: E402
from calib_jax.demo import cascade, cleaning, data, pipeline, saving  # noqa: E402

TINY = {
    "num_train": 500,
    "num_calibrate": 1000,
    "small_hidden": 4,
    "small_recipe": data.Recipe(num_epochs=2, learning_rate=1e-2),
    "large_channels": 2,
    "large_hidden": 16,
    "large_recipe": data.Recipe(num_epochs=2, learning_rate=1e-2, batch_size=25),
    "num_bins": 5,
    "num_draws": 24,
}


# One worker trains the models, for all tests.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def results():
    # Optax's Adam raises a float to an integer count, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return pipeline.run(data.Settings(seed=3, **TINY))


@pytest.fixture(scope="module")
def plain(results, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    saving.save_results(directory, results)
    return json.loads((directory / "results.json").read_text())


def test_command(results, tmp_path, monkeypatch, capsys):
    asked = []

    def run(settings, advance):
        asked.append(settings)
        for _ in range(settings.large_recipe.num_epochs):
            advance("large")
        return results

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(caching, "turn_on", lambda: "Programs are kept.")
    monkeypatch.setenv("COLUMNS", "80")
    directory = tmp_path / "new" / "folder"
    argv = ["demo", "--output", str(directory), "--seed", "7"]
    assert cli.main(argv) == 0
    assert asked == [data.Settings(seed=7)]
    files = {path.name for path in directory.iterdir()}
    endings = (".png", ".pdf", "-dark.png")
    figures = {f"{name}{ending}" for name in saving.FIGURES for ending in endings}
    outputs = {"small.npz", "large.npz", "suspect_labels.npy"}
    assert files == figures | outputs | {"results.json"}
    assert all((directory / name).stat().st_size > 5000 for name in figures)
    text = capsys.readouterr().out
    for words in (
        "Programs are kept.",
        "Calibration: ECE over 5",
        "Cascade",
        "Cleaning",
        "15/15",
        "APGR",
    ):
        assert words in text
    # No heading is cut off, and the folder is on one line so that it can be copied.
    assert "…" not in text
    assert str(directory) in text


def test_digits_are_dealt_out_once_and_evenly():
    settings = data.Settings()
    digits = data.load(jax.random.key(0), settings)
    splits = (digits.train, digits.calibration, digits.test)
    assert [len(split.labels) for split in splits] == [2000, 1500, 1500]
    for split in splits:
        assert len(set(np.bincount(split.labels))) == 1
        assert split.images.shape[1:] == (28, 28, 1)
        assert split.images.dtype == np.float32
        assert 0 == split.images.min() < split.images.max() == 1
    rows = np.concatenate([split.images for split in splits]).reshape(5000, -1)
    everything = data.mnist_data()[0] / 255
    np.testing.assert_allclose(
        np.sort(rows.sum(axis=1)), np.sort(everything.sum(axis=1)), rtol=1e-5
    )


def test_the_key_decides_the_training():
    settings = data.Settings(**TINY)
    digits = data.load(jax.random.key(0), settings)
    epochs = []
    with jax.numpy_dtype_promotion("standard"):
        first, again, other = (
            pipeline.train_small(key, digits, settings, lambda: epochs.append(1))
            for key in jax.random.split(jax.random.key(1), 3)[jnp.array([0, 0, 1])]
        )
    np.testing.assert_array_equal(first["test"], again["test"])
    assert jnp.max(jnp.abs(first["test"] - other["test"])) > 0.01
    assert len(epochs) == 3 * settings.small_recipe.num_epochs


def test_calibration_numbers(results, plain):
    labels = results.labels["test"]
    for name, model in results.models.items():
        numbers = plain["models"][name]
        temperature = numbers["temperature"]
        top1 = cj.top1(model.logits["test"], temperature)
        correct = top1.prediction == labels
        half = numbers["halves"]["test"]
        np.testing.assert_allclose(half["accuracy"], jnp.mean(correct), rtol=1e-6)
        error = cj.expected_calibration_error(top1.confidence, correct, num_bins=5)
        np.testing.assert_allclose(half["ece_after"], error, atol=1e-6)
        assert np.isfinite(half["ece_before"]) and np.isfinite(half["ece_after"])
        assert sum(half["reliability_after"]["count"]) == len(labels)
        assert numbers["fit"]["converged"] and numbers["fit"]["status"] == "CONVERGED"


def test_cascade_numbers(results, plain):
    router = cj.fit_router(
        *(model.after["calibration"].confidence for model in results.models.values()),
        num_bins=5,
    )
    test = [model.after["test"] for model in results.models.values()]
    curve = cj.cascade_curve(
        router, test[0].confidence, test[0].correct, test[1].correct
    )
    numbers = plain["cascade"]
    assert list(numbers["curves"]) == ["random", "uncalibrated (UC)", "calibrated (CC)"]
    drawn = numbers["curves"][cascade.CALIBRATED]
    np.testing.assert_allclose(drawn["accuracy"], curve.accuracy, atol=1e-6)
    np.testing.assert_allclose(drawn["small_share"], curve.small_share, atol=1e-6)
    np.testing.assert_allclose(
        numbers["apgr"][cascade.CALIBRATED],
        cj.average_performance_gap_recovered(curve),
        atol=1e-6,
    )
    np.testing.assert_allclose(numbers["apgr"]["random"], 0.5, atol=1e-5)
    for name in (cascade.UNCALIBRATED, cascade.CALIBRATED):
        point = numbers["chosen"][name]
        kept = point["num_small_bins"]
        assert 0 <= kept <= 5
        assert point["accuracy"]["test"] == pytest.approx(
            numbers["curves"][name]["accuracy"][kept]
        )
        # On the half that K is chosen on, it loses nothing by construction.
        hindsight = numbers["hindsight"][name]["accuracy"]["test"]
        assert hindsight >= numbers["large_accuracy"] - 1e-6
        best, curve = numbers["best"][name], numbers["curves"][name]
        assert best["accuracy"]["calibration"] >= point["accuracy"]["calibration"]
        assert best["accuracy"]["test"] == pytest.approx(
            curve["accuracy"][best["num_small_bins"]]
        )
    low, high = numbers["apgr_gain_interval"]
    assert low <= high


def test_cleaning_numbers(results, plain):
    labels, truth = (
        np.asarray(results.cleaning.labels),
        np.asarray(results.labels["test"]),
    )
    is_error = labels != truth
    assert is_error.sum() == plain["cleaning"]["num_wrong"] == round(0.08 * len(labels))
    models = [model.after["test"] for model in results.models.values()]
    flagged = np.all([model.prediction != labels for model in models], axis=0)
    methods = plain["cleaning"]["methods"]
    numbers = methods["top1_disagreement"]
    assert numbers["num_flagged"] == flagged.sum()
    np.testing.assert_allclose(
        numbers["precision"], is_error[flagged].mean(), rtol=1e-6
    )
    np.testing.assert_allclose(numbers["recall"], flagged[is_error].mean(), rtol=1e-6)
    # With all bins, high confidence is no restriction: Method 2 becomes Method 1.
    assert list(methods["high_confidence_disagreement"]) == list("12345")
    assert methods["high_confidence_disagreement"]["5"] == numbers
    probabilities = cj.calibrate(
        results.models["large"].temperature, results.models["large"].logits["test"]
    )
    issues = cj.confident_learning(probabilities, labels)
    expected = methods["confident_learning"]
    assert expected["num_flagged"] == jnp.sum(issues.flagged)
    repaired = cj.repair_labels(labels, issues.flagged, issues.suggestion)
    np.testing.assert_allclose(
        expected["repaired_accuracy"], np.mean(repaired == truth), rtol=1e-6
    )
    for curve in plain["cleaning"]["curves"].values():
        assert curve["recall"][-1] == 1
        np.testing.assert_allclose(curve["precision"][-1], is_error.mean(), rtol=1e-6)


def test_flip_moves_the_share_it_is_asked_to():
    labels = jnp.arange(1000, dtype=jnp.int32) % 10
    flipped = data.flip(jax.random.key(0), labels, 0.08)
    moved = (flipped - labels)[flipped != labels] % 10
    assert moved.shape == (80,) and set(np.unique(moved)) == set(range(1, 10))
    assert 0 <= flipped.min() and flipped.max() <= 9


def test_judge_by_hand():
    truth = jnp.array([0, 1, 2, 3], jnp.int32)
    labels = jnp.array([0, 0, 0, 3], jnp.int32)
    flagged = jnp.array([True, True, False, False])
    suggestion = jnp.array([5, 1, 0, 3], jnp.int32)
    flags = cleaning.judge(flagged, suggestion, labels, truth)
    assert (flags.precision, flags.recall) == (0.5, 0.5)
    assert (flags.suggestions_correct, flags.repaired_accuracy) == (0.5, 0.5)
    nothing = cleaning.judge(jnp.zeros(4, bool), labels, labels, truth)
    assert np.isnan(nothing.precision) and nothing.recall == 0


@pytest.mark.parametrize(
    "argv", [[], ["demo", "--seed", "x"], ["demo", "letters"], ["paper"]]
)
def test_wrong_arguments(argv, capsys):
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert "calib-jax" in error and "--help" in error


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--output", str(tmp_path / "file")]) == 2
    assert "cannot write to the folder" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_a_folder_that_takes_no_file_is_found_before_the_work(capsys):
    assert cli.main(["demo", "--output", "/proc/self"]) == 2
    assert "cannot write to the folder /proc/self" in capsys.readouterr().err


def test_a_missing_extra_is_named():
    code = (
        "import sys; sys.modules['mlxtend'] = None\n"
        "from calib_jax.cli import main; sys.exit(main(['demo']))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "pip install 'calib-jax[demo]'" in process.stderr


# The command with a fit in place of the demo; it says how many programs it read.
COMMAND = """
import sys

import jax

import calib_jax as cj
from calib_jax.cli import main
from calib_jax.demo import running

hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None
)
running.run = lambda *_: cj.fit_platt([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
main(["demo", "--output", *sys.argv[1:]])
print(len(hits), "read")
"""


def run_command(folder, *options, **variables):
    """What the command prints, with caches in a folder and environment variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMP")}
    environment.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
    # The user's cache folder is here on Linux, on Windows and on a Mac.
    homes = dict.fromkeys(("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"), str(folder))
    homes["MPLCONFIGDIR"] = str(folder.parent)
    process = subprocess.run(
        [sys.executable, "-c", COMMAND, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, **homes, **variables},
    )
    assert process.returncode == 0, process.stderr
    assert "cache" not in process.stderr
    return process.stdout


def files_in(folder):
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    # Beside each program is a file with the time of its last use.
    return {name for name in names if not name.endswith("-atime")}


@pytest.mark.slow
def test_the_command_keeps_programs_for_the_next_run(tmp_path):
    results, home, given = (tmp_path / n for n in ("results", "home", "given"))
    first = run_command(home, str(results))
    assert f"kept in {home}" in first and "--no-cache" in first
    assert first.endswith("\n0 read\n")
    kept = files_in(home)
    assert kept
    second = run_command(home, str(results))
    assert second.splitlines()[0] == first.splitlines()[0]
    assert int(second.split()[-2]) > 0
    # All of them were read, none written.
    assert files_in(home) == kept
    without = run_command(tmp_path / "other", str(results), "--no-cache")
    assert "not kept" in without and not (tmp_path / "other").exists()
    # All that JAX was told stays.
    told = {"JAX_COMPILATION_CACHE_DIR": str(given)}
    told["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    elsewhere = run_command(tmp_path / "other", str(results), **told)
    assert f"kept in {given}" in elsewhere and files_in(given)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    home = tmp_path / "home"
    home.write_text("")
    printed = run_command(home, str(tmp_path / "results"))
    assert f"not kept: cannot write to {home}" in printed
    assert printed.endswith("\n0 read\n")


def test_the_library_sets_no_configuration_of_jax():
    code = (
        "import jax; before = dict(jax.config.values)\n"
        "import calib_jax as cj\n"
        "cj.fit_platt([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])\n"
        "assert jax.config.values == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
