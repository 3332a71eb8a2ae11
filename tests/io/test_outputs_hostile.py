"""Any file gives outputs or one line; long files are read a line at a time."""

import copy
import json
import random
import resource
import subprocess
import sys

import inspect_files
import native_bodies
import numpy as np
import pytest
from evals_files import completion as finished
from evals_files import detail, echoes, instance, scenario, state, token
from output_files import ALL, SYSTEM_ONE, sample
from servers import batch, chat, completion, entry, responses

import calib_jax as cj

pytestmark = pytest.mark.once

LINES = {
    "lm-eval": [sample(k, [-1.0 - k, -2.0], k % 2) for k in range(3)],
    "answers": [
        chat("a", [entry("A", -0.5, ("A", -0.5), ("B", -1.5))], custom_id="a"),
        responses("b", [entry("B", -0.5, ("A", -2.5), ("B", -0.5))], custom_id="b"),
        batch("c", completion("c", ["A"], [-0.5], [{"A": -0.5, "B": -2.0}])),
    ],
    **{
        f"answers of {name}": [
            {"id": k, **body([[("A", -0.5), ("A", -0.5), ("B", -1.5)]])}
            for k in range(3)
        ]
        for name, body in native_bodies.ALL.items()
    },
    "inspect": [
        inspect_files.header(),
        *(inspect_files.sample(k, target="AB"[k % 2]) for k in range(3)),
    ],
    "decisions": [ALL[0], SYSTEM_ONE[0] | {"id": "z"}],
    "helm": [
        scenario(
            *(
                state(instance(k), finished(token(k, -0.5, {"B": -1, k: -0.5})))
                for k in "ABC"
            )
        ),
        scenario(
            *echoes(instance("x"), [-1.0, -2.0, -3.0]),
            *echoes(instance("x"), [-2.0, -1.0, -2.0], "calibration"),
            method="multiple_choice_separate_calibrated",
        ),
    ],
    "lighteval": [
        *(detail(k, [-1.0, -2.0, -3.0], k, metric={"acc": 1}) for k in range(2)),
        detail(2, [-1.0, -2.0], text=["x"], metric={"em": 0.5}),
    ],
    "jsonl": [
        {"id": k, "logits": [k, 1.5], "label": k % 2, "task": "t", "cost": 0.5}
        for k in range(3)
    ],
}
JUNK = [
    *(None, True, -1, 0, 2**70, 1.5, float("nan"), float("inf"), "", "A", "\ud800"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"a": {"b": [1]}},
        [1, "a"],
        "x" * 99,
        "9" * 30,
    ),
]


def places(value, path=()):
    """The paths of all values in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from places(part, (*path, number))


def changed(line, rng):
    """A line with one of its values replaced, removed or repeated."""
    line = copy.deepcopy(line)
    *path, last = rng.choice([place for place in places(line) if place])
    inner = line
    for key in path:
        inner = inner[key]
    match rng.randrange(4):
        case 0:
            del inner[last]
        case 1 if isinstance(inner, list):
            inner.append(inner[last])
        case _:
            inner[last] = rng.choice(JUNK)
    return line


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("drop_malformed", [False, True])
def test_changed_lines(tmp_path, name, drop_malformed):
    rng = random.Random(name)
    path = tmp_path / "a.jsonl"
    num_read = 0
    for trial in range(200):
        lines = [
            changed(line, rng) if rng.random() < 0.6 else line for line in LINES[name]
        ]
        path.write_text("\n".join(map(json.dumps, lines)))
        more = (
            {"choices": ["A", "B"]} if name.startswith("answers") and trial % 2 else {}
        )
        try:
            outputs = cj.io.read_outputs(
                path,
                drop_malformed=drop_malformed,
                format=name.partition(" ")[0],
                **more,
            )
        except ValueError as error:
            message = str(error)
            assert "\n" not in message and len(message) < 1500, message
            assert "a.jsonl" in message or message.startswith("choices: "), message
            continue
        num_read += 1
        num_rows = len(outputs.ids)
        assert num_rows > 0
        for field in ("labels", "outcomes", "predictions", outputs_field(outputs)):
            value = getattr(outputs, field)
            assert value is None or len(value) == num_rows
    assert num_read > 10


def outputs_field(outputs):
    (field,) = [
        name
        for name in ("logits", "log_probabilities", "scores")
        if getattr(outputs, name) is not None
    ]
    return field


@pytest.mark.parametrize("name", LINES)
def test_cut_and_damaged_lines(tmp_path, name):
    rng = random.Random(name)
    path = tmp_path / "a.jsonl"
    whole = "\n".join(map(json.dumps, LINES[name])).encode()
    for _ in range(300):
        data = bytearray(whole[: rng.randrange(len(whole) + 1)])
        for _ in range(rng.randrange(3) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            cj.io.read_outputs(path)
        except ValueError as error:
            assert "\n" not in str(error) and "a.jsonl" in str(error)


NUM = 10_000
TEXT = {
    "lm-eval": lambda k: sample(k, [-1.0, -2.0, -0.5, -3.0], k % 4),
    "answers": lambda k: (
        LINES["answers"][k % 2] | {"custom_id": str(k), "id": str(k), "made": k}
    ),
    "decisions": lambda k: ALL[0] | {"id": str(k)},
    "jsonl": lambda k: {"id": k, "logits": [0.5, 1.5, -k], "label": k % 2},
    "csv": lambda k: f"{k},0.25,0.75,{k % 2}",
}


def long_file(path, name, num_lines=NUM, more=None):
    """Lines of one format; `more` is beside what is read."""
    with path.open("w") as file:
        if name == "csv":
            file.write("id,prob_0,prob_1,label\n")
        for k in range(num_lines):
            line = TEXT[name](k)
            file.write(
                (line if name == "csv" else json.dumps(line | (more or {}))) + "\n"
            )
    return path


@pytest.mark.parametrize("name", TEXT)
def test_ten_thousand_lines_take_seconds(tmp_path, name):
    path = long_file(tmp_path / "a", name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    outputs = cj.io.read_outputs(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10
    assert outputs.format == name and len(outputs) == NUM * (
        3 if name == "decisions" else 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lm-eval", "answers", "decisions"])
def test_long_files_are_streamed(tmp_path, name):
    """A file of 200 MB takes less than 100 MB more than an empty one."""
    path = long_file(tmp_path / "a", name, more={"unread": "x" * 20_000})
    assert path.stat().st_size > 200_000_000
    code = (
        "import resource, sys, calib_jax as cj\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, calls = used(), []\n"
        "outputs = cj.io.read_outputs(\n"
        "    sys.argv[1], progress=lambda *one: calls.append(one)\n"
        ")\n"
        "print(len(outputs), (used() - before) // 1024, len(calls), *calls[-1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    num_rows, megabytes, num_calls, read, total = map(int, done.stdout.split())
    assert num_rows == NUM * (3 if name == "decisions" else 1) and megabytes < 100
    assert num_calls > 1000 and read == total == path.stat().st_size


def test_reading_needs_no_other_package(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    code = (
        "import sys, calib_jax as cj\n"
        f"cj.io.read_outputs({str(tmp_path / 'a.npy')!r})\n"
        "assert not {'pyarrow', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
