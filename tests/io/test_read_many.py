"""Several files at once: which are read, and what their model and task are called."""

import json
import shutil
from pathlib import Path

import numpy as np
import output_files as files
import pytest
from servers import chat, entry

import calib_jax as cj

pytestmark = pytest.mark.once

TWO_ROWS = "id,score,correct\na,0.5,0\nb,0.9,1\n"
WRITTEN = Path(__file__).parent / "written_by_tools"
SAMPLES = "samples_{}_2026-11-29T20-08-00.204867.jsonl"


def table(folder, name, text=TWO_ROWS):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.write(path, text)


def grid(folder):
    """Two models on two tasks."""
    for model in ("a", "b"):
        for task in ("law", "art"):
            table(folder, f"{model}/{task}.csv")
    return folder


def read(paths, **more):
    return cj.io.read_many(paths, **more)


def named(outputs):
    return [(one.model, one.task) for one in outputs]


def one_line(paths, **more):
    with pytest.raises(ValueError) as error:
        read(paths, **more)
    message = str(error.value)
    assert "\n" not in message and len(message) < 900
    return message


def answer(model="tiny", **more):
    """A chat completion, whose answer has one token."""
    token = {"token": "A", "logprob": -0.25, "bytes": None, "top_logprobs": []}
    chosen = {
        "index": 0,
        "message": {"role": "assistant", "content": "A"},
        "finish_reason": "stop",
        "logprobs": {"content": [token]},
    }
    body = {"id": "1", "object": "chat.completion", "model": model, "choices": [chosen]}
    return body | more


def answers(folder, count=3, **more):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        files.write(folder / f"q{number}.json", [answer(**more)])
    return folder


ALL = [("a", "art"), ("a", "law"), ("b", "art"), ("b", "law")]


@pytest.mark.parametrize(
    "pattern",
    ["{model}/{task}.csv", "{model}/{task}", "{model}/{task}.*", "*/{model}/{task}"],
)
def test_a_folder_by_a_pattern(tmp_path, pattern):
    outputs = read(grid(tmp_path / "runs"), pattern=pattern)
    assert named(outputs) == ALL
    assert [one.name for one in outputs] == ["a/art.csv", "a/law.csv"] + [
        "b/art.csv",
        "b/law.csv",
    ]
    np.testing.assert_array_equal(outputs[3].scores, np.float32([0.5, 0.9]))


def test_a_text_with_stars_is_as_the_files_that_a_shell_makes_of_it(tmp_path):
    runs = grid(tmp_path)
    pattern = "{model}/{task}"
    by_text = read(f"{runs}/*/*.csv", pattern=pattern)
    by_shell = read(sorted(runs.glob("*/*.csv")), pattern=pattern)
    assert named(by_text) == named(by_shell) == ALL
    one = read(str(runs / "?" / "law.csv"), pattern=pattern)
    assert named(one) == [("a", "law"), ("b", "law")]
    # One that names a file with such letters is that file.
    odd = table(tmp_path, "c/[law].csv")
    assert named(read(odd, pattern=pattern)) == [("c", "[law]")]
    assert "no file or folder fits" in one_line(f"{runs}/*/*.npz")


def test_the_other_order_dots_and_endings(tmp_path):
    table(tmp_path, "law/gpt-4.1.csv")
    table(tmp_path, "law/llama.v2.csv.gz")
    outputs = read(tmp_path, pattern="{task}/{model}")
    assert named(outputs) == [("gpt-4.1", "law"), ("llama.v2", "law")]


def test_names_given_once_for_all(tmp_path):
    grid(tmp_path)
    outputs = read(tmp_path / "a", pattern="{task}.csv", model="mine")
    assert named(outputs) == [("mine", "art"), ("mine", "law")]
    outputs = read(tmp_path / "a" / "law.csv", model="mine", task="exam")
    assert named(outputs) == [("mine", "exam")]
    # A path of no folder is below the one that holds it.
    assert outputs[0].name == "law.csv"


