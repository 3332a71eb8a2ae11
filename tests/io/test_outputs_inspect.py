"""Logs of inspect_ai: those that it wrote, and hand-made ones of its shapes."""

import gzip
import json
import pathlib
import shutil
import struct
import sys
import zipfile
import zlib

import inspect_files
import numpy as np
import pytest
from inspect_files import answered, header, log, members, output, sample, zipped
from output_files import one_line, read, write
from servers import entry

import calib_jax as cj
from calib_jax.io.outputs import inspect_zips

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parent / "written_by_tools"
WRITTEN, CHUNKED = (FOLDER / f"inspect_toy_mc{end}.eval" for end in ("", "_chunked"))


def test_what_it_wrote_of_a_multiple_choice_task():
    assert "epochs" in one_line(WRITTEN) and "id 'q0'" in one_line(WRITTEN)
    epochs = [read(WRITTEN, repeats=which) for which in ("first", "last")]
    for outputs in epochs:
        assert outputs.format == "inspect" and outputs.kind == "log_probabilities"
        assert outputs.ids == ("q0", "q1", "q2", "q3")
        assert outputs.model == "mockllm/small" and outputs.task == "toy_mc"
        assert outputs.groups == ("law", "art", "law", "art")
        # Alternatives had nine tenths of the probability; the last has three options.
        sums = np.exp(outputs.log_probabilities).sum(axis=1)
        np.testing.assert_allclose(sums, 0.9, rtol=1e-5)
        assert outputs.class_where.tolist() == [[True] * 4] * 3 + [[True] * 3 + [False]]
        best = cj.top1(outputs.log_probabilities, class_where=outputs.class_where)
        np.testing.assert_array_equal(best.prediction, outputs.predictions)
        right = outputs.predictions == outputs.labels
        np.testing.assert_array_equal(right, outputs.outcomes)
        written = [f"ANSWER: {'ABCD'[k]}" for k in outputs.predictions]
        assert list(outputs.texts) == written
    assert epochs[0].labels.tolist() == epochs[1].labels.tolist() == [3, 2, 2, 0]
    assert (epochs[0].log_probabilities != epochs[1].log_probabilities).any()
    assert list(epochs[0].dropped.values()) == [4]


def test_the_layout_of_folders_and_parts_gives_the_same():
    whole, parts = read(WRITTEN, repeats="first"), read(CHUNKED)
    assert parts.ids == whole.ids[:2] and parts.groups == whole.groups[:2]
    # The first question is long, and stands among the attachments of one of both.
    assert parts.fingerprints == whole.fingerprints[:2]
    for field in ("log_probabilities", "labels", "outcomes", "predictions"):
        expected = getattr(whole, field)[:2]
        np.testing.assert_array_equal(getattr(parts, field), expected)


def test_what_it_wrote_of_generated_text():
    outputs = read(FOLDER / "inspect_toy_gen.json.gz")
    np.testing.assert_allclose(outputs.scores, [-0.25, -0.75])
    assert outputs.outcomes.tolist() == [1, 0] and outputs.labels is None
    assert outputs.ids == ("1", "2") and outputs.texts == ("4", "It is Milan")
    ((reason, places),) = outputs.dropped_at.items()
    assert "run inspect eval with --logprobs" in reason and places == ("sample 3",)


def test_documents_zips_and_lines_give_the_same(tmp_path):
    samples = [sample(k, (0.6, 0.2, 0.1), "AB"[k % 2]) for k in range(3)]
    data = json.dumps(log(*samples), indent=2)
    paths = [
        write(tmp_path / "a.json", data),
        write(tmp_path / "b.json", [log(*samples)]),
        write(tmp_path / "c.json.gz", gzip.compress(data.encode())),
        zipped(tmp_path / "d.eval", members(*reversed(samples))),
        zipped(tmp_path / "e.eval", members(*samples), zipfile.ZIP_STORED),
        write(tmp_path / "f.jsonl", [header(), *samples]),
        write(tmp_path / "g.jsonl", samples),
    ]
    for path in paths:
        outputs = read(path)
        assert outputs.format == "inspect" and outputs.ids == ("q0", "q1", "q2")
        expected = np.log([[0.6, 0.2, 0.1]] * 3)
        np.testing.assert_allclose(outputs.log_probabilities, expected, rtol=1e-6)
        assert outputs.labels.tolist() == [0, 1, 0] and outputs.choices == tuple("ABC")
        assert outputs.outcomes.tolist() == [1, 0, 1]
        assert outputs.model == ("" if path.name == "g.jsonl" else "mockllm/small")
        assert outputs.notes == () and outputs.dropped == {}


