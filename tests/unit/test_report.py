"""The report page: what it shows, that it escapes what the catalogue says, and that it needs nothing else."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from procir.errors import ImageError, UnknownProductError
from procir.report import cases, figures, page, tables
from procir.types import ProductKey, Triplet
from reporting import EVIL, evaluation_content, folder_content

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes, self.text = tag, attributes, ""


class Page(HTMLParser):
    """Elements in order, with the text inside each; refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1].tag == tag, f"</{tag}> closes {self._open[-1].tag}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, cls: str | None = None) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.tag == tag and (cls is None or cls in (element.attributes.get("class") or "").split())
        ]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> page.ReportContent:
    return evaluation_content(tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="module")
def html(content: page.ReportContent) -> str:
    return page.render(content)


@pytest.fixture(scope="module")
def parsed(html: str) -> Page:
    return Page(html)


def test_the_page_has_twelve_cases_with_ten_results_each(parsed: Page) -> None:
    assert len(parsed.all("article", "sheet")) == 12
    assert len(parsed.all("button", "result")) == 120
    assert len(parsed.all("button", "source")) == len(parsed.all("button", "target")) == 12


def test_text_of_the_catalogue_is_escaped_wherever_it_stands(html: str, parsed: Page) -> None:
    assert EVIL not in html
    assert len(parsed.all("script")) == 1
    assert not [element for element in parsed.elements if any(name.startswith("on") for name in element.attributes)]
    assert any(EVIL in element.text for element in parsed.all("h3"))
    assert any(EVIL in (element.attributes["title"] or "") for element in parsed.all("button", "product"))


def test_the_page_names_no_address(html: str) -> None:
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)


