"""The photos in a product's folder: which files they are, in which order, and what each shows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from procir.types import MAX_VIEWS, View

ViewOrder = Literal["released", "natural"]
"""released: file names as text, so that 10 precedes 2, as the published protocol has it; natural: 2 before 10."""

_WORD = re.compile("(?<![a-z])(front|back|side|full|detail|additional)(?![a-z])")
_MEANING = {"additional": "detail"}  # DeepFashion's word for its close-ups

VIEW_NAMES = ("front", "back", "side", "full", "detail")
"""What a photo may show, the most telling first."""


def view_name(stem: str) -> str | None:
    """What a photo shows, by the last telling word of its file name; None where no word tells."""
    words = view_words(stem)
    return _MEANING.get(words[-1], words[-1]) if words else None


def view_words(stem: str) -> list[str]:
    """The words of a file name that tell what a photo shows."""
    return _WORD.findall(stem.lower())


def is_unicode(name: str) -> bool:
    """Whether a name from the disk can be written as UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def order_views(paths: Iterable[Path], order: ViewOrder) -> tuple[Path, ...]:
    """The first `MAX_VIEWS` of the paths, ordered by file name."""
    key = sort_key(order)
    return tuple(sorted(paths, key=lambda path: key(path.name))[:MAX_VIEWS])


def sort_key(order: ViewOrder) -> Callable[[str], Any]:
    """What file names are sorted by."""
    return _natural if order == "natural" else str


def _natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    pieces = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    # Where a number meets a text, the number comes first, as digits do in ASCII.
    return [(False, int(piece), "") if piece[0] in "0123456789" else (True, 0, piece) for piece in pieces], name


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The content of a product's folder: its first views, how many photos there are, and what is no view."""

    views: tuple[View, ...]
    found: int
    escaping: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Fence:
    """Tells whether paths, links followed, stay below the given roots."""

    def __init__(self, *roots: Path) -> None:
        self._roots = tuple(root.resolve() for root in roots)
        self._plain: set[str] = set()

    def holds(self, path: str) -> bool:
        """Whether the path, links followed, lies below a root; it need not exist."""
        resolved = Path(os.path.realpath(path))  # unlike Path.resolve, not stopped by a link to itself
        return any(resolved.is_relative_to(root) for root in self._roots)

    def holds_folder(self, base: str, product_id: str) -> bool:
        """Whether base/product_id stays inside, given that base does; one lstat a folder that is not a link."""
        path = base
        for part in product_id.split("/"):
            path = f"{path}/{part}"
            if path in self._plain:
                continue
            if os.path.islink(path):  # noqa: PTH114 - half the time of Path.is_symlink, for every product
                return self.holds(f"{base}/{product_id}")
            self._plain.add(path)
        return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a photo that cannot be read, not a folder that cannot
        return False


def list_views(folder: Path, suffixes: frozenset[str], order: ViewOrder, fence: Fence) -> Listing:
    """The views among a folder's files: those with one of the suffixes (lower case), hidden ones left aside.

    Links that leave the fence are named in `escaping`. Raises OSError for a folder that cannot be read.
    """
    photos: list[str] = []
    escaping: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or _is_folder(entry):
                continue
            if os.path.splitext(entry.name)[1].lower() not in suffixes:  # noqa: PTH122 - a path takes far longer
                others.append(entry.name)
            elif entry.is_symlink() and not fence.holds(entry.path):
                escaping.append(entry.path)
            else:
                photos.append(entry.name)
    first = sorted(photos, key=sort_key(order))[:MAX_VIEWS]
    views = tuple(View(folder / name, view_name(name.rpartition(".")[0])) for name in first)
    return Listing(views=views, found=len(photos), escaping=tuple(sorted(escaping)), others=tuple(sorted(others)))