def test_ids_with_slashes(tmp_path):
    samples = [sample(k, id=f"HumanEval/{k}") for k in range(2)]
    found = members(*samples)
    found["samples/HumanEval/1_epoch_1/sample.json"] = found.pop(
        "samples/HumanEval/1_epoch_1.json"
    )
    outputs = read(zipped(tmp_path / "a.eval", found))
    assert outputs.ids == ("HumanEval/0", "HumanEval/1") and outputs.dropped == {}


def test_a_run_that_has_not_ended(tmp_path):
    found = members(sample(0), sample(1))
    found["_journal/start.json"] = found.pop("header.json")
    found["_journal/summaries/1.json"] = "[]"
    assert read(zipped(tmp_path / "a.eval", found)).task == "toy"


def test_the_last_of_several_members_counts(tmp_path):
    path = zipped(tmp_path / "a.eval", members(sample(0), sample(1)))
    with zipfile.ZipFile(path, "a") as archive:
        with pytest.warns(UserWarning, match="Duplicate"):
            again = json.dumps(sample(0, (0.2, 0.7)))
            archive.writestr("samples/q0_epoch_1.json", again)
    assert read(path).predictions.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("target", "label"),
    [("B", 1), (" b ", 1), (["B"], 1), ("option 1", 1), ("option 0", 0)],
)
def test_targets(tmp_path, target, label):
    outputs = read(write(tmp_path / "a", [log(sample(0, target=target))]))
    assert outputs.labels.tolist() == [label]


def test_targets_beside_choices_in_another_order(tmp_path):
    path = write(tmp_path / "a", [log(sample(0, target="option 1"), sample(1))])
    outputs = read(path, choices=["B", "A"])
    assert outputs.labels.tolist() == [0, 1]
    np.testing.assert_allclose(np.exp(outputs.log_probabilities), [[0.2, 0.7]] * 2)


@pytest.mark.parametrize("target", [["A", "B"], "AB", "neither", ""])
def test_targets_without_a_single_option(tmp_path, target):
    few = [sample(0), sample(1, target=target)]
    outputs = read(write(tmp_path / "a", [log(*few)]))
    assert outputs.ids == ("q0",) and outputs.dropped == {"no label": 1}
    outputs = read(write(tmp_path / "a", [log(few[1])]))
    assert outputs.labels is None and outputs.outcomes.tolist() == [0]
    assert "outcomes, no labels" in outputs.notes[0]


@pytest.mark.parametrize(
    ("value", "outcome"),
    [("C", 1), ("I", 0), ("P", 0.5), ("N", 0), (True, 1), (0.25, 0.25), ("yes", 1)],
)
def test_grades(tmp_path, value, outcome):
    scores = {"judge": {"value": value, "explanation": "..."}}
    path = write(tmp_path / "a", [log(sample(0, choices=None, scores=scores))])
    assert read(path).outcomes.tolist() == [outcome]


def test_samples_that_are_not_scored(tmp_path):
    nan = {"judge": {"value": float("nan")}}
    spoken = [sample(0, choices=None), sample(1, choices=None, scores=nan)]
    path = write(tmp_path / "a", [log(*spoken)])
    assert read(path).dropped == {"no outcome": 1}
    with_options = [sample(0), sample(1, scores=nan), sample(2, scores=None)]
    outputs = read(write(tmp_path / "a", [log(*with_options)]))
    assert len(outputs) == 3 and outputs.outcomes is None
    assert "2 of 3 rows are not scored (first: sample 2, id 'q1')" in outputs.notes[0]


