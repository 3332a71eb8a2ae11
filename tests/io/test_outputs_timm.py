"""Files of timm's inference.py, as pandas writes them for it."""

import json

import numpy as np
import pandas as pd
import pytest
from output_files import one_line, read, write

pytestmark = pytest.mark.once

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
CLASSES = np.array(["tench", "great white shark, man-eater", "hen", "cock", "ostrich"])
LOGITS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
FORMATS = ["csv", "json", "json-split", "json-record", "parquet"]


def frame(topk, *, separate=False, index=False, label=True, kind="prob"):
    """The columns of its `main`."""
    outputs = PROBABILITIES if kind == "prob" else LOGITS
    order = np.argsort(-outputs, axis=1)[:, :topk]
    columns = {"filename": NAMES}
    found = {"index": order if index and topk else None}
    found["label"] = CLASSES[order].astype(object) if label and topk else None
    found[kind] = np.take_along_axis(outputs, order, 1) if topk else outputs
    for name, values in found.items():
        if values is None:
            continue
        if separate and found[kind].shape[1] > 1:
            columns |= {f"{name}_{k}": one for k, one in enumerate(values.T)}
        else:
            columns[name] = list(values[:, 0] if topk == 1 else values)
    return pd.DataFrame(columns)


def save(data, folder, form):
    """As its `save_results`, which takes json-record for CSV."""
    path = folder / f"resnet50-224.{'json' if 'json' in form else form}"
    match form:
        case "parquet":
            data.set_index("filename").to_parquet(path)
        case "json":
            data.set_index("filename").to_json(path, indent=4, orient="index")
        case "json-split":
            data.to_json(path, indent=4, orient="split", index=False)
        case _:
            with np.printoptions(threshold=10**9):
                data.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("index", [False, True])
def test_the_most_likely_class(tmp_path, form, index):
    path = save(frame(1, index=index), tmp_path, form)
    outputs = read(path)
    assert outputs.ids == tuple(NAMES) and outputs.scale == "confidence"
    np.testing.assert_allclose(outputs.scores, PROBABILITIES.max(axis=1), rtol=1e-6)
    best = LOGITS.argmax(axis=1)
    assert outputs.labels is None and outputs.outcomes is None
    if index:
        assert outputs.predictions.tolist() == best.tolist()
        given = [f"{name},{k}" for name, k in zip(NAMES, best, strict=True)]
        given[0] = f"a.jpg,{(best[0] + 1) % 5}"
    else:
        assert "taken for the predicted class" in outputs.notes[0]
        given = [f'{one},"{CLASSES[k]}"' for one, k in zip(NAMES, best, strict=True)]
        given[0] = 'a.jpg,"hen"' if CLASSES[best[0]] != "hen" else 'a.jpg,"cock"'
    text = "filename,label\n" + "\n".join(given[::-1]) + "\n"
    labels = write(tmp_path / "labels.csv", text)
    assert read(path, labels=labels).outcomes.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["prob", "logit"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_all_classes(tmp_path, form, separate, kind):
    path = save(frame(0, separate=separate, kind=kind), tmp_path, form)
    outputs = read(path)
    assert outputs.ids == tuple(NAMES)
    found = outputs.log_probabilities if kind == "prob" else outputs.logits
    expected = np.log(PROBABILITIES) if kind == "prob" else LOGITS
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    labels = write(tmp_path / "l.csv", "filename,label\nd.jpg,1\nb.jpg,4\n")
    outputs = read(path, labels=labels)
    assert outputs.ids == ("b.jpg", "d.jpg") and outputs.labels.tolist() == [4, 1]


@pytest.mark.parametrize("kind", ["prob", "logit"])
@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_some_classes_are_no_distribution(tmp_path, form, separate, label, kind):
    data = frame(4, separate=separate, label=label, kind=kind)
    assert "--topk 0" in one_line(save(data, tmp_path, form))


def test_rows_sorted_by_chance_are_read(tmp_path):
    rows = [{"filename": "a", "prob": [0.5, 0.3, 0.2]}]
    assert len(read(write(tmp_path / "a.jsonl", rows))) == 1
    rows = [{"filename": "a", "logit": [3.0, 2.0, 1.0]}]
    assert len(read(write(tmp_path / "a.jsonl", rows))) == 1
    # A right class beside all of them, in a file of one's own.
    rows = [{"filename": "a", "prob": [0.5, 0.3, 0.2], "label": 1}]
    assert read(write(tmp_path / "a.jsonl", rows)).labels.tolist() == [1]


def test_frames_of_pandas_in_one_document(tmp_path):
    data = pd.DataFrame({"id": ["x", "y"], "score": [0.5, 0.25], "correct": [1, 0]})
    path = tmp_path / "a.json"
    for index in (False, True):
        data.to_json(path, orient="split", index=index)
        outputs = read(path)
        assert outputs.ids == ("x", "y") and outputs.outcomes.tolist() == [1, 0]
    for rows, expected in (
        ([["x"]], "rows of 3 cells, got a list"),
        ([3], "rows of 3 cells, got 3"),
    ):
        write(path, json.dumps({"columns": ["id", "score", "correct"], "data": rows}))
        assert expected in one_line(path)
    write(path, json.dumps({"columns": ["id", "id"], "data": [["x", 1]]}))
    assert "columns: expected names" in one_line(path)
    # Labels may be in one.
    data[["id", "correct"]].to_json(path, orient="split")
    outputs = read(write(tmp_path / "s.csv", "id,score\ny,0.1\nx,0.2\n"), labels=path)
    assert outputs.outcomes.tolist() == [0, 1]
