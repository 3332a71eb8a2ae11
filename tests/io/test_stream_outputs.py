"""Blocks of a file's rows, which are those of the whole file."""

import dataclasses
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from output_files import choice, decision, read, sample, write
from servers import chat, entry

import calib_jax as cj

pytestmark = pytest.mark.once

NUM = 23
rng = np.random.default_rng(0)
LOGITS = np.float32(rng.normal(size=(NUM, 3))).round(3)
LABELS = rng.integers(0, 3, NUM)


def jsonl(folder):
    lines = [
        {"id": f"q{k}", "logits": row, "label": "abc"[y], "cost": k, "subject": "law"}
        for k, (row, y) in enumerate(zip(LOGITS.tolist(), LABELS, strict=True))
    ]
    lines[4]["logits"][1] = None
    lines[9]["label"] = None
    return write(folder / "a.jsonl", lines), {"choices": ["a", "b", "c"]}


def objects(folder):
    """Probabilities by name, gzipped, without ids, and a damaged line."""
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    lines = [
        json.dumps({"probs": dict(zip("cab", row, strict=True)), "answer": "abc"[y]})
        for row, y in zip(shares.tolist(), LABELS, strict=True)
    ]
    lines[6] = "{"
    text = gzip.compress("\n".join(lines).encode())
    more = {"drop_malformed": True, "columns": {"probabilities": "probs"}}
    more["columns"]["labels"] = "answer"
    return write(folder / "a.jsonl.gz", text), more | {"smoothing": 0.1}


def csv(folder):
    lines = [f"{k},{0.9 - k / 40},{int(k % 3 == 0)}" for k in range(NUM)]
    lines[3] = ",,"
    return write(folder / "a.csv", "id,p,correct\n" + "\n".join(lines) + "\n"), {
        "columns": {"scores": "p"}
    }


def csv_numbers(folder):
    """No header: an array, whose labels are in another file."""
    np.save(folder / "labels.npy", LABELS)
    text = "".join(",".join(map(str, row)) + "\n" for row in LOGITS.tolist())
    return write(folder / "a.csv", text), {
        "kind": "logits",
        "labels": folder / "labels.npy",
    }


def answers(folder):
    lines = [
        chat("a", [entry("A", -k, ("A", -k), ("B", -1.5))], custom_id=f"n{k}")
        for k in range(1, NUM)
    ]
    lines.insert(5, {"custom_id": "n", "response": None, "error": "late"})
    labels = [{"id": f"n{k}", "label": "AB"[k % 2]} for k in range(1, NUM + 5)]
    more = {"choices": ["A", "B"], "labels": write(folder / "labels.jsonl", labels)}
    return write(folder / "a.jsonl", lines), more


def scored_answers(folder):
    lines = [
        chat("a", [entry("A", -k)], custom_id=f"n{k}") | {"cost": k / 8}
        for k in range(1, NUM)
    ]
    return write(folder / "a.jsonl", lines), {}


def harness(folder):
    lines = [
        sample(k, -rng.random(2 + (k > 8) + k % 2), k % 2, options=None)
        for k in range(NUM)
    ]
    return write(folder / "samples_law_2026-01-02T03-04-05.1.jsonl", lines), {}


def decisions(folder):
    lines = [
        {"id": k, "response": decision(choice("ok", {"x": k / 40, "y": 1 - k / 40}))}
        | {"labels": {"ok": "xy"[k % 2]}}
        for k in range(NUM)
    ]
    return write(folder / "a.jsonl", lines), {}


