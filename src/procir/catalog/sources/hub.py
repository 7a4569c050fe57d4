"""Parquet files in the Hugging Face Hub's layout, `procir construct export`'s among them.

    products/train-00000-of-00003.parquet, validation-00000-of-00001.parquet, ...

A row is a product with columns of images (`{bytes, path}`, or lists of them) or, in `images`, of paths; rows of one id
that follow each other are one product. Listing reads all columns but the content of the images; a photo reads the row
group that it is in, which is kept for those beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from procir.catalog.annotations import is_safe
from procir.catalog.findings import Findings
from procir.catalog.offers import DETAILS, Details, FilePhoto, Offer, Photo
from procir.catalog.views import Fence
from procir.errors import DataError, ImageError, MissingDataError, RecordError
from procir.types import ProductKey

_IDS = ("product_id", "item_ID", "item_id", "id")
"""Columns that may hold a product's id, the first that is there counts."""

_SPLIT = re.compile(r"(?:^|[-_.])(train|validation|valid|val|dev|test)(?:[-_.]|$)")
_ROWS = 1024
"""Rows listed at a time."""


@dataclass(frozen=True, slots=True)
class CellPhoto:
    """An image in a Parquet file: row group, row in it, column, and place in the list (-1 where there is none)."""

    path: Path
    group: int
    row: int
    column: str
    place: int
    name: str

    def read(self) -> bytes:
        """The image as it is; raises ImageError if it cannot be read or only its path is there."""
        where = f"{self.path}, row group {self.group}, row {self.row}, {self.column}"
        try:
            status = self.path.stat()
            cell = _contents(self.path, self.group, self.column, status.st_mtime_ns, status.st_size)[self.row]
            content = (cell if self.place < 0 else cell[self.place])["bytes"].as_py()
        except (OSError, pa.ArrowException, IndexError, KeyError) as error:
            raise ImageError(f"{where}: cannot be read ({error}); fetch the file anew") from error
        if not content:
            raise ImageError(f"{where}: has no content, only a path; put the images into the Parquet files")
        return bytes(content)


@lru_cache(maxsize=1)
def _contents(path: Path, group: int, column: str, _modified: int, _size: int) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=_leaves(file, column, "bytes")).column(column)


def _leaves(file: pq.ParquetFile, column: str, last: str) -> list[str]:
    """The parts of a nested column whose paths end in a name."""
    paths = [file.schema.column(number).path for number in range(len(file.schema))]
    return [path for path in paths if path.startswith(f"{column}.") and path.endswith(f".{last}")]


@dataclass(frozen=True, slots=True)
class _Row:
    key: ProductKey
    where: str
    split: str | None
    photos: tuple[Photo, ...]
    views: Mapping[str, str]
    details: Details


def hub_offers(root: Path, findings: Findings, *, dataset: str | None = None) -> Iterator[Offer]:
    """The products of a Parquet file, or of all below a folder, files in the order of their paths.

    The split is told by the file's name or by its folder's: train is train, validation, valid, val, dev and test are
    val. `dataset` stands in where there is no such column; without it, the folder's name. Files without images, rows
    without an id, and rows of a product that came before in another place are counted and left out. Raises
    MissingDataError without a file that has images, DataError for damaged files and those without an id, RecordError
    for paths that lead outside.
    """
    seen: dict[ProductKey, str] = {}
    rows = (row for path in _files(root) for row in _rows(path, root, dataset or root.resolve().stem, findings))
    for key, group in groupby(rows, key=lambda row: row.key):
        found = list(group)
        if key in seen:
            findings.add("rows of a product that came before", f"{found[0].where} ({key}, {seen[key]})", len(found))
            continue
        seen[key] = found[0].where
        yield _offer(found)
    if not seen:
        raise MissingDataError(f"{root}: no product in it; pass a Parquet file with images, or the folder of some")


def _offer(rows: Sequence[_Row]) -> Offer:
    photos = [photo for row in rows for photo in row.photos]
    views = [row.views.get(photo.name) for row in rows for photo in row.photos]
    if len({photo.name for photo in photos}) < len(photos):  # several rows, or columns, count from one each
        photos = [_renamed(photo, number) for number, photo in enumerate(photos)]
    return Offer(
        key=rows[0].key,
        photos=tuple(photos),
        where=rows[0].where,
        details=rows[0].details,
        split=rows[0].split,
        views={photo.name: view for photo, view in zip(photos, views, strict=True) if view},
    )


def _renamed(photo: Photo, number: int) -> Photo:
    if not isinstance(photo, CellPhoto):
        return photo
    name = f"{number:03}_{photo.name}"
    return CellPhoto(photo.path, photo.group, photo.row, photo.column, photo.place, name)


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    paths = sorted(path for path in root.rglob("*.parquet") if path.is_file())
    files = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not files:
        raise MissingDataError(f"{root}: no Parquet file in it; pass a file, or the folder that holds some")
    return files


