"""The lines of the page on trackers, run with the trackers themselves, offline."""

import importlib.util
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys

import pytest

# One of them imports torch, so none is imported here.
for package in ("wandb", "mlflow", "tensorboard", "tensorboardX"):
    if not importlib.util.find_spec(package):
        pytest.skip(f"needs {package}", allow_module_level=True)

# What the packages warn of when they are imported is not ours.
pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trackers.md").read_text("utf-8")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which all blocks were run in order, and the numbers they logged."""
    folder = tmp_path_factory.mktemp("reader")
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert sum(name in block for block in blocks for name in ("wandb", "mlflow")) == 2
    code = "\n".join(blocks)
    code += "\nimport json; open('numbers.json', 'w').write(json.dumps(numbers))\n"
    offline = {
        "HOME": str(folder),
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **offline},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["cascade/apgr"] > 0.5 and numbers["fit/converged"] == 1.0
    assert len(numbers) > 15
    return folder, numbers


def records(path):
    """What a run of W&B left: records in the blocks of a log of LevelDB's layout."""
    from wandb.proto import wandb_internal_pb2

    data, place, record = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # All of it, or its last part.
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def test_wandb(ran):
    folder, numbers = ran
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = list(records(path))
    logged, artifacts = {}, []
    for record in found:
        for item in record.history.item:
            logged["/".join(item.nested_key)] = json.loads(item.value_json)
        artifacts.append(record.artifact)
    assert {name: logged[name] for name in numbers} == numbers
    assert logged["cascade/page/_type"] == "html-file"
    (page,) = path.parent.glob("files/media/html/**/*.html")
    assert "Cascade" in page.read_text("utf-8")
    named = {(one.name, one.type) for one in artifacts if one.name}
    assert named == {("cascade", "router")}


def test_mlflow(ran):
    import mlflow

    folder, numbers = ran
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == numbers
    stored = pathlib.Path(folder, client.download_artifacts(run.info.run_id, ""))
    names = sorted(path.name for path in stored.rglob("*") if path.is_file())
    assert names == ["cascade.json", "cascade.json", "report.html"]
    whole = json.loads((stored / "cascade.json").read_text("utf-8"))
    assert whole["apgr"] == numbers["cascade/apgr"]


def read_events(folder):
    """The values of every name, by step."""
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def test_tensorboard(ran):
    folder, numbers = ran
    found = read_events(folder / "runs" / "cascade")
    assert found.keys() == numbers.keys()
    for name, values in found.items():
        # Events hold float32.
        assert values.keys() == {0}
        assert math.isclose(values[0], numbers[name], rel_tol=1e-6, abs_tol=1e-30)


def test_a_training_loop(ran):
    folder, _ = ran
    found = read_events(folder / "runs" / "training")
    for name in re.findall(r"`(val/[\w/]+)`", PAGE):
        assert found[name].keys() == {0, 1, 2}
    temperature = found["val/fit/0/temperature"]
    # The logits of step k are k + 1 times those of step 0, and the fit undoes that.
    for step in (1, 2):
        assert math.isclose(
            temperature[step], (step + 1) * temperature[0], rel_tol=0.01
        )
