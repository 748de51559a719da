"""Three synthetic readers work through reading pages in headless Chromium; the result is analysed.

Skipped where Chromium or Selenium is absent.
"""

import json
import re
import shutil
import time

import numpy as np
import pytest
from reader_studies import CRITERIA, shown_to, write_images

from cmrrecon.evaluation.reader_files import read_key

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed")
METHODS = ("alpha", "bravo", "carol")
SUBJECTS = [f"P{n:03d}" for n in range(1, 7)]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--window-size=1280,900",
)
# The lowest contrast of any visible text with its background (WCAG 2.1, relative luminance).
CONTRAST = """
const channel = (c) => (c /= 255, c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
let lowest = 21;
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !node.getClientRects().length || node.disabled) continue;
  let back = node;
  while (numbers(getComputedStyle(back).backgroundColor)[3] === 0) back = back.parentElement;
  const pair = [getComputedStyle(node).color, getComputedStyle(back).backgroundColor];
  const [a, b] = pair.map((text) => light(numbers(text))).sort((x, y) => y - x);
  lowest = Math.min(lowest, (a + 0.05) / (b + 0.05));
}
return lowest;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tmp_path_factory.mktemp("browser")
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    downloads = folder / "downloads"
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("rec"), METHODS, SUBJECTS)


def wait(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def find(browser, name):
    return browser.find_element(By.ID, name)


def begin(browser, reader):
    find(browser, "reader").send_keys(f"Reader {reader}")
    find(browser, "begin").click()


def position(browser):
    return int(find(browser, "reading").get_attribute("data-position"))


def play(browser, study, reader, keys_for):
    """Answer everything that is not answered yet, with the keyboard."""
    open_places = shown_to(study, reader)[position(browser) :]
    keys = [key for place in open_places for key in (*keys_for(reader, *place), Keys.ENTER)]
    browser.find_element(By.TAG_NAME, "body").send_keys(*keys)
    assert find(browser, "left").is_displayed()


def exported(browser, study, reader):
    find(browser, "export").click()
    file = browser.downloads / f"reading-{study.identifier}-reader{reader}.json"
    wait(file.exists)
    find(browser, "change").click()
    return file


def quality(reader, scan, method, again):
    """The planted rating: carol is best, alpha worst; reader 3 is stricter and less constant."""
    value = 2 + METHODS.index(method) + (scan % 2 if method != "carol" else 0)
    return max(1, min(5, value - (reader == 3) * ((scan + again) % 2)))


def rating_keys(reader, scan, methods, again):
    value = quality(reader, scan, methods[0], again)
    return f"{value}{6 - value}"


def preference_keys(reader, scan, methods, again):
    if scan == 0:
        return "0"
    left, right = (METHODS.index(method) for method in methods)
    return Keys.ARROW_LEFT if left > right else Keys.ARROW_RIGHT


def test_planted_ratings_are_recovered_from_the_page(run, browser, folders, tmp_path):
    page = tmp_path / "study.html"
    words = ("--criteria", ",".join(CRITERIA), "--repeats", 5)
    assert run("readers", "make", *folders, *words, "-o", page).code == 0
    study = read_key(tmp_path / "study_key.json")
    browser.get(page.as_uri())
    contrast = [browser.execute_script(CONTRAST)]

    begin(browser, 1)
    contrast.append(browser.execute_script(CONTRAST))
    body = browser.find_element(By.TAG_NAME, "body")
    movie = movie_of(browser)
    wait(lambda: movie_of(browser) != movie)
    body.send_keys("p")
    movie = movie_of(browser)
    time.sleep(0.3)
    assert movie_of(browser) == movie
    body.send_keys(".")
    assert movie_of(browser) != movie

    # Half an answer survives a reload, and the reader continues there.
    body.send_keys(rating_keys(1, *shown_to(study, 1)[0]), Keys.ENTER, "5")
    browser.refresh()
    begin(browser, 1)
    assert position(browser) == 1
    body = browser.find_element(By.TAG_NAME, "body")
    checked = browser.find_elements(By.CSS_SELECTOR, "input:checked")
    assert [one.get_attribute("value") for one in checked] == ["5"]
    body.send_keys(Keys.ARROW_UP)

    files = []
    for reader in (1, 2, 3):
        if reader > 1:
            begin(browser, reader)
        play(browser, study, reader, rating_keys)
        contrast.append(browser.execute_script(CONTRAST))
        files.append(exported(browser, study, reader))
    assert min(contrast) >= 4.5
    assert browser.get_log("browser") == []
    entries = browser.execute_script("return performance.getEntriesByType('resource')")
    assert not [entry["name"] for entry in entries if not entry["name"].startswith("data:")]

    out = tmp_path / "out"
    done = run("readers", "analyse", *files, "--key", tmp_path / "study_key.json", "--out-dir", out)
    assert done.code == 0, done.err
    found = json.loads((out / "analysis.json").read_text())
    assert (found["missing"], found["readers"], found["repeats"]) == (0, [1, 2, 3], 5)
    expected = {
        method: np.median(
            [quality(reader, scan, method, False) for reader in (1, 2, 3) for scan in range(6)]
        )
        for method in METHODS
    }
    medians = {(row["method"], row["criterion"]): row["median"] for row in found["summaries"]}
    assert medians == {
        (method, criterion): value if criterion == CRITERIA[0] else 6 - value
        for method, value in expected.items()
        for criterion in CRITERIA
    }
    friedman = [row["p"] for row in found["tests"] if row["test"] == "friedman"]
    assert max(friedman) < 0.01
    kappa = {(row["kind"], *row["readers"]): row for row in found["agreement"]}
    assert kappa["between", 1, 2]["kappa"] == kappa["within", 1]["kappa"] == 1
    assert 0 < kappa["within", 3]["kappa"] < 1
    assert kappa["between", 1, 3]["low"] < kappa["between", 1, 3]["kappa"] < 1

    text = files[0].read_text()
    files[0].write_text(re.sub(r"\[0,0,(\d)\]", lambda m: f"[0,0,{int(m[1]) % 5 + 1}]", text))
    words = ("--key", tmp_path / "study_key.json", "--out-dir", tmp_path / "other")
    assert run("readers", "analyse", files[0], *words).codes == ["export-edited"]


def movie_of(browser):
    """The pixels that the page shows."""
    return browser.execute_script("return document.querySelector('canvas').toDataURL()")


def test_planted_preferences_are_recovered_from_the_page(run, browser, folders, tmp_path):
    page = tmp_path / "pairs.html"
    words = ("--pairs", "--repeats", 1, "--readers", 1)
    assert run("readers", "make", *folders, *words, "-o", page).code == 0
    study = read_key(tmp_path / "pairs_key.json")
    browser.get(page.as_uri())
    begin(browser, 1)
    assert browser.execute_script(CONTRAST) >= 4.5
    play(browser, study, 1, preference_keys)
    file = exported(browser, study, 1)
    assert browser.get_log("browser") == []

    out = tmp_path / "out"
    done = run("readers", "analyse", file, "--key", tmp_path / "pairs_key.json", "--out-dir", out)
    assert done.code == 0, done.err
    found = json.loads((out / "analysis.json").read_text())
    counts = [(row["first"], row["ties"], row["second"]) for row in found["preferences"]]
    assert counts == [(0, 1, 5)] * 3