def test_several_scorers(tmp_path):
    scores = {"match": {"value": "C"}, "judge": {"value": {"tone": 0.5, "facts": 1}}}
    spoken = [sample(0, choices=None, scores=scores)]
    path = write(tmp_path / "a", [log(*spoken)])
    message = one_line(path)
    assert "judge/facts, judge/tone, match" in message and "columns=" in message
    for name, outcome in (("match", 1), ("judge/tone", 0.5)):
        outputs = read(path, columns={"outcomes": name})
        assert outputs.outcomes.tolist() == [outcome]
    assert "the name of a scorer" in one_line(path, columns={"outcomes": "other"})
    assert "only outcomes" in one_line(path, columns={"labels": "target"})
    # Labels say what is right, so that no scorer has to be chosen.
    outputs = read(write(tmp_path / "a", [log(sample(0, scores=scores))]))
    assert outputs.labels.tolist() == [0] and outputs.outcomes is None
    assert "none is read" in outputs.notes[0]


def test_scores_of_another_scale(tmp_path):
    scores = {"judge": {"value": 7}}
    spoken = write(tmp_path / "a", [log(sample(0, choices=None, scores=scores))])
    assert "expected outcomes in [0, 1], true or false, got 7" in one_line(spoken)
    outputs = read(write(tmp_path / "a", [log(sample(0, scores=scores))]))
    assert outputs.outcomes is None and "not outcomes in [0, 1]" in outputs.notes[0]


def test_choices_that_are_asked_for(tmp_path):
    spoken = [
        sample(
            k,
            output=output([entry("yes", -0.25, ("yes", -0.25), ("no", -2.0))]),
            choices=None,
            target=("Yes", "no")[k],
        )
        for k in range(2)
    ]
    path = write(tmp_path / "a", [log(*spoken)])
    outputs = read(path, choices=["yes", "no"])
    np.testing.assert_allclose(outputs.log_probabilities, [[-0.25, -2.0]] * 2)
    assert outputs.labels.tolist() == [0, 1] and outputs.choices == ("yes", "no")
    assert "pass choices=" in one_line(path, kind="log_probabilities")
    wrong = write(tmp_path / "b", [log(spoken[0], spoken[1] | {"target": "maybe"})])
    message = one_line(wrong, choices=["yes", "no"])
    assert "got 'maybe' in sample 2" in message and "one of yes, no" in message
    mixed = write(tmp_path / "c", [log(spoken[0], sample(1))])
    assert "1 of 2 samples have options" in one_line(mixed)
    assert len(read(mixed, kind="scores").scores) == 2


def test_labels_of_another_file(tmp_path):
    path = write(tmp_path / "a", [log(sample(0), sample(1))])
    labels = write(tmp_path / "l.csv", "id,label\nq0,A\nq1,B\n")
    outputs = read(path, labels=labels)
    assert outputs.labels.tolist() == [0, 1] and outputs.outcomes is None
    assert "pass choices=" in one_line(path, labels=labels, kind="scores")
    labels = write(tmp_path / "l.csv", "id,correct\nq0,1\nq1,0\n")
    assert read(path, labels=labels, kind="scores").outcomes.tolist() == [1, 0]


def test_choices_that_are_shuffled_under_the_letters(tmp_path):
    steps = [{"solver": "multiple_choice", "params": {"shuffle": True}}]
    path = write(tmp_path / "a", [log(sample(0), steps=steps)])
    assert "shuffle the choices of the data set" in one_line(path)
    assert len(read(path, kind="scores")) == 1


def test_several_answers_to_a_sample(tmp_path):
    several = answered([0.6, 0.3])
    several["choices"] += answered([0.3, 0.6])["choices"]
    outputs = read(write(tmp_path / "a", [log(sample(0, output=several))]))
    assert (
        outputs.predictions.tolist() == [0] and "the first is read" in outputs.notes[0]
    )


