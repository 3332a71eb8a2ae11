"""Pages as HTML text: their structure, and what texts from files can do to it."""

import base64
import dataclasses
import hashlib
import html.parser
import importlib.resources
import re

import made_reports
import numpy as np
import pytest

from calib_jax.report import pages, phrases

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Parsed(html.parser.HTMLParser):
    """A document as a list of elements; raises where a tag is not closed in its turn.

    Attributes:
      elements: a name and the attributes of each element, in order.
      texts: the text of each element, with that of what is inside.
    """

    def __init__(self, document):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], [], []
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), attrs
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in VOID:
            self._open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open.pop()[0] == tag, (tag, self.getpos())

    def handle_data(self, data):
        for _, number in self._open:
            self.texts[number] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def texts_of(self, tag):
        pairs = zip(self.elements, self.texts, strict=True)
        return [" ".join(text.split()) for (name, _), text in pairs if name == tag]

    @property
    def shape(self):
        """Elements with the names of their attributes."""
        return [(tag, tuple(attrs)) for tag, attrs in self.elements]


@pytest.fixture(scope="module", params=made_reports.COMMANDS)
def command(request):
    return request.param


@pytest.fixture(scope="module")
def text(command):
    return pages.page(made_reports.report(command))


@pytest.fixture(scope="module")
def parsed(text):
    return Parsed(text)


@pytest.fixture(scope="module")
def drawn(command):
    return made_reports.report(command, "harmless").figures("")


@pytest.fixture(scope="module")
def shape_of_harmless(command):
    return Parsed(pages.page(made_reports.report(command, "harmless"))).shape


def test_structure(parsed):
    assert [tag for tag in ("html", "main", "h1") if len(parsed.all(tag)) != 1] == []
    assert parsed.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [attrs.get("aria-labelledby") for _, attrs in parsed.elements]
    named += [attrs.get("for") for _, attrs in parsed.elements]
    assert {name for name in named if name} <= set(ids)
    levels = [int(t[1]) for t, _ in parsed.elements if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all("aria-labelledby" in attrs for attrs in parsed.all("section"))


def test_tables_have_captions_and_heads(parsed):
    tables = len(parsed.all("table"))
    assert tables == len(parsed.all("caption")) == len(parsed.all("thead")) >= 3
    assert all(caption for caption in parsed.texts_of("caption"))
    assert {attrs.get("scope") for attrs in parsed.all("th")} == {"row", "col"}
    assert "" not in parsed.texts_of("th")


def test_figures_are_said_in_words(parsed, command):
    figures = parsed.all("svg")
    number = {
        **{"calibrate": 2, "cascade": 4, "clean": 3},
        **{"check": 0, "compare": 2},
    }[command]
    assert len(figures) == number
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in figures)
    # Text stays text.
    assert len(parsed.texts_of("text")) >= 10 * number


