"""Google Merchant feeds: RSS or Atom with the attributes of the namespace g, or a table of the same attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, Offer
from procir.catalog.sources.columns import normal
from procir.catalog.sources.markup import plain_text
from procir.catalog.sources.places import Places
from procir.catalog.sources.rows import read_rows
from procir.errors import RecordError
from procir.records import opened
from procir.types import ProductKey

_Item = Mapping[str, list[str]]
"""Values by attribute, which has lost its namespace."""

_ITEMS = frozenset({"item", "entry"})
_LOOKS = ("color", "pattern", "material")


def merchant_offers(
    path: Path, dataset: str, findings: Findings, *, images: Path, hosts: Sequence[str] = ()
) -> Iterator[Offer]:
    """The items of a feed; of those of one item_group_id that differ in size only, the first stands for all.

    The photos are image_link, then every additional_image_link. Items without an id, and other sizes, are counted.
    Raises RecordError for a feed that cannot be read, entities and document types included, and what `Places` raises
    for photos.
    """
    places = Places(images, hosts)
    shown: set[tuple[str, ...]] = set()
    for where, item in _read_items(path):
        product_id = _first(item, "id")
        group = _first(item, "item_group_id")
        look = (group, *(_first(item, name).casefold() for name in _LOOKS))
        if not product_id:
            findings.add("items without an id", where)
        elif group and look in shown:
            findings.add("items that are another size of a product", f"{where} ({product_id})")
        else:
            shown.add(look)
            yield _offer(ProductKey(dataset, product_id), item, where, places)


def _first(item: _Item, name: str) -> str:
    return next(iter(item.get(name, ())), "")


def _offer(key: ProductKey, item: _Item, where: str, places: Places) -> Offer:
    links = [*item.get("image_link", ()), *item.get("additional_image_link", ())]
    # In tables, additional links are between commas, and commas of a link are written %2C.
    names = [name.strip() for link in links for name in link.split(",") if name.strip()]
    category = _first(item, "product_type") or _first(item, "google_product_category")
    details = Details(
        title=_first(item, "title") or None,
        category=category.rpartition(">")[2].strip() or None,
        gender=_first(item, "gender") or None,
        colour=_first(item, "color") or None,
        price=_first(item, "price") or None,
        url=_first(item, "link") or None,
        description=plain_text(_first(item, "description") or _first(item, "summary")) or None,
    )
    photos = tuple(dict.fromkeys(places.photo(name, where) for name in names))
    return Offer(key=key, photos=photos, where=where, details=details)


def _read_items(path: Path) -> Iterator[tuple[str, _Item]]:
    with opened(path) as file:
        start = file.read(512)
    if start.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \r\n\t").startswith(b"<"):
        return _read_xml(path)
    return _read_table(path)


def _read_xml(path: Path) -> Iterator[tuple[str, _Item]]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, item in enumerate(_items(file), start=1):
                yield f"{path}: item {number}", item
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise RecordError(f"{path}: after item {number}: no plain XML ({error}); fetch or export it anew") from error
    if not number:
        raise RecordError(f"{path}: no item and no entry; pass a product feed in RSS, Atom or tab-separated text")


def _items(file: BinaryIO) -> Iterator[_Item]:
    parents: list[Element] = []
    for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if _local(element) in _ITEMS:
            yield _attributes(element)
            (parents[-1] if parents else element).clear()  # what is read must not stay in memory


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]  # comments have a function for a tag


def _attributes(item: Element) -> _Item:
    found: dict[str, list[str]] = {}
    for child in item:
        # Atom's own link is an attribute of an empty element.
        value = "".join(child.itertext()).strip() or (child.get("href") or "").strip()
        if value:
            found.setdefault(normal(_local(child)), []).append(value)
    return found


def _read_table(path: Path) -> Iterator[tuple[str, _Item]]:
    for where, row in read_rows(path):
        values = {normal(name.removeprefix("g:")): [str(value)] for name, value in row.items() if value}
        yield where, values