def test_nothing_is_guessed(tmp_path):
    grid(tmp_path)
    message = one_line(tmp_path)
    assert "nothing says its model or task: pass pattern=" in message
    assert "pattern='{model}/{task}.csv'" in message
    message = one_line(tmp_path / "a", task="exam")
    assert "nothing says its model: " in message and "'{model}.csv'" in message
    message = one_line(tmp_path, pattern="{model}/{task}.npz")
    assert message.endswith("art.csv: does not fit pattern='{model}/{task}.npz'.")


@pytest.mark.parametrize("pattern", ["", "x.csv", "{name}.csv", "{model}/{model}", 3])
def test_patterns_that_say_nothing(tmp_path, pattern):
    message = one_line(grid(tmp_path), pattern=pattern)
    assert message.startswith("pattern: expected ")


def test_two_files_of_one_model_and_task(tmp_path):
    table(tmp_path, "1/law.csv")
    table(tmp_path, "2/law.csv", TWO_ROWS.replace("0.5", "0.7"))
    more = {"pattern": "{task}.csv", "model": "a"}
    message = one_line(tmp_path, **more)
    assert "both are of model a on task law" in message
    for repeats, score, lost in (("first", 0.5, "2/law"), ("last", 0.7, "1/law")):
        (outputs,) = read(tmp_path, repeats=repeats, **more)
        assert outputs.scores[0] == np.float32(score)
        assert outputs.notes[-1].endswith(f"{lost}.csv.")
        assert "left out" in outputs.notes[-1]


def test_what_is_given_twice_is_read_once(tmp_path):
    runs = grid(tmp_path)
    given = [runs, runs / "a", runs / "a" / "law.csv", runs / "b" / ".." / "a"]
    assert named(read(given, pattern="{model}/{task}")) == ALL


def test_a_file_of_several_models(tmp_path):
    scores = np.float32([[0.1, 0.9], [0.4, 0.8]])
    path = tmp_path / "law.npz"
    correct = np.array([[0, 1], [1, 1]])
    np.savez(path, models=["a", "b"], scores=scores, outcomes=correct)
    outputs = read(path, pattern="{task}")
    assert named(outputs) == [("a", "law"), ("b", "law")]
    for one, values in zip(outputs, scores, strict=True):
        np.testing.assert_array_equal(one.scores, values)


def test_a_file_of_answers_of_several_models(tmp_path):
    lines = [
        chat("a", [entry("a", -k)], custom_id=f"q{k // 2}", model="ab"[k % 2])
        for k in range(1, 7)
    ]
    path = files.write(tmp_path / "law.jsonl", lines)
    outputs = read(path, pattern="{task}")
    assert named(outputs) == [("b", "law"), ("a", "law")]
    assert [one.scores.tolist() for one in outputs] == [[-1, -3, -5], [-2, -4, -6]]
    lines[0].pop("model")
    files.write(path, lines)
    message = one_line(path, pattern="{task}")
    assert "and others that name no model: put each model's into a file" in message
    # Another error is not hidden behind the models.
    files.write(path, [*lines[1:], "{"])
    assert "malformed line 6" in one_line(path, pattern="{task}")


def test_folders_of_one_answer_a_file(tmp_path):
    for model in ("small", "large"):
        for task in ("law", "art"):
            answers(tmp_path / model / task)
    for paths in (tmp_path, f"{tmp_path}/*/*", f"{tmp_path}/*/*/*.json"):
        outputs = read(paths, pattern="{model}/{task}")
        assert named(outputs) == [
            ("large", "art"),
            ("large", "law"),
            ("small", "art"),
            ("small", "law"),
        ]
        for one in outputs:
            assert one.ids == ("q0", "q1", "q2") and one.format == "answers"


