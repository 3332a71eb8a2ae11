"""The documentation site: its examples run, it builds without a warning, links hold."""

import csv
import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
PAGES = [path for path in sorted(DOCS.glob("*.md")) if BLOCK.search(path.read_text())]


def run(text: str, names: dict[str, object], capsys: pytest.CaptureFixture) -> None:
    """Runs the blocks of a page in order, and compares what they print."""
    for match in BLOCK.finditer(text):
        exec(match["code"], names)
        printed = capsys.readouterr().out
        if match["printed"] is not None:
            assert_same(printed, match["printed"])
        else:
            assert printed == "", "the page does not show what this block prints"


NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")


def assert_same(printed: str, shown: str) -> None:
    """The same words, and numbers that differ by a unit of the last digit at most."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    for ours, theirs in zip(
        NUMBER.findall(printed), NUMBER.findall(shown), strict=True
    ):
        unit = 10.0 ** -len(theirs.partition(".")[2])
        unit = unit if "." in theirs else 0.0
        assert abs(float(ours) - float(theirs)) <= 1.01 * unit, (printed, shown)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's session: a folder of their own and JAX as it is by default."""
    monkeypatch.chdir(tmp_path)
    standard = jax.numpy_dtype_promotion("standard")
    with standard, jax.numpy_rank_promotion("allow"), np.printoptions():
        yield tmp_path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_runs_from_top_to_bottom(path, reader, capsys):
    names: dict[str, object] = {}
    run(path.read_text("utf-8"), names, capsys)
    if path.stem == "two_files":
        check_what_the_reader_gets(reader, names)


def check_what_the_reader_gets(folder: Path, names: dict[str, object]) -> None:
    params, router = (
        cj.load(folder / f"{name}.json") for name in ("temperature", "router")
    )
    assert 1.0 < params.temperature < 4.0 and isinstance(router, cj.Router)
    # What was saved belongs together: it does what the page says.
    num_small_bins = json.loads((folder / "num_small_bins.json").read_text())
    best = cj.top1(names["logits"][names["test"]], params.temperature)
    keep = cj.use_small(router, best.confidence, num_small_bins)
    np.testing.assert_allclose(keep.mean(), names["share"], atol=1e-6)
    right = np.where(keep, names["small_correct"], names["large_correct"])
    assert right.mean() > names["large_correct"].mean() - 0.02
    with open(folder / "suspects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "given", "suggestion", "confidence"]
    truth, labels = names["truth"], np.load(folder / "labels.npy")
    row = np.array([int(entry["row"]) for entry in rows])
    assert len(set(row)) == len(row)
    assert all(
        int(entry["given"]) == labels[r] for entry, r in zip(rows, row, strict=True)
    )
    confidence = [float(entry["confidence"]) for entry in rows]
    assert confidence == sorted(confidence, reverse=True)
    wrong = labels[row] != truth[row]
    # The surest are mostly wrong, and most wrong labels are on the list.
    assert wrong[: len(wrong) // 4].mean() > 0.8
    assert wrong.sum() > 0.6 * (labels != truth).sum()


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "probabilities"])
def test_files_of_any_kind_serve(kind, reader, capsys):
    """Up to the calibrated model, with what the page says on probabilities."""
    page = (DOCS / "two_files.md").read_text("utf-8")
    make, _, rest = page.partition("## Read and check")
    calibrate, _, _ = rest.partition("## Route")
    names: dict[str, object] = {}
    run(make, names, capsys)
    logits, labels = np.load("logits.npy"), np.load("labels.npy")
    half = np.split(np.random.default_rng(1).permutation(len(labels)), 2)[0]
    expected, _ = cj.fit_temperature(logits[half], labels[half].astype(np.int32))
    if kind == "probabilities":
        np.save("logits.npy", cj.scaled_softmax(logits))
        first = 'logits = read_logits("logits.npy")\n'
        (line,) = re.findall(r"^    (logits = np\.log.*\n)", page, re.MULTILINE)
        assert first in calibrate
        calibrate = calibrate.replace(first, first + line)
    else:
        np.save("logits.npy", logits.astype(jnp.dtype(kind)))
    for match in BLOCK.finditer(calibrate):
        exec(match["code"], names)
    # bfloat16 holds three digits of each logit.
    found = names["params"].temperature
    np.testing.assert_allclose(found, expected.temperature, rtol=2e-3)
    assert cj.FitStatus(int(names["report"].status)).name == "CONVERGED"


