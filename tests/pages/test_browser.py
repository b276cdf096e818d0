"""Does the page work in a browser: without network, in both themes, on a phone, by keyboard, without scripts?"""

from collections.abc import Iterator

import pytest

import synthetic
from theodolite.pages import report
from theodolite.records.writer import RunWriter

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
OVERFLOW = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


def visit(browser, path, **settings):
    """Open a file; gives the tab, and a list that fills with what goes wrong in it: messages, errors, requests."""
    context = browser.new_context(**{"viewport": DESK} | settings)
    tab, faults = context.new_page(), []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda request: faults.append(request.url) if request.url != path.as_uri() else None)
    tab.goto(path.as_uri())
    if settings.get("java_script_enabled", True):
        tab.wait_for_selector("html[data-ready]", state="attached")
    return tab, faults


@pytest.fixture(scope="module")
def opened(browser, page):
    """The full page, opened once for all tests that leave it as it was."""
    return visit(browser, page, color_scheme="light", reduced_motion="reduce")


@pytest.fixture
def tab(opened) -> Iterator:
    """The full page at its desk; no test may leave a fault."""
    opened[0].set_viewport_size(DESK)
    opened[0].emulate_media(color_scheme="light")
    yield opened[0]
    assert opened[1] == []


def test_every_picture_is_drawn(tab):
    assert tab.locator(".live").count() == 12
    assert tab.locator(".is-live .live .main-svg").count() >= 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_it_follows_the_theme_and_the_width(tab, scheme, viewport):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size(viewport)
    tab.wait_for_timeout(200)
    assert tab.evaluate(OVERFLOW) <= viewport["width"]
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) > 600) is (scheme == "light")
    ink = tab.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
    assert ink == ("rgb(51, 56, 63)" if scheme == "light" else "rgb(213, 217, 222)")


def test_a_phone_stays_in_its_width_with_everything_open(tab):
    tab.set_viewport_size(PHONE)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.evaluate(OVERFLOW) <= PHONE["width"]
    assert tab.locator("table.data").first.is_visible()
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")


def test_zooming_moves_the_names_into_a_legend_and_back(tab):
    names = "document.querySelector('[data-chart=progress]').layout.annotations.filter((n) => n.name === 'end').length"
    tab.wait_for_function(f"{names} === 2")
    zoom = "Plotly.relayout(document.querySelector('[data-chart=progress]'), {'xaxis.range': [%s, %s]})"
    home = tab.evaluate("JSON.parse(document.getElementById('figures').textContent).progress.layout.xaxis.range")
    tab.evaluate(zoom % (100, 200))
    tab.wait_for_function(f"{names} === 0")
    tab.evaluate(zoom % tuple(home))
    tab.wait_for_function(f"{names} === 2")


def test_hovering_tells_the_numbers(tab):
    plot = tab.locator("[data-chart=budget] .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    tab.wait_for_selector("[data-chart=budget] .hoverlayer .legend, [data-chart=budget] .hoverlayer .hovertext")
    assert "noise" in tab.locator("[data-chart=budget] .hoverlayer").text_content()


def test_every_picture_has_words_for_those_who_do_not_see_it(tab):
    labels = tab.locator(".plot").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
    assert len(labels) == 12
    assert all(len(label) > 30 for label in labels)
    assert tab.locator("figure details.numbers").count() == 12


def test_the_button_changes_the_theme_by_keyboard(tab):
    fill = "getComputedStyle(document.querySelector('.xtick text')).fill"
    before = tab.evaluate(fill)
    tab.evaluate("document.querySelector('.bar nav a:last-child').focus()")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "theme"
    tab.keyboard.press("Enter")
    tab.wait_for_function(f"{fill} !== '{before}'")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.locator("#theme").inner_text() == "Light"
    tab.evaluate("delete document.documentElement.dataset.theme")


def test_without_scripts_the_pictures_stand_still(browser, page):
    tab, faults = visit(browser, page, java_script_enabled=False)
    assert tab.locator(".static svg").first.is_visible()
    assert tab.locator("#theme").is_hidden()
    assert tab.locator("noscript p").is_visible()
    assert faults == []


def test_in_an_old_browser_the_pictures_stand_still_and_the_theme_changes(browser, page):
    context = browser.new_context(viewport=DESK, color_scheme="light")
    context.add_init_script("delete window.DecompressionStream")
    tab, faults = context.new_page(), []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_selector("#still", state="visible")
    assert tab.locator(".static svg").first.is_visible()
    tab.locator("#theme").click()
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert faults == []


@pytest.mark.parametrize("kind", ["single", "empty", "broken"])
def test_odd_runs_draw_without_a_fault(browser, runs, tmp_path, kind):
    path = report(runs[kind], tmp_path / "page.html", diagnosis=synthetic.diagnosis("undetermined"))
    assert visit(browser, path)[1] == []


def test_hostile_texts_do_not_run(browser, tmp_path):
    hostile = "</script><img src=x onerror=window.hacked=1><svg onload=window.hacked=1>"
    line = synthetic.straight_line(barrier=0.3)
    with RunWriter(tmp_path / "run", metadata={"name": hostile, hostile: hostile}) as writer:
        writer.event(hostile, 1, {hostile: hostile})
        writer.scalars(1, {"loss": 1.0})
        writer.result(type(line)(line.positions, line.losses, line.errors, hostile, hostile))
    file = report(tmp_path / "run", tmp_path / "page.html", diagnosis=synthetic.diagnosis(words=hostile))
    tab, faults = visit(browser, file)
    assert tab.locator(".live").count() == 3
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img").count() == 0
    assert faults == []
