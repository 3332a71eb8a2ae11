"""`calib-jax apply`: decisions for new inputs, from files and as lines arrive."""

import io
import json
import os
import pathlib
import subprocess
import sys
import threading
import types

import made_outputs
import made_pairs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj
from calib_jax import report
from calib_jax.io.outputs import Outputs
from calib_jax.report import applying

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A cascade of heavily tied scores, one of options, and calibrations of both."""
    folder = tmp_path_factory.mktemp("records")
    tied = report.cascade_report(*made_pairs.pair(decimals=2), max_drop=0.02)
    values, labels = made_outputs.logits()
    ids = tuple(map(str, range(len(labels))))
    small = Outputs(
        ids=ids, format="npz", kind="logits", logits=values, labels=np.int32(labels)
    )
    large = Outputs(
        ids=ids,
        format="npz",
        kind="logits",
        logits=np.float32(values + 2 * np.eye(4)[labels]),
        labels=np.int32(labels),
    )
    options = report.cascade_report(small, large, max_drop=0.3)
    assert tied.feasible and options.feasible
    for name, found in (("tied", tied), ("options", options)):
        found.files()["cascade.json"](folder / f"{name}.json")
    scores = report.calibration_report(made_pairs.pair(decimals=2)[0])
    scores.files()["calibration.json"](folder / "scores.json")
    classes = report.calibration_report(small)
    classes.files()["calibration.json"](folder / "classes.json")
    return folder


def lines_of(outputs):
    return [
        json.dumps({"id": one, "score": score}) + "\n"
        for one, score in zip(outputs.ids, outputs.scores.tolist(), strict=True)
    ]


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """10,000 lines of scores of two decimals, without labels."""
    path = tmp_path_factory.mktemp("new") / "new.jsonl"
    (small, _) = made_pairs.pair(rows=10_000, seed=5, decimals=2)
    path.write_text("".join(lines_of(small)))
    return path, small


def stream(monkeypatch, data):
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(data))

    monkeypatch.setattr(sys, "stdin", Stdin)


def answers(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_file(capsys, records, new):
    path, small = new
    status, out, err = run(capsys, "apply", records / "tied.json", path)
    assert status == 0 and err == ""
    found = answers(out)
    assert list(found[0]) == ["id", "small", "confidence"]
    assert [one["id"] for one in found] == list(small.ids)
    record = cj.load(records / "tied.json")
    keep = record.keep_small(small.scores)
    assert [one["small"] for one in found] == keep.tolist()
    assert 0.05 < keep.mean() < 0.95
    confidence = np.asarray(cj.calibrate(record.small_params, small.scores))
    given = np.float32([one["confidence"] for one in found])
    np.testing.assert_array_equal(given, confidence)
    # In JAX the same ones stay small.
    again = cj.use_small(record.router, confidence, record.num_small_bins)
    np.testing.assert_array_equal(keep, again)


def test_a_stream_is_answered_as_a_file(capsys, monkeypatch, records, new):
    path, _ = new
    _, whole, _ = run(capsys, "apply", records / "tied.json", path)
    stream(monkeypatch, path.read_bytes())
    status, out, err = run(capsys, "apply", records / "tied.json", "-")
    assert status == 0 and err == "" and out == whole
    # Also without a line feed at the end, and with lines that repeat.
    data = path.read_bytes()[:-1]
    stream(monkeypatch, data + b"\n" + data)
    _, out, _ = run(capsys, "apply", records / "tied.json", "-")
    assert out == whole + whole


def test_every_row_is_answered_whatever_its_label(capsys, monkeypatch, records):
    """Blank outcomes, labels that are no options, and rows that repeat."""
    lines = [
        {"id": "a", "score": 0.5, "correct": 1},
        {"id": "b", "score": 0.75, "correct": None},
        {"id": "b", "score": 0.75, "correct": None},
        {"id": "b", "score": 0.25, "correct": 0},
        {"id": "c", "score": 0.5, "correct": "who knows"},
    ]
    path = records / "odd.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    status, out, err = run(capsys, "apply", records / "tied.json", path)
    assert (status, err) == (0, "")
    assert [one["id"] for one in answers(out)] == ["a", "b", "b", "b"]
    stream(monkeypatch, path.read_bytes())
    assert run(capsys, "apply", records / "tied.json", "-") == (0, out, "")
    options = [
        {"id": str(i), "logits": [0.0, 1.0, 2.0, 3.0], "label": label}
        for i, label in enumerate((0, 3, None, -1, 17))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in options))
    stream(monkeypatch, path.read_bytes())
    for source in (path, "-"):
        status, out, err = run(capsys, "apply", records / "options.json", source)
        assert (status, err) == (0, "") and len(answers(out)) == 5


def test_options(capsys, tmp_path, records):
    values, _ = made_outputs.logits(seed=4)
    path = tmp_path / "new.npy"
    np.save(path, values)
    status, out, _ = run(
        capsys, "apply", records / "options.json", path, "--kind", "logits"
    )
    record = cj.load(records / "options.json")
    top = cj.top1(values, record.small_params.temperature).confidence
    assert status == 0
    assert [one["small"] for one in answers(out)] == record.keep_small(top).tolist()
    given = np.float32([one["confidence"] for one in answers(out)])
    np.testing.assert_allclose(given, top, rtol=1e-6)
    _, out, _ = run(capsys, "apply", records / "classes.json", path, "--kind", "logits")
    assert list(answers(out)[0]) == ["id", "confidence"]


def test_other_outputs_than_the_record_takes(capsys, tmp_path, records, new):
    path, _ = new
    values, _ = made_outputs.logits(rows=50)
    logits = tmp_path / "logits.npy"
    np.save(logits, values)
    for name in ("options.json", "classes.json"):
        message = one_line(capsys, "apply", records / name, path)
        assert message == (
            "new.jsonl: holds one score for each answer, but the Temperature "
            f"calibrator of {name} takes logits or log-probabilities of the options: "
            "give outputs like those that it was fitted on, under the same name."
        )
    for name in ("tied.json", "scores.json"):
        message = one_line(capsys, "apply", records / name, logits, "--kind", "logits")
        assert message.startswith("logits.npy: holds logits or log-probabilities")
        assert "takes one score for each answer" in message


def test_a_score_is_one_of_the_same_name(capsys, tmp_path, records):
    """A logarithm is no confidence, whatever its value."""
    path = tmp_path / "new.csv"
    for name, held in (
        ("logprob", "log-probability of each answer"),
        ("confidence", "confidence in each answer, as it is stated"),
    ):
        value = -0.1 if name == "logprob" else 0.5
        path.write_text(f"id,{name}\na,{value}\n")
        for record in ("tied.json", "scores.json"):
            message = one_line(capsys, "apply", records / record, path)
            assert f"holds {held}, but the" in message
            assert "takes one score for each answer" in message
    more = ("--kind", "scores")
    status, out, _ = run(capsys, "apply", records / "scores.json", path, *more)
    assert status == 0 and len(answers(out)) == 1


def test_files_that_do_not_say_what_they_take(tmp_path):
    """Those of `save` and of other writers: only what nobody mistakes is applied."""
    path = tmp_path / "params.json"
    cj.save(path, cj.Platt(slope=np.float32(2), intercept=np.float32(0)))
    small, _ = made_pairs.pair(rows=50)
    decided = applying.decide(applying.load(path), small)
    np.testing.assert_allclose(
        decided.confidence, 1 / (1 + np.exp(-2 * small.scores)), rtol=1e-6
    )
    values = np.float32([[0.0, 1.0]])
    logits = Outputs(ids=("a",), format="npy", kind="logits", logits=values)
    with pytest.raises(ValueError, match="takes one score for each answer"):
        applying.decide(applying.load(path), logits)
    cj.save(path, cj.Temperature(temperature=np.float32(2)))
    found = applying.decide(applying.load(path), logits).confidence
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-0.5)), rtol=1e-6)
    with pytest.raises(ValueError, match="takes logits or log-probabilities"):
        applying.decide(applying.load(path), small)


def test_smoothing_is_that_of_the_fit(capsys, tmp_path):
    """Otherwise confidences would be others without a word."""
    values, labels = made_outputs.logits(rows=400)
    shares = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    path, out = tmp_path / "shares.npz", tmp_path / "out"
    np.savez(path, probabilities=shares.round(2), labels=labels)
    smooth = ("--smoothing", "0.01")
    found = as_json(
        *(capsys, "calibrate", path, "--method", "temperature"),
        *("--output", out, *smooth),
    )
    assert found["method"] == "temperature"
    record = out / "calibration.json"
    status, _, err = run(capsys, "apply", record, path, *smooth)
    assert status == 0 and err == ""
    message = one_line(capsys, "apply", record, path)
    assert (
        "takes logits or log-probabilities of the options, with --smoothing 0.01"
        in (message)
    )


def test_not_a_record(capsys, tmp_path, new):
    path, _ = new
    other = tmp_path / "bins.json"
    cj.save(other, cj.equal_width_bins(3))
    message = one_line(capsys, "apply", other, path)
    assert "expected a cascade.json or a calibration.json, got a Bins" in message
    assert "JSON file written by save" in one_line(capsys, "apply", path, path)


BAD = ['{"id": "a", "score": 0.5}\n', '{"id": "b", "sc\n', '{"id": "c", "score": 1}\n']


def test_malformed_lines_of_a_stream(capsys, monkeypatch, records):
    data = "".join(BAD).encode()
    stream(monkeypatch, data)
    status, out, err = run(capsys, "apply", records / "tied.json", "-")
    assert status == 2 and "standard input: malformed line 2" in err
    assert err.count("\n") == 1
    # What is in order is answered.
    assert [one["id"] for one in answers(out)] == ["a", "c"]
    stream(monkeypatch, data)
    status, out, err = run(
        capsys, "apply", records / "tied.json", "-", "--drop-malformed"
    )
    assert status == 0 and [one["id"] for one in answers(out)] == ["a", "c"]
    assert (
        err.startswith("calib-jax: no confidence for 1: malformed")
        and "(line 2)" in err
    )


def by_blocks(capsys, monkeypatch, data, *arguments):
    """What is answered when lines arrive together, in pairs, and one by one."""
    lines = data.encode().splitlines(keepends=True)
    found = []
    for size in (len(lines), 2, 1):
        blocks = [b"".join(lines[i : i + size]) for i in range(0, len(lines), size)]
        buffer = types.SimpleNamespace(read1=lambda _, left=blocks: left.pop(0))
        blocks.append(b"")
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=buffer))
        found.append(run(capsys, "apply", *arguments))
    return found


def all_same(found):
    """The status, the answers and the messages, which are those of all blocks."""
    assert found[1:] == found[:-1]
    status, out, err = found[0]
    return status, answers(out), err


def test_a_line_without_an_id_is_malformed_if_the_first_has_one(
    capsys, monkeypatch, records
):
    lines = [
        {"id": "a", "score": -0.5},
        {"id": "b", "score": 0.1},
        {"score": 0.1},
        {"id": "d", "score": 0.3},
        {"id": None, "score": 0.3},
        {"id": "f", "score": 0.5},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines)
    source = (records / "tied.json", "-")
    found = by_blocks(capsys, monkeypatch, data, *source, "--drop-malformed")
    status, given, err = all_same(found)
    assert status == 0 and [one["id"] for one in given] == ["a", "b", "d", "f"]
    assert err == (
        "calib-jax: no confidence for 2: malformed: id: expected an id, got none (line "
        "3, line 5).\n"
    )
    path = records / "no_id.jsonl"
    path.write_text(data)
    more = ("--drop-malformed",)
    assert run(capsys, "apply", records / "tied.json", path, *more) == found[0]
    for status, out, err in by_blocks(capsys, monkeypatch, data, *source):
        # Lines behind it are answered if they had arrived by then.
        ids = [one["id"] for one in answers(out)]
        assert status == 2 and ids[:2] == ["a", "b"] and set(ids) <= set("abdf")
        assert "standard input: malformed line 3: id: expected an id, got none" in err


def test_lines_are_numbered_over_the_stream(capsys, monkeypatch, records):
    """Also where later ones have ids, are malformed, or are blank."""
    lines = ['{"score": 0.5}', "", '{"id": "b", "score": 0.75}', "{", '{"score": 1}']
    data = "\n".join([*lines, '[{"score": 0}, {"score": 1}]', '{"score": 0.25}'])
    source = (records / "tied.json", "-", "--drop-malformed")
    status, given, err = all_same(by_blocks(capsys, monkeypatch, data, *source))
    assert status == 0 and [one["id"] for one in given] == list("013456")
    assert "no confidence for 1: malformed" in err and "(line 4)" in err


def test_the_first_line_says_what_lines_hold(capsys, monkeypatch, records):
    lines = [
        {"id": "a", "score": 0.5},
        {"id": "b", "logit": 0.5},
        {"confidence": 0.5, "id": "c", "score": 0.75},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines)
    source = (records / "tied.json", "-", "--drop-malformed")
    status, given, err = all_same(by_blocks(capsys, monkeypatch, data, *source))
    assert status == 0 and [one["id"] for one in given] == ["a", "c"]
    assert "has no 'score', unlike the first line (line 2)" in err
    lines = [{"id": "a", "logits": [0.0, 1.0, 2.0, 3.0]}, {"id": "b", "logits": [0, 1]}]
    data = "".join(json.dumps(line) + "\n" for line in lines)
    source = (records / "options.json", "-", "--drop-malformed")
    status, given, err = all_same(by_blocks(capsys, monkeypatch, data, *source))
    assert status == 0 and [one["id"] for one in given] == ["a"]
    assert "expected 4 numbers as in the first row, got 2 (line 2)" in err


MISSING = ["NaN", "null", '""', "Infinity", '" "']


@pytest.mark.parametrize("first", [False, True])
def test_rows_without_a_score_have_a_line(capsys, monkeypatch, records, first):
    scores = [*MISSING, "0.5"] if first else ["0.5", *MISSING, "0.75"]
    lines = [f'{{"id": "q{i}", "score": {one}}}\n' for i, one in enumerate(scores)]
    path = records / "gaps.jsonl"
    path.write_text("".join(lines))
    for name in ("tied.json", "scores.json"):
        whole = run(capsys, "apply", records / name, path)
        source = (records / name, "-")
        status, given, err = all_same(
            [whole, *by_blocks(capsys, monkeypatch, path.read_text(), *source)]
        )
        assert status == 0
        assert [one["id"] for one in given] == [f"q{i}" for i in range(len(scores))]
        nothing = {"small": False} if name == "tied.json" else {}
        for one, score in zip(given, scores, strict=True):
            if score in MISSING:
                assert one == {"id": one["id"], **nothing, "confidence": None}
            else:
                assert 0 < one["confidence"] < 1
        assert "no confidence for 5: a score that is NaN or infinite (line " in err
        # Ids are numbers where there are none.
        data = "".join(f'{{"score": {one}}}\n' for one in scores)
        _, given, _ = all_same(by_blocks(capsys, monkeypatch, data, *source))
        assert [one["id"] for one in given] == [str(i) for i in range(len(scores))]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_rows_without_values_have_a_line(capsys, monkeypatch, records, first, kind):
    full = "[0.5, 0.25, 0.125, 0.125]"
    gaps = ["null", "[]", '""', "NaN", "[null, 0.25, 0.125, 0.125]"]
    gaps += ["[NaN, NaN, NaN, NaN]"]
    if kind == "logits":
        gaps.append("[Infinity, 0, 0, 0]")
    else:
        gaps.append("[0, 0, 0, 0]")
    values = [*gaps, full] if first else [full, *gaps, full]
    lines = [f'{{"id": "q{i}", "{kind}": {one}}}\n' for i, one in enumerate(values)]
    path = records / "gaps.jsonl"
    path.write_text("".join(lines))
    alone = records / "alone.jsonl"
    alone.write_text(lines[-1])
    _, out, _ = run(capsys, "apply", records / "options.json", alone)
    (own,) = answers(out)
    for name in ("options.json", "classes.json"):
        whole = run(capsys, "apply", records / name, path)
        found = by_blocks(capsys, monkeypatch, path.read_text(), records / name, "-")
        for status, out, err in (whole, *found):
            assert status == 0 and out == whole[1] and "no confidence for" in err
        given = answers(whole[1])
        nothing = {"small": False} if name == "options.json" else {}
        for i, (one, value) in enumerate(zip(given, values, strict=True)):
            if value in gaps:
                assert one == {"id": f"q{i}", **nothing, "confidence": None}
            else:
                assert one["confidence"] == pytest.approx(own["confidence"])


def test_rows_of_tables_and_arrays_without_a_number_have_a_line(
    capsys, tmp_path, records
):
    path = tmp_path / "new.csv"
    path.write_text("id,score\na,0.5\nb,\nc,nan\nd,0.75\n")
    status, out, err = run(capsys, "apply", records / "tied.json", path)
    given = answers(out)
    assert status == 0 and [one["id"] for one in given] == list("abcd")
    assert [one["confidence"] is None for one in given] == [False, True, True, False]
    assert (
        "no confidence for 2: a score that is NaN or infinite (line 3, line 4)." in err
    )
    values, _ = made_outputs.logits(rows=5)
    values[1, 2], values[3] = np.nan, -np.inf
    np.save(tmp_path / "new.npy", values)
    more = (tmp_path / "new.npy", "--kind", "logits")
    status, out, err = run(capsys, "apply", records / "options.json", *more)
    given = answers(out)
    assert status == 0 and [one["id"] for one in given] == list("01234")
    gaps = [i for i, one in enumerate(given) if one["confidence"] is None]
    assert gaps == [1, 3] and not given[1]["small"] and not given[3]["small"]
    assert "1: a NaN among the values (row 1)" in err
    assert "1: no option has a probability (row 3)" in err


def test_streams_that_are_not_lines(capsys, monkeypatch, records):
    stream(monkeypatch, b"id,score\na,0.5\n")
    message = one_line(capsys, "apply", records / "tied.json", "-")
    assert "expected JSON lines" in message
    for data in (b"", b"\n \n"):
        stream(monkeypatch, data)
        assert run(capsys, "apply", records / "tied.json", "-") == (0, "", "")


def test_lines_that_are_too_long(monkeypatch):
    monkeypatch.setattr(applying.json_lines, "LONGEST_LINE", 10**6)
    data = io.BufferedReader(io.BytesIO(b"x" * 2 * 10**6))
    with pytest.raises(ValueError, match=r"standard input: a line is longer than"):
        list(applying.available_lines(data, "standard input"))


def command(records, *more):
    root = pathlib.Path(cj.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "calib_jax", "apply", records / "tied.json", "-", *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_lines_are_answered_as_they_arrive(records):
    with command(records) as child:
        killer = threading.Timer(120, child.kill)
        killer.start()
        for number in range(3):
            line = json.dumps({"id": number, "score": 0.25 * number}) + "\n"
            child.stdin.write(line.encode())
            child.stdin.flush()
            # Waits for the answer before the next one is asked.
            assert json.loads(child.stdout.readline())["id"] == str(number)
        child.stdin.close()
        assert child.wait() == 0 and child.stderr.read() == b""
        killer.cancel()


def test_a_reader_that_has_seen_enough(records, new):
    path, _ = new
    with command(records) as child:
        killer = threading.Timer(120, child.kill)
        killer.start()

        def write():
            try:
                for _ in range(100):
                    child.stdin.write(path.read_bytes())
            except BrokenPipeError:
                pass

        writer = threading.Thread(target=write)
        writer.start()
        assert json.loads(child.stdout.readline())["id"] == "q0"
        child.stdout.close()
        assert child.wait() == 0
        assert child.stderr.read() == b""
        writer.join()
        killer.cancel()
