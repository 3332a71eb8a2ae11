"""Outputs in files of arrays: what names tell, what is asked for, what is refused."""

import struct
import sys
import tracemalloc
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
from output_files import one_line, read

import calib_jax as cj
from calib_jax.io.outputs import array_files

pytestmark = pytest.mark.once

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
safetensors = pytest.importorskip("safetensors.numpy")

RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet(np.ones(3), 7).astype(np.float32)
LOGITS = RNG.normal(size=(7, 3)).astype(np.float32)
LABELS = np.arange(7) % 3


def save(path, arrays):
    """The same arrays in any of the formats."""
    match path.suffix:
        case ".npz":
            np.savez_compressed(path, **arrays)
        case ".safetensors":
            safetensors.save_file(arrays, path)
        case ".parquet":
            parquet.write_table(
                pa.table({name: list(array) for name, array in arrays.items()}), path
            )
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_names_tell_the_kind(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", {"probs": PROBABILITIES, "label": LABELS})
    outputs = read(path)
    assert outputs.format == suffix[1:] and outputs.kind == "probabilities"
    assert outputs.log_probabilities.dtype == np.float32
    np.testing.assert_array_equal(
        outputs.log_probabilities, np.log(PROBABILITIES.astype(float)).astype("f4")
    )
    assert outputs.labels.dtype == np.int32
    np.testing.assert_array_equal(outputs.labels, LABELS)
    assert outputs.logits is None and outputs.scores is None
    assert not outputs.has_ids and outputs.ids == tuple("0123456")
    assert outputs.dropped == {} and outputs.notes == () and len(outputs) == 7

    path = save(tmp_path / f"b{suffix}", {"Logits": LOGITS, "correct": LABELS > 0})
    outputs = read(path)
    assert outputs.kind == "logits" and outputs.labels is None
    np.testing.assert_array_equal(outputs.logits, LOGITS)
    np.testing.assert_array_equal(outputs.outcomes, LABELS > 0)

    path = save(tmp_path / f"c{suffix}", {"confidence": PROBABILITIES[:, 0].copy()})
    outputs = read(path)
    assert outputs.kind == "scores"
    np.testing.assert_array_equal(outputs.scores, PROBABILITIES[:, 0])


@pytest.mark.parametrize(
    "values", [PROBABILITIES, LOGITS, np.log(PROBABILITIES)], ids=["p", "z", "log p"]
)
def test_logits_and_probabilities_are_not_guessed(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values)
    np.savetxt(tmp_path / "a.csv", values, delimiter=",")
    for name in ("a.npy", "a.npz", "a.csv"):
        assert "kind=" in one_line(tmp_path / name)
        assert read(tmp_path / name, kind="logits").logits.shape == (7, 3)


def test_a_kind_that_values_contradict(tmp_path):
    np.save(tmp_path / "a.npy", LOGITS)
    for kind in ("probabilities", "log_probabilities"):
        assert f"expected {kind}" in one_line(tmp_path / "a.npy", kind=kind)
    assert "expected scores [N]" in one_line(tmp_path / "a.npy", kind="scores")
    np.save(tmp_path / "a.npy", np.full((7, 3), 0.6))
    assert "add up to 1" in one_line(tmp_path / "a.npy", kind="probabilities")
    np.save(tmp_path / "a.npy", PROBABILITIES[:, 0])
    assert "kind='scores'" in one_line(tmp_path / "a.npy", kind="log_probabilities")
    np.savez(tmp_path / "a.npz", logits=LOGITS)
    assert "columns=" in one_line(tmp_path / "a.npz", kind="probabilities")
    np.save(tmp_path / "a.npy", LABELS)
    assert "labels alone" in one_line(tmp_path / "a.npy")


@pytest.mark.parametrize("value", ["logit", 3, b"logits"])
@pytest.mark.parametrize("name", ["kind", "format", "repeats"])
def test_arguments_that_are_none_of_the_words(tmp_path, name, value):
    np.save(tmp_path / "a.npy", LOGITS)
    with pytest.raises(ValueError, match=f"^{name}: expected one of"):
        read(tmp_path / "a.npy", **{name: value})


def test_zeros_are_named_and_sums_kept(tmp_path):
    given = np.array([[0.5, 0.5, 0.0], [0.33, 0.33, 0.33], [0.2, 0.2, 0.2]])
    np.save(tmp_path / "a.npy", given)
    outputs = read(tmp_path / "a.npy", kind="probabilities")
    np.testing.assert_allclose(np.exp(outputs.log_probabilities), given, rtol=1e-6)
    less, zero = outputs.notes
    assert less.startswith("The probabilities of 1 of 3 rows add up to less than 1")
    assert zero.startswith("1 of 3 rows have an option of probability 0 (first: row 0)")


def test_rows_without_values_are_dropped(tmp_path):
    logits = LOGITS.copy()
    logits[1, 0], logits[2, 1], logits[4] = np.nan, np.inf, -np.inf
    np.savez(
        tmp_path / "a.npz", logits=logits, labels=np.where(LABELS == 2, -1, LABELS)
    )
    outputs = read(tmp_path / "a.npz")
    assert outputs.ids == ("0", "3", "6")
    assert outputs.dropped == {
        "a NaN among the values": 1,
        "a logit of +inf": 1,
        "no option has a probability": 1,
        "no label": 1,
    }
    assert outputs.dropped_at["a NaN among the values"] == ("row 1",)
    assert outputs.dropped_at["no label"] == ("row 5",)
    np.savez(tmp_path / "b.npz", scores=np.full(3, np.nan))
    assert "3 x a score that is NaN" in one_line(tmp_path / "b.npz")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_logits_keep_their_type(tmp_path, dtype):
    safetensors.save_file({"logits": LOGITS.astype(dtype)}, tmp_path / "a.safetensors")
    outputs = read(tmp_path / "a.safetensors")
    assert outputs.logits.dtype == dtype
    np.testing.assert_array_equal(outputs.logits, LOGITS.astype(dtype))
    assert cj.top1(outputs.logits).prediction.shape == (7,)
    np.save(tmp_path / "a.npy", LOGITS.astype(dtype))
    np.savez(tmp_path / "a.npz", logits=LOGITS.astype(dtype))
    for name in ("a.npy", "a.npz"):
        outputs = read(tmp_path / name, kind="logits")
        assert outputs.logits.dtype == dtype
        np.testing.assert_array_equal(outputs.logits, LOGITS.astype(dtype))


def test_logits_of_64_bits_become_float32(tmp_path):
    np.save(tmp_path / "a.npy", np.vstack([LOGITS, [[1e300, 0, 0]]]).astype(float))
    outputs = read(tmp_path / "a.npy", kind="logits")
    assert outputs.logits.dtype == np.float32
    assert outputs.dropped == {"a logit of +inf": 1}


def test_several_arrays_need_columns(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, small_probs=PROBABILITIES, large_probs=PROBABILITIES[::-1], y=LABELS)
    message = one_line(path)
    assert "small_probs [7, 3], large_probs [7, 3]" in message and "columns=" in message
    outputs = read(path, columns={"probabilities": "large_probs", "labels": "y"})
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), PROBABILITIES[::-1], rtol=1e-6
    )
    np.testing.assert_array_equal(outputs.labels, LABELS)
    assert "has no 'probs'" in one_line(path, columns={"probabilities": "probs"})
    with pytest.raises(ValueError, match="^columns: expected"):
        read(path, columns={"weights": "y"})
    np.savez(path, wide_probs=PROBABILITIES)
    assert read(path).kind == "probabilities"
    np.savez(path, logits=LOGITS, probs=PROBABILITIES)
    assert read(path).notes == ("The file also holds probabilities.",)
    assert read(path, kind="probabilities").log_probabilities.shape == (7, 3)
    np.savez(path, probs=PROBABILITIES, label=LABELS, target=LABELS)
    assert "label and target may all be the labels" in one_line(path)
    np.savez(path, probs=PROBABILITIES, label=LABELS[:5])
    assert "labels [N] of N = 7" in one_line(path)
    np.savez(path, log_confidence=LOGITS.T, correct=LABELS)
    assert "save their names as an array models" in one_line(path)


