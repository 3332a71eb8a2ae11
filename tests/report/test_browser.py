"""Pages in a real browser: Debian's Chromium, without a window or a network."""

import functools
import shutil

import made_reports
import pytest

from calib_jax.report import pages, phrases

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1100, "height": 800}
# Root, as in containers, has no sandbox.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@functools.cache
def written(folder, command, text):
    path = folder / f"{command}-{abs(hash(text))}.html"
    path.write_text(pages.page(made_reports.report(command, text)), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser, tmp_path_factory):
    """Opens the page of a report; fails if it complains or asks for anything."""
    contexts, wrong = [], []
    folder = tmp_path_factory.getbasetemp()

    def open_page(command, text="", viewport=DESK, **options):
        path = written(folder, command, text)
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)

        def answer(route):
            if route.request.url == path.as_uri():
                route.continue_()
            else:
                wrong.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


every_command = pytest.mark.parametrize("command", made_reports.COMMANDS)


@every_command
@pytest.mark.parametrize("text", ["", "x" * 3000], ids=["usual", "long"])
def test_nothing_overflows_on_a_phone(visit, command, text):
    page = visit(command, text, viewport=PHONE)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    # Nor is anything cut off, but in tables that scroll.
    assert (
        page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((one) =>
                 !one.closest(".scroll, svg, .unseen") && !one.matches("bdi")
                 && one.getBoundingClientRect().right > 360.5)
                 .map((one) => one.outerHTML)"""
        )
        == []
    )


def test_suggestions_are_seen_on_a_phone(visit):
    """Without scrolling the table, and without a gap before them."""
    page = visit("clean", viewport=PHONE)
    heads = page.locator(".tight thead th")
    assert heads.all_inner_texts()[:5] == ["Rank", "Row", "Given", "Suggested", "Score"]
    boxes = [heads.nth(number).bounding_box() for number in range(4)]
    assert boxes[3]["x"] + boxes[3]["width"] <= 360
    assert max(box["width"] for box in boxes) < 110
    # Nor are ids cut into letters.
    rows = page.locator(".tight tbody tr")
    assert max(rows.nth(number).bounding_box()["height"] for number in range(20)) < 60


@pytest.mark.slow
@every_command
def test_hostile_texts_do_nothing(visit, command):
    """The fixture counts what was asked for, said, run and shown in a dialog."""
    for text in made_reports.HOSTILE[:4]:
        page = visit(command, text)
        assert page.locator("h1").is_visible()
        assert page.locator("img").count() == 0
        assert pages.visible(text) in page.locator("main").inner_text()


@pytest.mark.slow
@every_command
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_read_it(visit, command, scheme):
    """axe, with its rules of WCAG 2.2 AA and good practice, contrast among them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(command, color_scheme=scheme, bypass_csp=True)
    for summary in page.locator("summary").all():
        summary.click()
    found = axe.Axe().run(page).response
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    checked = {one["id"] for one in found["passes"]}
    assert {"color-contrast", "heading-order", "region", "html-has-lang"} <= checked


@pytest.mark.slow
@every_command
def test_colours_follow_the_scheme(visit, command):
    grounds = set()
    for scheme in "light", "dark":
        page = visit(command, color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        ground, ink = page.evaluate(
            """() => { const style = getComputedStyle(
                 document.querySelector("svg text") ?? document.querySelector("h1"));
               return [getComputedStyle(document.body).backgroundColor,
                       style.fill == "rgb(0, 0, 0)" ? style.color : style.fill]; }"""
        )
        assert contrast(ground, ink) > 12
    assert len(grounds) == 2
    # Paper is white whatever the screen is.
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


def contrast(*colours):
    """The contrast of two colours, by WCAG 2."""

    def luminance(colour):
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.slow
@every_command
def test_it_prints(visit, command):
    page = visit(command)
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF-") and len(paper) > 10_000
    page.emulate_media(media="print")
    assert not page.locator(".slider").is_visible()
    page.set_viewport_size({"width": 794, "height": 1123})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 794


def state(page):
    """What the page shows for K: the numbers, the mark's place, the marked row."""
    parts = page.locator("[data-part]:not([aria-live])").all()
    return {
        "k": page.locator("output").inner_text(),
        "numbers": {p.get_attribute("data-part"): p.inner_text() for p in parts},
        "mark": page.locator(".mark-at-k").get_attribute("transform"),
        "current": page.locator("tr[aria-current] th").all_inner_texts(),
        "said": page.locator("[aria-live]").text_content(),
    }


def expected(k):
    """What it should show, from the report."""
    report = made_reports.report("cascade")
    point = report.points[k]
    return {
        "share": phrases.hundred(point.small_share),
        "accuracy": phrases.hundred(point.accuracy),
        "accuracy-ends": " to ".join(map(phrases.hundred, point.accuracy_interval)),
        "change": phrases.signed_points(point.accuracy_change),
        "change-ends": " to ".join(
            map(phrases.signed_points, point.accuracy_change_interval)
        ),
        "bound": phrases.at_most(point.drop_bound),
        "cost": pages.cost(point.cost, max(p.cost for p in report.points)),
        "saved": phrases.hundred(point.cost_saved_share),
        "saved-ends": " to ".join(
            map(phrases.hundred, point.cost_saved_share_interval)
        ),
        "allowed": ("yes" if point.allowed else "no" if k else "not tested")
        + (", chosen" if k == report.num_small_bins else ""),
    }


def check(page, k):
    found = state(page)
    assert found["k"] == str(k)
    assert found["numbers"] == {"k": str(k), **expected(k)}
    assert found["current"] == [str(k)]
    row = page.locator("tr[data-says]").nth(k)
    place = row.get_attribute("data-x"), row.get_attribute("data-y")
    at_start = place == ("0.0", "0.0") and found["mark"] is None
    assert at_start or found["mark"] == f"translate({' '.join(place)})"
    assert page.locator(".mark-at-k-name").text_content() == f"K = {k}"
    return found


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_slider(visit, viewport):
    report = made_reports.report("cascade")
    last = len(report.points) - 1
    page = visit("cascade", viewport=viewport)
    first = check(page, report.num_small_bins)
    assert first["said"] == ""
    slider = page.get_by_label("K, bins kept small")
    assert slider.get_attribute("type") == "range"
    # By keyboard.
    slider.focus()
    page.keyboard.press("ArrowRight")
    moved = check(page, report.num_small_bins + 1)
    assert moved["said"].startswith(f"K = {report.num_small_bins + 1}: ")
    assert moved["mark"] != first["mark"]
    page.keyboard.press("Home")
    assert check(page, 0)["said"].startswith("K = 0: both models are asked for every")
    page.keyboard.press("End")
    check(page, last)
    # By mouse.
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + box["width"] / 2, middle)
    assert abs(int(state(page)["k"]) - last / 2) <= 1
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 20, middle, steps=5)
    page.mouse.up()
    check(page, last)


