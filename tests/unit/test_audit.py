"""The audit of stage 2: sample, labels, scores with intervals, and the page, over HTTP and in a browser."""

import json
from html.parser import HTMLParser

import httpx2 as httpx
import pytest
from PIL import Image

from procir.construct.audit import (
    Interval,
    add_label,
    describe,
    draw_sample,
    read_labels,
    score,
    wilson,
)
from procir.construct.audit_page import GUARD, Case, create_app
from procir.construct.builtin.serving import running
from procir.construct.verdicts import Verdict
from procir.errors import MissingDataError, RecordError
from procir.types import Caption, Product, ProductKey, View

KEYS = [ProductKey("shop", f"p{number:03}") for number in range(200)]


def test_the_sample_is_stable_under_growth():
    drawn = draw_sample(KEYS, 50, seed=1)
    assert len(set(drawn)) == 50
    assert draw_sample(KEYS[::-1], 50, seed=1) == drawn
    assert draw_sample(KEYS, 50, seed=2) != drawn
    grown = draw_sample([*KEYS, *(ProductKey("new", str(number)) for number in range(20))], 50, seed=1)
    assert len(set(grown) & set(drawn)) >= 40
    assert len(draw_sample(KEYS[:3], 50, seed=1)) == 3


def labelled(hits, false_alarms, misses, severe, total):
    """Verdicts and labels with these counts; other severe errors are not flagged."""
    flags = [True] * (hits + false_alarms) + [False] * (total - hits - false_alarms)
    names = ["left_right"] * hits + ["fine"] * false_alarms + ["left_right"] * misses + ["severe"] * severe
    names += ["fine"] * (total - len(names))
    keys = [ProductKey("d", str(number)) for number in range(total)]
    return [Verdict(key, flag) for key, flag in zip(keys, flags, strict=True)], dict(zip(keys, names, strict=True))


def test_the_papers_figures():
    """1,000 products, 5.0 % left/right, 1.2 % other severe errors, precision 42.9 %, recall 36.0 %."""
    found = score(*labelled(hits=18, false_alarms=24, misses=32, severe=12, total=1000))
    assert (found.labelled, found.hits, found.false_alarms, found.misses) == (1000, 18, 24, 32)
    assert found.precision.value == pytest.approx(18 / 42)
    assert found.recall.value == pytest.approx(18 / 50)
    assert found.f1.value == pytest.approx(36 / 92)
    assert (found.left_right.value, found.severe.value) == (0.05, 0.062)
    # Wilson's intervals, computed independently with the closed formula on paper.
    assert (found.precision.low, found.precision.high) == pytest.approx((0.2912, 0.5779), abs=2e-4)
    assert (found.recall.low, found.recall.high) == pytest.approx((0.2414, 0.4986), abs=2e-4)
    assert found.f1.low < 36 / 92 < found.f1.high
    assert 0.1 < found.f1.high - found.f1.low < 0.35
    assert score(*labelled(18, 24, 32, 12, 1000)).f1 == found.f1
    shown = dict(describe(found))
    assert shown["precision"] == "42.9 % (95 %: 29.1 to 57.8) (paper: 42.9 %)"
    assert shown["recall"] == "36.0 % (95 %: 24.1 to 49.9) (paper: 36.0 %)"


def test_intervals_at_the_ends():
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1
    assert wilson(0, 0) == Interval(value=None, low=None, high=None)
    found = score(*labelled(0, 0, 0, 0, 5))
    assert (found.precision.value, found.recall.value, found.f1.value) == (None, None, None)
    assert str(found.recall) == "nothing to count"
    with pytest.raises(MissingDataError, match="no labelled product has a verdict"):
        score([Verdict(KEYS[0], True)], {KEYS[1]: "fine"})


def test_the_last_label_counts(tmp_path):
    path = tmp_path / "labels.jsonl"
    assert read_labels(path) == {}
    for label in ("fine", "severe", "left_right"):
        add_label(path, KEYS[0], label)
    add_label(path, KEYS[1], "fine")
    assert read_labels(path) == {KEYS[0]: "left_right", KEYS[1]: "fine"}
    path.write_text(json.dumps({"dataset": "shop", "product_id": "p", "label": "good"}))
    with pytest.raises(RecordError, match=r"labels\.jsonl:1: label 'good' is none of fine, left_right, severe"):
        read_labels(path)


@pytest.fixture
def cases(tmp_path):
    made = []
    for key in KEYS[:3]:
        views = []
        for name in ("front", "back"):
            path = tmp_path / f"{key.product_id}_{name}.png"
            Image.new("RGB", (40, 40), "navy").save(path)
            views.append(View(path, name))
        caption = Caption(
            key, "A long <b>caption</b>, pocket on the left.", "Short & sweet.", ("[Image 1] a", "[Image 2] b")
        )
        made.append(Case(Product(key, tuple(views)), caption))
    return made


class Text(HTMLParser):
    """All text of a page, and the tags."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_the_page_shows_and_saves(cases, tmp_path):
    labels = tmp_path / "labels.jsonl"
    with running(create_app(cases, labels)) as url, httpx.Client(base_url=url.removesuffix("/v1")) as client:
        page = client.get("/")
        shown = Text(page.text)
        assert "A long <b>caption</b>, pocket on the left." in shown.texts
        assert "b" not in shown.tags
        assert shown.tags.count("img") == 2
        assert "script-src" in page.headers["Content-Security-Policy"]
        assert client.get("/products/1/views/2").content == cases[0].product.views[1].path.read_bytes()
        assert client.get("/products/1/views/3").status_code == 404
        assert client.get("/products/4").status_code == 404
        assert client.post("/products/1/fine").status_code == 403
        assert client.post("/products/1/good", headers={GUARD: "1"}).status_code == 400
        assert not labels.exists()
        assert client.post("/products/1/left_right", headers={GUARD: "1"}).json() == {"next": 2}
        assert "2 of 3; 1 labelled" in client.get("/").text
        assert client.post("/products/3/fine", headers={GUARD: "1"}).json() == {"next": 2}
        assert client.post("/products/2/severe", headers={GUARD: "1"}).json() == {"next": 3}
        assert client.post("/products/1/fine", headers={GUARD: "1"}).json() == {"next": 2}
        assert 'data-label="fine" aria-pressed="true"' in client.get("/products/1").text
    assert read_labels(labels) == {KEYS[0]: "fine", KEYS[1]: "severe", KEYS[2]: "fine"}
