"""Products whose views their lines in products.jsonl name, so that no folder has to be listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from procir.catalog.views import VIEW_NAMES
from procir.errors import RecordError
from procir.images import SUFFIXES
from procir.records import Row
from procir.types import MAX_VIEWS, Product, ProductKey, View

Names = tuple[tuple[str, str | None], ...]
"""File and view name of every photo of a product, in order."""

_VIEWS = frozenset({*VIEW_NAMES, None})


class ListedProducts(Mapping[ProductKey, Product]):
    """Products that are made when they are asked for: paths of all photos would take most of the time and memory."""

    def __init__(self, images: Path, lines: Mapping[ProductKey, tuple[Names, str | None, str | None]]) -> None:
        self._images = images
        self._lines = lines

    def __getitem__(self, key: ProductKey) -> Product:
        names, category, gender = self._lines[key]
        folder = self._images / key.dataset / key.product_id
        return Product(key, tuple(View(folder / file, view) for file, view in names), category, gender)

    def __iter__(self) -> Iterator[ProductKey]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        return key in self._lines

    def count_views(self) -> int:
        """The number of all photos."""
        return sum(len(names) for names, _, _ in self._lines.values())


class ViewLists:
    """Reads the field `views` of lines; lists of equal names are kept once."""

    def __init__(self) -> None:
        self._known: dict[Names, Names] = {}

    def read(self, row: Row, where: str) -> Names:
        """The names; raises RecordError unless they are one to five plain names of image files, without repetition."""
        views = row["views"]
        try:
            names = tuple([(view["file"], view.get("view")) for view in views])  # type: ignore[attr-defined]
            known = self._known.get(names)
        except (TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"{where}: views is no list of objects with a file; correct the line") from error
        if known is None:
            known = self._known[names] = self._checked(names, where)
        return known

    def _checked(self, names: Any, where: str) -> Names:
        if not 1 <= len(names) <= MAX_VIEWS or len({file for file, _ in names}) < len(names):
            raise RecordError(f"{where}: {len(names)} views, or one twice; name 1 to {MAX_VIEWS} different files")
        for file, view in names:
            if not _is_plain(file):
                raise RecordError(f"{where}: view {file!r} is no plain name of an image file; correct the line")
            if view not in _VIEWS:
                raise RecordError(f"{where}: a photo shows {view!r}, not front, back, side, full or detail; correct it")
        return cast(Names, names)


def _is_plain(file: object) -> bool:
    if not isinstance(file, str):
        return False
    dot = file.rfind(".")
    return file.isprintable() and not {"/", "\\"} & set(file) and dot > 0 and file[dot:].lower() in SUFFIXES
