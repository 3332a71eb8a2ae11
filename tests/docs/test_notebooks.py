"""The notebooks run from top to bottom and print their stored outputs.

To store new outputs, `jupyter execute --inplace notebooks/*.ipynb` (of nbclient, with
an ipykernel) and then drop what it records of times and machine from the metadata.
"""

import ast
import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import calib_jax as cj

for extra in ("matplotlib", "mlxtend", "orbax.checkpoint"):
    pytest.importorskip(extra)

from calib_jax import plots  # noqa: E402

# Programs of their own, which take longer than any other file: run by `pytest --slow`.
pytestmark = [pytest.mark.once, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Another machine, or XLA without its optimisations, rounds differently and trains
# another model of the same quality. Cells with this tag print numbers of trained
# models; other cells do not depend on training.
TRAINED = "trained"
# Such a cell prints a chosen K, which may differ by more: CLAIMS checks the rest.
CHOSEN = "chosen"
# Such a cell draws a figure if it is given a folder of saved outputs.
FOLDER = "folder"
# Such a cell trains for longer than XLA takes to optimise its programs.
LONG = "long"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS]
)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code_of(cell: dict) -> str:
    """The Python of a cell, without IPython's magic."""
    return re.sub(r"^%.*$", "", source(cell), flags=re.MULTILINE)


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def stored_text(cell: dict) -> str:
    streams = [o for o in cell["outputs"] if o["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in streams)


def stored_images(cell: dict) -> list[bytes]:
    return [
        base64.b64decode(output["data"]["image/png"])
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]


@contextlib.contextmanager
def optimised(wanted: bool) -> Iterator[None]:
    """Lets XLA optimise, which tests switch off otherwise."""
    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, before and not wanted)
    try:
        yield
    finally:
        jax.config.update(name, before)


def assert_same_text(text: str, stored: str, of_cell: list[str]) -> None:
    """The same words, and numbers that agree.

    Numbers of a trained model agree to 0.06, or 6 points in %, or a third; other
    numbers to a unit of their last digit.
    """
    words, stored_words = (NUMBER.sub("#", t).split() for t in (text, stored))
    assert words == stored_words
    if CHOSEN in of_cell:
        return
    for ours, theirs in zip(NUMBER.findall(text), NUMBER.findall(stored), strict=True):
        digits = len(theirs.partition(".")[2])
        tolerance = 1.01 * 10.0**-digits if digits else 0.0
        if TRAINED in of_cell:
            tolerance = max(abs(float(theirs)) / 3, 0.06)
        assert abs(float(ours) - float(theirs)) <= tolerance, f"{ours} {theirs}: {text}"


def calibrate_says(names: dict) -> None:
    def error(best: cj.Top1) -> float:
        return float(cj.expected_calibration_error(best.confidence, names["correct"]))

    assert names["params"].temperature > 1.3
    assert error(names["after"]) < error(names["before"]) / 2
    # The remaining ECE is that of a perfect model on as many images.
    assert names["low"] < error(names["after"]) < 1.3 * names["high"]
    assert error(names["before"]) > 2 * names["high"]


def cascade_says(names: dict) -> None:
    curve = names["curve"]
    assert curve.large_accuracy - curve.small_accuracy > 0.04
    assert names["low"] > 0.6
    # The small model answers half of the inputs for less than a point.
    assert curve.accuracy[7] > curve.large_accuracy - 0.01
    # Advantages in confidence predict those in accuracy.
    seen = names["on_test"]
    gap = names["router"].table.advantage - seen.outcome_advantage
    assert np.sqrt(np.mean(np.square(gap))) < 0.06


def clean_says(names: dict) -> None:
    share, precision, recall = names["by_k"].T
    assert precision[4] > 0.9 and recall[14] > 0.9 and np.all(np.diff(share) >= 0)
    assert precision[14] < precision[9]
    truth = names["true_labels"]
    assert (
        np.mean(names["repaired"] == truth) > np.mean(names["labels"] == truth) + 0.04
    )


def flax_loop_says(names: dict) -> None:
    _, accuracy, ece = np.array(names["history"]).T
    # The error rate stays flat while the ECE rises.
    assert abs(accuracy[-1] - accuracy[5]) < 0.02
    assert ece[-1] > np.min(ece) + 0.015
    assert names["num_overflow"] < 20
    large = names["large"](names["digits"].test.images).argmax(axis=-1)
    right = np.mean(large == names["digits"].test.labels)
    assert names["num_right"] / 2000 > right - 0.02


def language_models_says(names: dict) -> None:
    confidence, correct = names["confidence"], names["correct"]
    small, large = (float(np.mean(correct[m, "test"])) for m in ("small", "large"))
    assert 0.2 < small < large - 0.1

    right = correct["small", "test"]
    stated = cj.expected_calibration_error(names["stated"], right)
    kinds = {kind for kind, *_ in confidence}
    ranking = {}
    for kind in kinds:
        of_kind = confidence[kind, "small", "test"]
        assert cj.expected_calibration_error(of_kind, right) < min(0.06, stated)
        ranking[kind] = cj.area_under_roc(of_kind, right)
    # The sum of log-likelihoods and its log-odds have one order, the best of all.
    assert len(kinds) == 5
    best = max(ranking.values())
    for kind in ("sum of log-likelihood", "log-odds of the sum"):
        assert ranking[kind] > best - 1e-4 and ranking[kind] > ranking["mean logit"]
    for kind in ("mean logit", "log-odds of the sum"):
        curve = names["curves"][kind]
        assert cj.average_performance_gap_recovered(curve) > 0.53


CLAIMS = {
    "calibrate": calibrate_says,
    "cascade": cascade_says,
    "clean": clean_says,
    "flax_loop": flax_loop_says,
    "language_models": language_models_says,
}


def test_there_is_one_for_each_use():
    assert {path.stem for path in NOTEBOOKS} == CLAIMS.keys()
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 1.5e6


@each_notebook
def test_runs_and_prints_what_is_stored(path, capsys, monkeypatch):
    monkeypatch.delenv("CALIB_JAX_DATA", raising=False)
    names: dict[str, object] = {}
    capsys.readouterr()
    # A reader's setting; optax's Adam raises a float to an integer count.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for number, cell in enumerate(code_cells(path)):
            with optimised(LONG in tags(cell)):
                exec(compile(code_of(cell), f"{path.name}[{number}]", "exec"), names)
            assert_same_text(capsys.readouterr().out, stored_text(cell), tags(cell))
    CLAIMS[path.stem](names)


@each_notebook
def test_stored_outputs_are_whole(path):
    cells = code_cells(path)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    num_images = 0
    for cell in cells:
        for output in cell["outputs"]:
            kind = output["output_type"]
            assert kind in ("stream", "display_data", "execute_result")
            assert kind != "stream" or output["name"] == "stdout"
        last = ast.parse(code_of(cell)).body[-1]
        is_value = isinstance(last, ast.Expr) and "print(" not in ast.unparse(last)
        images = stored_images(cell)
        assert len(images) == (is_value and FOLDER not in tags(cell)), code_of(cell)
        # A drawing, not a blank.
        assert all(len(image) > 4000 for image in images)
        num_images += len(images)
    assert num_images >= 2


@each_notebook
def test_nothing_of_the_machine_is_stored(path):
    book = read(path)
    assert set(book["metadata"]) == {"kernelspec", "language_info"}
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        text = source(cell) + (stored_text(cell) if "outputs" in cell else "")
        assert not re.search(r"/(work|home|root|tmp|usr|Users)\b", text)


@each_notebook
def test_links_lead_somewhere(path):
    texts = [source(cell) for cell in read(path)["cells"]]
    links = re.findall(r"\]\(([^)#]+)\)", "\n".join(texts))
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (path.parent / link).is_file(), link


def test_saved_outputs_of_large_models_are_drawn(data_folder, monkeypatch):
    (cell,) = (c for book in NOTEBOOKS for c in code_cells(book) if FOLDER in tags(c))
    monkeypatch.setenv("CALIB_JAX_DATA", str(data_folder))
    names = {"cj": cj, "np": np, "os": os, "Path": Path, "plots": plots}
    exec(code_of(cell), names)
    lines = names["figure"].axes[0].get_legend().get_texts()
    assert lines[0].get_text().startswith("router, APGR")
