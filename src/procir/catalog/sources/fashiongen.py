"""FashionGen (Rostamzadeh et al. 2018): fashiongen_256_256_train.h5 and fashiongen_256_256_validation.h5.

A row is a photo: `input_image` (rows, 256, 256, 3) uint8, `input_productID` (rows, 1), and texts in Latin-1 such as
`input_name`, `input_description`, `input_category`, `input_gender` and `input_pose`, (rows, 1) each. The product's id
is its number, and a photo's name the row's, as in the released annotations. Memory holds a few hundred bytes a product:
the images are read one by one, when they are wanted. Needs h5py (extra `fashiongen`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, Offer
from procir.catalog.sources.albums import LEAST, enough
from procir.catalog.views import view_name
from procir.errors import ConfigError, DataError, ImageError, MissingDataError
from procir.images import to_png
from procir.types import ProductKey

DATASETS = ("fashiongen_train", "fashiongen_val")

CLOTHING = frozenset(
    {
        "DRESSES", "JACKETS & COATS", "JEANS", "JUMPSUITS", "LINGERIE", "PANTS", "SHIRTS", "SHORTS", "SKIRTS",
        "SUITS & BLAZERS", "SWEATERS", "SWIMWEAR", "TOPS", "UNDERWEAR & LOUNGEWEAR",
    }
)  # fmt: skip
"""Categories that section A.1 of the paper counts as clothing; the other 34 are shoes, bags, jewellery and the like."""

_IMAGES, _IDS = "input_image", "input_productID"
_TEXTS = ("input_name", "input_description", "input_category", "input_gender", "input_pose", "input_msrpUSD")
_BLOCK = 4096
"""Rows whose ids or texts are read at a time."""

_COMPRESSION = 1
"""zlib's level of the PNG files: the fastest, for larger files."""


@dataclass(frozen=True, slots=True)
class RowPhoto:
    """The image in a row of an h5 file."""

    path: Path
    row: int

    @property
    def name(self) -> str:
        """The row's number, as in the published layout, with the ending of a PNG."""
        return f"{self.row}.png"

    def read(self) -> bytes:
        """The image as a PNG, without loss; raises ImageError if it cannot be read."""
        try:
            status = self.path.stat()
            images = _open_images(self.path, os.getpid(), status.st_mtime_ns, status.st_size)
            pixels = np.asarray(images[self.row])
        except (OSError, KeyError, IndexError, ValueError, RuntimeError) as error:
            raise ImageError(f"{self.path}, row {self.row}: cannot be read ({error}); fetch the file anew") from error
        return to_png(Image.fromarray(pixels), _COMPRESSION)


@lru_cache(maxsize=4)
def _open_images(path: Path, _process: int, _modified: int, _size: int) -> Any:
    """The images of a file, left open in this process: opening takes as long as reading one."""
    return _h5py().File(path, "r")[_IMAGES]


def fashiongen_offers(
    path: Path, findings: Findings, *, least: int = LEAST, clothing_only: bool = True
) -> Iterator[Offer]:
    """The products of an h5 file, or of the train and validation files in a folder, in the order of their first rows.

    The dataset is fashiongen_train or fashiongen_val, by the file's name. Rows of one product that do not follow each
    other are one product all the same, and counted. With `clothing_only`, products of categories other than `CLOTHING`
    are left out and counted, and so are those with fewer than `least` rows. Raises ConfigError without h5py,
    MissingDataError without a file, DataError for a file that is cut short or of another layout.
    """
    for dataset, file in _files(path, findings):
        with _opened(file) as columns:
            products = _rows_by_product(columns[_IDS], file, findings)
            texts = _Texts(columns, file)
            for product_id, runs in products.items():
                first, where = runs[0].start, f"{file}, row {runs[0].start}"
                category = texts.text("input_category", first)
                if len(runs) > 1:
                    findings.add("products whose rows do not follow each other", f"{where} ({product_id})")
                if clothing_only and category is not None and category.upper() not in CLOTHING:
                    findings.add("products of categories that are no clothing", f"{where} ({category})")
                elif enough(sum(map(len, runs)), least, where, findings):
                    yield _offer(ProductKey(dataset, product_id), runs, file, texts)