def test_what_is_not_read_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, test_logits=LOGITS, test_labels=LABELS)
    outputs = read(path)
    np.testing.assert_array_equal(outputs.labels, LABELS)
    assert outputs.notes == ()
    np.savez(path, test_log_probs=np.log(PROBABILITIES), test_labels=LABELS)
    assert read(path).kind == "log_probabilities" and read(path).labels is not None
    np.savez(path, logits=LOGITS, y=LABELS)
    (note,) = read(path).notes
    assert note == "No name says labels or outcomes; not read: y."
    assert read(path, columns={"logits": "logits", "labels": "y"}).notes == ()


def test_one_column_is_one_number_a_row(tmp_path):
    path = tmp_path / "a.npz"
    right = LABELS > 0
    np.savez(path, probs=PROBABILITIES[:, :1], correct=right[:, None])
    for kind in (None, "scores"):
        outputs = read(path, kind=kind)
        np.testing.assert_array_equal(outputs.scores, PROBABILITIES[:, 0])
        np.testing.assert_array_equal(outputs.outcomes, right)
    np.savez(path, logits=LOGITS)
    np.save(tmp_path / "labels.npy", LABELS[:, None])
    outputs = read(path, labels=tmp_path / "labels.npy")
    np.testing.assert_array_equal(outputs.labels, LABELS)