def test_quotes_of_results_stand_there():
    results = (ROOT / "benchmarks/paper/RESULTS.md").read_text("utf-8")
    lines = set(results.splitlines())
    for name in ("bins_and_k", "few_examples"):
        page = (DOCS / f"{name}.md").read_text("utf-8")
        quoted = [line for line in page.splitlines() if re.match(r"\|.*\d\.\d", line)]
        assert quoted and set(quoted) <= lines
    page = " ".join((DOCS / "bins_and_k.md").read_text("utf-8").split())
    assert "saves 8 % of the calls in the median of 46 pairs" in page
    assert "CC saves 8 % of the calls (median of 46 pairs)" in results
    assert "up to 1.08 points" in page and "worst -1.08 points" in results

    promises = (ROOT / "benchmarks/guarantees/RESULTS.md").read_text("utf-8")
    kept = re.findall(r"^\| (.+?) \| (\d+ of \d+) \|", promises, re.MULTILINE)
    assert "All promises held on all 46 real pairs" in page
    assert kept and {count for _, count in kept} == {"46 of 46"}
    (promised,) = re.findall(
        r"promised in ([\d.]+) % of the splits, and saved ([\d.]+) %", page
    )
    share, saved = promised
    row = f"| drop 0.01 | 46 of 46 | 0.0 % broken | {saved} | {share} |"
    assert row in promises
    (unlabelled,) = re.findall(r"without a promise, saved ([\d.]+) %", page)
    assert f"| {unlabelled} | {saved} |" in promises


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: warnings and references to nothing are errors."""
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
    command += ["-d", str(folder / "doctrees"), "-c", str(DOCS)]
    command += [str(ROOT), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(html.parser.HTMLParser):
    """What a page of HTML links to, shows, and can be linked to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag in ("a", "link") and found.get("href"):
            self.links.append(found["href"])
        if tag in ("img", "script") and found.get("src"):
            self.images.append(found["src"])


@pytest.fixture(scope="module")
def pages(site):
    return {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_links_anchors_and_images_exist(site, pages):
    assert len(pages) > 20
    missing = []
    for path, page in pages.items():
        for link in [*page.links, *page.images]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                # No page needs anything from elsewhere but where a reader follows it.
                if link not in page.links or parts.scheme != "https":
                    missing.append((path.name, link))
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or parts.fragment not in {"", *anchors}:
                missing.append((path.relative_to(site).as_posix(), link))
    assert not missing


@pytest.mark.slow
def test_every_public_name_has_its_place(pages):
    from calib_jax import flax, plots

    public = {
        f"{module.__name__}.{name}"
        for module in (cj, flax)
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, type(cj))
    }
    public |= {
        f"calib_jax.plots.{name}"
        for name, value in vars(plots).items()
        if getattr(value, "__module__", "") == "calib_jax.plots" and name[0].islower()
    }
    reference = [
        page for path, page in pages.items() if path.parent.name == "reference"
    ]
    places = {name: sum(name in page.anchors for page in reference) for name in public}
    assert {name: count for name, count in places.items() if count != 1} == {}


@pytest.mark.slow
def test_pages_show_nothing_of_the_machine(site):
    traces = ("/tmp/", "/home/", "/root/", "/work/", "site-packages", "object at 0x")
    for path in sorted(site.rglob("*.html")) + sorted(site.rglob("*.js")):
        text = path.read_text("utf-8")
        # Formulas and figures need no script of another host.
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', text)
        found = [trace for trace in (*traces, str(ROOT), str(site)) if trace in text]
        assert not found, (path, found)
