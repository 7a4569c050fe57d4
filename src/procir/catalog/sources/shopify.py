"""Shopify's product export: a CSV file with several rows a product, one a variant or a photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, Offer, Photo
from procir.catalog.sources.columns import normal
from procir.catalog.sources.markup import plain_text
from procir.catalog.sources.places import Places
from procir.catalog.sources.rows import read_rows
from procir.errors import RecordError
from procir.types import ProductKey

_HANDLE = ("handle", "url_handle")
_IMAGE = ("image_src", "product_image_url")
_VARIANT_IMAGE = ("variant_image", "variant_image_url")
_COLOURS = frozenset({"color", "colour", "farbe", "couleur", "kleur", "color_name", "colour_name"})

_Line = tuple[str, dict[str, str]]


def shopify_offers(
    path: Path, dataset: str, findings: Findings, *, images: Path, hosts: Sequence[str] = ()
) -> Iterator[Offer]:
    """The products of an export: the rows of one handle, its photos by their position, then those of its variants.

    Colours of all variants are named together. Rows without a handle are counted. Raises RecordError for a file that is
    no such export, and what `Places` raises for photos.
    """
    places = Places(images, hosts)
    lines = (line for line in _lines(path) if _has_handle(line, findings))
    for handle, group in groupby(lines, key=lambda line: _first(line[1], _HANDLE)):
        yield _offer(ProductKey(dataset, handle), list(group), places)


def _lines(path: Path) -> Iterator[_Line]:
    for where, row in read_rows(path):
        cells = {normal(name): str(value) for name, value in row.items()}
        if not any(name in cells for name in _HANDLE) or not any(name in cells for name in _IMAGE):
            raise RecordError(
                f"{where}: no columns Handle and Image Src; export the products from Shopify as CSV, or import a table"
            )
        yield where, cells


def _has_handle(line: _Line, findings: Findings) -> bool:
    if not _first(line[1], _HANDLE):
        findings.add("rows without a handle", line[0])
        return False
    return True


def _first(row: dict[str, str], names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _offer(key: ProductKey, lines: Sequence[_Line], places: Places) -> Offer:
    placed: list[tuple[float, Photo]] = []
    captions: dict[str, str] = {}
    variants: list[Photo] = []
    for where, row in lines:
        if _first(row, _IMAGE):
            photo = places.photo(_first(row, _IMAGE), where)
            placed.append((_position(row, where), photo))
            captions[photo.name] = row.get("image_alt_text", "")
        if _first(row, _VARIANT_IMAGE):
            variants.append(places.photo(_first(row, _VARIANT_IMAGE), where))
    photos = [photo for _, photo in sorted(placed, key=lambda item: item[0])]
    return Offer(
        key=key,
        photos=tuple(dict.fromkeys([*photos, *variants])),
        where=lines[0][0],
        details=_details([row for _, row in lines]),
        captions={name: text for name, text in captions.items() if text},
    )


def _position(row: dict[str, str], where: str) -> float:
    given = row.get("image_position", "")
    try:
        return float(given) if given else float("inf")
    except ValueError as error:
        raise RecordError(f"{where}: Image Position is {given!r}, no number; correct the row") from error


def _details(rows: Sequence[dict[str, str]]) -> Details:
    def known(*names: str) -> str | None:
        return next((found for row in rows if (found := _first(row, names))), None)

    return Details(
        title=known("title"),
        category=known("type") or (known("product_category") or "").rpartition(">")[2].strip() or None,
        gender=known("google_shopping_gender", "gender"),
        colour=", ".join(dict.fromkeys(_colours(rows))) or None,
        price=known("variant_price", "price"),
        description=plain_text(known("body_html", "description") or "") or None,
    )


def _colours(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    # Only the first row of a product names its options.
    for number in (1, 2, 3):
        name = next((found for row in rows if (found := row.get(f"option{number}_name"))), "")
        if normal(name) in _COLOURS:
            yield from filter(None, (row.get(f"option{number}_value", "") for row in rows))
