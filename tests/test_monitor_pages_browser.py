"""Pages of checks in headless Chromium: on a telephone, on a screen and on paper."""

import numpy as np
import pandas as pd
import pytest
from bad_inputs import ATTACK, BY_RISK, SOUND, findings, partly, window
from test_publish_browser import CHROMIUM, Browser

from mlnb.models.fairness import fairness
from mlnb.monitor.check_pages import drift_page, performance_page, quality_page
from mlnb.monitor.drift import drift
from mlnb.monitor.evidently import drift_report
from mlnb.monitor.fairness_page import fairness_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
LONG = "a_name_of_a_column_that_goes_on_without_any_space_" * 4
SIZES = {"telephone": (390, ""), "screen": (1280, ""), "paper": (720, "print")}
TOO_PALE = """
(() => {
  const light = c => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const parts = s => s.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  return [...document.querySelectorAll("h1, h2, h3, p, th, td")].filter(e => {
    const [a, b] = [light(parts(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 7; }).length;
})()"""
SIDEWAYS = """
[document.scrollingElement, ...document.querySelectorAll(".wide")].filter(
  e => e.scrollWidth > e.clientWidth).length
"""
OUT_OF_SIGHT = """
[...document.querySelectorAll("tbody td, tbody th")].filter(e => e.textContent && !e.offsetWidth).length
"""


def pages():
    "Pages of a batch with hostile and long names, of a thousand columns and of many groups."
    hostile = {
        "amount": ATTACK,
        "abroad": LONG + "1",
        "count": LONG + "2",
        "label": "label",
        "score": "score",
    }
    before = window().rename(columns=hostile)
    batch = SOUND.assign(risk=partly(SOUND.risk, 0.5, ATTACK + LONG)).rename(columns=hostile)
    found = findings(batch, before)
    draw = np.random.default_rng(0)
    wide = [pd.DataFrame(draw.normal(size=(60, 1000))).add_prefix("column ") for _ in range(2)]
    return {
        "drift": drift_page(found["drift"], [f"{LONG}.csv was read"]),
        "quality": quality_page(found["quality"]),
        "performance": performance_page(found["performance"]),
        "fairness": fairness_page(fairness(batch, BY_RISK, n_resamples=20)),
        "thousand columns": drift_page(drift(*wide)),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, page in pages().items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["drift", "quality", "performance", "fairness", "thousand columns"])
def test_page_is_read_whole_without_scrolling_sideways(browser, written, name, size):
    width, media = SIZES[size]
    browser.call("Emulation.setEmulatedMedia", media=media)
    browser.open((written / f"{name}.html").as_uri(), width)
    assert browser.everywhere(SIDEWAYS) == browser.everywhere(OUT_OF_SIGHT) == [0]
    assert browser.everywhere("window.attacked === undefined && document.title.length > 0") == [True]
    assert browser.everywhere("document.querySelectorAll('tbody tr').length > 0") == [True]
    assert (browser.messages, browser.fetched()) == ([], [])
    browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("name", ["drift", "quality", "performance", "fairness"])
def test_all_text_of_a_page_is_dark_enough_and_pictures_are_named(browser, written, name):
    browser.open((written / f"{name}.html").as_uri(), 1280)
    assert browser.everywhere(TOO_PALE) == [0]
    unnamed = "[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label')).length"
    assert browser.everywhere(unnamed) == [0]


@pytest.mark.parametrize("width", [1280, 390])
def test_page_to_explore_shows_its_findings_and_runs_nothing_of_the_data(browser, tmp_path, width):
    before = window().rename(columns={"amount": ATTACK})
    batch = SOUND.assign(risk=partly(SOUND.risk, 0.5, ATTACK)).rename(columns={"amount": ATTACK})
    path = tmp_path / "page.html"
    path.write_text(drift_report(before, batch, drift(before, batch)).html, encoding="utf-8")
    browser.open(path.as_uri(), width)
    browser.until("document.body.innerText.includes('Drift raises an alarm: 1 of 6 columns drifted')")
    browser.until("document.body.innerText.includes('All rows were compared, 900 of the reference')")
    assert browser.everywhere("document.querySelectorAll('img').length") == [0]
    assert browser.everywhere("document.scrollingElement.scrollWidth <= innerWidth") == [True]
    assert browser.fetched() == []
