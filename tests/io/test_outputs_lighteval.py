"""Details of lighteval: those that it wrote itself, and some of the same shape.

The files in written_by_tools/lighteval are those of release 0.13 with its dummy model,
on made-up questions; answers of `toy_gen`, with log-probabilities, are made up, too.
"""

import pathlib
import shutil

import numpy as np
import pytest
from evals_files import detail
from output_files import one_line, read, write

import calib_jax as cj

pytestmark = pytest.mark.once

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FOLDER = pathlib.Path(__file__).parent / "written_by_tools" / "lighteval"
DATE = "2026-11-30T15-37-14.444494"


def details_of(name):
    return parquet.read_table(FOLDER / f"{name}.parquet").to_pylist()


@pytest.mark.parametrize("name", ["toy_mc", "toy_multi"])
def test_multiple_choice_that_lighteval_wrote(name):
    outputs, rows = read(FOLDER / f"{name}.parquet"), details_of(name)
    several = [row for row in rows if isinstance(row["doc"]["gold_index"], list)]
    several = [row for row in several if len(row["doc"]["gold_index"]) > 1]
    rows = [row for row in rows if row not in several]
    assert outputs.format == "lighteval" and outputs.kind == "log_probabilities"
    assert outputs.ids == tuple(row["doc"]["id"] for row in rows) and outputs.has_ids
    values = [row["model_response"]["logprobs"] for row in rows]
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(values))
    golds = [np.ravel(row["doc"]["gold_index"])[0] for row in rows]
    assert outputs.labels.tolist() == golds
    accuracy = [row["metric"]["acc"] for row in rows]
    assert outputs.outcomes.tolist() == accuracy
    best = cj.top1(outputs.log_probabilities).prediction
    np.testing.assert_array_equal(best == outputs.labels, accuracy)
    assert outputs.notes == ("Outcomes are lighteval's acc.",) and outputs.model == ""
    if name == "toy_mc":
        assert outputs.choices == ("A", "B", "C") and outputs.dropped == {}
        assert outputs.task == "toy_mc|0" and outputs.groups is None
    else:
        assert outputs.choices is None and outputs.dropped == {"no label": 1}
        assert outputs.task == "toy:multi|0" and outputs.groups == ("sum",) * 5


def test_answers_that_lighteval_wrote():
    path, rows = FOLDER / "toy_gen.parquet", details_of("toy_gen")
    outputs = read(path)
    means = [np.mean(row["model_response"]["logprobs"]) for row in rows]
    np.testing.assert_allclose(outputs.scores, means, rtol=1e-6)
    assert outputs.scale == "log_probability" and outputs.outcomes is None
    assert outputs.texts == tuple(row["model_response"]["text"][0] for row in rows)
    assert (
        "say which metric, em, f1, with columns={'outcomes': ...}" in outputs.notes[0]
    )
    outputs = read(path, columns={"outcomes": "em"})
    assert outputs.outcomes.tolist() == [row["metric"]["em"] for row in rows]
    assert sum(outputs.outcomes) == 2
    message = one_line(path, columns={"outcomes": "acc"})
    assert "no metric 'acc' in [0, 1] of all rows; there are em, f1" in message


def folder_of(tmp_path, *tables, model="acme/m", date=DATE):
    """The folders that lighteval makes, with a file for each task."""
    folder = tmp_path / "details" / model / date
    folder.mkdir(parents=True)
    results = tmp_path / "results" / model
    results.mkdir(parents=True, exist_ok=True)
    write(results / f"results_{date}.json", '{"config_general": {}, "results": {}}')
    for task, rows in tables:
        table = pa.Table.from_pylist(rows)
        parquet.write_table(table, folder / f"details_{task}_{date}.parquet")
    return folder


def saved(tmp_path, rows, name="a.parquet"):
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    return tmp_path / name


def test_the_folder_of_a_run(tmp_path):
    folder = folder_of(tmp_path)
    for name in ("toy_mc", "toy_multi", "toy_gen"):
        file = f"details_{name.replace('_multi', ':multi')}|0_{DATE}.parquet"
        shutil.copy(FOLDER / f"{name}.parquet", folder / file)
    outputs = read(tmp_path)
    assert outputs.model == "acme/m" and outputs.task == "" and len(outputs) == 11
    assert outputs.ids[0].startswith("toy:multi|0/") and outputs.groups[0] == "sum"
    assert outputs.groups[-1] == "toy_mc|0"
    assert not any("not read" in note for note in outputs.notes)
    ((reason, count), _) = outputs.dropped.items()
    assert count == 6 and "a row with scores, beside those with log_prob" in reason
    outputs = read(tmp_path, kind="scores")
    assert len(outputs) == 6 and outputs.task == "toy_gen|0"


def test_folders_of_two_models(tmp_path):
    rows = [detail(0, [-1.0, -2.0, -3.0])]
    folder_of(tmp_path, ("a|0", rows), model="acme/m")
    folder_of(tmp_path, ("b|0", rows), model="other")
    assert "several models, acme/m, other: read one" in one_line(tmp_path)
    assert read(tmp_path / "details" / "other").model == "other"
    folder_of(tmp_path, ("a|0", rows), model="third/m")
    assert "has files of one task in" in one_line(tmp_path)
    # Elsewhere nothing says the model.
    path = saved(tmp_path, rows, f"details_a|0_{DATE}.parquet")
    assert read(path).model == "" and read(path).task == "toy|0"