def test_answers_that_are_in_the_wrong_place(tmp_path):
    folder = answers(tmp_path / "m" / "t")
    message = one_line([folder / "q0.json", folder / "q1.json"])
    assert f"give the folder {folder}" in message
    files.write(folder / "z.jsonl", [answer(), answer(id="2")])
    assert "q0.json holds one answer, and z.jsonl does not" in one_line(folder)
    # Also where a folder stands between them.
    table(folder, "r/law.csv")
    assert "q0.json holds one answer, and z.jsonl does not" in one_line(folder)
    shutil.rmtree(folder / "r")
    (folder / "z.jsonl").unlink()
    answers(folder / "more")
    assert f"{folder}: has files of one answer each, and also" in one_line(tmp_path)


def test_samples_of_a_harness(tmp_path):
    """Its files say the task, and the summary beside them the model."""
    for model, folder in (("org/small", "org__small"), ("org/large", "org__large")):
        (tmp_path / folder).mkdir()
        for task in ("toy_mc", "toy_var"):
            shutil.copy(WRITTEN / SAMPLES.format(task), tmp_path / folder)
        summary = {"results": {}, "configs": {}, "model_name": model}
        files.write(
            tmp_path / folder / "results_2026-11-29T20-08-00.204867.json",
            json.dumps(summary),
        )
        table(tmp_path, f"{folder}/README.md", "what I did")
        table(tmp_path, f"{folder}/config.json", "{}")
    outputs = read(tmp_path)
    assert named(outputs) == [
        ("org/large", "toy_mc"),
        ("org/large", "toy_var"),
        ("org/small", "toy_mc"),
        ("org/small", "toy_var"),
    ]
    assert outputs[0].format == "lm-eval" and len(outputs[0]) == 3
    said = "org__large/README.md, org__large/config.json"
    assert f"not read: {said}" in outputs[0].notes[0]
    # The path goes first where it is asked for.
    outputs = read(tmp_path, pattern="{model}/*")
    assert named(outputs)[0] == ("org__large", "toy_mc")


@pytest.mark.parametrize(
    "summary",
    [
        "{",
        "[]",
        '{"model_name": 3}',
        '{"model_name": "", "config": null}',
        "[" * 200_000,
    ],
)
def test_summaries_that_say_nothing(tmp_path, summary):
    shutil.copy(WRITTEN / SAMPLES.format("toy_mc"), tmp_path)
    files.write(tmp_path / "results_1.json", summary)
    assert "nothing says its model: pass pattern=" in one_line(tmp_path)
    (outputs,) = read(tmp_path, model="mine")
    assert named([outputs]) == [("mine", "toy_mc")]


def test_two_models_in_a_folder_are_not_told_apart(tmp_path):
    shutil.copy(WRITTEN / SAMPLES.format("toy_mc"), tmp_path)
    for number in range(2):
        summary = json.dumps({"model_name": f"model {number}"})
        files.write(tmp_path / f"results_{number}.json", summary)
    assert "nothing says its model" in one_line(tmp_path)


def no_labels(text=TWO_ROWS):
    return "".join(line.rpartition(",")[0] + "\n" for line in text.splitlines())


LABELS = {"law": "id,correct\nb,0\na,1\n", "art": "id,correct\na,0\nb,0\n"}


def labelled(folder):
    for model in ("a", "b"):
        for task in LABELS:
            table(folder, f"{model}/{task}.csv", no_labels())
    for task, text in LABELS.items():
        table(folder, f"labels/{task}.csv", text)
    return folder


@pytest.mark.parametrize("labels", ["labels/{task}.csv", "labels"])
def test_labels_of_each_task(tmp_path, labels):
    """Files of labels below the folder are not outputs."""
    folder = labelled(tmp_path)
    outputs = read(folder, pattern="{model}/{task}.csv", labels=str(folder / labels))
    assert named(outputs) == ALL
    for one in outputs:
        expected = {"law": [1, 0], "art": [0, 0]}[one.task]
        np.testing.assert_array_equal(one.outcomes, expected)


