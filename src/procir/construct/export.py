"""A data set as Parquet files in the Hub's layout, with its card.

    README.md                               the card: configs, features, statistics
    products/train-00000-of-00003.parquet   one row a product: views, captions, category and gender
    triplets/train-00000-of-00001.parquet   one row a triplet
    verdicts/train-00000-of-00001.parquet   one row a product that stage 2 looked at

The layout of JSON lines, which the published files have, is written by `procir.catalog.released.write_split`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from procir.catalog.findings import Findings
from procir.construct import features
from procir.construct.card import Config, write_card
from procir.construct.features import Columns
from procir.construct.statistics import Statistics
from procir.construct.verdicts import Verdict
from procir.errors import DataError, MissingDataError
from procir.pieces import pieces
from procir.records import Row, replacing_folder
from procir.types import Product, Split, Triplet, View

SHARD_BYTES = 500_000_000
"""A file is closed once it is this large."""

_PIECE, _PICTURE_PIECE = 5000, 100
"""Rows a row group: few where pictures lie in them, so that a reader of one row reads little."""

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")


def export_parquet(
    folder: Path,
    splits: Sequence[Split],
    *,
    title: str,
    statistics: Statistics,
    verdicts: Mapping[str, Iterable[Verdict]] | None = None,
    embed: bool,
) -> tuple[Config, ...]:
    """Write a data set into a new or empty folder, whole or not at all, and say what was written.

    `embed` puts the files of the views into the Parquet files; otherwise their paths are there, below images/ in
    the published layout. `verdicts` are those of stage 2, by the name of the split. Raises DataError for a folder
    that holds something, for split names that the Hub refuses, and for triplets across datasets or of unknown
    products; MissingDataError for a view whose file is gone.
    """
    require_empty(folder)
    _check(splits, verdicts or {})
    products = features.PRODUCTS if embed else features.without_pictures(features.PRODUCTS)
    with replacing_folder(folder) as scratch:
        piece = _PICTURE_PIECE if embed else _PIECE
        rows = {split.name: _product_rows(split, embed) for split in splits}
        configs = [_write_config(scratch / "products", products, piece, rows)]
        rows = {split.name: map(_triplet_row, split.triplets) for split in splits}
        configs.append(_write_config(scratch / "triplets", features.TRIPLETS, _PIECE, rows))
        if verdicts:
            rows = {name: map(_verdict_row, found) for name, found in verdicts.items()}
            configs.append(_write_config(scratch / "verdicts", features.VERDICTS, _PIECE, rows))
        write_card(scratch, title=title, configs=configs, statistics=statistics)
    return tuple(configs)


def require_empty(folder: Path) -> None:
    """Raise DataError unless nothing is lost if the folder is replaced."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{folder} is there and not empty: choose a new or an empty folder")


def published_path(product: Product, view: View) -> str:
    """Where a view lies in the published layout."""
    return f"images/{product.key.dataset}/{product.key.product_id}/{view.path.name}"


def _check(splits: Sequence[Split], verdicts: Mapping[str, Iterable[Verdict]]) -> None:
    names = [split.name for split in splits]
    for name in (*names, *verdicts):
        if not _SPLIT_NAME.fullmatch(name):
            raise DataError(f"{name!r} is no name of a split for the Hub: use letters, digits, _ and single dots")
    if len(set(names)) < len(names):
        raise DataError(f"splits named {', '.join(names)}: give each its own name")
    faults = Findings()
    for split in splits:
        for triplet in split.triplets:
            keys = (triplet.source, triplet.target, *triplet.satisfying)
            name = f"{split.name}: {triplet.source} -> {triplet.target}"
            if any(key.dataset != triplet.source.dataset for key in keys):
                faults.add("triplets across datasets", name)
            elif any(key not in split.products for key in keys):
                faults.add("triplets of products that are not in the split", name)
    if faults:
        raise DataError(f"{faults.describe()}; mend or remove these triplets before the export")


def _product_rows(split: Split, embed: bool) -> Iterator[Row]:
    for _, product in sorted(split.products.items()):
        yield _product_row(split, product, embed)


def _product_row(split: Split, product: Product, embed: bool) -> Row:
    caption = split.captions.get(product.key)
    paths = [published_path(product, view) for view in product.views]
    return {
        "dataset": product.key.dataset,
        "product_id": product.key.product_id,
        "category": product.category,
        "gender": product.gender,
        "view_names": [view.name for view in product.views],
        "images": [_picture(view, path) for view, path in zip(product.views, paths, strict=True)] if embed else paths,
        "image_captions": list(caption.images) if caption else [],
        "long_caption": caption.long if caption else None,
        "short_caption": caption.short if caption else None,
    }


def _picture(view: View, path: str) -> Row:
    try:
        return {"bytes": view.path.read_bytes(), "path": path}
    except OSError as error:
        raise MissingDataError(f"{view.path}: cannot be read ({error.strerror}); restore the file") from error


def _triplet_row(triplet: Triplet) -> Row:
    return {
        "dataset": triplet.source.dataset,
        "source_id": triplet.source.product_id,
        "target_id": triplet.target.product_id,
        "modification_text_short": triplet.short,
        "modification_text_long": triplet.long,
        "views_involved": list(triplet.views_involved),
        "satisfying_ids": [key.product_id for key in triplet.satisfying],
    }


def _verdict_row(verdict: Verdict) -> Row:
    return {
        "dataset": verdict.key.dataset,
        "product_id": verdict.key.product_id,
        "has_error": verdict.has_error,
        "caption_analyses": [analysis.model_dump() for analysis in verdict.analyses],
    }


def _write_config(folder: Path, columns: Columns, piece: int, rows: Mapping[str, Iterable[Row]]) -> Config:
    folder.mkdir()
    counts = {name: _write_shards(folder, name, columns, piece, found) for name, found in rows.items()}
    return Config(name=folder.name, columns=columns, rows=counts)


def _write_shards(folder: Path, name: str, columns: Columns, piece: int, rows: Iterable[Row]) -> int:
    """Write files of about `SHARD_BYTES`, in the Hub's names, and say how many rows they hold."""
    schema, waiting = features.schema(columns), pieces(rows, piece)
    paths: list[Path] = []
    count, more = 0, next(waiting, [])
    while more or not paths:  # one file, though empty, for a split without rows
        paths.append(folder / f"{name}-{len(paths):05}")
        with paths[-1].open("xb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while more and file.tell() < SHARD_BYTES:
                writer.write_table(pa.Table.from_pylist(more, schema), row_group_size=piece)
                count, more = count + len(more), next(waiting, [])
    for path in paths:
        path.replace(path.with_name(f"{path.name}-of-{len(paths):05}.parquet"))
    return count
