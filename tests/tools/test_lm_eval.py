"""Runs of lm-evaluation-harness with its dummy model, which draws log-likelihoods."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from output_files import read

import calib_jax as cj

pytest.importorskip("lm_eval")

pytestmark = [pytest.mark.once, pytest.mark.slow]

NUM = 20
OPTIONS = {
    "output_type": "multiple_choice",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
# Targets are the numbers of options, or their texts; the last task has answers that are
# generated.
TASKS = {
    "toy_mc": OPTIONS,
    "toy_text": OPTIONS | {"doc_to_target": "{{options[answer]}}"},
    "toy_gen": {
        "output_type": "generate_until",
        "doc_to_target": "{{options[answer]}}",
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `lm_eval --log_samples` writes, by its own command and without a network."""
    folder = tmp_path_factory.mktemp("lm_eval")
    rows = [
        {
            "question": f"Question {number}?",
            "options": ["red", "green", "blue", "a long grey"],
            "answer": number % 4,
            "subject": "law" if number % 2 else "art",
        }
        for number in range(NUM)
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, more in TASKS.items():
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "doc_to_text": "{{question}}\nAnswer:",
            **more,
        }
        # YAML takes JSON.
        (folder / f"{name}.yaml").write_text(json.dumps(task))
    arguments = {
        "--model": "dummy",
        "--model_args": "pretrained=acme/dummy",
        "--tasks": ",".join(TASKS),
        "--include_path": folder,
        "--output_path": folder / "out",
    }
    command = [sys.executable, "-m", "lm_eval", "run", "--log_samples"]
    for name, value in arguments.items():
        command += [name, str(value)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    home = {"HF_HOME": str(folder / "home"), "HOME": str(folder)}
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **offline, **home}
    )
    return folder / "out"


def test_the_folder_of_a_run(folder):
    outputs = read(folder)
    (results,) = folder.rglob("results_*.json")
    results = json.loads(results.read_text())
    assert outputs.format == "lm-eval" and outputs.model == "acme/dummy"
    assert results["model_name"] == "acme/dummy"
    tasks = ("toy_mc", "toy_text")
    assert outputs.ids == tuple(f"{task}/{k}" for task in tasks for k in range(NUM))
    assert outputs.groups == ("art", "law") * NUM and outputs.task == ""
    assert outputs.labels.tolist() == [number % 4 for number in range(NUM)] * 2
    assert outputs.choices == ("red", "green", "blue", "a long grey")
    ((reason, count),) = outputs.dropped.items()
    assert count == NUM and "a generation task" in reason
    accuracy = [results["results"][task]["acc,none"] for task in tasks]
    found = outputs.outcomes.reshape(2, NUM).mean(axis=1)
    np.testing.assert_allclose(found, accuracy, atol=1e-6)
    best = cj.top1(outputs.log_probabilities).prediction
    np.testing.assert_array_equal(best == outputs.labels, outputs.outcomes == 1)


def test_one_file_of_a_run(folder):
    (path,) = folder.rglob("samples_toy_mc_*.jsonl")
    outputs = read(path)
    assert outputs.model == "acme/dummy" and outputs.task == "toy_mc"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    values = [
        [float(value) for value, _ in line["filtered_resps"]]
        for line in sorted(lines, key=lambda line: line["doc_id"])
    ]
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(values))


def test_the_folder_names_the_model_without_a_summary(folder, tmp_path):
    (path,) = folder.rglob("samples_toy_mc_*.jsonl")
    assert path.parent.name == "acme__dummy"
    copy = tmp_path / path.parent.name / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert read(copy).model == "acme__dummy"
    (tmp_path / "acme__dummy").rename(tmp_path / "elsewhere")
    assert read(tmp_path / "elsewhere" / path.name).model == ""
