"""Tables and fits of blocks of rows against the functions of arrays."""

import builtins
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax.streaming.blocks import tables as block_tables
from tests.streaming.test_streaming import NUM_BINS, ROWS, equal, same
from tests.streaming.test_streaming_fits import (
    FACTS,
    SIZE,
    class_rows,
    relative,
    scored,
)

# The registry runs the same functions in 64-bit mode.
pytestmark = pytest.mark.once


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def masked(rng):
    scores = rng.choice(np.float32(rng.normal(size=200)), ROWS)
    where = rng.random(ROWS) < 0.8
    return np.where(where, scores, np.nan), rng.random(ROWS), where


def test_blocks_equal_the_arrays(rng, tmp_path):
    scores, outcomes, where = masked(rng)
    np.save(tmp_path / "scores.npy", scores)
    scores = np.load(tmp_path / "scores.npy", mmap_mode="r")
    blocks = cj.streaming.blocks.from_arrays(scores, outcomes, where, size=250)
    assert [len(block[0]) for block in blocks] == [250, 250, 100]
    bins = cj.equal_count_bins(scores, NUM_BINS, where=where)
    ones = np.ones(ROWS)
    table = cj.reliability_table(bins, scores, outcomes, where=where, weights=ones)
    same(cj.streaming.blocks.reliability_table(blocks, NUM_BINS), (table, bins))
    confidence = np.exp(-np.abs(scores))
    bins = cj.equal_count_bins(confidence, NUM_BINS, where=where)
    table = cj.reliability_table(bins, confidence, outcomes, where=where, weights=ones)
    of_confidence = cj.streaming.blocks.from_arrays(
        confidence, outcomes, where, size=250
    )
    equal(
        cj.streaming.blocks.expected_calibration_error(of_confidence, NUM_BINS),
        cj.metrics.calibration_error_of_table(table),
    )
    # Blocks of other sizes, one empty; and a valid NaN shows.
    blocks = [
        (scores[k], np.float32(outcomes[k])) for k in np.split(np.arange(ROWS), [250])
    ]
    blocks = [(np.zeros(0), np.zeros(0)), *blocks]
    actual, _ = cj.streaming.blocks.reliability_table(blocks, bins=bins)
    every = np.ones(ROWS, bool)
    same(
        actual,
        cj.reliability_table(bins, scores, outcomes, where=every, weights=ones),
    )
    assert np.isnan(actual.confidence).all()


def test_blocks_that_do_not_start_anew_are_refused():
    class Once:
        def __init__(self, *blocks):
            self.blocks = iter(blocks)

        def __iter__(self):
            return self.blocks

    rows = np.float32([0.1, 0.4, 0.6]), np.array([0, 1, 1])
    with pytest.raises(ValueError, match="same 3 rows .* got 0"):
        cj.streaming.blocks.reliability_table(Once(rows), 2)
    with pytest.raises(ValueError, match="same 3 rows .* got 0"):
        cj.streaming.blocks.fit_platt(Once((rows[0], np.array([1, 0, 1]))))


class Shuffled:
    """Rows in a new order at every `iter()`, like a data loader."""

    def __init__(self, *rows, drop_last):
        self.rows, self.drop_last = rows, drop_last
        self.rng = np.random.default_rng(0)

    def __iter__(self):
        order = self.rng.permutation(len(self.rows[0]))
        order = order[: len(order) - 7] if self.drop_last else order
        for part in np.array_split(order, 3):
            yield tuple(row[part] for row in self.rows)


def test_other_rows_in_a_later_pass_are_noticed(rng):
    labels = rng.integers(0, 9, 100)
    logits = np.float32(rng.normal(size=(100, 9)) + 2 * np.eye(9)[labels])
    outcomes = rng.random(100)
    of_blocks = cj.streaming.blocks
    for function, rows in (
        (of_blocks.fit_temperature, (logits, labels)),
        (of_blocks.fit_platt, (logits[:, 0], outcomes)),
        (of_blocks.expected_calibration_error, (rng.random(100), outcomes)),
        (of_blocks.reliability_table, (logits[:, 0], jnp.float32(outcomes))),
    ):
        with pytest.raises(ValueError, match="same 93 rows .* got others"):
            function(Shuffled(*rows, drop_last=True))
        function(Shuffled(*rows, drop_last=False))