def parquet(folder):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    flat = pa.array(LOGITS.ravel())
    columns = {
        "logits": pa.FixedSizeListArray.from_arrays(flat, 3),
        "label": LABELS,
        "subject": ["law", "art"] * (NUM // 2) + [None],
        "id": [f"r{k}" for k in range(NUM)],
    }
    pyarrow.parquet.write_table(
        pa.table(columns), folder / "a.parquet", row_group_size=6
    )
    return folder / "a.parquet", {}


def npy(folder):
    np.save(folder / "a.npy", np.float16(LOGITS))
    write(folder / "labels.csv", "label\n" + "".join(f"{y}\n" for y in LABELS))
    return folder / "a.npy", {"kind": "logits", "labels": folder / "labels.csv"}


def safetensors(folder):
    package = pytest.importorskip("safetensors.numpy")
    import jax.numpy as jnp

    arrays = {"logits": np.asarray(LOGITS, jnp.bfloat16), "labels": LABELS}
    package.save_file(arrays, folder / "a.safetensors")
    return folder / "a.safetensors", {}


def folder_of_files(folder):
    lines = [{"id": k, "score": 0.5 * k / NUM, "correct": k % 2} for k in range(NUM)]
    (folder / "parts").mkdir()
    for number, start in enumerate(range(0, NUM, 5)):
        write(folder / f"parts/{number}.jsonl", lines[start : start + 5])
    write(folder / "parts/readme.txt", "no rows")
    return folder / "parts", {"kind": "scores"}


FILES = (
    *(jsonl, objects, csv, csv_numbers, answers, scored_answers, harness),
    *(decisions, parquet, npy, safetensors, folder_of_files),
)


def fields(outputs):
    return {
        field.name: getattr(outputs, field.name)
        for field in dataclasses.fields(outputs)
        if field.name not in ("dropped", "dropped_at", "notes")
    }


@pytest.mark.parametrize("size", [4, 7, NUM, 1000])
@pytest.mark.parametrize("make", FILES)
def test_blocks_are_the_file(tmp_path, make, size):
    path, more = make(tmp_path)
    whole = read(path, **more)
    stream = cj.io.stream_outputs(path, size=size, **more)
    for _ in range(2):
        blocks = list(stream)
        assert [len(one) for one in blocks[:-1]] == [size] * (len(blocks) - 1)
        assert 0 < len(blocks[-1]) <= size
        assert not any(one.dropped for one in blocks)
        start = 0
        for one in blocks:
            rows = slice(start, start + len(one))
            for name, value in fields(whole).items():
                given = getattr(one, name)
                if not isinstance(value, (np.ndarray, tuple)) or name == "choices":
                    assert given == value, name
                    continue
                value = value[rows]
                if isinstance(value, tuple):
                    assert given == value, name
                    continue
                if name == "class_where" and given is None:
                    # All options of these rows, which may be fewer than the file's.
                    width = one.log_probabilities.shape[1]
                    assert value[:, :width].all() and not value[:, width:].any()
                    continue
                nothing = False if name == "class_where" else -np.inf
                if value.ndim == 2:
                    assert np.all(value[:, given.shape[1] :] == nothing)
                    value = value[:, : given.shape[1]]
                assert given.dtype == value.dtype, name
                np.testing.assert_array_equal(given, value, err_msg=name)
            start += len(one)
        assert start == len(whole) == stream.num_rows
        assert stream.dropped == whole.dropped
        assert stream.dropped_at == whole.dropped_at


def test_notes_of_the_stream(tmp_path):
    path, more = answers(tmp_path)
    stream = cj.io.stream_outputs(path, size=5, **more)
    assert stream.notes == () and repr(stream).endswith("a.jsonl', size=5)")
    list(stream)
    assert stream.notes == ("5 of 27 labels are for none of the rows.",)
    path, more = folder_of_files(tmp_path)
    stream = cj.io.stream_outputs(path, size=5, **more)
    assert not any(one.notes for one in stream)
    assert stream.notes == ("Files of the folder that were not read: readme.txt.",)


def fails(path, *, size=4, **more):
    """The message of a pass, which is one line."""
    with pytest.raises(ValueError) as error:
        list(cj.io.stream_outputs(path, size=size, **more))
    message = str(error.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


def test_what_blocks_decide_each_for_itself(tmp_path):
    path = tmp_path / "a.jsonl"

    def of(*lines):
        return write(path, list(lines))

    first = {"logits": [1.0, 2.0]}
    # Labels that may be names, and then cannot.
    texts = [first | {"label": label} for label in ("1", "5", "1", "2")]
    texts = [one | {"logits": [1.0, 2.0, 0.0]} for one in texts]
    message = fails(of(*texts), size=2, choices=["7", "1", "5"])
    assert "whether labels are names or numbers of options: only all rows" in message
    assert "up to line 4" in message
    # Labels that begin later.
    lines = [first | {"label": None}] * 4 + [first | {"label": 1}] * 4
    assert "whether there are labels" in fails(of(*lines))
    # Rows without a label are left out where others had one.
    stream = cj.io.stream_outputs(of(*reversed(lines)), size=4)
    assert [len(one) for one in stream] == [4] and stream.dropped == {"no label": 4}
    # Scores of class 1, or of the answer.
    lines = [{"score": 0.25 + k / 8, "label": k % 2} for k in range(6)]
    stream = cj.io.stream_outputs(of(*lines), size=2)
    assert [one.of_class_one for one in stream] == [True] * 3
    stream = cj.io.stream_outputs(of(*reversed(lines)), size=2)
    assert [one.of_class_one for one in stream] == [True] * 3
    assert "labels of 0 and 1 beside scores of 0.5" in fails(of(*lines[2:]), size=2)
    # Names of classes are those that occur.
    lines = [{"score": 0.5, "label": one, "prediction": one} for one in "aabb"]
    assert "the names of classes (pass choices=)" in fails(of(*lines), size=2)
    stream = cj.io.stream_outputs(path, size=2, choices=["a", "b"])
    assert [one.labels.tolist() for one in stream] == [[0, 0], [1, 1]]


def one_choice(folder):
    """The last answer has the log-probability of one choice alone."""
    lines = [chat("A", [entry("A", -1, ("A", -1), ("B", -1.5))]) for _ in range(4)]
    lines.append(chat("A", [entry("A", -1, ("A", -1))]))
    return write(folder / "a.jsonl", lines), {"choices": ["A", "B"]}


def unlike(folder):
    """Predictions of one block are none of its labels."""
    pairs = ["aa", "ba", "ab", "ba", "ab"]
    lines = [{"score": 0.5, "label": y, "prediction": p} for y, p in pairs]
    return write(folder / "a.jsonl", lines), {}


def ones(folder):
    labels = [0, 1, 2, 1, -1, 1]
    lines = [{"logits": [1.0, 2.0, 3.0], "label": one} for one in labels]
    return write(folder / "a.jsonl", lines), {}


def ranked(folder):
    """Two rows of timm's, the last of which is sorted."""
    logits = LOGITS.ravel()[:48].reshape(-1, 12).copy()
    logits[-1] = -np.sort(-logits[-1])
    lines = ["filename," + ",".join(f"logit_{k}" for k in range(12))]
    lines += [f"{k}.jpg," + ",".join(map(str, row)) for k, row in enumerate(logits)]
    return write(folder / "a.csv", "\n".join(lines) + "\n"), {}


@pytest.mark.parametrize("make", [one_choice, unlike, ones, ranked])
@pytest.mark.parametrize("size", [2, 3, 4, 9])
def test_what_no_block_can_tell(tmp_path, make, size):
    path, more = make(tmp_path)
    expected = read(path, **more)
    blocks = list(cj.io.stream_outputs(path, size=size, **more))
    for field in ("ids", "labels", "outcomes", "predictions"):
        whole = getattr(expected, field)
        parts = [getattr(one, field) for one in blocks]
        assert whole is None or np.concatenate(parts).tolist() == list(whole)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_what_is_wrong_of_all_blocks(tmp_path, size):
    path, more = one_choice(tmp_path)
    lines = path.read_text().splitlines()[-1:] * 3
    message = fails(write(path, "\n".join(lines)), size=size, **more)
    assert "no row has log-probabilities of two choices" in message
    path, more = ones(tmp_path)
    lines = path.read_text().splitlines()
    # The first block has a label, and the last none.
    write(path, "\n".join([lines[1], lines[1], lines[4], lines[4]]))
    assert "labels are 1 and -1" in fails(path, size=size)
    lines = [{"score": 0.5, "label": "b", "prediction": "a"}] * 4
    assert "predictions are like 'a'" in fails(write(path, lines), size=size)
    path, more = ranked(tmp_path)
    lines = path.read_text().splitlines()
    write(path, "\n".join([lines[0], *lines[-1:] * 4]))
    assert "12 numbers in each row, all sorted" in fails(path, size=size)


def test_what_blocks_of_tools_decide(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [sample(k, [-1.0, -2.0], 0, filter=f"f{k // 4}") for k in range(8)]
    assert "the filter of " in fails(write(path, lines))
    lines = [sample(k, [-1.0, -2.0], 1, options=[" 1", " 0"]) for k in range(8)]
    message = fails(write(path, lines), size=8)
    assert "whether targets are numbers or texts of options: only all rows" in message
    assert message.endswith("are not enough: read the file with read_outputs.")
    lines = [
        {"id": k, "response": decision(choice("ok", {"x": 0.5, "yz"[k // 4]: 0.5}))}
        for k in range(8)
    ]
    assert "the options of 'ok'" in fails(write(path, lines))
    lines = [
        {"id": k, "response": decision(choice("o", {"x": 0.5, "y": 0.5}))}
        for k in range(4)
    ]
    both = choice("o", {"x": 0.5, "y": 0.5}), choice("p", {"x": 0.5, "y": 0.5})
    lines += [{"id": 9, "response": decision(*both)}]
    assert "the number of questions" in fails(write(path, lines))


def test_lists_of_another_length(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table({"logits": [[1.0, 2.0]] * 4 + [[1.0, 2.0, 3.0]] * 4})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert "the number of classes" in fails(tmp_path / "a.parquet")


def test_formats_without_blocks(tmp_path):
    np.savez(tmp_path / "a.npz", logits=LOGITS)
    assert "is unpacked as a whole" in fails(tmp_path / "a.npz")


def test_errors_are_found_where_they_stand(tmp_path):
    lines = [{"id": k, "prob": [0.5, 0.5], "label": 0} for k in range(10)]
    lines[8]["prob"] = [0.5, 1.5]
    path = write(tmp_path / "a.jsonl", lines)
    stream = iter(cj.io.stream_outputs(path, size=4))
    assert [len(next(stream)), len(next(stream))] == [4, 4]
    with pytest.raises(ValueError, match=r"in \[0, 1\], got .*line 9, id '8'"):
        next(stream)
    lines[8] = {"prob": "?"}
    assert "malformed line 9" in fails(write(path, lines))
    assert "no row is left" in fails(write(path, [{"score": None}] * 9))
    np.save(tmp_path / "labels.npy", np.zeros(9, int))
    write(path, [{"logits": [0.5, 1.0]}] * 8)
    for labels, shows in ((np.zeros(9, int), "9 labels for 8 rows"),):
        np.save(tmp_path / "labels.npy", labels)
        with pytest.raises(ValueError, match=shows):
            list(cj.io.stream_outputs(path, size=3, labels=tmp_path / "labels.npy"))
    other = write(tmp_path / "other.jsonl", [{"id": "z", "label": 1}])
    write(path, [{"id": k, "logits": [0.5, 1.0]} for k in range(8)])
    with pytest.raises(ValueError, match="its ids are 'z', and those of the rows '0'"):
        list(cj.io.stream_outputs(path, size=3, labels=other))


@pytest.mark.parametrize(
    ("more", "shows"),
    [
        ({"size": 0}, "size: .*0"),
        ({"size": 1.5}, "size"),
        ({"progress": 3}, "progress: expected a function"),
        ({"kind": "odds"}, "kind: expected one of"),
        ({"format": "odds"}, "format: expected one of"),
        ({"model": 1}, "model: expected a name, since blocks do not count"),
        ({"model": "1"}, "model: expected a name, since blocks do not count"),
    ],
)
def test_wrong_arguments(tmp_path, more, shows):
    with pytest.raises(ValueError, match=shows):
        cj.io.stream_outputs(tmp_path / "a", **more)
    with pytest.raises(FileNotFoundError):
        list(cj.io.stream_outputs(tmp_path / "a"))


@pytest.mark.parametrize("make", [jsonl, csv, parquet, npy])
def test_progress(tmp_path, make):
    path, more = make(tmp_path)
    calls = []
    stream = cj.io.stream_outputs(
        path, size=4, progress=lambda *one: calls.append(one), **more
    )
    for _ in range(2):
        calls.clear()
        list(stream)
        done, total = zip(*calls, strict=True)
        assert set(total) == {path.stat().st_size} and done[-1] == total[0]
        assert list(done) == sorted(done)


@pytest.mark.parametrize("make", [jsonl, csv, harness, safetensors])
def test_blocks_for_fits(tmp_path, make):
    """What a fit takes, with the answer for the whole file."""
    path, more = make(tmp_path)
    whole = read(path, **more)
    blocks = cj.io.stream_outputs(path, size=7, **more).blocks()
    if whole.scores is not None:
        fit, of = cj.streaming.blocks.reliability_table, (whole.scores, whole.outcomes)
        found = fit(blocks, 3)
        expected = fit([of], 3)
        np.testing.assert_array_equal(found[0].count, expected[0].count)
        np.testing.assert_array_equal(found[0].confidence, expected[0].confidence)
        return
    values = whole.log_probabilities if whole.logits is None else whole.logits
    params, report = cj.streaming.blocks.fit_temperature(blocks)
    expected, _ = cj.fit_temperature(
        values, whole.labels, class_where=whole.class_where
    )
    np.testing.assert_allclose(params.temperature, expected.temperature, rtol=2e-5)


def test_blocks_need_labels(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"logits": [0.5, 1.0]}])
    with pytest.raises(ValueError, match="a.jsonl: has no labels, which a block needs"):
        list(cj.io.stream_outputs(path).blocks())
    path = write(tmp_path / "a.jsonl", [{"score": 0.5}])
    with pytest.raises(ValueError, match="a.jsonl: has no outcomes"):
        list(cj.io.stream_outputs(path).blocks())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_memory_is_bounded(tmp_path, name):
    """A file of 200 MB takes less than 60 MB more than one of 2 MB."""
    code = (
        "import resource, sys, calib_jax as cj\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "num = 0\n"
        "for path in sys.argv[1:]:\n"
        "    before = used()\n"
        "    num += sum(map(len, cj.io.stream_outputs(path, size=4096)))\n"
        "print(num, (used() - before) // 1024)"
    )
    paths = []
    for rows, repeats in ((10_000, 1), (10_000, 100)):
        paths.append(tmp_path / f"{repeats}.{name}")
        values = np.float32(rng.normal(size=(rows, 20)))
        if name == "jsonl":
            text = "".join(
                json.dumps({"logits": row, "label": 3}) + "\n"
                for row in values.round(6).tolist()
            )
            with open(paths[-1], "w") as file:
                for _ in range(repeats):
                    file.write(text)
            continue
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        flat = np.float32(rng.normal(size=rows * repeats * 50))
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), 50)
        table = pa.table({"logits": lists, "label": np.zeros(rows * repeats, int)})
        # One group of rows of 200 MB.
        pyarrow.parquet.write_table(table, paths[-1], row_group_size=1_000_000)
    assert paths[1].stat().st_size > 190_000_000
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    num_rows, megabytes = map(int, done.stdout.split())
    assert num_rows == 1_010_000 and megabytes < 60


def test_lists_that_no_file_could_hold(tmp_path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    from calib_jax.io.outputs import array_files

    table = pa.table({"logits": [[0.0] * 50] * 10_000, "label": [0] * 10_000})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert len(next(iter(cj.io.stream_outputs(tmp_path / "a.parquet", size=9)))) == 9
    monkeypatch.setattr(array_files, "LARGEST", 2**20)
    message = fails(tmp_path / "a.parquet")
    assert "logits is more than 100 times as large unpacked" in message


def test_tools_whose_rows_depend_on_each_other(tmp_path, monkeypatch):
    from calib_jax.io.outputs import tools

    path, _ = harness(tmp_path)
    tool = dataclasses.replace(tools.BY_NAME["lm-eval"], in_blocks=False)
    monkeypatch.setitem(tools.BY_NAME, "lm-eval", tool)
    assert "rows of a file of lm-eval depend on others" in fails(path)
