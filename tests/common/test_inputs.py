"""Arrays of other libraries and of odd types: taken as they are meant, or refused.

Values are exact in every floating type, so all kinds give the same bits as NumPy's.
"""

import array

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from registry import CASES, cases, example, weighted_mean

import calib_jax as cj

VALUES = {
    "scores": np.float32([0.875, 0.25, 0.625, 0.5, 0.75, 0.375, 0.125, 1.0]),
    "outcomes": np.array([1, 0, 0, 1, 1, 0, 1, 0]),
    "where": np.array([1, 1, 0, 1, 1, 1, 1, 0], bool),
    "weights": np.float32([1, 2, 0.5, 1, 0, 1, 3, 1]),
    "logits": np.float32([[2, 0, 1], [0, 3, 1], [1, 0, 0.5], [0, 0.25, 4]] * 2),
    "labels": np.array([0, 1, 0, 2, 1, 1, 2, 0]),
    "temperature": np.float32(1.5),
}
CALLS = {
    cj.expected_calibration_error: ("scores", "outcomes", "where", "weights"),
    cj.top1: ("logits", "temperature"),
    cj.fit_temperature: ("logits", "labels", "where", "weights"),
    cj.streaming.update_platt: ("scores", "outcomes", "where"),
}
# A new type of logits is a new program: those of the fit take seconds to compile.
FIXED = {cj.fit_temperature: ("logits",)}


def call(function, **given):
    given = {name: given.get(name, VALUES[name]) for name in CALLS[function]}
    first = (
        () if function != cj.streaming.update_platt else (cj.streaming.init_platt(),)
    )
    positional = [given.pop(name) for name in CALLS[function][:2]]
    return jax.tree.leaves(function(*first, *positional, **given))


def tensor(values, dtype=None, **options):
    torch = pytest.importorskip("torch")
    dtype = dtype and getattr(torch, dtype)
    return torch.tensor(np.asarray(values).tolist(), dtype=dtype, **options)


def pandas(values, dtype=None):
    made = pytest.importorskip("pandas")
    kind = made.Series if np.ndim(values) == 1 else made.DataFrame
    return kind(np.asarray(values).tolist(), index=_index(values), dtype=dtype)


def _index(values):
    """Labels of rows that are not their places."""
    return np.arange(len(values))[::-1] + 0.5


def polars(values):
    made = pytest.importorskip("polars")
    kind = made.Series if np.ndim(values) == 1 else made.DataFrame
    given = np.asarray(values)
    return kind(given.tolist()) if given.ndim == 1 else kind(given, list("abc"))


def memory_map(values, tmp_path):
    np.save(tmp_path / "values.npy", values)
    return np.load(tmp_path / "values.npy", mmap_mode="r")


def read_only(values):
    values = np.array(values)
    values.flags.writeable = False
    return values


def strided(values):
    """A view of every second row."""
    return np.repeat(values, 2, axis=0)[::2]


ANY = {
    "list": lambda x: np.asarray(x).tolist(),
    "list of arrays": list,
    "list of tensors": lambda x: list(tensor(x)),
    "list of jax arrays": lambda x: list(jnp.asarray(x)),
    "jax": jnp.asarray,
    "nnx.Param": lambda x: nnx.Param(jnp.asarray(x)),
    "torch": tensor,
    "torch strided": lambda x: tensor(np.repeat(x, 2, axis=0))[::2],
    "pandas": pandas,
    "pandas category": lambda x: pandas(x, "category"),
    "polars": polars,
    "masked, no mask": lambda x: np.ma.array(x, mask=np.zeros(np.shape(x), bool)),
    "read only": read_only,
    "strided": strided,
    "reversed": lambda x: np.array(x)[::-1][::-1],
    "memory map": None,  # Made in the test, which has a folder.
}
FLOATING = {
    "float64": lambda x: np.asarray(x, np.float64),
    "longdouble": lambda x: np.asarray(x, np.longdouble),
    "float16": lambda x: np.asarray(x, np.float16),
    "bfloat16": lambda x: np.asarray(x, ml_dtypes.bfloat16),
    "big-endian": lambda x: np.asarray(x, ">f8"),
    "big-endian float32": lambda x: np.asarray(x, ">f4"),
    "array.array": lambda x: array.array("d", x),
    "memoryview": lambda x: memoryview(np.asarray(x)),
    "list of scalars": lambda x: [np.float32(value) for value in x],
    "torch float16": lambda x: tensor(x, "float16"),
    "torch bfloat16": lambda x: tensor(x, "bfloat16"),
    "torch bfloat16 strided": lambda x: tensor(np.repeat(x, 2, 0), "bfloat16")[::2],
    "torch bfloat16 odd start": lambda x: tensor([x[0], *x], "bfloat16")[1:],
    "torch float64": lambda x: tensor(x, "float64"),
    "torch gradient": lambda x: tensor(x, "float32", requires_grad=True),
    "torch bfloat16 gradient": lambda x: tensor(x, "bfloat16", requires_grad=True),
    "list of gradients": lambda x: list(tensor(x, "float32", requires_grad=True)),
    "list of bfloat16": lambda x: list(tensor(x, "bfloat16")),
    "pandas Float64": lambda x: pandas(x, "Float64"),
}
INTEGER = {
    "int8": lambda x: np.asarray(x, np.int8),
    "uint64": lambda x: np.asarray(x, np.uint64),
    "big-endian": lambda x: np.asarray(x, ">i4"),
    "int4": lambda x: np.asarray(x, ml_dtypes.int4),
    "range": lambda x: x,
    "torch int32": lambda x: tensor(x, "int32"),
    "torch uint8": lambda x: tensor(x, "uint8"),
    "pandas Int64": lambda x: pandas(x, "Int64"),
}
BOOL = {
    "pandas boolean": lambda x: pandas(x, "boolean"),
    "pandas bool": lambda x: pandas(x, bool),
    "torch bool": lambda x: tensor(x, "bool"),
    "list of bools": lambda x: [bool(value) for value in x],
}
SCALAR = {
    "Python": float,
    "0-d": np.asarray,
    "NumPy scalar": np.float64,
    "bfloat16 scalar": ml_dtypes.bfloat16,
    "torch": tensor,
    "torch gradient": lambda x: tensor(x, requires_grad=True),
    "torch bfloat16": lambda x: tensor(x, "bfloat16"),
    "jax": jnp.asarray,
    "nnx.Param": lambda x: nnx.Param(jnp.asarray(x)),
}
TAKEN = {
    "scores": ANY | FLOATING,
    "outcomes": ANY | INTEGER | FLOATING | BOOL,
    "where": ANY | BOOL,
    "weights": ANY | FLOATING,
    "labels": ANY | INTEGER,
    "logits": {
        name: make
        for name, make in (ANY | FLOATING).items()
        if name not in ("array.array", "list of scalars", "pandas category")
    },
    "temperature": SCALAR,
}


