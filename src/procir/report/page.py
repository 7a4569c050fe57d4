"""The report as one HTML file: nothing is fetched, and everything that comes from the catalogue is escaped."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from procir.errors import UnknownProductError
from procir.records import write_text
from procir.report import tables
from procir.report.cases import Choice, Sheet
from procir.report.figures import Curve, line_chart, smoothing_width
from procir.report.pictures import Picture, Pictures
from procir.types import Caption, Product, ProductKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What an evaluation report shows; `results` is the content of results.json.

    `recalls` are in percent over training steps, `losses` in nats. Without curves the section on training is
    left out.
    """

    results: Mapping[str, Any]
    choice: Choice
    products: Mapping[ProductKey, Product]
    captions: Mapping[ProductKey, Caption] = field(default_factory=dict)
    losses: tuple[Curve, ...] = ()
    recalls: tuple[Curve, ...] = ()
    title: str = "Evaluation report"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContent:
    """What a report on a user's own folder shows: similar products, and products for free requests.

    A sheet without a text asks for similar products. `facts` say what was run, by name.
    """

    sheets: tuple[Sheet, ...]
    products: Mapping[ProductKey, Product]
    captions: Mapping[ProductKey, Caption] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    title: str = "Product search report"


def write_report(path: Path, content: ReportContent | FolderContent) -> None:
    """Writes the page in one atomic step; it opens from disk, without a network.

    Raises UnknownProductError if a sheet names a product that `content.products` lacks, and ImageError if one
    of its images cannot be read.
    """
    write_text(path, render(content))


def render(content: ReportContent | FolderContent) -> str:
    """The page as HTML."""
    page = _Page(content.products, content.captions)
    if isinstance(content, ReportContent):
        return page.render("report.html.j2", content.title, _report(content, page))
    return page.render("folder.html.j2", content.title, _folder(content, page))


@dataclass(frozen=True, slots=True)
class _Shot:
    """One view on the page: its picture and what it shows."""

    picture: Picture
    label: str


@dataclass(frozen=True, slots=True)
class _Card:
    """A product on the page; rank and score where it is a result."""

    key: ProductKey
    shots: tuple[_Shot, ...]
    caption: str
    mark: str = ""
    rank: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A sheet with its products turned into cards."""

    sheet: Sheet
    source: _Card
    target: _Card | None
    results: tuple[_Card, ...]


@dataclass(frozen=True, slots=True)
class _Chart:
    """A chart with the sentence that says the same in words."""

    title: str
    svg: Markup
    summary: str


def templates() -> Environment:
    """The package's templates: what they are given is escaped, and must be given."""
    found = Environment(
        loader=PackageLoader("procir.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["duration"] = tables.duration
    return found


def own_text(found: Environment, name: str) -> str:
    """One of the package's files beside the templates."""
    loader = found.loader
    assert loader is not None
    # A browser turns line ends into \n before it hashes a script.
    return loader.get_source(found, name)[0].replace("\r\n", "\n")


class _Page:
    """Products, captions and pictures of one page, and the templates that it is made with."""

    def __init__(self, products: Mapping[ProductKey, Product], captions: Mapping[ProductKey, Caption]) -> None:
        self._products = products
        self._captions = captions
        self._pictures = Pictures()
        self._templates = templates()

    def case(self, sheet: Sheet) -> _Case:
        """A sheet as it is drawn."""
        results = tuple(
            self._card(key, mark=sheet.mark(key), rank=rank, score=score)
            for rank, (key, score) in enumerate(sheet.top, 1)
        )
        target = None if sheet.target is None else self._card(sheet.target)
        return _Case(sheet, self._card(sheet.source), target, results)

    def render(self, template: str, title: str, values: Mapping[str, object]) -> str:
        """A template with the page's style, script and pictures; the script runs by its hash alone."""
        script = own_text(self._templates, "page.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        return self._templates.get_template(template).render(
            title=title,
            style=Markup(own_text(self._templates, "page.css")),  # noqa: S704 - the package's own file
            script=Markup(script),  # noqa: S704 - the package's own file
            script_hash=digest,
            pictures=self._pictures.all(),
            shape=self._pictures.shape(),
            **values,
        )

    def _card(self, key: ProductKey, mark: str = "", rank: int | None = None, score: float | None = None) -> _Card:
        if key not in self._products:
            raise UnknownProductError(f"the report names {key}, which the catalogue lacks; pass the split it came from")
        shots = tuple(
            _Shot(self._pictures.add(view.path), view.name or f"view {number}")
            for number, view in enumerate(self._products[key].views, 1)
        )
        caption = self._captions[key].short if key in self._captions else ""
        return _Card(key, shots, caption, mark, rank, score)


def _report(content: ReportContent, page: _Page) -> dict[str, object]:
    results = content.results
    return {
        "results": results,
        "headline": tables.headline(results),
        "comparison": tables.comparison(results),
        "table": tables.mean_table(results),
        "dataset_tables": tables.dataset_tables(results) if len(results["datasets"]) > 1 else (),
        "chance": tables.chance(results),
        "certainty": tables.certainty(results),
        "config": tables.flat(results["config"]),
        "charts": _charts(content),
        "cases": [page.case(sheet) for sheet in content.choice.sheets],
        "rule": content.choice.rule,
    }


def _folder(content: FolderContent, page: _Page) -> dict[str, object]:
    cases = [page.case(sheet) for sheet in content.sheets]
    return {
        "queries": [case for case in cases if case.sheet.text is not None],
        "similar": [case for case in cases if case.sheet.text is None],
        "products": len(content.products),
        "facts": content.facts,
    }


def _charts(content: ReportContent) -> list[_Chart]:
    charts = []
    if content.losses:
        svg = line_chart(content.losses, y_label="loss", salt="losses")
        charts.append(_Chart("Loss", Markup(svg), _summary(content.losses, "")))  # noqa: S704 - escaped by matplotlib
    if content.recalls:
        svg = line_chart(content.recalls, y_label="recall, %", salt="recalls")
        charts.append(_Chart("Recall during training", Markup(svg), _summary(content.recalls, "%")))  # noqa: S704
    return charts


def _summary(curves: Sequence[Curve], unit: str) -> str:
    sentences = [f"{curve.label}: {_ends(curve, unit)}." for curve in curves]
    width = max(smoothing_width(len(curve.values)) for curve in curves)
    note = [f"Thin lines are single steps, thick ones the mean over {width} steps."] if width > 1 else []
    return " ".join(sentences + note)


def _ends(curve: Curve, unit: str) -> str:
    points = [(step, value) for step, value in zip(curve.steps, curve.values, strict=True) if math.isfinite(value)]
    ends = points[:1] + points[1:][-1:]
    return ", ".join(f"{value:.3g}{unit} at step {step:g}" for step, value in ends) or "nothing recorded"