def test_rows_with_the_same_names(tmp_path):
    row = {"id": 1, "epoch": 1, "target": 0, "output": "x", "score": 0.5, "correct": 1}
    assert read(write(tmp_path / "a", [row])).format == "jsonl"


def test_answers_that_are_not_certain(tmp_path):
    few = [
        sample(0),
        sample(1, output=answered([0.6, 0.3], said="It is not")),
        sample(2, output=output([], "ANSWER: A")),
        sample(3, output={"model": "m", "choices": [], "completion": ""}),
        sample(4, error={"message": "made up", "traceback": "..."}),
        sample(5, invalidation={"author": "me"}),
    ]
    outputs = read(write(tmp_path / "a", [log(*few)]))
    assert outputs.ids == ("q0",)
    kinds = ["is certain", "without log-prob", "without an answer", "error", "invalid"]
    for reason, (kind, number) in zip(
        outputs.dropped, zip(kinds, range(2, 7), strict=True), strict=True
    ):
        kept = next(one for one in outputs.dropped if kind in one)
        assert outputs.dropped_at[kept] == (f"sample {number}",), reason


def test_an_answer_among_the_attachments(tmp_path):
    long = output([entry("Yes", -0.5), entry(" indeed", -0.25)])
    long["completion"] = "attachment://9f"
    one = sample(0, choices=None, output=long, attachments={"9f": "Yes indeed"})
    assert read(write(tmp_path / "a", [log(one)])).texts == ("Yes indeed",)
    shell = {key: one[key] for key in one if key not in ("attachments", "metadata")}
    shell["output"] = long | {"completion": "attachment://3"}
    found = {
        "header.json": json.dumps(header()),
        "samples/a/b_epoch_1/sample.json": json.dumps(shell),
        "samples/a/b_epoch_1/metadata.json": json.dumps({"subject": "law"}),
        "samples/a/b_epoch_1/attachments/0.json": json.dumps(["x", "y"]),
        "samples/a/b_epoch_1/attachments/2.json": json.dumps(["z", "Yes indeed"]),
        "samples/a/b_epoch_1/events/0.json": "not read",
    }
    outputs = read(zipped(tmp_path / "a.eval", found))
    assert outputs.texts == ("Yes indeed",) and outputs.groups == ("law",)


def named(task, number=0):
    return f"2026-11-30T0{number}-00-00-00-00_{task}_x.eval"


def test_a_folder_of_several_tasks(tmp_path):
    zipped(tmp_path / named("a"), members(sample(0), sample(1), task="a"))
    write(
        tmp_path / named("b").replace(".eval", ".json"),
        json.dumps(log(sample(0, target="B"), task="b")),
    )
    write(tmp_path / "logs.json", "{}")
    write(tmp_path / "notes.txt", "mine")
    outputs = read(tmp_path)
    assert outputs.ids == ("a/q0", "a/q1", "b/q0") and outputs.task == ""
    assert outputs.groups == ("a", "a", "b") and outputs.model == "mockllm/small"
    assert outputs.notes == ("Files of the folder that were not read: notes.txt.",)
    zipped(tmp_path / named("c"), members(sample(0), model="other", task="c"))
    assert "models mockllm/small and other" in one_line(tmp_path)


def test_a_task_that_was_run_again(tmp_path):
    failed = sample(1, error={"message": "made up"})
    zipped(tmp_path / named("a", 1), members(sample(0), failed))
    zipped(tmp_path / named("a", 2), members(sample(0), sample(1)))
    outputs = read(tmp_path)
    assert outputs.ids == ("q0", "q1") and outputs.task == "toy"
    assert outputs.dropped["the same row once more"] == 1
    other = sample(0, (0.2, 0.7))
    zipped(tmp_path / named("a", 3), members(other))
    assert "if these are reruns" in one_line(tmp_path)
    outputs = read(tmp_path, repeats="last")
    assert outputs.predictions[outputs.ids.index("q0")] == 1
    # With other arguments it is another task.
    more = {"task_args_passed": {"subject": "law"}}
    zipped(tmp_path / named("a", 3), members(other, **more))
    assert read(tmp_path).ids == ("toy()/q0", "toy()/q1", "toy(subject=law)/q0")


