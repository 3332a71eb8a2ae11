"""Small files that claim or unpack to anything: one line each, within the limits."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
from output_files import one_line, read, sample, write

import calib_jax as cj
from calib_jax.io.outputs import array_files, left_out

pytestmark = pytest.mark.once

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def claim(path, shape, dtype="<f4", data=b"", name="logits"):
    """An array with a header that may lie."""
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    if path.suffix == ".npy":
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(data)
        return path
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        file.write(data)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((2**40, 0), "<f4", "rows without a number"),
        ((2**40,), "<U0", "rows without a number"),
        ((0, 2**60), "<f4", "no row is left"),
        ((2**62, 2**62), "<f4", "claims|at most 4 GiB"),
        ((2**31, 3), "<f4", "claims|at most 4 GiB"),
        ((-1, 3), "<f4", "negative|claims"),
        ((-2, -3), "<f4", "negative|claims"),
    ],
)
def test_shapes_that_lie(tmp_path, suffix, shape, dtype, expected):
    path = claim(tmp_path / f"a{suffix}", shape, dtype)
    message = one_line(path, kind="logits")
    assert any(one in message for one in expected.split("|")), message
    if dtype == "<U0":
        score = write(tmp_path / "b.csv", "score\n0.5\n")
        assert expected in one_line(score, labels=path)


@pytest.mark.parametrize("junk", ["(" * 9000, "-" * 9000 + "1", "[" * 9000])
def test_a_header_that_is_deep(tmp_path, junk):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {junk}".encode()
    size = struct.pack("<H", len(header))
    write(tmp_path / "a.npy", b"\x93NUMPY\x01\x00" + size + header)
    assert "a.npy: " in one_line(tmp_path / "a.npy", kind="logits")


def test_names_that_lead_elsewhere_are_only_names(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    data = np.arange(6, dtype="f4").tobytes()
    for name in ("../../logits", "/etc/logits", "..\\logits"):
        path = claim(folder / "a.npz", (3, 2), data=data, name=name)
        assert "kind=" in one_line(path)
        assert read(path, kind="logits").logits.shape == (3, 2)
    assert [one.name for one in tmp_path.rglob("*")] == ["inner", "a.npz"]


def test_a_tensor_that_lies_outside_its_file(tmp_path):
    pytest.importorskip("safetensors")
    for shape, offsets in (
        ([2**20, 3], [0, 2**20 * 12]),
        ([3, 2], [0, 8]),
        ([3, 2], [2**40, 2**40 + 24]),
        ([2**40, 0], [0, 0]),
    ):
        tensor = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        header = json.dumps({"logits": tensor}).encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
        assert "a.safetensors: cannot be read" in one_line(path)


@pytest.fixture
def unread(monkeypatch):
    def iter_batches(*arguments, **more):
        raise AssertionError("a batch was unpacked")

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", iter_batches)


def test_parquet_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, unread):
    """Equal values are stored once: three megabytes of lists in some hundred bytes."""
    monkeypatch.setattr(array_files, "LARGEST", 2**20)
    numbers = pa.array(np.zeros(2**18, np.float32))
    lists = pa.ListArray.from_arrays([0, 2**17, 2**18], numbers)
    for column in (numbers, lists):
        path = tmp_path / "a.parquet"
        parquet.write_table(pa.table({"logits": column, "label.x": column}), path)
        assert path.stat().st_size < 2**14
        assert "logits would take" in one_line(path)


def test_a_long_text_of_many_rows_is_kept_once(tmp_path):
    texts = ["x" * 2_000_000, "y"]
    which = np.arange(20_000) % 2
    table = pa.table(
        {
            "score": np.arange(20_000) / 2e4,
            "label": pa.DictionaryArray.from_arrays(which.astype(np.int32), texts),
            "prediction": pa.array(["y"] * 20_000),
        }
    )
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, dictionary_pagesize_limit=2**24)
    outputs = read(path)
    np.testing.assert_array_equal(outputs.outcomes, which)
    table = pa.table([[1.0], [2.0]], names=["score", "score"])
    parquet.write_table(table, path)
    assert "column 'score' is there twice" in one_line(path)


def test_blank_lines_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(cj.io.json_lines, "LONGEST_BLANK", 10_000)
    gap = b" \r\n" * 3_334
    for start, end in ((b"score\n1\n", b"2\n"), (b'{"score": 1}\n', b'{"score": 2}')):
        path = write(tmp_path / "a", gzip.compress(start + gap[:9_999] + end, mtime=0))
        assert len(read(path)) == 2
        write(path, gzip.compress(start + gap + end, mtime=0))
        assert "the gap before line 333" in one_line(path)
        write(path, gzip.compress(gap + start, mtime=0))
        assert "begins with 4096 blanks" in one_line(path)


def test_rows_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(left_out, "MOST_ROWS", 3)
    for num_rows in (3, 4):
        lines = [sample(k, [-1.0, -2.0], 0) for k in range(num_rows)]
        files = [
            write(tmp_path / "a.jsonl", lines),
            write(tmp_path / "a.csv", "score\n" + "0.5\n" * num_rows),
        ]
        np.savez(tmp_path / "a.npz", score=np.zeros(num_rows))
        for path in (*files, tmp_path / "a.npz"):
            if num_rows == 3:
                assert len(read(path)) == 3
            else:
                assert "holds more than 3 rows" in one_line(path)


def test_many_names_take_no_longer_than_they_are(tmp_path):
    """Looking each name up among all others would take minutes."""
    names = [f"logit_{k}" for k in range(30_000)]
    path = write(tmp_path / "a.csv", f"{','.join(names)}\n{','.join('1' * 30_000)}\n")
    assert read(path).logits.shape == (1, 30_000)
    write(path, f"{','.join([*names, 'logit_7'])}\n")
    assert "column 'logit_7' is there twice" in one_line(path)
    keys = ",".join(f'"{name}":1' for name in [*names, names[-1]])
    assert "key 'logit_29999' twice" in one_line(write(path, f"{{{keys}}}"))
