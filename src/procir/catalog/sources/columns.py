"""Which column of a table holds what: by common names, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from procir.errors import ConfigError

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "product_id", "productid", "item_id", "article_id", "articleid", "item_group_id", "sku", "handle",
           "code", "product_code", "style_id", "asin"),
    "image": ("image", "images", "image_path", "image_paths", "photo", "photos", "picture", "pictures", "img",
              "image_link", "image_url", "image_urls", "image_src", "image_file", "image_name", "path", "file",
              "filename", "file_name", "additional_image_link", "additional_image_links", "additional_images"),
    "title": ("title", "name", "product_name", "product_title", "prod_name", "productdisplayname", "display_name"),
    "category": ("category", "product_type", "product_type_name", "article_type", "articletype", "subcategory",
                 "type", "class", "google_product_category"),
    "gender": ("gender", "sex", "target_gender", "department"),
    "colour": ("colour", "color", "base_colour", "basecolour", "base_color", "colour_group_name", "color_name"),
    "price": ("price", "sale_price", "list_price", "variant_price"),
    "url": ("url", "link", "product_url", "product_link", "page"),
    "description": ("description", "desc", "body", "body_html", "detail_desc", "details", "text"),
    "creator": ("creator", "author", "photographer", "artist"),
    "licence": ("licence", "license"),
    "dataset": ("dataset",),
    "split": ("split", "partition"),
    "view": ("view", "view_type", "pose"),
    "caption": ("caption", "alt", "image_alt_text", "alt_text"),
}  # fmt: skip
"""Names of columns by field, the most telling first; capitals, spaces and dashes do not count."""

_NUMBERED = re.compile(r"(.+?)_?\d+")


def normal(name: str) -> str:
    """A column's name as it is compared: lower case, one underscore for what is no letter or digit."""
    return re.sub(r"[^\w]+|_+", "_", name.strip().casefold()).strip("_")


def map_columns(found: Sequence[str], chosen: Mapping[str, str]) -> dict[str, list[str]]:
    """The columns that hold each field: one, but for images all that have a known name, numbered ones in their order.

    `chosen` overrides this by field.
    """
    columns: dict[str, list[str]] = {}
    normals = {name: normal(name) for name in found}
    for field, known in NAMES.items():
        if field in chosen:
            columns[field] = [name.strip() for name in chosen[field].split(",")]
            continue
        ranks = {name: _rank(normals[name], known, numbered=field == "image") for name in found}
        matching = sorted((name for name in found if ranks[name] is not None), key=lambda name: ranks[name] or 0)
        if matching:
            columns[field] = matching if field == "image" else matching[:1]
    return columns


def check_columns(found: Sequence[str], chosen: Mapping[str, str], where: str) -> None:
    """Raise ConfigError for fields that no product has, and for columns that are not among those found."""
    for field, names in chosen.items():
        if field not in NAMES:
            raise ConfigError(f"{field!r} is no field of a product; use {', '.join(NAMES)}")
        for name in (part.strip() for part in names.split(",")):
            if name not in found:
                near = get_close_matches(name, found, n=3) or sorted(found)[:20]
                raise ConfigError(f"{where}: no column {name!r} for {field}; there are {', '.join(map(repr, near))}")


def _rank(name: str, known: Sequence[str], *, numbered: bool) -> int | None:
    if name in known:
        return known.index(name)
    match = _NUMBERED.fullmatch(name) if numbered else None
    return known.index(match[1]) if match and match[1] in known else None


def known_columns(found: Sequence[str]) -> int:
    """How many names a table's header has that mean something."""
    return sum(len(columns) for columns in map_columns(found, {}).values())