def test_labels_where_the_file_says_its_task(tmp_path):
    line = {"id": "a", "score": 0.5}
    files.write(tmp_path / "small.jsonl", [line, line | {"id": "b"}])
    table(tmp_path, "labels/exam.csv", LABELS["law"])
    (outputs,) = read(
        tmp_path / "small.jsonl",
        pattern="{model}",
        task="exam",
        labels=tmp_path / "labels" / "{task}.csv",
    )
    np.testing.assert_array_equal(outputs.outcomes, [1, 0])


def test_labels_of_all(tmp_path):
    folder = labelled(tmp_path)
    path = table(folder, "labels.csv", LABELS["law"])
    shutil.rmtree(folder / "labels")
    outputs = read(folder, pattern="{model}/{task}", labels=path)
    assert named(outputs) == ALL
    assert all(one.outcomes.tolist() == [1, 0] for one in outputs)


def test_labels_that_are_not_there(tmp_path):
    folder = labelled(tmp_path)
    more = {"pattern": "{model}/{task}"}
    (folder / "labels" / "art.csv").unlink()
    message = one_line(folder, labels=folder / "labels" / "{task}.csv", **more)
    assert message.endswith("labels/art.csv: there is no such file of labels.")
    message = one_line(folder, labels=folder / "labels", **more)
    assert "expected one file of labels called 'art', such as art.csv" in message
    message = one_line(folder, labels=folder / "labels" / "{tasks}.csv", **more)
    assert "expected {task} or {model} in braces" in message


def test_no_labels_are_looked_for_above(tmp_path):
    """A name in a file may hold anything."""
    path = table(tmp_path, "a.csv", no_labels())
    message = one_line(
        path, pattern="{model}", task="../law", labels=tmp_path / "x" / "{task}.csv"
    )
    assert "no file is looked for by the names" in message


def test_files_that_cannot_be_read(tmp_path):
    grid(tmp_path)
    table(tmp_path, "a/broken.csv", "id,score,correct\na,much,0\n")
    table(tmp_path, "b/broken.npz", "PK\x03\x04")
    table(tmp_path, "notes.txt", "mine")
    more = {"pattern": "{model}/{task}"}
    assert "broken.csv" in one_line(tmp_path, **more)
    outputs = read(tmp_path, skip_unreadable=True, **more)
    assert named(outputs) == ALL
    first, second, third, *_ = outputs[0].notes
    assert first.startswith("Left out: ") and "broken.csv" in first
    assert second.startswith("Left out: ") and "broken.npz" in second
    assert third == "Files of the folder that were not read: notes.txt."
    for one in ("a/law.csv", "a/art.csv"):
        (tmp_path / one).unlink()
    message = one_line(tmp_path / "a", skip_unreadable=True, **more)
    assert message.startswith("none of 1 files can be read: ")


def test_no_files(tmp_path):
    assert "expected files that hold rows, got none" in one_line(tmp_path)
    assert "expected a path or several, got none" in one_line([])
    assert "expected a path or several, got 3" in one_line(3)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")
    for name in ("model", "task"):
        assert f"{name}: expected a name" in one_line(grid(tmp_path), **{name: " "})
    assert "progress: expected a function" in one_line(tmp_path, progress=3)


def test_progress_rises_to_the_bytes_of_all(tmp_path):
    grid(tmp_path)
    text = "".join(f"r{i},0.5,{i % 2}\n" for i in range(20_000))
    table(tmp_path, "a/law.csv", f"id,score,correct\n{text}")
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.csv"))
    seen = []
    read(tmp_path, pattern="{model}/{task}", progress=lambda *one: seen.append(one))
    done = [one for one, _ in seen]
    assert done == sorted(done) and done[-1] == size and len(seen) > 6
    assert {total for _, total in seen} == {size}


def test_hidden_files_are_not_looked_at(tmp_path):
    grid(tmp_path)
    table(tmp_path, ".ipynb_checkpoints/a/law.csv")
    table(tmp_path, "a/.law.csv")
    assert named(read(tmp_path, pattern="{model}/{task}")) == ALL