def test_blocks_are_read_on_the_host():
    of_blocks = cj.streaming.blocks
    scores, outcomes = np.float32([0.1, 0.4, 0.6]), np.array([0, 1, 1])
    rows = of_blocks.from_arrays(scores, outcomes)
    classes = of_blocks.from_arrays(np.eye(3, dtype=np.float32), outcomes)
    for call in (
        lambda x: of_blocks.fit_platt(rows),
        lambda x: of_blocks.fit_platt([(x, outcomes)]),
        lambda x: of_blocks.fit_temperature(classes),
        lambda x: of_blocks.fit_temperature(classes, class_where=x > 0),
        lambda x: of_blocks.reliability_table(rows, 2),
        lambda x: of_blocks.expected_calibration_error(rows, bins=cj.Bins(edges=x)),
    ):
        with pytest.raises(ValueError, match="(blocks|class_where): .*on the host"):
            jax.eval_shape(call, scores)
    with pytest.raises(ValueError, match=r"blocks\[0\]: scores: .*on the host"):
        jax.vmap(lambda x: of_blocks.fit_platt([(x, outcomes)]))(scores[None])
    with pytest.raises(ValueError, match=r"bins: .*on the host"):
        jax.vmap(lambda x: of_blocks.reliability_table(rows, bins=cj.Bins(edges=x)))(
            scores[None]
        )


def test_no_blocks():
    table, bins = cj.streaming.blocks.reliability_table([], NUM_BINS)
    equal(bins.edges, np.inf)
    equal(table.count, 0)
    assert np.isnan(cj.streaming.blocks.expected_calibration_error([], 1))


def test_counting_in_blocks_beyond_32_bits(rng, monkeypatch):
    """Every row is counted 2^33 times, too often for int32."""
    scores = np.float32(rng.normal(size=100))
    for name in ("_extent_of_block", "_count_block"):
        function = getattr(block_tables, name)

        def many(*arguments, function=function, **static):
            found = function(*arguments, **static)
            if isinstance(found, tuple):
                return np.asarray(found[0], np.int64) * 2**33, found[1]
            return np.asarray(found, np.int64) * 2**33

        monkeypatch.setattr(block_tables, name, many)
    _, bins = cj.streaming.blocks.reliability_table([(scores, scores > 0)], NUM_BINS)
    equal(bins.edges, cj.equal_count_bins(np.repeat(scores, 2**5), NUM_BINS).edges)


@pytest.mark.parametrize(
    ("blocks", "shows"),
    [
        (iter([]), "blocks: .*iter.*list_iterator"),
        (5, "blocks: .*int"),
        ([np.ones(3)], r"blocks\[0\]: .*scores, outcomes.*ndarray"),
        ([(np.ones(3),)], r"blocks\[0\]: .*tuple of 1"),
        ([(np.ones(3), 1.0)], r"blocks\[0\]: .*scalar"),
        ([(np.ones(3), np.ones(2))], r"scores, outcomes: .*\[3\].*\[2\]"),
        ([(np.ones(3), np.ones(3), np.ones(3))], "where: .*bool"),
        ([(np.ones(3, int), np.ones(3))], "scores: .*floating"),
    ],
)
def test_wrong_blocks(blocks, shows):
    with pytest.raises(ValueError, match=shows):
        cj.streaming.blocks.expected_calibration_error(blocks)


def test_wrong_arrays_of_blocks():
    for arrays, given, shows in (
        ((), {}, "arrays"),
        ((1.0,), {}, "arrays"),
        ((np.ones(3), np.ones(2)), {}, r"\[3\].*\[2\]"),
        ((np.ones(3),), {"size": 0}, "size.*0"),
    ):
        with pytest.raises(ValueError, match=shows):
            cj.streaming.blocks.from_arrays(*arrays, **given)


