"""Folders of photos at a known depth below a root, as released datasets have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.taking import NO_PHOTO
from procir.catalog.views import Fence, is_unicode
from procir.errors import DataError
from procir.images import SUFFIXES

LEAST = 2
"""Fewest photos of a product in the paper's data (section 3.1)."""


@dataclass(slots=True)
class Albums:
    """The folders `depth` levels below a root, in the order of their names; one folder's names are held at a time.

    Hidden entries are ignored. Photos in other folders, files of other kinds, links to folders and names that are not
    Unicode are left out and counted.
    """

    root: Path
    depth: int
    findings: Findings
    _fence: Fence = field(init=False)

    def __post_init__(self) -> None:
        self._fence = Fence(self.root)

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """The path below the root, part by part, and the sorted names of the photos, if any.

        Raises DataError for links that lead out of the root and folders that cannot be read.
        """
        return self._below(())

    def _below(self, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        folders, photos = self._content(self.root.joinpath(*parts))
        if len(parts) == self.depth:
            for name in folders:
                self.findings.add("folders inside those of products", "/".join((*parts, name)))
            yield parts, photos
            return
        for name in photos:
            self.findings.add("photos outside the products' folders", "/".join((*parts, name)))
        for name in folders:
            yield from self._below((*parts, name))

    def _content(self, folder: Path) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        photos: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    self._sort(entry, folders, photos)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
        return folders, photos

    def _sort(self, entry: os.DirEntry[str], folders: list[str], photos: list[str]) -> None:
        if entry.name.startswith("."):
            return
        if entry.is_symlink() and not self._fence.holds(entry.path):
            raise DataError(f"{entry.path}: a link that leads outside {self.root}; replace it by what it points to")
        if not is_unicode(entry.name):
            self.findings.add("names that are not Unicode", ascii(entry.path)[1:-1])
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif entry.is_symlink() and Path(entry.path).is_dir():  # it would show a product twice, or never end
            self.findings.add("links to folders, which are not followed", entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - a path takes far longer
            photos.append(entry.name)
        else:
            self.findings.add("files of other kinds", entry.path)


def enough(count: int, least: int, where: str, findings: Findings) -> bool:
    """Whether a product has as many photos as are wanted; those that have not are counted."""
    if count >= least:
        return True
    findings.add(f"products with fewer than {least} photos" if count else NO_PHOTO, where)
    return False