def test_documented_names_of_columns(tmp_path):
    rows = [
        {f"__{name}__": value for name, value in detail(k, [-1.0, -2.0, -3.0]).items()}
        for k in range(2)
    ]
    outputs = read(saved(tmp_path, rows))
    assert outputs.log_probabilities.tolist() == [[-1, -2, -3]] * 2


def test_lines_of_details(tmp_path):
    """As the tool pushes them."""
    rows = [detail(k, [-1.0, -2.0, -3.0], metric={"acc": 1}) for k in range(2)]
    outputs = read(write(tmp_path / "a.jsonl", rows))
    assert outputs.format == "lighteval" and outputs.outcomes.tolist() == [1, 1]


def test_options_that_differ(tmp_path):
    rows = [
        detail(0, [-1.0, -2.0], 1, choices=["x", "y"]),
        detail(1, [-1.0, -2.0, -3.0], [2, 2]),
    ]
    rows[0]["doc"]["gold_index"] = [1]
    outputs = read(saved(tmp_path, rows))
    assert outputs.log_probabilities[0].tolist() == [-1, -2, -np.inf]
    assert outputs.class_where.tolist() == [[True, True, False], [True] * 3]
    assert outputs.labels.tolist() == [1, 2] and outputs.choices is None


def test_log_probabilities_without_the_question_are_not_used(tmp_path):
    rows = [
        detail(0, [-1.0, -2.0, -3.0, -0.5, -0.5, -0.5]),
        detail(1, [-1.0, -2.0, -3.0], unconditioned_logprobs=[-1.0] * 3),
        detail(2, [-1.0, -2.0, -3.0]),
    ]
    outputs = read(saved(tmp_path, rows))
    assert outputs.log_probabilities.tolist() == [[-1, -2, -3]] * 3
    assert (
        "2 rows also have log-probabilities of the options without" in outputs.notes[-1]
    )


def test_log_probabilities_of_the_tokens_of_options(tmp_path):
    """As SGLang's are written."""
    rows = [detail(0, [[-1.0, -0.5], [-2.0], [-3.0, 0.0]])]
    outputs = read(saved(tmp_path, rows))
    assert outputs.log_probabilities.tolist() == [[-1.5, -2, -3]]


def test_a_metric_that_differs(tmp_path):
    rows = [detail(k, [-1.0, -2.0, -3.0], metric={"acc": k % 2}) for k in range(4)]
    (_, note) = read(saved(tmp_path, rows)).notes
    assert "do not agree on 2 of 4 rows (first: row 0, id '0')" in note
    for name in ("a", "b"):
        rows[0]["metric"][name] = 7.0
    outputs = read(saved(tmp_path, rows), columns={"outcomes": "acc"})
    assert outputs.outcomes.tolist() == [0, 1, 0, 1]
    assert "no metric 'a'" in one_line(
        tmp_path / "a.parquet", columns={"outcomes": "a"}
    )


def test_generated_answers(tmp_path):
    rows = [
        detail(0, [-1.0, -2.0], text=["x"], metric={"em": 1.0, "length": 7.0}),
        detail(1, [-4.0], text=["y"], metric={"em": 0.0, "length": 2.0}),
        detail(2, [], text=["z"], metric={"em": 1.0, "length": 2.0}),
        detail(3, [-1.0], text=["z", "z"], metric={"em": 1.0, "length": 2.0}),
    ]
    outputs = read(saved(tmp_path, rows))
    assert outputs.scores.tolist() == [-1.5, -4.0]
    assert outputs.outcomes.tolist() == [1, 0] and outputs.texts == ("x", "y")
    assert "Outcomes are lighteval's em." in outputs.notes
    assert sorted(outputs.dropped.values()) == [1, 1]
    message = one_line(saved(tmp_path, rows[2:]))
    assert "without log-probabilities of its tokens" in message
    assert "several answers to a question" in message


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"sampling_methods": ["PERPLEXITY"]}, "a perplexity task"),
        ({"choices": ["x"]}, "the right answer alone"),
        ({"choices": None}, "the right answer alone"),
    ],
)
def test_tasks_without_options(tmp_path, more, expected):
    message = one_line(saved(tmp_path, [detail(0, [-1.0], **more)] * 2))
    assert expected in message and "nothing to calibrate" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"logprobs": [-1.0, -2.0]}, "logprobs: 2 for 3 choices"),
        ({"logprobs": []}, "logprobs: 0 for 3 choices"),
        ({"logprobs": None}, "logprobs: 0 for 3 choices"),
        ({"logprobs": [-1.0, None, -2.0]}, "logprobs: expected numbers, got nothing"),
        ({"logprobs": [-1.0, 0.5, -2.0]}, "logprobs: expected at most 0, got 0.5"),
        ({"gold_index": 3}, "gold_index: expected a number below 3, got 3"),
        ({"gold_index": -1}, "gold_index: expected a number below 3, got -1"),
        ({"gold_index": None}, "gold_index: expected a number below 3"),
    ],
)
def test_malformed_rows(tmp_path, change, expected):
    good, bad = detail(0, [-1.0, -2.0, -3.0]), detail(1, [-1.0, -2.0, -3.0])
    for name, value in change.items():
        part = "model_response" if name in bad["model_response"] else "doc"
        bad[part][name] = value
    path = saved(tmp_path, [good, bad])
    assert f"malformed row 1: {expected}" in one_line(path)
    assert read(path, drop_malformed=True).ids == ("0",)