def test_values_of_blocks_outside_their_domain():
    """They are found in the first pass; device arrays give NaN."""
    scores, outcomes = np.linspace(0, 1, 8), np.arange(8) % 2
    blocks_of, read = cj.streaming.blocks, []

    class Blocks:
        def __iter__(self):
            read.append(None)
            yield from blocks_of.from_arrays(self.scores, self.outcomes, size=4)

    blocks = Blocks()
    for blocks.scores, blocks.outcomes, message in (
        (100 * scores, outcomes, r"blocks\[0\]: scores: .* row 1 holds 14.28"),
        (scores, 3 * outcomes, r"blocks\[0\]: outcomes: .* row 1 holds 3 "),
        (
            scores,
            outcomes + 0.5 * (scores == 1),
            r"\[1\]: outcomes: .* row 3 holds 1.5",
        ),
    ):
        read.clear()
        with pytest.raises(ValueError, match=message):
            blocks_of.expected_calibration_error(blocks, 2)
        assert len(read) == 1
    with pytest.raises(ValueError, match="outcomes"):
        blocks_of.reliability_table(blocks, 2)
    with pytest.raises(ValueError, match=r"^blocks\[1\]: outcomes: .* row 3 holds 1.5"):
        blocks_of.fit_platt(blocks)
    # Cut to the size of the first: the row is that of the block as it was given.
    cut = [(scores[:2], outcomes[:2]), (scores[2:], [*outcomes[2:7], 9])]
    with pytest.raises(ValueError, match=r"^blocks\[1\]: outcomes: .* row 5 holds 9"):
        blocks_of.fit_platt(cut)
    on_device = [(jnp.float32(100 * scores), jnp.asarray(outcomes))]
    assert np.isnan(blocks_of.expected_calibration_error(on_device, 2))


def test_progress(capsys, monkeypatch):
    blocks = cj.streaming.blocks.from_arrays(np.full(250, 0.5), np.ones(250))
    bins = cj.equal_width_bins(NUM_BINS)
    cj.streaming.blocks.expected_calibration_error(blocks, bins=bins, progress=True)
    assert "table" in capsys.readouterr().out
    real = builtins.__import__

    def without_rich(name, *args, **kwargs):
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    with pytest.raises(ImportError, match="pip install .calib-jax.report"):
        cj.streaming.blocks.expected_calibration_error(blocks, bins=bins, progress=True)


@pytest.mark.parametrize("fact", ["converged", "right", "no rows"])
def test_temperature_of_blocks(fact):
    logits, labels = FACTS.get(fact) or class_rows()
    if fact == "right":
        logits, labels = np.tile(logits, (50, 1)), np.tile(labels, 50)
    rows = logits.astype(np.float32), labels
    params, report = cj.streaming.blocks.fit_temperature(
        cj.streaming.blocks.from_arrays(*rows, size=SIZE)
    )
    assert int(report.num_steps) == (2 if fact == "converged" else 1)
    if fact != "converged":
        status = {"right": "ZERO_LIMIT", "no rows": "CONSTANT"}[fact]
        assert report.status == cj.FitStatus[status] and not report.converged
        return
    expected, in_memory = cj.fit_temperature(*rows)
    exact = reference.fit_temperature(*rows)
    assert relative(params.temperature, exact) < 1e-6
    assert relative(params.temperature, float(expected.temperature)) < 1e-6
    assert report.status == in_memory.status and report.converged
    np.testing.assert_allclose(report.loss, in_memory.loss, rtol=1e-6)
    assert report.gradient_norm < 1e-5


@pytest.mark.parametrize("kind", ["mean logits", "close", "separable"])
def test_platt_of_blocks(kind):
    scores, outcomes = scored("mean logits")
    if kind == "close":
        scores = 25 + (scores - 25) / 256
    elif kind == "separable":
        outcomes = (scores > 25).astype(np.float32)
    params, report = cj.streaming.blocks.fit_platt(
        cj.streaming.blocks.from_arrays(scores, outcomes, size=SIZE),
        progress=kind == "close",
    )
    if kind == "separable":
        assert report.status == cj.FitStatus.SEPARABLE and params.slope > 1e4
        return
    exact = reference.fit_platt(scores, outcomes)
    assert relative([params.slope, params.intercept], exact) < 2e-6
    assert report.status == cj.FitStatus.CONVERGED and report.gradient_norm < 1e-6
    # Scores this close together give a poor start.
    assert int(report.num_steps) <= (2 if kind == "mean logits" else 8)
    right = reference.platt(exact, scores)
    loss = -outcomes * np.log(right) - (1 - outcomes) * np.log1p(-right)
    np.testing.assert_allclose(report.loss, np.mean(loss), rtol=1e-6)


