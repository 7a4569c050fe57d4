"""The audit page in a browser: keys label and move, labels are on the disk, markup in captions stays text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from PIL import Image

from procir.construct.audit import read_labels
from procir.construct.audit_page import Case, create_app
from procir.construct.builtin.serving import running
from procir.types import Caption, Product, ProductKey, View

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"no {PROGRAM}; install Debian's chromium"),
]

KEYS = [ProductKey("shop", f"p{number}") for number in range(4)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The page's address, and the file of the labels."""
    cases = []
    for key in KEYS:
        path = tmp_path / f"{key.product_id}.png"
        Image.new("RGB", (40, 60), "navy").save(path)
        long = "<script>document.title = 'owned'</script> A pocket on the left, a slit on the Right."
        cases.append(Case(Product(key, (View(path, "front"),)), Caption(key, long, "Short.", ("[Image 1] left",))))
    with running(create_app(cases, tmp_path / "labels.jsonl")) as url:
        yield url.removesuffix("/v1"), tmp_path / "labels.jsonl"


def wait_for(browser: Chromium, path: str) -> None:
    """Until the browser shows this page, whole; at most ten seconds."""
    ready = f"location.pathname === '{path}' && document.readyState === 'complete'"
    for _ in range(200):
        if browser.evaluate(ready):
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come: {browser.evaluate('location.pathname')}")


def test_keys_label_and_move(browser: Chromium, page: tuple[str, Path]) -> None:
    url, labels = page
    browser.open(f"{url}/products/1")
    for key, path in (("2", "/products/2"), ("f", "/products/3"), ("ArrowLeft", "/products/2"), ("n", "/products/3"),
                      ("1", "/products/4"), ("u", "/products/3"), ("l", "/products/4")):  # fmt: skip
        browser.press(key)
        wait_for(browser, path)
    assert read_labels(labels) == {KEYS[0]: "left_right", KEYS[1]: "fine", KEYS[2]: "left_right"}
    assert browser.evaluate("document.querySelector('.where').textContent") == "4 of 4; 3 labelled"
    browser.press("ArrowLeft")
    wait_for(browser, "/products/3")
    assert browser.evaluate("document.querySelector('[aria-pressed=true]').dataset.label") == "left_right"


def test_sides_are_marked_and_markup_stays_text(browser: Chromium, page: tuple[str, Path]) -> None:
    browser.open(f"{page[0]}/products/1")
    assert browser.complaints() == []
    assert browser.evaluate("document.title") == "1 of 4 · audit of captions"
    marked = "[...document.querySelectorAll('main mark')].map((mark) => mark.textContent).join()"
    assert browser.evaluate(marked) == "left,left,Right"
    assert "<script>" in browser.evaluate("document.querySelector('.texts .text').textContent")
    assert browser.evaluate("document.querySelector('img').naturalWidth") == 40


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_need_not_scroll_sideways(browser: Chromium, page: tuple[str, Path], scheme: str) -> None:
    browser.open(f"{page[0]}/products/1", width=390, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