def test_values_that_are_none(tmp_path):
    rows = [detail(0, [-1.0, -2.0, -3.0]), detail(1, [-1.0, np.nan, -2.0])]
    rows += [detail(2, [-np.inf] * 3), detail(3, [-1e60] * 3)]
    outputs = read(saved(tmp_path, rows))
    assert outputs.dropped == {
        "a NaN among the values": 1,
        "no option has a probability": 2,
    }
    rows = [row | {"model_response": None} for row in rows[:1]] + rows[:1]
    assert "no doc or no model_response" in one_line(saved(tmp_path, rows)) or (
        "malformed row 0" in one_line(tmp_path / "a.parquet")
    )


def test_ids(tmp_path):
    rows = [detail(0, [-1.0, -2.0, -3.0], id="") for k in range(2)]
    outputs = read(saved(tmp_path, rows))
    assert outputs.ids == ("0", "1") and not outputs.has_ids
    rows = [detail(0, [-1.0, -2.0, -float(k + 3)]) for k in range(2)]
    message = one_line(saved(tmp_path, rows))
    assert "id '0' has different values in row 0 and row 1" in message
    assert len(read(tmp_path / "a.parquet", repeats="last")) == 1


def test_choices_are_those_of_the_file(tmp_path):
    path = saved(tmp_path, [detail(0, [-1.0, -2.0, -3.0])])
    assert read(path, choices=["A", "B", "C"]).choices == ("A", "B", "C")
    for more in (
        {"choices": ["C", "B", "A"]},
        {"kind": "logits"},
        {"kind": "scores"},
        {"columns": {"labels": "x"}},
        {"model": "m"},
    ):
        assert "lighteval" in one_line(path, **more)


def test_files_of_earlier_releases(tmp_path):
    row = {"full_prompt": "Q", "predictions": "[(-1.0, False)]", "gold": "A"}
    message = one_line(saved(tmp_path, [row]))
    assert "written by an earlier release of lighteval" in message
    path = write(tmp_path / "b.json", '{"config_general": {}, "results": {}}')
    assert "the summary of lighteval; run it with --save-details" in one_line(path)


def test_other_parquet_files_are_tables(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"score": [0.5, 0.25], "doc": ["a", "b"]}), path)
    assert read(path).format == "parquet"
    assert "a.parquet: malformed" in one_line(path, format="lighteval")
    data = (FOLDER / "toy_mc.parquet").read_bytes()
    for end in (100, len(data) // 2, len(data) - 3):
        assert "a.parquet: " in one_line(write(path, data[:end]))


def test_equal_texts_are_kept_once(tmp_path):
    """Four thousand rows of two long options would take sixteen gigabytes."""
    indices = pa.array(np.arange(8000, dtype=np.int32) % 2)
    texts = pa.DictionaryArray.from_arrays(indices, ["x" * 2**21, "y" * 2**21])
    starts = np.arange(0, 8001, 2, dtype=np.int32)
    values = pa.ListArray.from_arrays(starts, -np.ones(8000))
    numbers = pa.array([str(number) for number in range(4000)])
    document = pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(starts, texts), numbers, pa.array([0] * 4000)],
        ["choices", "id", "gold_index"],
    )
    response = pa.StructArray.from_arrays([values], ["logprobs"])
    table = pa.table({"doc": document, "model_response": response})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, dictionary_pagesize_limit=2**26)
    assert path.stat().st_size < 2**20
    outputs = read(path)
    assert len(outputs) == 4000 and len(outputs.choices[0]) == 2**21


def test_files_that_are_too_large_unpacked(tmp_path, monkeypatch):
    path = saved(tmp_path, [detail(0, [-1.0] * 3, choices=["x" * 2000, "y", "z"])] * 3)
    assert read(path).dropped == {"the same row once more": 2}
    monkeypatch.setattr(cj.io.outputs.array_files, "LARGEST", 1000)
    assert "doc.choices would take" in one_line(path)
    monkeypatch.undo()
    monkeypatch.setattr(cj.io.outputs.nested, "_ENTRIES", 6)
    rows = [detail(k, [-1.0] * 3) for k in range(5)]
    assert "a row has more than 6 entries" in one_line(saved(tmp_path, rows))
    monkeypatch.setattr(cj.io.outputs.nested, "_ENTRIES", 12)
    assert len(read(tmp_path / "a.parquet")) == 5
