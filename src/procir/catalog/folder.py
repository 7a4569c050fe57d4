"""A user's own catalogue: a folder with one sub-folder of photos a product, and optional annotation files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from pathlib import Path

from procir.catalog.annotations import Annotations, fit_image_captions, make_product, read_annotations
from procir.catalog.findings import EXAMPLES, Findings
from procir.catalog.released import report
from procir.catalog.views import Fence, Listing, ViewOrder, is_unicode, list_views
from procir.errors import DataError, MissingDataError, UnknownProductError
from procir.images import SUFFIXES
from procir.types import MAX_VIEWS, LoadReport, ProductKey, Split

CAPTIONS = "captions.jsonl"
TRIPLETS = "triplets.jsonl"
"""Optional files beside the sub-folders, with the published field names; `dataset` may be left out."""

_LAYOUT = "put the photos of each product into a sub-folder of their own"


def read_folder(root: Path, *, name: str = "val", order: ViewOrder = "natural") -> tuple[Split, LoadReport]:
    """Read every sub-folder as a product whose id is the sub-folder's name; the dataset is named as the folder.

    Hidden entries are ignored. Sub-folders without a photo, loose photos and files of other kinds are left out
    and counted. Raises MissingDataError without any product, or for annotation lines without a text;
    UnknownProductError for annotations of products that are not there; RecordError for malformed lines; DataError
    for links that lead outside the folder. No image is decoded.
    """
    if not root.is_dir():
        raise MissingDataError(f"{root}: no such folder; pass a folder with one sub-folder of photos a product")
    dataset, findings = root.resolve().name, Findings()
    listings = _listings(root, order, findings)
    annotations = _read_annotations(root, dataset)
    keys = {product_id: ProductKey(dataset, product_id) for product_id in sorted(listings)}
    _check_names(annotations, set(keys.values()), root)
    products = {key: make_product(key, listings[product_id].views, annotations) for product_id, key in keys.items()}
    captions = {
        key: fit_image_captions(caption, products[key], listings[key.product_id].found, findings)
        for key, caption in annotations.captions.items()
    }
    split = Split(name, products, captions, tuple(annotations.triplets))
    return split, report(split, findings, annotations.notes)


def _listings(root: Path, order: ViewOrder, findings: Findings) -> dict[str, Listing]:
    fence, escapes, listings = Fence(root), Findings(), {}
    for folder in _product_folders(root, findings):
        if not fence.holds(str(folder)):
            escapes.add("links that lead outside the folder", str(folder))
            continue
        listing = list_views(folder, SUFFIXES, order, fence)
        for path in listing.escaping:
            escapes.add("links that lead outside the folder", path)
        _count(folder.name, listing, findings)
        if listing.views:
            listings[folder.name] = listing
    if escapes:
        raise DataError(f"{escapes.describe()}; replace them by what they point to, or remove them")
    if not listings:
        detail = f": {findings.describe()}" if findings else " and is empty"
        raise MissingDataError(f"{root}: holds no product{detail}; {_LAYOUT}")
    return listings


def _product_folders(root: Path, findings: Findings) -> list[Path]:
    folders = []
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not is_unicode(entry.name):
                findings.add("sub-folders whose name is not Unicode", ascii(entry.name))
            elif entry.is_dir():
                folders.append(root / entry.name)
            elif Path(entry.name).suffix.lower() in SUFFIXES:
                findings.add("photos outside the sub-folders", entry.name)
    return folders


def _count(name: str, listing: Listing, findings: Findings) -> None:
    if not listing.views:
        findings.add("sub-folders without a photo", name)
    if listing.found > MAX_VIEWS:
        findings.add(f"views beyond the first {MAX_VIEWS}", name, listing.found - MAX_VIEWS)
    for other in listing.others:
        findings.add("files of other kinds", f"{name}/{other}")


def _read_annotations(root: Path, dataset: str) -> Annotations:
    captions, triplets = root / CAPTIONS, root / TRIPLETS
    annotations = read_annotations(
        captions if captions.exists() else None, triplets if triplets.exists() else None, dataset
    )
    if annotations.gaps:
        raise MissingDataError(f"{annotations.gaps.describe()}; fill the texts in or remove the lines")
    return annotations


def _check_names(annotations: Annotations, known: Collection[ProductKey], root: Path) -> None:
    unknown = Findings()
    ids, reason = [key.product_id for key in known], f"ids without a sub-folder of photos in {root}"
    missing = [key for key in annotations.named if key not in known]
    for count, key in enumerate(missing):
        # Similar ids take long to find among many, so only the examples that are shown get them.
        hint = _suggest(key.product_id, ids) if count < EXAMPLES else repr(key.product_id)
        unknown.add(reason, f"{annotations.named[key]} ({hint})")
    if unknown:
        raise UnknownProductError(f"{unknown.describe()}; correct the ids or add the sub-folders")


def _suggest(product_id: str, ids: Collection[str]) -> str:
    similar = difflib.get_close_matches(product_id, ids, n=3)
    return f"{product_id!r}, similar: {', '.join(map(repr, similar))}" if similar else repr(product_id)
