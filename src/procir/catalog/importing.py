"""Importing a source of products into a catalogue: images/DATASET/PRODUCT-ID/, products.jsonl and a report.

Memory holds a few hundred bytes a product and the photos of the products under way.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from procir.catalog.annotations import is_safe_key
from procir.catalog.choosing import ViewRules
from procir.catalog.findings import Findings
from procir.catalog.import_report import ImportReport, findings_of, gather_reports, summarize, write_report
from procir.catalog.offers import Offer, Source
from procir.catalog.processes import in_processes
from procir.catalog.products import PRODUCTS, SPLITS
from procir.catalog.record import IMPORTS, Record, finished_imports, offer_hash, read_entries, recording
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
    """Import a source into the folder `out`, beside what other sources have brought there.

    `about` names it by `source` (its kind) and `place`, and says what else the report shall. An interrupted import goes
    on, and ends with the files of one that was not: products that are done are not read again. A finished one is
    brought up to date: offers that have changed since, and those with unreadable photos, are taken anew; products that
    are no longer offered are removed. Raises DuplicateProductError for two offers of one key, RecordError for ids that
    cannot be folders, ConfigError for other rules than the earlier import's, and what the source raises, before a photo
    is read; MissingDataError if nothing is kept.
    """
    images, name = out / "images", import_name(about)
    with recording(out, name, rules) as record:
        total = _survey(source, _imported(out, name))
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
        report = summarize(record.entries(), about, rules, findings)
        if not report.kept:
            left_out = findings_of(report).describe() or "it is empty"
            raise MissingDataError(f"{about['place']}: offers no product that can be kept: {left_out}")
        record.tidy()
        _finish(out, name, report)
        return report


def import_name(about: Mapping[str, str]) -> str:
    """What an import's record is called: the kind of source, and the last name of its place."""
    return f"{about['source']}-{re.sub(r'[^0-9A-Za-z_-]+', '_', Path(about['place']).resolve().stem)}"


def _imported(out: Path, name: str) -> dict[ProductKey, str]:
    """The products that other imports have brought, with the name of the import."""
    return {
        ProductKey(entry["dataset"], entry["product_id"]): f"the import {other}"
        for other, path in finished_imports(out).items()
        if other != name
        for entry in read_entries(path)
        if entry["row"] is not None
    }


def _survey(source: Source, places: dict[ProductKey, str]) -> int:
    """The number of offers, which all have keys of their own that can be folders; `places` are those given away."""
    twice, unsafe = Findings(), Findings()
    total = 0
    for offer in source(Findings()):
        total += 1
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
    return total


def _can_be_folder(key: ProductKey) -> bool:
    parts = [key.dataset, *key.product_id.split("/")]
    return is_safe_key(key) and all(
        part.isprintable() and part == part.strip() and part[0] != "." and len(part.encode()) <= _LONGEST
        for part in parts
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


def _finish(out: Path, name: str, report: ImportReport) -> None:
    """Write the report, and products.jsonl with what all finished imports have brought."""
    write_report(out / IMPORTS, name, report)
    records = finished_imports(out)
    entries = heapq.merge(
        *map(read_entries, records.values()), key=lambda entry: (entry["dataset"], entry["product_id"])
    )
    write_jsonl(out / PRODUCTS, (entry["row"] for entry in entries if entry["row"] is not None))
    gather_reports(out / IMPORTS, list(records), out)