def test_blocks_by_name(rng):
    scores, where = np.float32(rng.normal(size=600)), rng.random(600) < 0.8
    columns = {"outcomes": scores > 0.1, "where": where, "scores": scores}
    table, rows = cj.streaming.blocks.reliability_table, range(0, 600, 70)
    cut = [{k: v[start : start + 70] for k, v in columns.items()} for start in rows]
    plain = cj.streaming.blocks.from_arrays(scores, columns["outcomes"], where, size=70)
    same(table(cut, NUM_BINS), table(plain, NUM_BINS))
    with pytest.raises(ValueError, match="dictionary with these keys, got dict of sco"):
        table([{"scores": scores, "mask": where, "outcomes": scores > 0}], NUM_BINS)


def test_blocks_that_can_be_read_once():
    blocks = cj.streaming.blocks.from_arrays(*class_rows())
    for fit in (cj.streaming.blocks.fit_temperature, cj.streaming.blocks.fit_platt):
        with pytest.raises(ValueError, match="blocks: expected an object whose every"):
            fit(iter(blocks))


LIMITED = """
import json, resource, sys
import numpy as np
import calib_jax as cj

folder, allowed = sys.argv[1], int(sys.argv[2])
logits = np.load(f"{folder}/logits.npy", mmap_mode="r")
labels = np.load(f"{folder}/labels.npy", mmap_mode="r")
scores = np.load(f"{folder}/scores.npy", mmap_mode="r")
bins = cj.equal_width_bins(15)

def results(num_rows):
    rows = slice(0, num_rows)
    classes = cj.streaming.blocks.from_arrays(logits[rows], labels[rows], size=4096)
    right = cj.streaming.blocks.from_arrays(scores[rows], labels[rows] % 2, size=4096)
    temperature, _ = cj.streaming.blocks.fit_temperature(classes)
    table, _ = cj.streaming.blocks.reliability_table(right, bins=bins)
    numbers = temperature.temperature, *table.count, *table.confidence, *table.outcome
    return [float(x) for x in numbers]

results(8192)  # Compiles.
held = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + allowed, held + allowed))
try:
    np.ones(logits.size, np.float32)
except MemoryError:
    print(json.dumps(results(len(logits))))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_larger_than_memory(tmp_path):
    """52 MB on disk, 28 MB to allocate: the same answers as in memory."""
    repeats, allowed = 8, 28 * 2**20
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(16384, 100)).astype(np.float32)
    labels = np.argmax(0.5 * logits + rng.gumbel(size=logits.shape), axis=1)
    # Repeated rows have the same optimum.
    file = np.lib.format.open_memmap(
        tmp_path / "logits.npy", "w+", np.float32, (repeats * 16384, 100)
    )
    for number in range(repeats):
        file[number * 16384 : (number + 1) * 16384] = logits
    file.flush()
    assert file.nbytes > 1.7 * allowed
    scores = rng.random(16384).astype(np.float32)
    np.save(tmp_path / "labels.npy", np.tile(labels, repeats))
    np.save(tmp_path / "scores.npy", np.tile(scores, repeats))
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path, str(allowed)],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    temperature, _ = cj.fit_temperature(logits, labels)
    table = cj.reliability_table(cj.equal_width_bins(15), scores, labels % 2)
    np.testing.assert_allclose(found[0], temperature.temperature, rtol=1e-6)
    np.testing.assert_array_equal(found[1:16], repeats * table.count)
    means = np.concatenate([table.confidence, table.outcome])
    np.testing.assert_array_equal(np.float32(found[16:]), means)
