"""The columns of the published Parquet files, spelled for Arrow, for the datasets library, and for its YAML.

A kind is the name of a plain type, "image", a list of one kind, or a mapping of names to kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Kind = str | list[Any] | dict[str, Any]
Columns = Mapping[str, Kind]

PRODUCTS: Columns = {
    "dataset": "string",
    "product_id": "string",
    "category": "string",
    "gender": "string",
    "view_names": ["string"],
    "images": ["image"],
    "image_captions": ["string"],
    "long_caption": "string",
    "short_caption": "string",
}
TRIPLETS: Columns = {
    "dataset": "string",
    "source_id": "string",
    "target_id": "string",
    "modification_text_short": "string",
    "modification_text_long": "string",
    "views_involved": ["string"],
    "satisfying_ids": ["string"],
}
VERDICTS: Columns = {
    "dataset": "string",
    "product_id": "string",
    "has_error": "bool",
    "caption_analyses": [
        {
            "caption_name": "string",
            "has_error": "bool",
            "reasoning": "string",
            "bounding_boxes": [{"element": "string", "bbox": ["int32"], "position_in_image": "string"}],
        }
    ],
}

_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_ARROW = {"string": pa.string(), "bool": pa.bool_(), "int32": pa.int32(), "image": _IMAGE}


def without_pictures(columns: Columns) -> Columns:
    """The columns with the paths of images in place of their content."""
    return {name: ["string"] if kind == ["image"] else kind for name, kind in columns.items()}


def schema(columns: Columns) -> pa.Schema:
    """The Arrow schema, with the features that make `datasets.load_dataset` decode images."""
    features = {name: _feature(kind) for name, kind in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(name, _arrow(kind)) for name, kind in columns.items()], metadata)


def yaml(columns: Columns, indent: str) -> str:
    """The features as lines of a dataset card."""
    return "".join(_yaml(name, kind, indent) for name, kind in columns.items())


def _arrow(kind: Kind) -> pa.DataType:
    if isinstance(kind, str):
        return _ARROW[kind]
    if isinstance(kind, dict):
        return pa.struct({name: _arrow(part) for name, part in kind.items()})
    return pa.list_(_arrow(kind[0]))


def _feature(kind: Kind) -> object:
    """A plain list stands for a list: every version of the library reads that, unlike Sequence and List."""
    if kind == "image":
        return {"_type": "Image"}
    if isinstance(kind, str):
        return {"dtype": kind, "_type": "Value"}
    if isinstance(kind, dict):
        return {name: _feature(part) for name, part in kind.items()}
    return [_feature(kind[0])]


def _yaml(name: str, kind: Kind, indent: str) -> str:
    head = f"{indent}- name: {name}\n{indent}  "
    if isinstance(kind, str):
        return f"{head}dtype: {kind}\n"
    word, part = ("list", kind[0]) if isinstance(kind, list) else ("struct", kind)
    if isinstance(part, dict):
        return f"{head}{word}:\n{yaml(part, indent + '  ')}"
    return f"{head}{word}: {part}\n"
