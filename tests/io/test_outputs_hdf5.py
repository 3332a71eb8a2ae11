"""Outputs in HDF5: CalArena's groups, arrays on top, and what is refused."""

import sys
import zlib

import numpy as np
import pytest
from output_files import one_line, read, write

import calib_jax as cj
from calib_jax.io.outputs import hdf5

pytestmark = pytest.mark.once

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)


def probabilities(rows, classes=3):
    return RNG.dirichlet(np.ones(classes), rows).astype(np.float32)


@pytest.fixture
def arena(tmp_path):
    """As CalArena's generate_cv_benchmarks.py writes it."""
    path = tmp_path / "cv-multiclass.h5"
    with h5py.File(path, "w") as file:
        file.attrs["source"] = "cv"
        file.attrs["problem_type"] = "multiclass"
        for name in ("c10/resnet110", "c10/densenet40", "birds/resnet50"):
            group = file.create_group(name)
            for part, rows in (("cal", 6), ("test", 9)):
                for field, data in (
                    ("probas", probabilities(rows)),
                    ("labels", (np.arange(rows) % 3).astype(np.int32)),
                ):
                    group.create_dataset(f"{field}_{part}", data=data, compression=4)
    return path


def test_a_model_and_a_half_of_calarena(arena):
    message = one_line(arena)
    assert "holds 3 models: birds/resnet50, c10/densenet40, c10/resnet110" in message
    message = one_line(arena, model="c10/resnet110")
    assert "probas_cal [6, 3], probas_test [9, 3] may all be the values" in message
    assert "columns={'probabilities': 'probas_cal'}" in message
    for part, rows in (("cal", 6), ("test", 9)):
        outputs = read(
            *(arena,),
            model="c10/resnet110",
            columns={"probabilities": f"probas_{part}"},
        )
        with h5py.File(arena) as file:
            given = file[f"c10/resnet110/probas_{part}"][()]
        np.testing.assert_allclose(np.exp(outputs.log_probabilities), given, rtol=1e-5)
        assert outputs.labels.tolist() == [k % 3 for k in range(rows)]
        assert (outputs.model, outputs.task) == ("resnet110", "c10")
        assert outputs.format == "hdf5" and outputs.notes == ()
    # By number, as on the command line.
    outputs = read(arena, model="1", columns={"probabilities": "probas_test"})
    assert outputs.model == "densenet40"
    assert "no models 'c100/resnet110'" in one_line(arena, model="c100/resnet110")


def test_two_classes_of_calarena(tmp_path):
    path = tmp_path / "cv-binary.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("pneumonia/resnet50")
        group.create_dataset("probas_test", data=np.float32([0.1, 0.9, 0.7]))
        group.create_dataset("labels_test", data=np.int32([0, 1, 0]))
    outputs = read(path, kind="probabilities")
    np.testing.assert_allclose(np.exp(outputs.log_probabilities[:, 1]), [0.1, 0.9, 0.7])
    assert outputs.labels.tolist() == [0, 1, 0] and outputs.model == "resnet50"
    # One number a row is read as everywhere else.
    assert read(path).of_class_one


