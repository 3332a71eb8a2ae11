"""The whole evaluation of benchmarks/paper, on a small folder of made-up outputs."""

import json
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("cleanlab")

from benchmarks.kit import outputs, plain, report  # noqa: E402
from benchmarks.paper import __main__ as command  # noqa: E402
from benchmarks.paper import study  # noqa: E402
from benchmarks.paper.__main__ import SECTIONS, run  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def written(paper_study, paper_section, tmp_path_factory):
    """A folder of results, and the sections that were written."""
    destination = tmp_path_factory.mktemp("results")
    # Other tests have prepared and evaluated them. One section evaluates others, so
    # nothing is replaced before all are.
    evaluated = {name: paper_section(name).numbers for name in SECTIONS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "prepare", lambda *_: paper_study)
        for name, module in SECTIONS.items():
            numbers = evaluated[name]
            patch.setattr(module, "evaluate", lambda *_, found=numbers: found)
        # Coarse figures, since drawing all of them takes long.
        patch.setattr(report, "THEMES", {False: ".png"})
        patch.setattr(report, "DOTS_PER_INCH", 40)
        sections = run(paper_study.folder, destination, paper_study.settings)
    return destination, sections


def test_every_section_is_there_with_its_figures(written):
    destination, sections = written
    text = (destination / "RESULTS.md").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if re.match(r"## \d", line)]
    assert len(headings) == len(SECTIONS)
    shown = set(re.findall(r'srcset="(.*?)"', text))
    light = set(re.findall(r'src="(.*?)"', text))
    there = {f"figures/{path.name}" for path in (destination / "figures").iterdir()}
    assert light <= there
    assert shown == {name.replace(".png", "-dark.png") for name in light}
    assert len(there) == sum(len(section.figures) for section in sections)
    assert not re.search(r"\b(nan|inf)\b|\| None \|", text)


def test_tables_are_rectangular(written):
    destination, _ = written
    text = (destination / "RESULTS.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_every_claim_has_a_verdict(written):
    claims = [claim for section in written[1] for claim in section.claims]
    assert claims
    for claim in claims:
        assert claim.verdict in {"holds", "holds in part", "does not hold"}
        assert re.search(r"\d", claim.evidence), claim


def test_numbers_are_plain_json(written):
    destination, sections = written
    numbers = json.loads((destination / "results.json").read_text(encoding="utf-8"))
    assert list(numbers) == [section.title for section in sections]
    assert all(numbers.values())


@pytest.mark.parametrize("name", ["calibration", "cascades", "cleaning"])
def test_a_second_run_gives_the_same(written, paper_study, name):
    module = SECTIONS[name]
    numbers = module.evaluate(paper_study, lambda text: None)
    section = module.describe(paper_study, numbers)
    text = (written[0] / "results.json").read_text(encoding="utf-8")
    assert plain.as_plain(section.numbers) == json.loads(text)[section.title]


def test_missing_files_are_named(paper_study, tmp_path):
    settings = study.Settings(num_halves=1)
    with pytest.raises(FileNotFoundError, match="README.md says where"):
        study.prepare(tmp_path, settings)
    (tmp_path / "language").mkdir()
    name = "language/medmcqa_llama_test.npz"
    shutil.copy(paper_study.folder / name, tmp_path / name)
    found = study.prepare(tmp_path, settings)
    assert list(found.tasks) == ["medmcqa"]
    assert set(found.missing) == set(outputs.descriptions()) - {"medmcqa"}


def test_printing():
    assert report.number(float("nan")) == "-"
    assert report.number(-0.0001, 2) == "0.00"
    assert report.spread([0.25, 0.75], 2) == "0.50 ± 0.25"
    text = "| a | b |\n|---|---:|\n| x | 1 |"
    assert report.grid(["a", "b"], [["x", 1]]) == text
    columns = [("a", lambda row: row), ("b", lambda row: len(row))]
    assert report.table(columns, ["x"]) == text
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        report.grid(["a", "b"], [["x"]])
    verdicts = [report.verdict(k, 4) for k in (4, 3, 2)]
    assert verdicts == ["holds", "holds in part", "does not hold"]


def test_files_of_a_task_are_joined_along_the_examples(paper_study, monkeypatch):
    described = outputs.descriptions()
    for name in ("cifar10", "mmlu"):
        once = paper_study.tasks[name]
        files = described[name]["files"] * 2
        twice = {name: described[name] | {"files": files}}
        monkeypatch.setattr(outputs, "descriptions", lambda twice=twice, **_: twice)
        joined = outputs.read(paper_study.folder, name)
        assert joined.num_examples == 2 * once.num_examples
        half = joined.correct[:, once.num_examples :]
        np.testing.assert_array_equal(half, once.correct)


@pytest.mark.parametrize("wrong", ["confidence", "shape"])
def test_files_of_something_else_are_refused(paper_study, tmp_path, wrong):
    name = "language/mmlu_llama_test.npz"
    with np.load(paper_study.folder / name) as file:
        arrays = dict(file)
    if wrong == "shape":
        arrays["correct"] = arrays["correct"][:, 1:]
    else:
        arrays["log_confidence"] = arrays["log_confidence"] + 2
    (tmp_path / "language").mkdir()
    np.savez(tmp_path / name, **arrays)
    with pytest.raises(ValueError, match=f"{name}: expected .*{wrong}"):
        outputs.read(tmp_path, "mmlu")