def _rows(path: Path, root: Path, dataset: str, findings: Findings) -> Iterator[_Row]:
    try:
        with pq.ParquetFile(path) as file:
            columns = _Columns.of(file, path)
            if columns is None:
                findings.add("Parquet files without images", str(path))
                return
            reader = _Reader(path, root, columns, dataset, split_of(path, root), findings)
            for group in range(file.num_row_groups):
                yield from reader.rows(file, group)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: no whole Parquet file ({error}); fetch it anew") from error


def split_of(path: Path, root: Path) -> str | None:
    """train or val, by the last telling name among the file's and its folders' below the root; None if none tells."""
    names = (path.name,) if path == root else path.relative_to(root).parts
    words = [word for name in names for word in _SPLIT.findall(name.lower())]
    return None if not words else "train" if words[-1] == "train" else "val"


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the columns of a file hold."""

    identifier: str
    pictures: tuple[str, ...]
    paths: tuple[str, ...]
    others: tuple[str, ...]
    leaves: tuple[str, ...]

    @classmethod
    def of(cls, file: pq.ParquetFile, path: Path) -> _Columns | None:
        """The columns; None without images. Raises DataError without a column of ids."""
        schema = file.schema_arrow
        pictures = tuple(field.name for field in schema if _is_picture(_item(field.type)))
        paths = tuple(
            field.name for field in schema if field.name in ("image", "images") and _is_text(_item(field.type))
        )
        if not (pictures or paths):
            return None
        identifier = next((name for name in _IDS if name in schema.names), None)
        if identifier is None:
            raise DataError(
                f"{path}: no column of ids ({', '.join(_IDS)}) among {', '.join(schema.names)}; rename the one that is"
            )
        wanted = {identifier, "dataset", "view_names", "color", *DETAILS, *paths}
        others = tuple(name for name in schema.names if name in wanted)
        leaves = tuple(leaf for name in pictures for leaf in _leaves(file, name, "path"))
        return cls(identifier, pictures, paths, others, leaves)


def _item(kind: Any) -> Any:
    return kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind


def _is_picture(kind: Any) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(place).name for place in range(len(kind))}


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


class _Reader:
    """Turns the rows of one file into products."""

    def __init__(
        self, path: Path, root: Path, columns: _Columns, dataset: str, split: str | None, findings: Findings
    ) -> None:
        self._path, self._columns, self._dataset, self._split = path, columns, dataset, split
        self._base = root if root.is_dir() else root.parent
        self._fence = Fence(self._base, self._base / "images")
        self._findings = findings

    def rows(self, file: pq.ParquetFile, group: int) -> Iterator[_Row]:
        """The products of a row group."""
        columns = [*self._columns.others, *self._columns.leaves]
        start = 0
        for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
            for number, row in enumerate(batch.to_pylist(), start=start):
                where = f"{self._path}, row group {group}, row {number}"
                if row[self._columns.identifier] in (None, ""):
                    self._findings.add("rows without an id", where)
                else:
                    yield self._row(row, group, number, where)
            start += batch.num_rows

    def _row(self, row: Mapping[str, Any], group: int, number: int, where: str) -> _Row:
        photos: list[Photo] = []
        for column in self._columns.pictures:
            photos += self._pictures(row[column], group, number, column)
        for column in self._columns.paths:
            names = row[column] if isinstance(row[column], list) else [row[column]]
            photos += [self._file(name, where) for name in names if name is not None]
        views = row.get("view_names") or []
        fitting = isinstance(views, list) and len(views) == len(photos)
        return _Row(
            key=ProductKey(_text(row.get("dataset")) or self._dataset, str(row[self._columns.identifier])),
            where=where,
            split=self._split,
            photos=tuple(photos),
            views={photo.name: view for photo, view in zip(photos, views, strict=True) if view} if fitting else {},
            details=_details(row),
        )

    def _pictures(self, cell: Any, group: int, number: int, column: str) -> Iterator[Photo]:
        cells = list(enumerate(cell)) if isinstance(cell, list) else [(-1, cell)]
        for place, picture in cells:
            if picture is not None:
                name = PurePosixPath(picture["path"] or "").name or f"{max(place, 0):03}.jpg"
                yield CellPhoto(self._path, group, number, column, place, name)

    def _file(self, name: str, where: str) -> Photo:
        path = self._base / name
        if not (is_safe(name) and self._fence.holds(str(path))):
            raise RecordError(f"{where}: {name!r} leads outside {self._base}; give paths relative to that folder")
        return FilePhoto(path)


def _details(row: Mapping[str, Any]) -> Details:
    known = {name: _text(row.get(name)) for name in DETAILS}
    return Details(**(known | {"colour": known["colour"] or _text(row.get("color"))}))


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
