"""A catalogue without annotations: products.jsonl beside images/<dataset>/<product_id>/, or the images alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from procir.catalog.annotations import Annotations, is_safe_key
from procir.catalog.listed import ListedProducts, Names, ViewLists
from procir.catalog.released import report
from procir.catalog.shelf import SUFFIXES, Shelf
from procir.catalog.views import ViewOrder
from procir.errors import MissingDataError, RecordError
from procir.records import Row, collector_paused, optional_text, product_key, read_jsonl, write_jsonl
from procir.types import LoadReport, Product, ProductKey, Split

PRODUCTS = "products.jsonl"
"""Names the products, and what is known of them; without it every folder that holds photos is a product."""

SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Products sorted by key, and the split of those that have one of their own."""

    products: Mapping[ProductKey, Product]
    native: Mapping[ProductKey, str]


def read_products(
    root: Path, *, images: Path | None = None, order: ViewOrder = "released", allow_missing: bool = False
) -> tuple[Stock, LoadReport]:
    """Read a catalogue: the lines of products.jsonl, or every folder below `images` that holds photos.

    A line has `dataset` and `product_id`, and may have `category`, `gender`, `split` (train or val) and `views`, as
    imports write them. If all lines have `views`, they are believed: no folder is listed, and only a check looks
    whether the files are there. `images` is root/images unless given. Raises MissingDataError for what is missing (with
    `allow_missing`, products without photos are left out and counted), RecordError for malformed lines, DataError for
    links that lead outside.
    """
    images = images or root / "images"
    for folder in (root, images):
        if not folder.is_dir():
            raise MissingDataError(f"{folder}: no such folder; pass a folder that holds images/DATASET/PRODUCT-ID/")
    annotations = Annotations()
    listed = root / PRODUCTS
    if listed.is_file():
        with collector_paused():
            native, names = _read_lines(listed, annotations)
        if names and len(names) == len(annotations.named):
            return _listed(images, annotations, native, names)
    else:
        native = _walk(images, annotations)
    shelf = Shelf(images, order, annotations)
    shelf.fill()
    if annotations.gaps and not allow_missing:
        raise MissingDataError(
            f"{annotations.gaps.describe()}; complete {images}, or allow missing data to have these left out and "
            "counted"
        )
    if not shelf.products:
        raise MissingDataError(f"{images}: holds no product; put photos into images/DATASET/PRODUCT-ID/")
    kept = {key: name for key, name in native.items() if key in shelf.products}
    split = Split("all", shelf.products, {}, ())
    return Stock(products=shelf.products, native=kept), report(split, annotations.gaps, annotations.notes)


def write_products(root: Path, stock: Stock) -> int:
    """Write products.jsonl in one atomic step, and return the number of its lines."""
    return write_jsonl(root / PRODUCTS, (_row(product, stock.native) for product in stock.products.values()))


def _row(product: Product, native: Mapping[ProductKey, str]) -> Row:
    row: Row = {"dataset": product.key.dataset, "product_id": product.key.product_id}
    known = {"category": product.category, "gender": product.gender, "split": native.get(product.key)}
    return row | {name: value for name, value in known.items() if value is not None}


def _listed(
    images: Path, annotations: Annotations, native: Mapping[ProductKey, str], names: Mapping[ProductKey, Names]
) -> tuple[Stock, LoadReport]:
    keys = list(names)
    order = sorted(keys) if any(one > other for one, other in pairwise(keys)) else keys
    categories, genders = annotations.categories, annotations.genders
    products = ListedProducts(images, {key: (names[key], categories.get(key), genders.get(key)) for key in order})
    load = LoadReport(products=len(products), views=products.count_views())
    return Stock(products=products, native=native), load


def _read_lines(path: Path, annotations: Annotations) -> tuple[dict[ProductKey, str], dict[ProductKey, Names]]:
    """The splits of products that have one, and the views of those whose lines name them."""
    native: dict[ProductKey, str] = {}
    names: dict[ProductKey, Names] = {}
    lists = ViewLists()
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        key = product_key(row, where)
        if not is_safe_key(key):
            raise RecordError(f"{where}: {key} would leave its folder; use plain names between slashes")
        if key in annotations.named:
            raise RecordError(f"{where}: a second line of {key}, first in {annotations.named[key]}; remove one of them")
        annotations.named[key] = where
        for values, name in ((annotations.categories, "category"), (annotations.genders, "gender")):
            value = optional_text(row, name, where)
            if value is not None:
                values[key] = sys.intern(value)
        split = optional_text(row, "split", where)
        if split is not None and split not in SPLITS:
            raise RecordError(f"{where}: split is {split!r}, not train or val; correct the line")
        if split is not None:
            native[key] = split
        if row.get("views") is not None:
            names[key] = lists.read(row, where)
    return native, names


def _walk(images: Path, annotations: Annotations) -> dict[ProductKey, str]:
    """Names every folder that holds photos as a product; photos that lie in no product's folder are noted."""
    for dataset in sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for folder, folders, files in os.walk(dataset):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            photos = [name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES]  # noqa: PTH122
            product_id = Path(folder).relative_to(dataset).as_posix()
            if photos and product_id == ".":
                annotations.notes.add("photos outside the products' folders", folder, len(photos))
            elif photos:
                annotations.named[ProductKey(dataset.name, product_id)] = folder
    return {}
