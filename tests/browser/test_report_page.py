"""The report page in a browser: no complaints, no requests, keyboard, dialog, and a phone's width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium

from procir.report import page
from reporting import EVIL, evaluation_content, folder_content

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"no {PROGRAM}; install Debian's chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with report.html and folder.html."""
    made = tmp_path_factory.mktemp("pages")
    (made / "catalogue").mkdir()
    page.write_report(made / "report.html", evaluation_content(made / "catalogue"))
    page.write_report(made / "folder.html", folder_content(made / "catalogue"))
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", ["report.html", "folder.html"])
def test_the_page_runs_without_complaint_and_fetches_nothing(browser: Chromium, folder: Path, name: str) -> None:
    browser.open(folder / name)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [(folder / name).as_uri()]


def test_keys_move_from_case_to_case(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "report.html")
    visited = []
    for key in ("j", "j", "ArrowRight", "k", "ArrowLeft", "k"):
        browser.press(key)
        visited.append(browser.evaluate("document.activeElement.id"))
    assert visited == ["case-1", "case-2", "case-3", "case-2", "case-1", "case-1"]
    assert browser.evaluate("document.querySelector('[aria-current]').textContent") == "1"
    assert browser.evaluate("location.hash") == "#case-1"
    top = browser.evaluate("document.getElementById('case-1').getBoundingClientRect().top")
    assert 0 <= top <= 80


def test_the_last_case_is_reached_and_kept(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "report.html")
    for _ in range(15):
        browser.press("j")
    assert browser.evaluate("document.activeElement.id") == "case-12"
    browser.press("k")
    assert browser.evaluate("document.activeElement.id") == "case-11"


def test_a_jump_link_moves_and_the_keys_go_on_from_there(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "report.html")
    browser.evaluate("document.querySelector('[data-jump][href=\"#case-7\"]').click()")
    assert browser.evaluate("document.activeElement.id") == "case-7"
    browser.press("j")
    assert browser.evaluate("document.activeElement.id") == "case-8"


def test_a_product_opens_large_with_its_caption_as_text(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "report.html")
    browser.evaluate("document.querySelector('#case-1 .source').click()")
    assert browser.evaluate("document.getElementById('zoom').open") is True
    views = browser.evaluate("document.querySelectorAll('#case-1 .source svg').length")
    assert browser.evaluate("document.querySelectorAll('#zoom figure svg').length") == views
    assert EVIL in browser.evaluate("document.querySelector('#zoom [data-role=caption]').textContent")
    browser.press("j")
    assert browser.evaluate("document.getElementById('zoom').open") is True
    browser.press("Escape")
    assert browser.evaluate("document.getElementById('zoom').open") is False
    assert browser.complaints() == []


@pytest.mark.parametrize("name", ["report.html", "folder.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_whole_width(browser: Chromium, folder: Path, name: str, scheme: str) -> None:
    browser.open(folder / name, width=360, height=740, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    wide = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 361"
    wide += " && !e.closest('.jumps') && !e.closest('.chart svg')).length"
    assert browser.evaluate(wide) == 0
    assert browser.complaints() == []


def test_every_view_is_drawn(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "report.html")
    sizes = "[...document.querySelectorAll('.views svg use')].map(e => e.getBBox().width)"
    widths = browser.evaluate(sizes)
    assert len(widths) > 250
    assert min(widths) > 0
