"""Attribute sheets of drawn garments on disk, one JSON line a product."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procir.catalog.atelier.garments import GROUPS_BY_NAME, VIEW_NAMES, Garment, Group, attributes
from procir.errors import RecordError
from procir.records import Row, product_key, read_jsonl, text, texts, write_jsonl
from procir.types import ProductKey

SHEETS = "garments.jsonl"
"""File name of the sheets of a catalogue."""


def write_sheets(path: Path, garments: Mapping[ProductKey, Garment]) -> int:
    """Write the sheets in one atomic step, and return their number."""
    return write_jsonl(path, (_row(key, garment) for key, garment in garments.items()))


def _row(key: ProductKey, garment: Garment) -> Row:
    return {
        "product_id": key.product_id,
        "dataset": key.dataset,
        "group": garment.group.name,
        "views": list(garment.views),
        "seed": garment.seed,
        "values": dict(garment.values),
    }


def read_sheets(path: Path) -> dict[ProductKey, Garment]:
    """The sheets in a file.

    Raises MissingDataError without it, and RecordError for lines that no garment could have.
    """
    garments: dict[ProductKey, Garment] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        key = product_key(row, where)
        if key in garments:
            raise RecordError(f"{where}: a second sheet of {key}; remove one of them")
        garments[key] = _garment(row, where)
    return garments


def _garment(row: Row, where: str) -> Garment:
    name = text(row, "group", where)
    if name not in GROUPS_BY_NAME:
        raise RecordError(f"{where}: no group is called {name!r}; draw the catalogue again")
    group = GROUPS_BY_NAME[name]
    views, seed = texts(row, "views", where), row.get("seed")
    if not views or not set(views) <= set(VIEW_NAMES):
        raise RecordError(f"{where}: views {views} are not some of {VIEW_NAMES}; draw the catalogue again")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise RecordError(f"{where}: seed {seed!r} is not a whole number; draw the catalogue again")
    return Garment(group, _values(row.get("values"), group, where), views, seed)


def _values(found: object, group: Group, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise RecordError(f"{where}: field 'values' is missing or no object; draw the catalogue again")
    values = {}
    for attribute in attributes(group):
        value = found.get(attribute.name)
        if value not in attribute.values:
            raise RecordError(
                f"{where}: {attribute.name} is {value!r}, which {group.name} does not have; draw the catalogue again"
            )
        values[attribute.name] = str(value)
    return values