def test_logs_without_samples(tmp_path):
    empty = zipped(tmp_path / named("a"), members())
    assert "a log without samples" in one_line(empty)
    zipped(tmp_path / named("b"), members(sample(0)))
    outputs = read(tmp_path)
    assert outputs.dropped_at == {"a log without samples": (empty.name,)}


def test_epochs_are_sorted_as_inspect_sorts_them(tmp_path):
    shares = [(0.7, 0.2), (0.2, 0.7)]
    samples = [
        sample(k, share, id=number, epoch=epoch)
        for epoch, share in ((2, shares[1]), (1, shares[0]))
        for k, number in enumerate((10, 9))
    ]
    path = zipped(tmp_path / "a.eval", members(*samples))
    assert read(path, repeats="first").ids == ("9", "10")
    for repeats, chosen in (("first", 0), ("last", 1)):
        assert read(path, repeats=repeats).predictions.tolist() == [chosen] * 2


def test_fingerprints_are_compared_within_one_format(tmp_path):
    one = read(write(tmp_path / "a", [log(sample(0))]))
    other = sample(0, input=[{"role": "user", "content": "Question 0?"}])
    cj.io.join(one, read(write(tmp_path / "b", [log(other)])))
    other = read(write(tmp_path / "c", [log(sample(0, input="Another?"))]))
    with pytest.raises(ValueError, match="different fingerprints"):
        cj.io.join(one, other)
    line = {"id": "q0", "logits": [1.0, 2.0], "label": 0}
    cj.io.join(one, read(write(tmp_path / "d.jsonl", [line])))


def test_what_is_not_a_log(tmp_path):
    ended = {"error": {"message": "made up"}, "samples": None}
    message = one_line(write(tmp_path / "a", [header() | ended]))
    assert "a log without samples" in message
    bad = [sample(0, id=None), sample(1, epoch="x"), sample(2, target=3)]
    message = one_line(write(tmp_path / "a", [log(*bad, sample(3))]))
    assert "sample 1: id:" in message and "sample 3: target:" in message
    outputs = read(write(tmp_path / "a", [log(*bad, sample(3))]), drop_malformed=True)
    assert outputs.ids == ("q3",)
    few = write(tmp_path / "a", [log(sample(0, output=answered([0.9], "A")))])
    assert "--top-logprobs 20" in one_line(few)
    many = write(tmp_path / "a", [log(sample(0, choices=["x"] * 101))])
    assert "more than 100 options" in one_line(many)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"header.json": None}, "neither header.json nor _journal/start.json"),
        ({"header.json": "{"}, "header.json cannot be unpacked"),
        ({"header.json": "[]"}, "expected an object"),
        ({"header.json": "{}"}, "no eval with the names of a model"),
        ({"samples/q0_epoch_1.json": "{"}, "sample 1: not JSON"),
        ({"samples/q0_epoch_1.json": "[3]"}, "sample 1: expected an object"),
        ({"samples/x_epoch_1/sample.json": "{"}, "sample 2: not JSON"),
        ({"samples/x_epoch_1/sample.json": '{"a": "attachment://0"}'}, "not a sample"),
    ],
)
def test_members_that_are_missing_or_others(tmp_path, changes, expected):
    found = members(sample(0)) | changes
    found = {name: data for name, data in found.items() if data is not None}
    assert expected in one_line(zipped(tmp_path / "a.eval", found))