def test_columns_of_one_class_each(tmp_path):
    columns = {f"prob_{k}": PROBABILITIES[:, k] for k in (2, 0, 1)}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    outputs = read(tmp_path / "a.parquet")
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), PROBABILITIES, rtol=1e-6
    )
    del columns["prob_1"]
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert "columns=" in one_line(tmp_path / "a.parquet")
    outputs = read(
        tmp_path / "a.parquet",
        columns={"scores": "prob_0"},
    )
    np.testing.assert_array_equal(outputs.scores, PROBABILITIES[:, 0])


def test_parquet_with_text_and_missing_numbers(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "id": [3, 1, 2],
        "score": [0.5, None, 0.7],
        "prediction": pa.array(["cat", "dog", "cat"]).dictionary_encode(),
        "label": ["cat", "cat", "dog"],
        "subject": ["x", "y", "x"],
        "cost_usd": [0.1, 0.2, 0.3],
    }
    parquet.write_table(pa.table(table), path)
    outputs = read(path)
    assert outputs.ids == ("3", "2") and outputs.choices == ("cat", "dog")
    assert outputs.outcomes.tolist() == [1, 0] and outputs.groups == ("x", "x")
    assert outputs.labels.tolist() == [0, 1] and outputs.predictions.tolist() == [0, 0]
    np.testing.assert_allclose(outputs.cost, [0.1, 0.3])
    parquet.write_table(pa.table(table | {"id": [3, 1, None]}), path)
    assert "row 2 has no id" in one_line(path)
    parquet.write_table(pa.table({"probs": [[0.5, 0.5], [1.0]]}), path)
    assert "lists of one length, got 1 to 2" in one_line(path)
    parquet.write_table(pa.table({"probs": [[0.5, 0.5], None]}), path)
    assert "1 rows without a list" in one_line(path)


