"""A table of products (CSV, TSV or JSON lines) with the paths of their photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from procir.catalog.annotations import is_safe
from procir.catalog.findings import Findings
from procir.catalog.offers import DETAILS, Details, Offer, Photo
from procir.catalog.sources.columns import check_columns, map_columns
from procir.catalog.sources.places import Places, split_names
from procir.catalog.sources.rows import read_rows
from procir.errors import RecordError
from procir.records import Row
from procir.types import ProductKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table and how to read it; `columns` maps fields to names of columns where they cannot be guessed."""

    path: Path
    dataset: str
    images: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    separator: str | None = None
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    row: Row
    columns: Mapping[str, Sequence[str]]

    def texts(self, name: str) -> list[str]:
        """The cells of a field's columns as texts; lists of JSON lines are taken apart."""
        found: list[str] = []
        for column in self.columns.get(name, ()):
            value = self.row.get(column)
            for item in value if isinstance(value, list) else [value]:
                found += [_text(item, column, self.where)] if item is not None else []
        return [text for text in found if text]

    def text(self, name: str) -> str | None:
        return next(iter(self.texts(name)), None)


def _text(value: object, column: str, where: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RecordError(f"{where}: {column!r} holds half a surrogate pair; write whole characters") from error
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RecordError(f"{where}: {column!r} holds neither a text nor a number; correct the line")


def table_offers(table: Table, findings: Findings) -> Iterator[Offer]:
    """The products of a table; rows of one id that follow each other are one product with the photos of all.

    Without a column of images, photos are looked for by the id (`Places.of_product`). Rows without an id are counted.
    Raises RecordError for rows that contradict each other or name photos outside the folder, ConfigError for hosts that
    are not allowed and columns that cannot be told.
    """
    places = Places(table.images, table.hosts)
    lines = (line for line in _lines(table) if _has_id(line, findings))
    for product_id, group in groupby(lines, key=lambda line: str(line.text("id"))):
        yield _offer(product_id, list(group), places, table)


def _has_id(line: _Line, findings: Findings) -> bool:
    if line.text("id") is None:
        findings.add("rows without an id", line.where)
        return False
    return True


def _lines(table: Table) -> Iterator[_Line]:
    known: dict[tuple[str, ...], dict[str, list[str]]] = {}  # lines of JSON may differ in their fields
    for where, row in read_rows(table.path, table.encoding, table.separator):
        names = tuple(row)
        if names not in known:
            known[names] = map_columns(names, table.columns)
        yield _Line(where, row, known[names])
    check_columns(sorted({name for names in known for name in names}), table.columns, str(table.path))


def _offer(product_id: str, lines: Sequence[_Line], places: Places, table: Table) -> Offer:
    first = lines[0]
    photos: list[Photo] = []
    views: dict[str, str] = {}
    captions: dict[str, str] = {}
    for line in lines:
        names = [name for cell in line.texts("image") for name in split_names(cell)]
        taken = [places.photo(name, line.where) for name in names]
        photos += taken
        if len(taken) == 1:  # a row a photo: what it says of the view is about this one
            views[taken[0].name] = (line.text("view") or "").lower()
            captions[taken[0].name] = line.text("caption") or ""
    if "image" not in first.columns and is_safe(product_id):
        photos = places.of_product(product_id)
    known = {name: _agreed(name, lines) for name in (*DETAILS, "dataset", "split")}
    return Offer(
        key=ProductKey(known.pop("dataset") or table.dataset, product_id),
        photos=tuple(dict.fromkeys(photos)),
        where=first.where,
        split=known.pop("split"),
        details=Details(**known),
        views=views,
        captions=captions,
    )


def _agreed(name: str, lines: Sequence[_Line]) -> str | None:
    values = {text: line.where for line in reversed(lines) if (text := line.text(name)) is not None}
    if len(values) > 1:
        (one, here), (other, there) = list(values.items())[-2:]
        raise RecordError(
            f"{here}: {name} is {one!r}, but {other!r} in {there}, of one id; give two ids, or mend the row"
        )
    return next(iter(values), None)
