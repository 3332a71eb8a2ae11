"""The site builds without warnings, its links work, and it has every public name."""

import html.parser
import inspect
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import calib_jax as cj

pytestmark = [pytest.mark.once, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; warnings and broken references are errors."""
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
    """A page of HTML: its links, images and anchors."""

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


def test_links_anchors_and_images_exist(site, pages):
    assert len(pages) > 20
    missing = []
    for path, page in pages.items():
        for link in [*page.links, *page.images]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                # No page loads anything from elsewhere unless a reader follows a link.
                if link not in page.links or parts.scheme != "https":
                    missing.append((path.name, link))
                continue
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or parts.fragment not in {"", *anchors}:
                missing.append((path.relative_to(site).as_posix(), link))
    assert not missing


def public_names() -> dict[str, object]:
    """Every public name by its shortest path, with its object."""
    from calib_jax import flax, plots, report

    names = [getattr(cj, name) for name in cj.__all__]
    rooms = [value for value in names if isinstance(value, type(cj))]
    found = {}
    for room in (cj, *rooms, cj.streaming.blocks, flax, plots, report):
        types = [name for name in vars(room) if name[0].isupper()]
        for name in getattr(room, "__all__", types):
            value = getattr(room, name)
            if isinstance(value, type(cj)) or name.startswith("_"):
                continue
            top = getattr(cj, name, None) is value
            found[f"{cj.__name__ if top else room.__name__}.{name}"] = value
    return found


def test_every_public_name_has_its_place(pages):
    reference = [
        page for path, page in pages.items() if path.parent.name == "reference"
    ]
    places = {
        name: sum(name in page.anchors for page in reference) for name in public_names()
    }
    assert {name: count for name, count in places.items() if count != 1} == {}


def test_the_root_leads_to_the_front_page(site, pages):
    (link,) = pages[site / "index.html"].links
    assert link == "docs/index.html"
    assert f"url={link}" in (site / "index.html").read_text("utf-8")
    images = pages[site / link].images
    assert sum("reliability" in image for image in images) == 2


def test_the_sidebar_has_each_title_once(site):
    text = (site / "docs" / "index.html").read_text("utf-8")
    sidebar = text[text.index('<div class="sidebar-tree">') :]
    sidebar = sidebar[: sidebar.index("</aside>")]
    titles = re.findall(r"caption-text\">(.*?)<|<a [^>]*>(.*?)</a>", sidebar)
    titles = ["".join(pair) for pair in titles]
    assert len(titles) > 30 and len(set(titles)) == len(titles)


def test_masks_and_weights_agree_with_the_signatures(site):
    text = (site / "docs" / "which_function.html").read_text("utf-8")
    table = text[text.index('id="masks-and-weights"') :]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    listed = {
        re.sub("<.*?>", "", row.split("</td>")[0]).strip(): set(
            re.findall(r"cj\.[\w.]+", re.sub("<.*?>", "", row.split("</td>")[1]))
        )
        for row in rows
        if "<td>" in row
    }
    both, where = listed["where= and weights="], listed["where= alone"]
    assert "cj.fit_temperature" in both and "cj.top1_disagreement" not in both | where
    for name, value in public_names().items():
        if isinstance(value, type) or not callable(value) or "calib_jax.plots" in name:
            continue
        taken = inspect.signature(value).parameters
        short = name.replace("calib_jax", "cj")
        assert (short in both | where) == ("where" in taken), name
        assert short not in both or "weights" in taken, name


def test_llms_lists_pages_and_names(site, pages):
    text = (site / "llms.txt").read_text("utf-8")
    assert text.startswith("# calib_jax\n\n> Calibrate confidence")
    links = re.findall(r"^- \[(.*?)\]\((.*?)\): (.+)$", text, re.MULTILINE)
    # Every entry has a description.
    assert len(links) == len(re.findall("^- ", text, re.MULTILINE))
    for _, link, _ in links:
        page, _, anchor = link.partition("#")
        target = pages[(site / page).resolve()]
        assert not anchor or anchor in target.anchors
    listed = {name for name, link, _ in links if "#" in link}
    names = {name for name, value in public_names().items() if callable(value)}
    assert listed == names
    sources = {path.stem for path in DOCS.glob("*.md")}
    assert sources <= {Path(link).stem for _, link, _ in links if "#" not in link}


def test_pages_show_nothing_of_the_machine(site):
    traces = ("/tmp/", "/home/", "/root/", "/work/", "site-packages", "object at 0x")
    for path in sorted(site.rglob("*.html")) + sorted(site.rglob("*.js")):
        text = path.read_text("utf-8")
        # Formulas and figures do not need scripts from another host.
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', text)
        found = [trace for trace in (*traces, str(ROOT), str(site)) if trace in text]
        assert not found, (path, found)