def test_pickles_are_never_loaded(tmp_path):
    """Loading one of these would raise `SystemExit`."""

    class Exit:
        def __reduce__(self):
            return sys.exit, ("a pickle was loaded",)

    array = np.array([Exit()], object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", logits=array, allow_pickle=True)
    array.dump(tmp_path / "a.pkl")
    for name in ("a.npy", "a.npz", "a.pkl"):
        assert "pickle" in one_line(tmp_path / name, kind="logits")
        assert "pickle" in one_line(tmp_path / name, format="npy", kind="logits") or (
            name != "a.npy"
        )


def test_claims_larger_than_the_file(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    assert "claims 80000000000000" in one_line(tmp_path / "a.npy", kind="logits")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        with archive.open("logits.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
    assert "at most 4 GiB" in one_line(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        with archive.open("logits.npy", "w") as file:
            header["shape"] = (10, 10)
            np.lib.format.write_array_header_1_0(file, header)
    assert "claims 800 bytes and has 0" in one_line(tmp_path / "a.npz")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**20) + b"{" * 9)
    assert "cannot be read" in one_line(tmp_path / "a.safetensors")


def test_a_header_is_not_unpacked_if_it_is_long(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("logits.npy", "w") as file:
            file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**24))
            file.write(b" " * 2**24)
    tracemalloc.start()
    try:
        message = one_line(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert f"a header of {2**24} bytes" in message and "pickle" not in message


def test_small_files_of_huge_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "BOMB", (100, 2**22))
    monkeypatch.setattr(array_files, "LARGEST", 2**24)
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**12, 2**9)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("logits.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(2**3):
                file.write(bytes(2**20))
    assert "100 times as large" in one_line(tmp_path / "a.npz")
    zeros = pa.array(np.zeros(2**18, np.float32))
    lists = pa.array([np.zeros(2**18)] * 9)
    for column in (pa.chunked_array([zeros] * 20), pa.chunked_array([lists])):
        parquet.write_table(pa.table({"logits": column}), tmp_path / "a.parquet")
        assert "at most 0 GiB" in one_line(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".parquet"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, LOGITS)
    else:
        save(path, {"logits": LOGITS, "labels": LABELS})
    data = path.read_bytes()
    for size in (len(data) - 1, len(data) // 2, 100, 20):
        path.write_bytes(data[:size])
        one_line(path, kind="logits")


@pytest.mark.parametrize("package", ["pyarrow", "safetensors"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    path = tmp_path / ("a.parquet" if package == "pyarrow" else "a.safetensors")
    save(path, {"logits": LOGITS})
    for name in (package, f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    expected = rf"needs {package}, which is not installed: .*calib-jax\[report\]"
    with pytest.raises(ImportError, match=expected):
        read(path)


def test_what_is_read_fits(tmp_path):
    """A temperature from log-probabilities is that from logits."""
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(500, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 500)
    np.savez(tmp_path / "a.npz", logits=logits, label=labels)
    probabilities = np.asarray(jax.nn.softmax(logits), float)
    np.savez(tmp_path / "b.npz", probs=probabilities, label=labels)
    one, other = (read(tmp_path / name) for name in ("a.npz", "b.npz"))
    expected, _ = cj.fit_temperature(one.logits, one.labels)
    found, _ = cj.fit_temperature(other.log_probabilities, other.labels)
    np.testing.assert_allclose(found.temperature, expected.temperature, rtol=1e-5)


def loaded(path):
    with np.load(path) as arrays:
        return dict(arrays)


def test_real_outputs(data_folder):
    path = data_folder / "vision" / "cifar100.npz"
    message = one_line(path)
    assert "lenet_5_probs [10000, 100]" in message and "columns=" in message
    given = loaded(path)
    outputs = read(path, columns={"probabilities": "wideresnet_16_4_probs"})
    np.testing.assert_array_equal(outputs.labels, given["label"])
    probabilities = given["wideresnet_16_4_probs"]
    best = cj.top1(outputs.log_probabilities)
    np.testing.assert_array_equal(best.prediction, probabilities.argmax(axis=1))
    np.testing.assert_allclose(best.confidence, probabilities.max(axis=1), rtol=1e-5)

    path = data_folder / "language" / "emotion.npz"
    outputs = read(path, columns={"logits": "qwen_14b_logits"})
    np.testing.assert_array_equal(outputs.logits, loaded(path)["qwen_14b_logits"])

    path = data_folder / "vision" / "imagenet.npz"
    columns = {"scores": "resnet34_conf", "predictions": "resnet34_pred"}
    outputs, given = read(path, columns=columns), loaded(path)
    expected = given["resnet34_pred"] == given["label"]
    np.testing.assert_array_equal(outputs.outcomes, expected)
    assert len(outputs) == 50_000 and outputs.dropped == {}

    for name in ("mmlu_llama_test", "arc_challenge", "mmlu_redux"):
        path = data_folder / "language" / f"{name}.npz"
        given = loaded(path)
        models = given["models"].tolist()
        message = one_line(path)
        assert f"holds {len(models)} models: {', '.join(models[:3])}" in message
        for number, model in enumerate(models):
            outputs = read(path, model=model)
            rows = np.array(list(map(int, outputs.ids)))
            scores = given.get("confidence", given.get("log_confidence"))[number]
            np.testing.assert_array_equal(outputs.scores, scores[rows])
            np.testing.assert_array_equal(
                outputs.outcomes, given["correct"][number][rows]
            )
            if "cost_usd" in given:
                np.testing.assert_array_equal(
                    outputs.cost, given["cost_usd"][number][rows]
                )
            assert len(outputs) + sum(outputs.dropped.values()) == len(scores)


def test_one_of_several_models(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {
        "models": np.array(["small", "large"]),
        "probs": np.stack([PROBABILITIES, PROBABILITIES[::-1]]),
        "label": LABELS,
        "cost": np.arange(14.0).reshape(2, 7),
    }
    np.savez(path, **arrays)
    assert "holds 2 models: small, large; say which, with model=" in one_line(path)
    for model in ("large", 1):
        outputs = read(path, model=model)
        expected = np.log(PROBABILITIES[::-1].astype(float)).astype("f4")
        np.testing.assert_array_equal(outputs.log_probabilities, expected)
        np.testing.assert_array_equal(outputs.labels, LABELS)
        assert outputs.cost.tolist() == list(range(7, 14))
    for model in ("Large", 2, -1):
        message = one_line(path, model=model)
        assert f"has no models {model!r}; it has small, large" in message
    np.savez(path, **arrays | {"models": np.array(["a", "a"])})
    assert "has 2 models 'a'" in one_line(path, model="a")
    for model in (True, 1.5, ["small"]):
        with pytest.raises(ValueError, match="^model: expected a name or a number"):
            read(path, model=model)
    np.savez(path, probs=PROBABILITIES)
    assert "has no array models" in one_line(path, model=0)
    (tmp_path / "a.csv").write_text("score\n0.5\n")
    assert "csv files hold one model" in one_line(tmp_path / "a.csv", model="a")


def test_probabilities_are_smoothed_on_request(tmp_path):
    given = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.savez(tmp_path / "a.npz", probs=given, logits=given)
    more = {"kind": "probabilities", "smoothing": 1 / 16}
    outputs = read(tmp_path / "a.npz", **more)
    expected = 15 / 16 * given[:2] + 1 / 16 / 3
    np.testing.assert_allclose(np.exp(outputs.log_probabilities), expected, rtol=1e-6)
    assert outputs.dropped == {"no option has a probability": 1}
    note = "0.0625 of each row's probability is spread evenly over its options."
    assert outputs.notes[-1] == note
    assert "smoothing: is for probabilities, and these are logits" in one_line(
        tmp_path / "a.npz", smoothing=0.1
    )
    for smoothing in (0, 1, -0.5, float("nan"), True, "0.1"):
        with pytest.raises(ValueError, match="^smoothing: expected a number above 0"):
            read(tmp_path / "a.npz", kind="probabilities", smoothing=smoothing)


@pytest.mark.parametrize("dtype", [">f4", ">f2", ">f8"])
def test_bytes_in_the_other_order(tmp_path, dtype):
    labels = LABELS.astype(">i4")
    np.savez(tmp_path / "a.npz", logits=LOGITS.astype(dtype), label=labels)
    outputs = read(tmp_path / "a.npz")
    assert outputs.logits.dtype.isnative and outputs.labels.tolist() == LABELS.tolist()
    np.testing.assert_array_equal(outputs.logits, LOGITS.astype(dtype))
    assert cj.top1(outputs.logits).prediction.shape == (7,)


@pytest.mark.parametrize("labels", [LABELS, np.array(list("acb"))[LABELS]])
def test_an_array_names_the_classes(tmp_path, labels):
    path = tmp_path / "a.npz"
    arrays = {"logits": LOGITS, "labels": labels, "choices": list("acb")}
    np.savez(path, **arrays)
    outputs = read(path)
    assert outputs.choices == ("a", "c", "b") and outputs.notes == ()
    np.testing.assert_array_equal(outputs.labels, LABELS)
    # Names of other classes than these are not those of the columns.
    assert "choices: expected the options of" in one_line(path, choices=["a", "b", "d"])
    np.savez(path, **{**arrays, "labels": LABELS, "choices": list("acbd")})
    assert read(path).choices is None
    np.savez(path, **{**arrays, "labels": LABELS, "choices": [1, 2, 3]})
    assert read(path).choices is None
    np.savez(path, **{**arrays, "choices": list("aca")})
    assert "two classes alike" in one_line(path)
