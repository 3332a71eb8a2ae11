"""Runs of inspect_ai with its mock model, read from its files and its objects."""

import gc
import random
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from inspect_files import zipped
from output_files import one_line, read

import calib_jax as cj

inspect_runs = pytest.importorskip("inspect_runs")
logs, solver = inspect_runs.inspect_ai.log, inspect_runs.solver

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """What the package leaves open is closed before warnings are errors again."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


COUNTS = [4, 4, 3]


@solver.solver
def failing(which):
    async def solve(state, generate):
        if state.sample_id == which:
            raise ValueError("made up")
        return state

    return solve


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def run(folder):
    """Two epochs, each with a sample that fails."""
    answers = [
        inspect_runs.letter(shares)
        for seed in (0, 1)
        for shares in inspect_runs.shares(COUNTS, seed)
    ]
    task = inspect_runs.task(
        "toy",
        inspect_runs.questions([*COUNTS, 4]),
        [failing("q3"), solver.multiple_choice()],
    )
    return inspect_runs.run(
        task, answers, folder / "run", epochs=2, fail_on_error=False
    )


def same(one, other):
    """Whether outputs hold the same but for the names of their files."""
    for field in cj.io.Outputs.__dataclass_fields__:
        if field not in ("name", "dropped_at"):
            expected, found = getattr(one, field), getattr(other, field)
            assert type(expected) is type(found), field
            np.testing.assert_array_equal(found, expected, err_msg=field)
    return True


@pytest.mark.parametrize("repeats", ["first", "last"])
def test_files_and_objects_give_the_same(folder, run, repeats):
    expected = read(run.location, repeats=repeats)
    assert expected.dropped["a sample that ended with an error"] == 2
    shares = inspect_runs.shares(COUNTS, seed=("first", "last").index(repeats))
    for row, one in enumerate(shares):
        found = np.exp(expected.log_probabilities[row, : len(one)])
        np.testing.assert_allclose(found, one, rtol=1e-5)
    right = expected.predictions == expected.labels
    np.testing.assert_array_equal(expected.outcomes, right)
    others = [run, [run], logs.read_eval_log(run.location)]
    others.append(logs.read_eval_log(run.location, resolve_attachments="full"))
    for other in others:
        assert same(expected, read(other, repeats=repeats))
    assert read(run, repeats=repeats).name == expected.name
    for end in ("a.json", "b.eval"):
        logs.write_eval_log(logs.read_eval_log(run.location), str(folder / end))
        assert same(expected, read(folder / end, repeats=repeats))


def test_arguments_and_numbers_that_are_no_json(tmp_path):
    tops = [("A", -0.125), ("B", -2.5), ("C", -np.inf)]
    answer = inspect_runs.output([("A", -0.125, tops)])
    task = inspect_runs.task("toy", inspect_runs.questions([3]))
    for end in ("eval", "json"):
        found = inspect_runs.run(task, [answer], tmp_path / end, log_format=end)
        outputs = read(found)
        assert outputs.log_probabilities.tolist() == [[-0.125, -2.5, -np.inf]]
        assert same(outputs, read(found.location))


def test_logs_of_older_versions(folder, run, tmp_path):
    """They are deflated; Python unpacks both once inspect_ai is imported."""
    with zipfile.ZipFile(run.location) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert same(
        read(run.location, repeats="last"),
        read(zipped(tmp_path / "a.eval", found), repeats="last"),
    )


def test_the_chunked_layout(run, tmp_path):
    """Which the package itself does not read, up to 0.3.285."""
    convert = pytest.importorskip("inspect_ai.log._recorders.chunked.convert")
    convert.convert_eval_logs_to_chunked(run.location, str(tmp_path))
    (path,) = tmp_path.glob("*.eval")
    assert same(read(run.location, repeats="last"), read(path, repeats="last"))


@pytest.mark.slow
def test_what_its_command_prints(run, tmp_path):
    command = [sys.executable, "-m", "inspect_ai", "log", "dump", run.location]
    done = subprocess.run(command, capture_output=True, check=True)
    (tmp_path / "a.json").write_bytes(done.stdout)
    found = read(tmp_path / "a.json", repeats="first")
    assert same(read(run.location, repeats="first"), found)


def test_a_log_without_its_samples(run):
    header = logs.read_eval_log(run.location, header_only=True)
    assert "header_only=False" in one_line(header)
    assert "format:" in one_line(run, format="csv")


def test_a_run_that_was_cancelled(run, tmp_path):
    """Then a log has its journal alone."""
    with zipfile.ZipFile(run.location) as archive:
        found = {
            name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("_journal/") or name.endswith("_epoch_1.json")
        }
    outputs = read(zipped(tmp_path / "a.eval", found))
    assert same(outputs, read(logs.read_eval_log(str(tmp_path / "a.eval"))))
    assert outputs.ids == ("q0", "q1", "q2") and outputs.model == "mockllm/small"


def test_generated_text_and_several_scorers(tmp_path):
    samples = [
        inspect_runs.Sample(id="sum/1", input="2 + 2?", target="4"),
        inspect_runs.Sample(id=2, input="Capital of Italy?", target=["Rome", "Roma"]),
    ]
    task = inspect_runs.task(
        "spoken",
        samples,
        solver.generate(),
        [inspect_runs.scorer.includes(), inspect_runs.scorer.exact()],
    )
    answers = [
        inspect_runs.said("It is 4", -0.5, -0.25, -1.5),
        inspect_runs.said("Rome", -0.125),
    ]
    found = inspect_runs.run(task, answers, tmp_path)
    assert "has scores by exact, includes" in one_line(found)
    outputs = read(found, columns={"outcomes": "includes"})
    np.testing.assert_allclose(outputs.scores, [-0.125, -0.75])
    assert outputs.outcomes.tolist() == [1, 1] and outputs.ids == ("2", "sum/1")
    assert same(outputs, read(found.location, columns={"outcomes": "includes"}))


def test_choices_that_the_solver_shuffles(tmp_path):
    shares = inspect_runs.shares([4])
    task = inspect_runs.task(
        "toy", inspect_runs.questions([4]), solver.multiple_choice(shuffle=True)
    )
    found = inspect_runs.run(task, map(inspect_runs.letter, shares), tmp_path)
    assert "shuffle the choices of the data set" in one_line(found)


@solver.solver
def shuffling():
    inner = solver.multiple_choice(shuffle=random.Random(3))

    async def solve(state, generate):
        return await inner(state, generate)

    return solve


def test_choices_that_a_solver_of_ones_own_shuffles(tmp_path):
    counts = [4] * 8
    shares = inspect_runs.shares(counts)
    task = inspect_runs.task("toy", inspect_runs.questions(counts), shuffling())
    found = inspect_runs.run(task, map(inspect_runs.letter, shares), tmp_path)
    assert not any("shuffle" in step.params for step in found.plan.steps)
    assert "8 x multiple_choice(shuffle=True)" in one_line(found)
    assert "8 x multiple_choice(shuffle=True)" in one_line(found.location)
    assert len(read(found, kind="scores")) == 8


def test_a_run_that_is_tried_again(tmp_path):
    """Its log has the samples that the first run had done."""
    shares = inspect_runs.shares([4, 4])
    task = inspect_runs.task("toy", inspect_runs.questions([4, 4]))
    answers = [inspect_runs.letter(shares[0]), None]
    first = inspect_runs.run(task, answers, tmp_path, retry_on_error=0)
    assert first.status == "error"
    again = inspect_runs.run(task, map(inspect_runs.letter, shares), tmp_path)
    outputs = read(tmp_path)
    assert outputs.dropped["the same row once more"] == 1
    assert same(read(again), read(again.location))
    assert outputs.ids == read(again).ids
