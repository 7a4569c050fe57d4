"""Importing a source of products into a catalogue: images/DATASET/PRODUCT-ID/, products.jsonl and a report.

Memory holds a few hundred bytes a product and the photos of the products under way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from procir.catalog.annotations import is_safe
from procir.catalog.choosing import ViewRules
from procir.catalog.findings import Findings
from procir.catalog.import_report import ImportReport, summarize, write_report
from procir.catalog.offers import Offer, Source
from procir.catalog.processes import in_processes
from procir.catalog.products import PRODUCTS, SPLITS
from procir.catalog.record import RECORD, Record, offer_hash, recording
from procir.catalog.taking import clear, take
from procir.errors import DuplicateProductError, MissingDataError, RecordError
from procir.pieces import pieces
from procir.records import write_jsonl
from procir.types import ProductKey

_PIECE = 8
_LONGEST = 200
"""Most bytes of one part of an id, which becomes the name of a folder."""


def import_products(
    source: Source,
    out: Path,
    rules: ViewRules,
    *,
    about: Mapping[str, str],
    workers: int = 1,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> ImportReport:
    """Import what a source offers into the folder `out`, or bring an earlier import up to date; `about` names the
    source in the report.

    An interrupted import goes on, and ends with the files of one that was not: products that are done are not read
    again. Offers that have changed since, and those with unreadable photos, are taken anew; products that are no longer
    offered are removed. Raises DuplicateProductError for two offers of one key, RecordError for ids that cannot be
    folders, MissingDataError if nothing is kept, and what the source raises; all but the last two before a photo is
    read.
    """
    total = _survey(source)
    images = out / "images"
    with recording(out, rules) as record:
        findings, keys = Findings(), list[ProductKey]()
        waiting = _waiting(source(findings), record, images, keys, lambda: progress(len(keys), total, "done before"))
        work = partial(_take_all, images=images, rules=rules)
        done = 0
        for entries in in_processes(work, pieces(waiting, _PIECE), workers):
            for entry in entries:
                record.add(entry)
            done += len(entries)
            progress(max(done, len(keys) - 1), total, "products")
        for entry in record.drop(keys):
            _remove(entry, images)
        return _finish(out, record, about, rules, findings)


def _survey(source: Source) -> int:
    """The number of offers, which all have keys of their own that can be folders."""
    places: dict[ProductKey, str] = {}
    twice, unsafe = Findings(), Findings()
    for offer in source(Findings()):
        if offer.key in places:
            twice.add("second products of one id", f"{offer.where} ({offer.key}, first in {places[offer.key]})")
        places[offer.key] = offer.where
        if not _can_be_folder(offer.key):
            unsafe.add("ids that cannot be the names of folders", f"{offer.where} ({str(offer.key)!r})")
        if offer.split is not None and offer.split not in SPLITS:
            unsafe.add("splits that are not train or val", f"{offer.where} ({offer.split!r})")
    if twice:
        raise DuplicateProductError(f"{twice.describe()}; remove one of each two, or give it another id")
    if unsafe:
        raise RecordError(f"{unsafe.describe()}; use plain names between slashes")
    return len(places)


def _can_be_folder(key: ProductKey) -> bool:
    parts = [key.dataset, *key.product_id.split("/")]
    return (
        is_safe(key.product_id)
        and is_safe(key.dataset)
        and "/" not in key.dataset
        and all(
            part.isprintable() and part == part.strip() and part[0] != "." and len(part.encode()) <= _LONGEST
            for part in parts
        )
    )


def _waiting(
    offers: Iterable[Offer], record: Record, images: Path, keys: list[ProductKey], passed: Callable[[], None]
) -> Iterator[Offer]:
    """The offers that are not done; notes the keys of all."""
    for offer in offers:
        keys.append(offer.key)
        if record.has(offer, images):
            passed()
        else:
            yield offer


def _take_all(offers: list[Offer], images: Path, rules: ViewRules) -> list[dict[str, Any]]:
    entries = []
    for offer in offers:
        taken = take(offer, images, rules)
        entries.append(taken.entry() | {"offer": offer_hash(offer), "retry": taken.failed})
    return entries


def _remove(entry: Mapping[str, Any], images: Path) -> None:
    folder = images / entry["dataset"] / entry["product_id"]
    clear(folder)
    while folder != images and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _finish(out: Path, record: Record, about: Mapping[str, str], rules: ViewRules, findings: Findings) -> ImportReport:
    report = summarize(record.entries(), about, rules, findings)
    if not report.kept:
        detail = f": {json.dumps(dict(report.skipped))} ({report.describe()})" if report.skipped else ""
        raise MissingDataError(f"{about['place']}: offers no product that can be kept{detail}; look at the source")
    write_jsonl(out / PRODUCTS, (entry["row"] for entry in record.entries() if entry["row"] is not None))
    write_report(out, report)
    record.tidy(out / RECORD)
    return report
