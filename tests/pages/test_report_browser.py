"""A report in headless Chromium: movies, keys, divider, order, filter, contrast, no messages."""

import re
import shutil

import pytest
from report_folders import write
from typer.testing import CliRunner

from cmrrecon.cli.app import app

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
# Contrast of texts at least this large against their background (WCAG AA).
CONTRAST = 4.5
SUM_OF_PIXELS = """
const canvas = arguments[0];
const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
return pixels.reduce((sum, value, i) => (sum * 31 + value * (i % 97)) % 1000003, 0);
"""
LOWEST_CONTRAST = """
const light = (c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
let lowest = 21;
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
  if (!own || ["SCRIPT", "TITLE"].includes(node.tagName.toUpperCase())) continue;
  let back = [255, 255, 255];
  for (let up = node; up; up = up.parentElement) {
    const found = numbers(getComputedStyle(up).backgroundColor);
    if (found.length < 4 || found[3] > 0) { back = found.slice(0, 3); break; }
  }
  const style = getComputedStyle(node);
  const front = numbers(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const [a, b] = [luminance(front), luminance(back)].sort((p, q) => q - p);
  lowest = Math.min(lowest, (a + 0.05) / (b + 0.05));
}
return lowest;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report on three scans with two methods, one of them with a warning."""
    folder = tmp_path_factory.mktemp("page")
    for subject in (1, 2, 3):
        write(folder, subject, "sense", 0.05 * subject, extra={"warnings": ["a warning"]})
        write(folder, subject, "zero-filled", 0.3)
    words = ["report", folder / "rec", "--truth", folder / "data", "-o", folder / "r.html"]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    return folder / "r.html"


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """Chromium with the report, once its movies are ready."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.support.ui import WebDriverWait

    settings = webdriver.ChromeOptions()
    settings.binary_location = CHROMIUM
    for word in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        settings.add_argument(word)
    settings.set_capability("goog:loggingPrefs", {"browser": "ALL"})

    driver = webdriver.Chrome(settings, webdriver.ChromeService(DRIVER))
    try:
        driver.get(page.as_uri())
        WebDriverWait(driver, 30).until(
            lambda d: d.execute_script("return document.body.dataset.ready") == "true"
        )
        yield driver
        # Every message of the page, such as errors of scripts and refused requests.
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 10, poll_frequency=0.02).until(condition)


def frame(browser, case):
    return int(case.get_attribute("data-frame"))


def test_movies_of_all_methods_play_and_pause_together(browser):
    case = find(browser, ".case")[0]
    canvases = case.find_elements("css selector", ".views canvas.image")
    assert len(canvases) == 3
    before = [browser.execute_script(SUM_OF_PIXELS, canvas) for canvas in canvases]

    first = frame(browser, case)
    button = case.find_element("css selector", ".play")
    button.click()
    wait(browser, lambda _: frame(browser, case) != first)
    assert button.text == "Pause"
    button.click()
    assert button.text == "Play"

    if frame(browser, case) == first:
        case.find_element("css selector", ".viewer").send_keys("\ue014")  # right
    wait(
        browser,
        lambda _: all(
            browser.execute_script(SUM_OF_PIXELS, canvas) != old
            for canvas, old in zip(canvases, before, strict=True)
        ),
    )


def test_keys_step_and_play(browser):
    case = find(browser, ".case")[1]
    viewer = case.find_element("css selector", ".viewer")
    first = frame(browser, case)

    viewer.send_keys("\ue014")  # right
    wait(browser, lambda _: frame(browser, case) == (first + 1) % 3)
    viewer.send_keys("\ue011")  # home
    wait(browser, lambda _: frame(browser, case) == 0)
    viewer.send_keys("\ue010")  # end
    wait(browser, lambda _: frame(browser, case) == 2)
    assert case.find_element("css selector", ".at").text == "3 of 3"

    viewer.send_keys(" ")
    assert case.find_element("css selector", ".play").text == "Pause"
    wait(browser, lambda _: frame(browser, case) != 2)
    viewer.send_keys(" ")
    assert case.find_element("css selector", ".play").text == "Play"


def test_error_maps_are_coloured_and_the_reference_has_none(browser):
    case = find(browser, ".case")[0]
    errors = case.find_elements("css selector", ".views canvas.error")
    assert len(errors) == 2
    coloured = """
    const c = arguments[0];
    const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    for (let i = 0; i < p.length; i += 4) if (p[i] !== p[i + 2]) return true;
    return false;
    """
    assert all(browser.execute_script(coloured, canvas) for canvas in errors)
    assert re.fullmatch(r"[\d.]+ %", case.find_elements("css selector", ".ticks span")[-1].text)


def test_divider_uncovers_the_other_method(browser):
    case = find(browser, ".case")[0]
    divider = case.find_element("css selector", "input.divider")
    left = case.find_element("css selector", "canvas.left")
    before = left.value_of_css_property("clip-path")
    divider.send_keys("\ue014" * 5)
    assert left.value_of_css_property("clip-path") != before

    pixels = browser.execute_script(SUM_OF_PIXELS, left)
    case.find_element("css selector", "select.left option[value='0']").click()
    wait(browser, lambda _: browser.execute_script(SUM_OF_PIXELS, left) != pixels)


def test_cards_are_ordered_and_filtered(browser):
    titles = [card.text for card in find(browser, ".card h3")]
    find(browser, "#order option[value='0']")[0].click()
    by_number = [card.text for card in find(browser, ".card h3")]
    assert by_number == sorted(titles) != titles

    box = find(browser, "#filter")[0]
    box.send_keys("p002")
    assert [card.text for card in find(browser, ".card h3") if card.is_displayed()] == [
        by_number[1]
    ]
    assert find(browser, "#matches")[0].text == "1 of 3 scans"
    box.clear()
    box.send_keys(" ")


def test_text_is_readable(browser):
    assert browser.execute_script(LOWEST_CONTRAST) >= CONTRAST


def test_a_narrow_window_needs_no_scrolling_sideways(browser):
    browser.set_window_size(500, 900)
    over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(over) == 0
    browser.set_window_size(1200, 900)
