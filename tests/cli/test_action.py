"""The action that runs `calib-jax check` on GitHub, its step as a runner runs it."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import made_pairs
import numpy as np
import pytest

from calib_jax import report

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = {step.get("id", step.get("uses")): step for step in ACTION["runs"]["steps"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cascade, new outputs of its models, and those of a model that got worse."""
    made = tmp_path_factory.mktemp("a checkout")
    found = report.cascade_report(*made_pairs.pair(), max_drop=0.02)
    found.files()["cascade.json"](made / "cascade.json")
    small, large = made_pairs.pair(seed=7)
    worse = dataclasses.replace(small, outcomes=np.zeros_like(small.outcomes))
    for name, one in (("small", small), ("new large", large), ("worse", worse)):
        made_pairs.write(made / f"{name}.csv", one)
    return made


@dataclasses.dataclass
class Done:
    """What a runner sees of a step."""

    status: int
    log: str
    summary: str
    outputs: str
    page: pathlib.Path


def run(folder, temp, **inputs):
    """The step `check` as GitHub's runner runs it, with the defaults of the inputs."""
    temp.mkdir(exist_ok=True)
    # Here the package is installed by a link.
    if not (temp / "calib-jax").exists():
        (temp / "calib-jax").symlink_to(ROOT)
    given = {name: one.get("default") for name, one in ACTION["inputs"].items()}
    given |= inputs
    context = {f"inputs.{name}": value for name, value in given.items()}
    context["steps.python.outputs.python-path"] = sys.executable
    step = STEPS["check"]
    environment = {
        name: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: context[match[1]], value)
        for name, value in step["env"].items()
    }
    files = {
        name: temp / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    }
    for path in files.values():
        path.write_text("")
    script = temp / "step.sh"
    script.write_text(step["run"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        cwd=folder,
        env={**os.environ, **environment, "RUNNER_TEMP": str(temp)}
        | {name: str(path) for name, path in files.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    outputs, summary = (path.read_text("utf-8") for path in files.values())
    return Done(
        done.returncode, done.stdout, summary, outputs, temp / "calib-jax-check"
    )


def unfolded(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_the_promise_holds(folder, tmp_path):
    done = run(
        *(folder, tmp_path / "a temp"),
        record="cascade.json",
        small="small.csv",
        large="new large.csv",
        options="--seed 3 --kind scores",
    )
    assert done.status == 0, done.log
    assert done.outputs == "status=0\n"
    assert done.summary.startswith("### Nothing contradicts the promise\n\n```text\n")
    assert "holds: these rows confirm it on their own." in unfolded(done.summary)
    assert max(map(len, done.summary.splitlines())) <= 101
    assert "Written: " not in done.log and "::error" not in done.log
    assert (done.page / "report.html").is_file()


@pytest.mark.slow
def test_the_promise_is_broken(folder, tmp_path):
    """Or doubtful: with labels of a file, and without the large model's answers."""
    lines = (folder / "worse.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    (folder / "scores.csv").write_text("\n".join(f"{a},{b}" for a, b, _ in cells))
    (folder / "labels.csv").write_text("\n".join(f"{a},{c}" for a, _, c in cells))
    broken = {"small": "worse.csv", "large": "new large.csv"}
    doubtful = {"small": "scores.csv", "labels": "labels.csv"}
    title = "The cascade no longer does what it promised"
    for inputs, sentence in (
        (broken, "is broken: these rows contradict it."),
        (doubtful | {"confidence-level": "0.9"}, "false alarm is at most 10%;"),
    ):
        done = run(folder, tmp_path, record="cascade.json", **inputs)
        assert done.status == 1, done.log
        assert done.outputs == "status=1\n"
        assert done.summary.startswith(f"### {title}\n")
        assert sentence in unfolded(done.summary)
        said = f"::error title=calib-jax check::{title} (exit status 1).\n"
        assert done.log.endswith(said)
        assert (done.page / "report.html").is_file()


def test_an_error_is_not_an_alarm(folder, tmp_path):
    done = run(folder, tmp_path, record="cascade.json", small="$(touch x) no.csv")
    assert done.status == 2
    assert done.outputs == "status=2\n"
    assert done.summary.startswith("### The check itself failed\n")
    assert "no.csv' does not exist" in unfolded(done.summary)
    assert "::error title=calib-jax check::The check itself failed" in done.log
    assert not done.page.exists() and not (folder / "x").exists()


def test_a_crash_is_not_an_alarm(folder, tmp_path):
    """Python's exit status is 1, too, and the page of an alarm before it is stale."""
    checkout, temp = tmp_path / "checkout", tmp_path / "temp"
    shutil.copytree(folder, checkout)
    broken = temp / "calib-jax" / "calib_jax"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('made up')")
    (temp / "calib-jax-check").mkdir()
    (temp / "calib-jax-check" / "report.html").write_text("of a step before")
    done = run(checkout, temp, record="cascade.json", small="small.csv")
    assert "RuntimeError: made up" in done.log
    assert done.status == 2 and done.outputs == "status=2\n"
    assert done.summary.startswith("### The check itself failed\n")
    assert not done.page.exists()


def test_modules_of_the_checkout_are_not_imported(folder, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(folder, checkout)
    for name in ("inspect", "click", "calib_jax"):
        (checkout / f"{name}.py").write_text("raise RuntimeError('made up')")
    done = run(checkout, tmp_path / "temp", record="cascade.json", small="no.csv")
    assert done.status == 2 and "RuntimeError" not in done.log
    assert "no.csv' does not exist" in unfolded(done.summary)


def test_quotes_in_options_are_explained(folder, tmp_path):
    given = {"record": "cascade.json", "small": "small.csv"}
    done = run(folder, tmp_path, **given, options='--column "scores=a column"')
    assert done.status == 2
    (line,) = [one for one in done.log.splitlines() if one.startswith("::error")]
    assert line.endswith("a value there cannot hold spaces, even in quotes.")


def test_no_input_is_part_of_a_script():
    """What an input holds is data: it arrives by the environment."""
    assert all("${{" not in step.get("run", "") for step in STEPS.values())
    taken = {
        name
        for step in STEPS.values()
        for name in re.findall(r"inputs\.([\w-]+)", str(step))
    }
    assert taken == set(ACTION["inputs"])
    upload = STEPS["actions/upload-artifact@v4"]
    assert "!cancelled()" in upload["if"]
    assert upload["with"]["path"] == "${{ runner.temp }}/calib-jax-check"


def test_the_page_uses_it_as_it_is():
    page = (ROOT / "docs" / "trackers.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (job,) = yaml.safe_load(example)["jobs"].values()
    given = job["steps"][-1]["with"]
    required = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert required <= given.keys() <= ACTION["inputs"].keys()