def _offer(key: ProductKey, runs: list[range], file: Path, texts: _Texts) -> Offer:
    first = runs[0].start
    photos = [RowPhoto(file, row) for run in runs for row in run]
    poses = {photo.name: view_name((texts.text("input_pose", photo.row) or "").lower()) for photo in photos}
    gender = texts.text("input_gender", first)
    return Offer(
        key=key,
        photos=tuple(photos),
        where=f"{file}, row {first}",
        details=Details(
            title=texts.text("input_name", first),
            description=texts.text("input_description", first),
            category=texts.text("input_category", first),
            gender=gender.lower() if gender else None,
            price=texts.price(first),
        ),
        split=key.dataset.removeprefix("fashiongen_"),
        views={name: view for name, view in poses.items() if view},
    )


def _files(path: Path, findings: Findings) -> Iterator[tuple[str, Path]]:
    files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    found: dict[str, Path] = {}
    for file in files:
        dataset = "fashiongen_train" if "train" in file.name else "fashiongen_val" if "val" in file.name else ""
        if not dataset:
            findings.add("h5 files with neither train nor validation in their names", str(file))
        elif dataset in found:
            raise DataError(f"{file} and {found[dataset]}: two files of {dataset}; pass one of them")
        else:
            found[dataset] = file
    if not found:
        raise MissingDataError(
            f"{path}: no fashiongen_256_256_train.h5 and no fashiongen_256_256_validation.h5; pass the folder that "
            "holds them, or one of them"
        )
    yield from sorted(found.items())


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Any]]:
    """The columns of a file, checked for their shapes."""
    try:
        file = _h5py().File(path, "r")
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise DataError(
            f"{path}: no whole HDF5 file ({error}); compare its size with the published one and fetch it anew"
        ) from error
    with file:
        columns = {name: file[name] for name in (_IMAGES, _IDS, *_TEXTS) if name in file}
        _check(columns, path)
        yield columns


def _check(columns: Mapping[str, Any], path: Path) -> None:
    for name in (_IMAGES, _IDS):
        if name not in columns:
            raise DataError(f"{path}: has no {name}; pass a file of FashionGen")
    images = columns[_IMAGES]
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"{path}: {_IMAGES} is {images.shape} of {images.dtype}, not (rows, height, width, 3) of uint8; pass a "
            "file of FashionGen"
        )
    for name, column in columns.items():
        if len(column) != len(images):
            raise DataError(f"{path}: {name} has {len(column)} rows, {_IMAGES} has {len(images)}; fetch the file anew")


def _rows_by_product(ids: Any, path: Path, findings: Findings) -> dict[str, list[range]]:
    """Runs of rows that follow each other, by product id, in the order of the first rows."""
    products: dict[str, list[range]] = {}
    for start in range(0, len(ids), _BLOCK):
        for row, cell in enumerate(_read(ids, start, path), start=start):
            product_id = _plain(cell)
            if not product_id:
                findings.add("rows without a product's id", f"{path}, row {row}")
                continue
            runs = products.setdefault(product_id, [])
            if runs and runs[-1].stop == row:
                runs[-1] = range(runs[-1].start, row + 1)
            else:
                runs.append(range(row, row + 1))
    return products


def _read(column: Any, start: int, path: Path) -> Any:
    try:
        return column[start : start + _BLOCK].reshape(-1)
    except OSError as error:
        raise DataError(f"{path}: rows from {start} on cannot be read ({error}); fetch the file anew") from error


def _plain(cell: object) -> str:
    return cell.decode("latin-1").strip() if isinstance(cell, bytes) else str(cell).strip()


@dataclass(slots=True)
class _Texts:
    """Cells of the small columns, of which a block at a time is in memory."""

    columns: Mapping[str, Any]
    path: Path
    _blocks: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def _cell(self, name: str, row: int) -> object:
        if name not in self.columns:
            return None
        start = row - row % _BLOCK
        if name not in self._blocks or self._blocks[name][0] != start:
            self._blocks[name] = start, _read(self.columns[name], start, self.path)
        return self._blocks[name][1][row - start]

    def text(self, name: str, row: int) -> str | None:
        """The text, without marks of line breaks; None where there is none."""
        cell = self._cell(name, row)
        return re.sub(r"\s*<br\s*/?>\s*", " ", _plain(cell)).strip() or None if cell is not None else None

    def price(self, row: int) -> str | None:
        cell = self._cell("input_msrpUSD", row)
        price = float(cell) if isinstance(cell, np.number) else math.nan
        return f"{price:g} USD" if math.isfinite(price) and price > 0 else None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("FashionGen needs h5py: pip install 'procir[fashiongen]'") from error
    return h5py
