"""Version and dependencies are the same wherever they are said; workflows parse."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import calib_jax as cj
from release import versions

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Names that differ on conda-forge.
CONDA = {"matplotlib": "matplotlib-base"}


def parsed(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_every_place_has_one_version():
    assert versions.current(ROOT) == cj.__version__
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"] == {"path": versions.SOURCE}
    assert parsed("CITATION.cff")["version"] == cj.__version__
    assert parsed("conda/recipe.yaml")["context"]["version"] == cj.__version__
    settings = (ROOT / "docs" / "conf.py").read_text("utf-8")
    assert "version = release = calib_jax.__version__" in settings


def test_the_date_of_the_last_release_is_that_of_the_changelog():
    dates = {section.version: section.date for section in versions.sections(ROOT)}
    cited = parsed("CITATION.cff").get("date-released", "unreleased")
    assert str(cited) == dates[cj.__version__]


def requirements(lines: list[str]) -> set[str]:
    """Requirements with those of the extras that they name, without their markers."""
    found = set()
    for line in lines:
        line = line.partition(";")[0].strip()
        if extras := re.fullmatch(r"calib_jax\[(.*)\]", line):
            for extra in extras[1].split(","):
                found |= requirements(
                    PROJECT["project"]["optional-dependencies"][extra]
                )
        else:
            found.add(line)
    return found


def test_the_sdist_has_all_that_is_tracked():
    """So its tests find what they read, and no stray file is tracked unseen."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    tracked = {name.partition("/")[0] for name in done.stdout.splitlines()}
    # These two hatchling adds, and the others are settings of services.
    tracked -= {".gitignore", "pyproject.toml"}
    tracked -= {".pre-commit-config.yaml", ".readthedocs.yaml"}
    patterns = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    shipped = {path.name for one in patterns for path in ROOT.glob(one.lstrip("/"))}
    assert tracked == shipped


def test_the_conda_recipe_requires_what_the_package_and_the_command_do():
    recipe = parsed("conda/recipe.yaml")
    wanted = requirements([*PROJECT["project"]["dependencies"], "calib_jax[report]"])
    named = (re.fullmatch(r"([\w-]+)(>=[\d.]+)", line) for line in wanted)
    run = {f"{CONDA.get(one[1], one[1])} {one[2]}" for one in named}
    python, *has = recipe["requirements"]["run"]
    assert sorted(has) == sorted(run)
    assert python == "python >=${{ python_min }}"
    oldest = PROJECT["project"]["requires-python"]
    assert oldest == f">={recipe['context']['python_min']}"
    (backend,) = PROJECT["build-system"]["requires"]
    assert backend.replace(">=", " >=") in recipe["requirements"]["host"]
    scripts = [" = ".join(one) for one in PROJECT["project"]["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    assert recipe["about"]["license"] == PROJECT["project"]["license"]
    assert recipe["about"]["summary"] == PROJECT["project"]["description"]
    for test in recipe["tests"]:
        for name in test.get("package_contents", {}).get("site_packages", []):
            assert (ROOT / name).is_file(), name


def test_the_oldest_releases_are_those_of_the_bounds():
    lines = (ROOT / ".github" / "oldest.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"h5py", "jax", "numpy", "zstandard"} <= pins.keys()
    wanted = requirements(
        [*PROJECT["project"]["dependencies"], "calib_jax[demo]", "calib_jax[test]"]
    )
    bounds = dict(line.split(">=") for line in wanted if ">=" in line)
    assert pins.keys() - bounds.keys() == {"pyparsing"}
    for name in pins.keys() & bounds.keys():
        parts = bounds[name].split(".")
        assert pins[name].split(".") == [*parts, "0", "0"][: max(3, len(parts))], name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_parse_and_use_released_actions(path):
    workflow = yaml.safe_load(path.read_text("utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert workflow.keys() >= {"name", True, "permissions", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for need in [job["needs"]] if "needs" in job else []:
            assert need in workflow["jobs"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            # The other one is this checkout's own.
            if step.get("uses", "./") != "./":
                assert re.search(r"@(release/)?v\d+$", step["uses"]), step["uses"]


def test_what_is_uploaded_is_what_is_downloaded():
    steps = [
        step
        for job in parsed(".github/workflows/release.yml")["jobs"].values()
        for step in job["steps"]
    ]
    names = {"upload": set(), "download": set()}
    for step in steps:
        if used := re.match(
            r"actions/(upload|download)-artifact@", step.get("uses", "")
        ):
            names[used[1]].add(step["with"]["name"])
    assert names["upload"] == names["download"] == {"packages", "notes"}
    runs = "\n".join(step["run"] for step in steps if "run" in step)
    for module in re.findall(r"python -m (release\.\w+)", runs):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    assert '--title "calib_jax ' in runs and "--notes-file notes.md" in runs


def test_the_extras_of_the_tools_are_those_that_ci_installs():
    extras = PROJECT["project"]["optional-dependencies"]
    for name in (".ci/run", ".github/workflows/tests.yml"):
        text = (ROOT / name).read_text("utf-8")
        (listed,) = re.findall(r'pip install -e "\.\[([^"]*clients[^"]*)\]"', text)
        assert set(listed.split(",")) - {"test"} == {"clients", "trackers", "engines"}
        assert set(listed.split(",")) <= extras.keys()
        assert "pytest -n 0 --slow tests/tools" in text