def test_attachments_of_another_type(tmp_path):
    found = {
        "header.json": json.dumps(header()),
        "samples/x_epoch_1/sample.json": json.dumps(sample(0, input="attachment://0")),
        "samples/x_epoch_1/attachments/0.json": '{"0": "x"}',
    }
    message = one_line(zipped(tmp_path / "a.eval", found))
    assert "attachments/0.json: expected a list" in message


def test_damaged_zips(tmp_path):
    whole = zipped(tmp_path / "a.eval", members(*map(sample, range(3)))).read_bytes()
    rng = np.random.default_rng(0)
    path, num_read = tmp_path / "b.eval", 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data[: len(data) - rng.integers(2) * rng.integers(400)])
        try:
            num_read += len(read(path)) > 0
        except ValueError as error:
            assert "\n" not in str(error) and "b.eval" in str(error)
    assert num_read < 200


def test_another_method(tmp_path):
    path = zipped(tmp_path / "a.eval", members(sample(0)), zipfile.ZIP_BZIP2)
    assert "zip file of method 12" in one_line(path)


def test_without_a_package_for_zstd(monkeypatch):
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match=r"needs zstandard.*calib-jax\[report\]"):
        read(WRITTEN)


def as_zstd(path, found, *, claimed=None):
    """A zip file of zstd, which may lie about sizes."""
    package = pytest.importorskip("zstandard")
    packed = {
        name: package.ZstdCompressor().compress(data.encode())
        for name, data in found.items()
    }
    zipped(path, packed, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos, start = archive.infolist(), archive.start_dir
    for info in infos:
        text = found[info.filename].encode()
        size = (claimed or {}).get(info.filename, len(text))
        struct.pack_into("<H", data, start + 10, 93)
        struct.pack_into("<I", data, start + 16, zlib.crc32(text))
        struct.pack_into("<I", data, start + 24, size)
        struct.pack_into("<H", data, info.header_offset + 8, 93)
        start += 46 + len(info.filename)
    path.write_bytes(data)
    return path


def test_zips_of_zstd(tmp_path):
    found = members(sample(0), sample(1))
    assert len(read(as_zstd(tmp_path / "a.eval", found))) == 2
    name = "samples/q0_epoch_1.json"
    for size in (0, 100, 10**6):
        path = as_zstd(tmp_path / "b.eval", found, claimed={name: size})
        assert f"{name} cannot be unpacked" in one_line(path)


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_zips, "_BOMB", (100, 2**22))
    monkeypatch.setattr(inspect_zips, "_LARGEST", 2**23)
    blank = members(sample(0)) | {"samples/q0_epoch_1.json": " " * 5 * 2**20}
    for name, make in (("a.eval", zipped), ("b.eval", as_zstd)):
        assert "more than 100 times" in one_line(make(tmp_path / name, blank))
        large = members(sample(0)) | {"samples/q0_epoch_1.json": " " * 9 * 2**20}
        assert "longer than 8 MiB" in one_line(make(tmp_path / name, large))
    # What claims to be small is not unpacked further.
    path = as_zstd(tmp_path / "c.eval", large, claimed={"samples/q0_epoch_1.json": 9})
    assert "expected 9 bytes" in one_line(path)
    # Many members of one bomb.
    many = {f"samples/{k}_epoch_1.json": " " * 2**20 for k in range(9)}
    path = zipped(tmp_path / "d.eval", {"header.json": json.dumps(header())} | many)
    assert "more than 100 times" in one_line(path)


def test_bytes_that_were_read_are_counted(tmp_path):
    path = zipped(tmp_path / "a.eval", members(*map(sample, range(5))))
    seen = []
    read(path, progress=lambda done, total: seen.append((done, total)))
    size = path.stat().st_size
    assert seen == sorted(seen) and len(seen) > 5 and seen[-1] == (size, size)


def test_a_copy_without_its_name(tmp_path):
    shutil.copy(CHUNKED, tmp_path / "log")
    assert read(tmp_path / "log").format == "inspect"
    assert read(tmp_path / "log", format="inspect").ids == read(CHUNKED).ids
    assert inspect_files.log()["version"] == 2