def test_every_reference_has_its_one_element(parsed: Page) -> None:
    ids = Counter(element.attributes["id"] for element in parsed.elements if element.attributes.get("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    used = [
        value[1:]
        for element in parsed.elements
        for value in [element.attributes.get("href") or element.attributes.get("xlink:href") or ""]
        if value.startswith("#")
    ]
    labelled = [element.attributes.get("aria-labelledby") for element in parsed.elements]
    assert set(used) | {label for label in labelled if label} <= set(ids)


def test_every_image_file_is_embedded_once(content: page.ReportContent, html: str) -> None:
    shown = {key for sheet in content.choice.sheets for key, _ in sheet.top}
    shown |= {key for sheet in content.choice.sheets for key in (sheet.source, sheet.target) if key}
    files = {view.path for key in shown for view in content.products[key].views}
    assert html.count("data:image/jpeg") == len(files)


def test_every_view_is_named_for_those_who_do_not_see_it(content: page.ReportContent, parsed: Page) -> None:
    views = [element for element in parsed.all("svg") if element.attributes.get("role") == "img"]
    assert {element.attributes["aria-label"] for element in views} == {"front", "back", "side"}
    sheet = content.choice.sheets[0]
    keys = [sheet.source, sheet.target, *(key for key, _ in sheet.top)]
    expected = [view.name for key in keys if key for view in content.products[key].views]
    assert [element.attributes["aria-label"] for element in views[: len(expected)]] == expected


def test_marks_say_in_words_what_a_product_is(content: page.ReportContent, parsed: Page) -> None:
    expected = Counter(
        {"target": "target", "satisfies": "meets the request", "source": "source"}[sheet.mark(key)]
        for sheet in content.choice.sheets
        for key, _ in sheet.top
        if sheet.mark(key)
    )
    assert Counter(element.text for element in parsed.all("span", "mark")) == expected
    assert set(expected) == {"target", "meets the request", "source"}


def test_headings_go_down_one_level_at_a_time(parsed: Page) -> None:
    levels = [int(element.tag[1]) for element in parsed.elements if re.fullmatch(r"h[1-6]", element.tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert [element.attributes["lang"] for element in parsed.all("html")] == ["en"]
    assert len(parsed.all("main")) == 1


def test_the_table_holds_every_row_and_number(content: page.ReportContent, parsed: Page) -> None:
    shown = [element.text for element in parsed.all("span", "value")]
    rows = content.results["rows"]
    expected = [f"{value:.1f}" for name in rows for value in rows[name].values()]
    assert Counter(expected) <= Counter(shown)
    names = " ".join(element.text for element in parsed.all("th"))
    assert all(name in names for name in rows)


def test_the_page_is_the_same_each_time_and_small(content: page.ReportContent, html: str, tmp_path: Path) -> None:
    page.write_report(tmp_path / "report.html", content)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_a_page_without_curves_has_no_section_on_training(content: page.ReportContent) -> None:
    assert 'id="training"' not in page.render(replace(content, losses=(), recalls=()))


def test_a_gallery_too_small_for_a_k_shows_a_dash(content: page.ReportContent) -> None:
    none = {"R@1": 50.0, "R@5": None, "R@10": None}
    small = {**content.results, "rows": {"procir": none}, "i2t": dict.fromkeys(none), "t2i": dict.fromkeys(none)}
    parsed = Page(page.render(replace(content, results=small)))
    assert [element.text for element in parsed.all("span", "none")].count("–") == 4
    assert "50.0% of 40 queries find the product that was meant in first place" in parsed.all("h1")[0].text


def test_a_folder_page_shows_queries_and_similar_products(tmp_path: Path) -> None:
    parsed = Page(page.render(folder_content(tmp_path)))
    assert [element.text.strip() for element in parsed.all("h3")] == [EVIL, "make it red", "Similar to p02"]
    assert len(parsed.all("button", "target")) == 0
    assert "rank" not in parsed.all("p", "kicker")[1].text
    assert any(element.text == "14 s" for element in parsed.all("dd"))


def test_products_and_images_that_are_not_there_are_named(content: page.ReportContent, tmp_path: Path) -> None:
    source = content.choice.sheets[0].source
    without = {key: product for key, product in content.products.items() if key != source}
    with pytest.raises(UnknownProductError, match=f"names {source}"):
        page.render(replace(content, products=without))
    folder = folder_content(tmp_path)
    broken = folder.products[folder.sheets[0].source].views[0].path
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=re.escape(broken.name)):
        page.render(folder)


def outcome(number: int, rank: int) -> cases.Sheet:
    class Ranked:
        triplet = Triplet(ProductKey("shop", f"s{number}"), ProductKey("shop", f"t{number}"), f"text {number}")
        gallery_size = 100
        top = ()

    Ranked.rank = rank  # type: ignore[attr-defined]
    return Ranked()  # type: ignore[return-value]


def ranks_of(choice: cases.Choice) -> Sequence[int]:
    return sorted(sheet.rank for sheet in choice.sheets if sheet.rank)


def test_cases_are_drawn_by_thirds_and_the_rule_says_so() -> None:
    outcomes = [outcome(number, rank) for number, rank in enumerate([1] * 50 + [4] * 30 + [70] * 20)]
    choice = cases.choose(outcomes, seed=3)
    assert ranks_of(choice) == [1] * 4 + [4] * 4 + [70] * 4
    assert choice.rule == (
        "Drawn at random with seed 3 from 100 queries: 4 of the 50 with the target first, "
        "4 of the 30 with the target at ranks 2 to 10 and 4 of the 20 with the target beyond rank 10."
    )
    assert choice == cases.choose(outcomes, seed=3)
    assert choice.sheets != cases.choose(outcomes, seed=4).sheets


def test_where_a_band_is_short_the_others_fill_up() -> None:
    outcomes = [outcome(number, rank) for number, rank in enumerate([1] * 30 + [2])]
    assert ranks_of(cases.choose(outcomes, seed=0)) == [1] * 11 + [2]
    assert ranks_of(cases.choose(outcomes[-2:], seed=0)) == [1, 2]


def test_a_chart_takes_the_colours_of_the_page_and_names_no_address() -> None:
    curve = figures.Curve(label="<total>", steps=tuple(range(80)), values=(float("nan"), *range(79)))
    svg = figures.line_chart([curve, curve], y_label="loss", salt="a")
    assert svg.startswith("<svg")
    assert "http" not in svg
    assert "var(--series-1)" in svg
    assert re.findall(r"#0102\w\w", svg) == []
    assert "<total>" not in svg
    assert svg == figures.line_chart([curve, curve], y_label="loss", salt="a")
    ids = [set(re.findall(r' id="([\w-]+)"', figures.line_chart([curve], y_label="y", salt=salt))) for salt in "ab"]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_chart_says_in_words_where_its_curves_begin_and_end(content: page.ReportContent) -> None:
    curves = (
        figures.Curve(label="R@5", steps=(0, 10, 20), values=(float("nan"), 12.5, 40.0)),
        figures.Curve(label="R@10", steps=(0,), values=(3,)),
        figures.Curve(label="R@1", steps=(), values=()),
    )
    html = page.render(replace(content, recalls=curves))
    assert "R@5: 12.5% at step 10, 40% at step 20. R@10: 3% at step 0. R@1: nothing recorded." in html


def test_the_running_mean_of_a_hand_computed_curve() -> None:
    values = np.array([1.0, 2.0, np.nan, 6.0, 10.0])
    assert figures.running_mean(values, 3).tolist() == [1.5, 1.5, 4.0, 8.0, 8.0]
    assert [figures.smoothing_width(points) for points in (12, 59, 60, 600)] == [1, 1, 3, 25]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (12.4, "12 s"),
        (59.7, "1 min 0 s"),
        (185, "3 min 5 s"),
        (48122, "13 h 22 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_chance_is_the_mean_of_k_over_each_gallery() -> None:
    results = {
        "rows": {"procir": {"R@10": 1.0, "R@1": 1.0, "R@60": None}},
        "datasets": {"a": {"gallery": 50}, "b": {"gallery": 200}},
    }
    assert tables.columns(results) == ("R@1", "R@10", "R@60")
    assert tables.chance(results) == (pytest.approx(1.25), pytest.approx(12.5), None)


def test_the_best_plain_row_is_named_even_at_zero() -> None:
    rows = {"procir": {"R@5": 40.0}, "text only": {"R@5": 0.0}}
    assert tables.comparison({"rows": rows}) == "The best plain row, “text only”, reaches 0.0% there."
    assert tables.comparison({"rows": {"procir": {"R@5": 40.0}}}) == ""


def test_a_configuration_is_spelled_flat() -> None:
    config = {"model": {"dim": 8, "alignment": None}, "weights": [1.0, 0.25]}
    assert tables.flat(config) == (("model.dim", "8"), ("model.alignment", "none"), ("weights", "1.0, 0.25"))


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_colour_schemes(html: str, scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[scheme]))
    pairs = [
        ("ink", "paper"), ("muted", "paper"), ("muted", "surface"), ("ink", "grey-soft"), ("muted", "grey-soft"),
        ("accent", "accent-soft"), ("amber", "amber-soft"), ("miss", "miss-soft"), ("surface", "accent"),
        ("surface", "amber"), ("surface", "grey"), ("surface", "also"),
    ]  # fmt: skip
    for text, ground in pairs:
        light, dark = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"
