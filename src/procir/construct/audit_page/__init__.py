"""The page on which people label captions, for one person on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, Template

from procir.construct.audit import Label, add_label, read_labels
from procir.types import Caption, Product

GUARD = "X-Procir-Audit"
"""A header that other sites cannot make a browser send here."""


@dataclass(frozen=True, slots=True)
class Case:
    """A product with its captions."""

    product: Product
    caption: Caption


def create_app(cases: Sequence[Case], labels: Path) -> FastAPI:
    """The page over a sample; every label is appended to the file `labels` before the next product is shown."""
    app = FastAPI(title="procir audit", docs_url=None, redoc_url=None, openapi_url=None)
    keys = [case.product.key for case in cases]

    def given() -> list[Label | None]:
        found = read_labels(labels)
        return [found.get(key) for key in keys]

    def case(number: int) -> Case:
        if not 1 <= number <= len(cases):
            raise HTTPException(404, f"there is no product {number}: the sample has {len(cases)}")
        return cases[number - 1]

    def show(number: int) -> HTMLResponse:
        shown, known = case(number), given()
        content = _template().render(
            number=number, total=len(cases), done=sum(label is not None for label in known), label=known[number - 1],
            following=_following(known, number), shown=shown, guard=GUARD,
            images=shown.caption.images or [""] * len(shown.product.views),
        )  # fmt: skip
        return HTMLResponse(content, headers={"Content-Security-Policy": _POLICY})

    @app.get("/")
    def first() -> HTMLResponse:
        known = given()
        return show(known.index(None) + 1 if None in known else len(cases))

    @app.get("/products/{number}")
    def one(number: int) -> HTMLResponse:
        return show(number)

    @app.get("/products/{number}/views/{view}")
    def photo(number: int, view: int) -> FileResponse:
        views = case(number).product.views
        if not 1 <= view <= len(views):
            raise HTTPException(404, f"product {number} has {len(views)} views")
        return FileResponse(views[view - 1].path)

    @app.post("/products/{number}/{label}")
    def save(number: int, label: str, request: Request) -> JSONResponse:
        if GUARD not in request.headers:
            raise HTTPException(403, f"labels come from the page alone: the header {GUARD} is missing")
        if label not in get_args(Label):
            raise HTTPException(400, f"{label!r} is none of {', '.join(get_args(Label))}")
        add_label(labels, case(number).product.key, label)  # type: ignore[arg-type]
        return JSONResponse({"next": _following(given(), number)})

    return app


_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'"
)


def _following(known: Sequence[Label | None], number: int) -> int:
    """The next product without a label, counted from 1, after this one or from the start; else the next one."""
    order = [*range(number, len(known)), *range(number)]
    return next((place + 1 for place in order if known[place] is None), min(number + 1, len(known)))


@cache
def _template() -> Template:
    source = files("procir.construct.audit_page").joinpath("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(source)