@pytest.mark.parametrize(
    ("argument", "kind"), [(name, kind) for name in TAKEN for kind in TAKEN[name]]
)
def test_taken(argument, kind, tmp_path):
    make = TAKEN[argument][kind] or (lambda x: memory_map(x, tmp_path))
    for function, names in CALLS.items():
        if argument in names and argument not in FIXED.get(function, ()):
            given = make(VALUES[argument])
            found = call(function, **{argument: given})
            for ours, theirs in zip(found, call(function), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def missing(dtype):
    """The third row is missing, which `where` removes."""
    pd = pytest.importorskip("pandas")
    return lambda x: pd.Series([*x[:2].tolist(), None, *x[3:].tolist()], dtype=dtype)


REFUSED = {
    "masked": (lambda x: np.ma.array(x, mask=x == x[0]), "masked array .* where="),
    "list of masked": (lambda x: [np.ma.array(x, mask=x == x[0])], "masked array"),
    "object": (lambda x: x.astype(object), "numpy.ndarray of object.*astype"),
    "strings": (
        lambda x: x.astype(str),
        r"numpy.ndarray of str.*\.astype\(float\)|np\.unique",
    ),
    "one string": (str, "got str"),
    "pandas strings": (lambda x: pandas(x.astype(str)), "pandas.Series of object"),
    "None among": (lambda x: [None, *x[1:].tolist()], "list of object.*missing"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "list, which is not an array"),
    "dict": (lambda x: {"a": x}, "got dict"),
    "iterator": (lambda x: iter(x.tolist()), "list_iterator"),
    "complex": (lambda x: x.astype(complex), "complex128"),
    "dates": (lambda x: np.full(8, "2020-01-01", "M8[D]"), "datetime64"),
    "raw bytes": (lambda x: np.zeros(8, "V2"), r"void16.*view\(jnp.bfloat16\)"),
    "records": (lambda x: np.zeros(8, [("a", int)]), r"void64\.$"),
    "keys": (lambda x: jax.random.split(jax.random.key(0), 8), "key<fry>"),
    "torch sparse": (lambda x: tensor(x).to_sparse(), r"torch\.Tensor.*not an array"),
    "shape": (lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), "ShapeDtypeStruct"),
    "scalar": (lambda x: x[0], r"\[\]"),
    "one row": (lambda x: x[None], r"\[1, 8\]"),
}
REFUSED_BY = [
    (name, *REFUSED[kind], kind)
    for name in ("scores", "outcomes", "where", "weights", "labels")
    for kind in REFUSED
] + [
    ("labels", lambda x: x.astype(float), r"float64\[8\].*\.astype\(int\)", "floats"),
    ("labels", lambda x: tensor(x, "float32"), "astype.int", "torch"),
    ("labels", missing("Int64"), "-1 for missing labels.*where=", "missing"),
    ("labels", lambda x: x > 0, r"bool\[8\].*\.astype\(int\)", "bools"),
    ("scores", lambda x: np.arange(8), r"int64\[8\].*\.astype\(float\)", "integers"),
    ("where", lambda x: x.astype(int), r"int64\[8\].*\.astype\(bool\)", "integers"),
    ("where", lambda x: tensor(x, "float32"), r"float32\[8\].*astype\(bool\)", "torch"),
    ("where", missing("boolean"), "pandas.Series of object.*missing", "missing"),
    ("outcomes", missing("boolean"), "pandas.Series of object", "missing bools"),
    ("logits", lambda x: x.astype(int), r"int64\[8, 3\]", "integers"),
    ("logits", lambda x: np.ma.array(x, mask=x == 0), "masked array", "masked"),
    ("logits", lambda x: x.astype(object), "ndarray of object", "object"),
    (
        "scores",
        lambda x: cj.Temperature(temperature=x),
        r"calib_jax\.Temperature\. Pass an array of it: \.temperature\.",
        "Temperature",
    ),
]