def test_the_mark_is_on_the_curve(visit):
    """In pixels: its middle is that of a marker of the curve, for every K."""
    page = visit("cascade")
    middles = """(names) => names.map((name) =>
        [...document.querySelectorAll(`[data-cascade] svg ${name}`)].map((one) => {
          const box = one.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2]; }))"""
    slider = page.get_by_label("K, bins kept small")
    seen = set()
    for k in range(len(made_reports.report("cascade").points)):
        slider.fill(str(k))
        ((x, y),), markers = page.evaluate(
            middles, [".mark-at-k", ":not(.mark-at-k) > g > use"]
        )
        seen.add((x, y))
        assert min(max(abs(x - right), abs(y - down)) for right, down in markers) < 1
    assert len(seen) == len(made_reports.report("cascade").points)


def test_without_a_script_the_table_stands(visit):
    page = visit("cascade", java_script_enabled=False)
    report = made_reports.report("cascade")
    assert not page.locator("input").is_visible()
    rows = page.locator("tr[data-says]")
    assert rows.count() == len(report.points)
    for k, row in enumerate(rows.all()):
        assert row.is_visible()
        assert (
            row.locator("[data-name=accuracy]").inner_text() == expected(k)["accuracy"]
        )
    assert (
        page.locator("[data-part=accuracy]").inner_text()
        == (expected(report.num_small_bins)["accuracy"])
    )
    assert page.locator(".mark-at-k").is_visible()


def test_scripts_of_others_are_refused(browser):
    """The policy holds even where a text would get past the template engine."""
    context = browser.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.on("dialog", lambda dialog: (refused.append("dialog"), dialog.dismiss()))
    text = pages.page(made_reports.report("cascade"))
    bad = "<script>alert(1)</script><img src='http://127.0.0.1:9/' onerror='alert(2)'>"
    page.set_content(text.replace("<h1>", f"{bad}<h1>"))
    page.wait_for_timeout(200)
    context.close()
    assert "dialog" not in refused
    assert len([one for one in refused if "Content Security Policy" in one]) >= 2