def test_nothing_is_fetched(parsed, text):
    assert not re.search(r"https?:|url\((?!#)|@import|//[a-z]", text)
    for _, attrs in parsed.elements:
        assert not {"src", "srcset", "action", "background"} & set(attrs)
        assert attrs.get("href", "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]


def test_the_policy_allows_the_script_and_no_other(parsed, command):
    (policy,) = [
        attrs["content"]
        for attrs in parsed.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    scripts = [
        text
        for (tag, _), text in zip(parsed.elements, parsed.texts, strict=True)
        if tag == "script"
    ]
    if command == "cascade":
        digest = hashlib.sha256(scripts[0].encode()).digest()
        allowed = f"'sha256-{base64.b64encode(digest).decode()}'"
    else:
        allowed = "'none'"
    assert f"script-src {allowed};" in policy
    assert len(scripts) == (command == "cascade")


def test_the_same_report_gives_the_same_page(text, command):
    assert pages.page(made_reports.report(command)) == text


def test_a_page_is_small(text):
    assert len(text.encode()) < 300_000


def test_what_every_page_says(parsed, command):
    report = made_reports.report(command)
    shown = parsed.texts[0]
    for said in (*report.sentences(), *report.next_steps(), *report.versions.values()):
        assert " ".join(said.split()) in " ".join(shown.split())
    for source in report.sources:
        for said in (source.name, source.role, *source.dropped, *source.notes):
            assert said in shown
        for places in source.dropped_at.values():
            assert ", ".join(places) in shown


@pytest.mark.parametrize("number", range(len(made_reports.HOSTILE)))
def test_texts_from_files_change_no_element(
    shape_of_harmless, drawn, command, number, monkeypatch
):
    hostile = made_reports.HOSTILE[number]
    report = made_reports.report(command, hostile)
    # They are the same, says the next test, and take most of the time.
    monkeypatch.setattr(type(report), "figures", lambda report, prefix: drawn)
    text = pages.page(report)
    found = Parsed(text)
    assert found.shape == shape_of_harmless
    text.encode()
    assert not [one for one in text if one != "\n" and pages.visible(one) != one]
    names = [
        shown
        for (tag, _), shown in zip(found.elements, found.texts, strict=True)
        if tag == "bdi"
    ]
    assert names
    if len(hostile) < 100:
        assert set(names) - {"outputs.jsonl"} == {pages.visible(hostile)}
    else:
        # Names are cut early, reasons and notes late.
        assert set(names) == {
            f"{hostile[:length]}… (3,000 characters)" for length in (120, 1000)
        }


MAIN = {
    "calibrate": ("Before, ", "After, ", "A perfectly calibrated model "),
    "cascade": ("With confidence 95%", "K is ", "K was ", "Costs: "),
    "clean": ("129 labels are suspect", "About 60% of them", "Check 65 of them"),
    "check": ("The promise (at most ",),
    "compare": ("Calibration changes the ECE ", "Of 6 ordered pairs of models, "),
}


def test_what_matters_most_is_said_first(parsed, command):
    sentences = made_reports.report(command).sentences()
    pairs = zip(parsed.elements, parsed.texts, strict=True)
    main = [text for (_, attrs), text in pairs if attrs.get("class") == "lead"]
    assert len(main) == len(MAIN[command])
    assert all(map(str.startswith, main, MAIN[command]))
    # The others are a list, in the order of the terminal.
    main = [one.replace("\N{NO-BREAK SPACE}", " ") for one in main]
    more = [one for one in sentences if one not in main]
    assert parsed.texts_of("li")[: len(more)] == more


def test_abbreviations_are_explained_where_they_are(parsed, command):
    shown = " ".join(parsed.texts[0].split())
    for word, commands in (
        ("ECE, the expected calibration error, is ", {"check"}),
        (
            "APGR, the average performance gap recovered, is ",
            {"calibrate", "clean", "check"},
        ),
    ):
        assert shown.count(word) == (command not in commands)


def test_bins_of_two_halves_are_explained(parsed, command):
    shown = " ".join(parsed.texts[0].split())
    number = {"calibrate": 1, "cascade": 2, "clean": 3}.get(command, 0)
    assert shown.count("of the other half, so their counts differ.") == number


def test_no_line_ends_before_a_unit():
    assert pages.unbroken("At most 2 points of 15 bins: K = 4, p <= 0.003.") == (
        "At most 2\xa0points of 15\xa0bins: K\xa0=\xa04, p\xa0<= 0.003."
    )
    assert pages.unbroken("the 3 pointers") == "the 3 pointers"


def test_figures_hold_no_text_from_files(command, drawn):
    """But names of models, which are text there and nothing else."""
    for hostile in made_reports.HOSTILE[1], made_reports.HOSTILE[8]:
        found = made_reports.report(command, hostile).figures("")
        if command != "compare":
            assert found == drawn
            continue
        for name, one in found.items():
            ours, theirs = Parsed(one.element), Parsed(drawn[name].element)
            # Their length moves what is beside them.
            assert set(ours.shape) == set(theirs.shape)
            assert hostile[:10] in " ".join(ours.texts_of("text"))


def test_unseen_characters_are_shown():
    assert (
        pages.visible("a\u202eb\x00\ud800\u2028")
        == "a⟨U+202E⟩b⟨U+0000⟩⟨U+D800⟩⟨U+2028⟩"
    )
    family = "\U0001f468\u200d\U0001f469"
    assert pages.visible(f"é שלום {family}") == f"é שלום {family}"


def test_numbers():
    assert phrases.percent(0.1234) == "12.3%"
    assert phrases.percent(None) == phrases.percent(float("nan")) == "–"
    assert phrases.signed_points(0.0123) == "+1.2"
    assert phrases.signed_points(-0.0123) == "−1.2"
    assert (
        phrases.signed_points(-1e-9)
        == phrases.signed_points(1e-9)
        == phrases.signed_points(0)
        == "0.0"
    )
    assert phrases.signed_points(np.float32(20)) == "+2,000.0"
    assert phrases.level(0.995) == "99.5%"
    assert phrases.at_most(0.01101) == "1.2" and phrases.at_most(0.011) == "1.1"
    assert phrases.at_most(None) == "–"
    assert phrases.hundred(np.float32(0.5)) == "50.0"
    assert phrases.number(-0.00001) == "0.0000"
    assert pages.cost(0.001234) == "0.001234"
    assert pages.cost(2.5, 1234.0) == "2"
    assert pages.cost(2.5, 12.0) == "2.50"
    assert pages.cost(0.0) == "0.000"


def test_rows_of_the_slider():
    report = made_reports.report("cascade")
    found = Parsed(pages.page(report))
    rows = [attrs for attrs in found.all("tr") if "data-says" in attrs]
    assert len(rows) == len(report.points)
    assert [("aria-current" in attrs) for attrs in rows] == [
        point is report.points[report.num_small_bins] for point in report.points
    ]
    for row, point in zip(rows, report.points, strict=True):
        assert row["data-says"].startswith(f"K = {point.num_small_bins}: ")
        assert phrases.percent(point.accuracy) in row["data-says"]
    # The ring is at the chosen K, and moves to the other markers of the curve.
    (figure,) = [one for one in figures_of(pages.page(report)) if "mark-at-k" in one]
    (before, after) = figure.split('class="mark-at-k"')
    ring = Parsed(f"<g {after[: after.index('</g></g>')]}</g></g>").all("use")[0]
    start = np.array([float(ring["x"]), float(ring["y"])])
    markers = {(float(one["x"]), float(one["y"])) for one in uses(before)}
    for row in rows:
        place = start + [float(row["data-x"]), float(row["data-y"])]
        assert min(np.abs(place - marker).max() for marker in markers) < 0.02
    assert (rows[report.num_small_bins]["data-x"], "0.0") == ("0.0", "0.0")


def figures_of(text):
    return re.findall("<svg.*?</svg>", text, re.S)


def uses(text):
    found = re.findall(r'<use [^>]*x="([-\d.]+)" y="([-\d.]+)"', text)
    return [{"x": x, "y": y} for x, y in found]


def test_a_promise_that_is_not_possible():
    report = made_reports.impossible()
    assert not report.feasible and report.small_cost is None
    parsed = Parsed(pages.page(report))
    found = " ".join(parsed.texts[0].split())
    assert "No K can promise" in found
    assert "the promise was made for" not in found
    assert "Mean cost" not in found and "Cost saved" not in found
    rows = [attrs for attrs in parsed.all("tr") if "data-x" in attrs]
    assert [("aria-current" in attrs) for attrs in rows] == [True] + [False] * 15


def test_scores_alone():
    """Of tokens' likelihoods: no confidence before, no options, no groups."""
    report = made_reports.of_scores()
    assert report.model.before is None and not report.model.groups
    parsed = Parsed(pages.page(report))
    found = " ".join(parsed.texts[0].split())
    assert "before calibration" not in found and "By group" not in found
    assert "No row was left out." in found
    assert "slope" in found and "intercept" in found
    figure, _ = parsed.all("svg")
    assert "before" not in figure["aria-label"]


def test_many_suspects_are_in_the_file_alone():
    report = made_reports.report("clean")
    suspects = 3 * report.suspects
    parsed = Parsed(
        pages.page(
            dataclasses.replace(report, suspects=suspects, num_flagged=len(suspects))
        )
    )
    found = " ".join(parsed.texts[0].split())
    assert f"The first 200 of {len(suspects)} suspects" in found
    assert "suspects.csv has them all" in found
    assert found.count("question-") == 200
    none = dataclasses.replace(report, suspects=(), num_flagged=0)
    assert "No label is suspect." in pages.page(none)


def test_fragments_leave_the_notebook_alone(command):
    report = made_reports.report(command)
    first, second = Parsed(report._repr_html_()), Parsed(report._repr_html_())
    ids = [
        {attrs["id"] for _, attrs in found.elements if "id" in attrs}
        for found in (first, second)
    ]
    assert ids[0] and not ids[0] & ids[1]
    assert not first.all("script") + first.all("input") + first.all("main")
    (style,) = [
        text
        for (tag, _), text in zip(first.elements, first.texts, strict=True)
        if tag == "style"
    ]
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
    depth, selectors, current = 0, [], ""
    for one in style:
        if one == "{":
            if depth == 0 or (depth == 1 and selectors[-1].startswith("@media")):
                selectors.append(current.strip())
            depth, current = depth + 1, ""
        elif one in "};":
            depth, current = depth - (one == "}"), ""
        else:
            current += one
    assert selectors[0] == ".calib-jax"
    for selector in selectors:
        assert selector.startswith("@media") or selector.endswith(".calib-jax")


def test_templates_are_package_data():
    folder = importlib.resources.files("calib_jax.report") / "templates"
    names = {path.name for path in folder.iterdir()}
    assert {f"{one}.html.jinja" for one in made_reports.COMMANDS} <= names
    assert {"page.html.jinja", "style.css", "slider.js"} <= names