@pytest.mark.parametrize(
    ("argument", "make", "shows"),
    [pytest.param(*case[:3], id=f"{case[0]}-{case[3]}") for case in REFUSED_BY],
)
def test_refused(argument, make, shows):
    for function, names in CALLS.items():
        if argument in names:
            with pytest.raises(ValueError, match=rf"^{argument}: .*{shows}"):
                call(function, **{argument: make(VALUES[argument])})


def test_missing_values_are_nan_unless_masked():
    without = {"where": np.ones(8, bool)}
    for argument in ("scores", "outcomes"):
        rows = {argument: missing("Float64")(VALUES[argument])}
        (error,) = call(cj.expected_calibration_error, **rows, **without)
        assert np.isnan(error)
        found = call(cj.expected_calibration_error, **rows)
        assert found == call(cj.expected_calibration_error)


def aligned(values, offset):
    """A copy of which JAX might use the memory itself, or has to copy."""
    buffer = np.empty(values.nbytes + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    copy = buffer[start : start + values.nbytes].view(values.dtype)
    copy = copy.reshape(values.shape)
    copy[:] = values
    return copy


@pytest.mark.parametrize("kind", ["aligned", "not aligned", "bfloat16", "torch"])
def test_buffers_may_be_reused_at_once(kind):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2**15, 16)).astype(np.float32)
    scores = rng.random(2**18).astype(np.float32)
    outcomes = (rng.random(2**18) < scores).astype(np.float32)
    offset = 0 if kind == "aligned" else 4
    make = {"bfloat16": lambda x: tensor(x, "bfloat16"), "torch": tensor}
    make = make.get(kind, lambda x: aligned(x, offset))

    def results(overwrite):
        results = []
        for function, arguments in (
            (cj.top1, (logits,)),
            (cj.expected_calibration_error, (scores, outcomes)),
        ):
            given = [make(values) for values in arguments]
            result = function(*given)
            for buffer in given if overwrite else ():
                buffer[:] = 0
            results += jax.tree.leaves(result)
        return results

    for ours, theirs in zip(results(True), results(False), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def as_tensor(value):
    """The same numbers; keys of JAX and what is no array as they are."""
    if not isinstance(value, (np.ndarray, jax.Array)):
        return value
    if value.dtype == np.uint32 or jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    kind = {"f": "float32", "b": "bool"}.get(np.dtype(value.dtype).kind, "int64")
    return tensor(value, kind)


@pytest.mark.slow
@pytest.mark.once
@cases([case for case in CASES if case.make is not None])
def test_every_function_takes_tensors(case):
    given = example(case)
    tensors = {
        name: value if name in case.static else as_tensor(value)
        for name, value in given.items()
    }
    found, expected = jax.tree.leaves(case(**tensors)), jax.tree.leaves(case(**given))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_keys():
    """Typed and raw keys, of JAX and of NumPy, give the same draws."""
    typed = jax.random.key(3)
    raw = jax.random.key_data(typed)
    draws = [
        cj.bootstrap(key, weighted_mean, 3, VALUES["scores"])
        for key in (typed, raw, np.asarray(raw))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])
    for wrong, shows in (
        (np.array([0, 1, 3], np.uint32), r"uint32\[3\]"),
        (jax.random.split(typed, 3), r"key<fry>\[3\]"),
        (np.zeros(2), r"float64\[2\]"),
        (3, "3"),
    ):
        with pytest.raises(ValueError, match=f"key: expected one key.*{shows}"):
            cj.bootstrap(wrong, weighted_mean, 3, VALUES["scores"])


def test_values_of_records_made_by_hand():
    """Arrays of NumPy in a record keep its rules; those of a device are not read."""
    for call, shows in (
        (lambda: cj.bin_index(cj.Bins(edges=np.float32([0.9, 0.1])), [0.5]), "ascend"),
        (lambda: cj.bin_index(cj.Bins(edges=None), [0.5]), "got NoneType"),
    ):
        with pytest.raises(ValueError, match=rf"bins\.edges: expected .*{shows}"):
            call()