def test_parts_of_a_data_set_in_other_formats(tmp_path):
    arrays = {"logits_val": RNG.normal(size=(4, 2)), "labels_val": np.arange(4) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    assert read(tmp_path / "a.npz").labels.tolist() == [0, 1, 0, 1]
    arrays |= {"logits_test": RNG.normal(size=(2, 2)), "labels_test": np.array([1, 1])}
    np.savez(tmp_path / "a.npz", **arrays)
    assert "may all be the values" in one_line(tmp_path / "a.npz")
    outputs = read(tmp_path / "a.npz", columns={"logits": "logits_test"})
    assert outputs.labels.tolist() == [1, 1]


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip", "shuffle": True}])
def test_arrays_on_top(tmp_path, packing):
    path = tmp_path / "a.h5"
    logits = RNG.normal(size=(4, 3)).astype(">f4")
    packed = packing | ({"fletcher32": True} if packing else {})
    with h5py.File(path, "w") as file:
        file.create_dataset("logits", data=logits, **packed)
        file.create_dataset("labels", data=np.int64([0, 1, 2, 1]), **packing)
        ids = np.array(["a", "b", "ü", "a long one"])
        file.create_dataset("ids", data=np.char.encode(ids, "utf-8"), **packing)
        file.create_dataset("subject", data=np.array([b"x", b"y", b"x", b"y"]))
        file.create_dataset("meta/seed", data=3)
    outputs = read(path)
    np.testing.assert_array_equal(outputs.logits, logits)
    assert outputs.ids == ("a", "b", "ü", "a long one")
    assert outputs.groups == ("x", "y", "x", "y")
    assert outputs.notes == ("Groups of the file that were not read: meta.",)
    (tmp_path / "l.csv").write_text("id,label\na,2\nb,2\nü,2\na long one,1\n")
    assert read(path, labels=tmp_path / "l.csv").labels.tolist() == [2, 2, 2, 1]
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["correct"] = np.array([True, False])
        file["ids"] = np.char.encode(["b", "a"])
    assert read(path, labels=tmp_path / "l.h5").outcomes.tolist() == [0, 1]


def made(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, options in datasets.items():
            file.create_dataset(name, **options)
    return path


def test_links_are_not_followed(tmp_path):
    other = made(tmp_path / "b.h5", logits={"data": np.ones((2, 2))})
    for link in (h5py.ExternalLink(str(other), "/logits"), h5py.SoftLink("/logits")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["probs"] = link
        assert "probs is a link" in one_line(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a/b")
        file["a/b/c"] = file["a"]
    assert "the group a/b/c is there twice" in one_line(tmp_path / "a.h5")
    layout = h5py.VirtualLayout(shape=(2, 2), dtype="f8")
    layout[:] = h5py.VirtualSource(other, "logits", shape=(2, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("logits", layout)
    assert "numbers in other files" in one_line(tmp_path / "a.h5")
    (tmp_path / "secret").write_bytes(np.ones((2, 2)).tobytes())
    outside = {"shape": (2, 2), "dtype": "f8", "external": str(tmp_path / "secret")}
    path = made(tmp_path / "a.h5", logits=outside)
    assert "numbers in other files" in one_line(path)


@pytest.mark.parametrize(
    "dtype",
    [
        [("a", "f4"), ("b", "f4")],
        h5py.vlen_dtype(np.float32),
        h5py.ref_dtype,
        np.dtype("V8"),
        np.complex64,
    ],
)
def test_what_is_not_numbers(tmp_path, dtype):
    path = made(tmp_path / "a.h5", logits={"shape": (3,), "dtype": dtype})
    assert "logits holds objects, records or lists" in one_line(path)


def test_numbers_that_were_never_written(tmp_path):
    """HDF5 reads them as zeros."""
    path = tmp_path / "a.h5"
    for chunks in (None, (2, 2)):
        options = {"shape": (6, 2), "dtype": "f4", "chunks": chunks}
        assert "was not written" in one_line(made(path, logits=options))
    with h5py.File(path, "a") as file:
        file["logits"][:4] = 1.0
    assert "not to its end" in one_line(path)
    with h5py.File(path, "a") as file:
        file["logits"][4:] = 1.0
    assert len(read(path)) == 6


def test_small_files_of_huge_arrays(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    huge = {"shape": (10**9, 10), "dtype": "f4", "chunks": (10**6, 10)}
    assert "would take 37.3 GiB" in one_line(made(path, logits=huge))
    wide = {"shape": (2, 2), "dtype": "f4", "maxshape": (None, None)}
    wide |= {"chunks": (2**15, 2**15 - 1), "compression": "gzip"}
    made(path, logits=wide)
    with h5py.File(path, "a") as file:
        file["logits"].id.write_direct_chunk((0, 0), zlib.compress(b""))
    assert "more than 100 times as large unpacked" in one_line(path) or (
        "would take" in one_line(path)
    )
    texts = {"shape": (2**27,), "dtype": "S1", "chunks": (2**20,)}
    made(path, scores={"data": np.ones(3)}, ids=texts)
    assert "holds more than 100,000,000 texts" in one_line(path)
    made(path, scores={"data": np.ones(2)}, ids={"data": ["a", "bc"]})
    assert "texts of any length" in one_line(path)
    made(path, **{"x" * 1001: {"data": np.ones(2)}})
    assert "longer than 1000 letters" in one_line(path)
    made(path, **{"/".join("x" * 20): {"data": np.ones(2)}})
    assert "deeper than 16 groups" in one_line(path)
    monkeypatch.setattr(hdf5, "_MOST_OBJECTS", 10)
    made(path, **{f"a{k}": {"data": np.ones(2)} for k in range(11)})
    assert "holds more than 10 arrays" in one_line(path)


@pytest.mark.parametrize("checksum", [False, True])
def test_a_chunk_that_is_not_what_it_should_be(tmp_path, checksum):
    """HDF5 itself takes any size."""
    path = tmp_path / "a.h5"
    whole = {"shape": (4, 4), "dtype": "f4", "chunks": (4, 4), "compression": "gzip"}
    rows = np.arange(16, dtype=np.float32).tobytes()

    def given(packed):
        made(path, logits=whole | {"fletcher32": checksum})
        with h5py.File(path, "a") as file:
            file["logits"].id.write_direct_chunk((0, 0), packed)
        return path

    if not checksum:
        assert len(read(given(zlib.compress(rows)))) == 4
    for data in (rows[:-8], rows + bytes(8), bytes(2**22)):
        message = one_line(given(zlib.compress(data)))
        assert "does not unpack to its 64 bytes" in message
    assert "does not unpack" in one_line(given(zlib.compress(rows)[:-9]))
    assert "is damaged" in one_line(given(b"no zlib at all, but a text"))


def test_filters_that_are_not_known(tmp_path):
    """HDF5 would look for a library that has them."""
    path = tmp_path / "a.h5"
    whole = {"data": np.arange(12).reshape(4, 3), "scaleoffset": 0}
    assert "packed with a filter that is not read" in one_line(made(path, logits=whole))
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4, 3))
    plan.set_deflate(9)
    plan.set_deflate(9)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((4, 3))
        made_ = h5py.h5d.create(file.id, b"logits", h5py.h5t.IEEE_F32LE, space, plan)
        made_.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones((4, 3), np.float32))
    assert "packed with a filter that is not read" in one_line(path)
    lzf = {"data": np.ones((400, 3)), "compression": "lzf"}
    assert len(read(made(path, logits=lzf))) == 400


def test_damaged_files(tmp_path, arena):
    data = arena.read_bytes()
    path = tmp_path / "a.h5"
    for size in (len(data) - 1, len(data) // 2, 100, 8):
        one_line(write(path, data[:size]))
    assert "holds no arrays" in one_line(made(path))
    import gzip

    assert "gzipped hdf5 file; unpack it" in one_line(write(path, gzip.compress(data)))
    made(path, logits={"data": np.ones((3, 2))}, labels={"data": np.ones((2, 2))})
    assert "expected labels [N] of N = 3 rows" in one_line(path)
    made(path, logits={"data": np.float64(3)})
    assert "it holds no rows" in one_line(path)


def test_a_missing_package_is_named(arena, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py, which is not installed"):
        read(arena)


def test_groups_are_models_and_data_sets_of_read_many(arena):
    wanted = {"probabilities": "probas_test"}
    found = cj.io.read_many(arena, columns=wanted)
    assert [(one.task, one.model) for one in found] == [
        ("birds", "resnet50"),
        ("c10", "densenet40"),
        ("c10", "resnet110"),
    ]
    for one in found:
        alone = read(arena, columns=wanted, model=f"{one.task}/{one.model}")
        np.testing.assert_array_equal(one.log_probabilities, alone.log_probabilities)
        np.testing.assert_array_equal(one.labels, alone.labels)


def test_a_group_is_read_in_blocks(arena):
    asked = {"columns": {"probabilities": "probas_test"}, "model": "c10/resnet110"}
    whole = read(arena, **asked)
    blocks = list(cj.io.stream_outputs(arena, size=4, **asked))
    assert [len(one) for one in blocks] == [4, 4, 1]
    for name in ("log_probabilities", "labels"):
        parts = [getattr(one, name) for one in blocks]
        np.testing.assert_array_equal(np.concatenate(parts), getattr(whole, name))
    assert {(one.model, one.task) for one in blocks} == {("resnet110", "c10")}
    with pytest.raises(ValueError, match="holds 3 models: .*; say which, with model="):
        next(iter(cj.io.stream_outputs(arena, size=4)))
