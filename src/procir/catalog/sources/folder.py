"""A folder of folders: every folder that holds photos is a product, and its path below the root is the id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from procir.catalog.findings import Findings
from procir.catalog.offers import FilePhoto, Offer
from procir.catalog.taking import NO_PHOTO
from procir.catalog.views import Fence, is_unicode
from procir.errors import DataError, MissingDataError
from procir.images import SUFFIXES
from procir.types import ProductKey


def folder_offers(root: Path, dataset: str, findings: Findings) -> Iterator[Offer]:
    """The products of a folder, sorted by path; hidden entries are ignored.

    Folders without a photo, loose photos and files of other kinds are counted. Raises MissingDataError without the
    folder, and DataError for links that lead out of it.
    """
    if not root.is_dir():
        raise MissingDataError(f"{root}: no such folder; pass a folder with one sub-folder of photos a product")
    fence = Fence(root)
    for path, folders, files in os.walk(root, followlinks=True):
        here = Path(path)
        _refuse_escapes(here, folders, fence)
        folders[:] = sorted(name for name in folders if _counts(here / name, findings))
        photos = _photos(here, sorted(files), fence, findings)
        if here == root:
            for photo in photos:
                findings.add("photos outside the products' folders", photo.name)
        elif photos:
            key = ProductKey(dataset, here.relative_to(root).as_posix())
            yield Offer(key=key, photos=tuple(photos), where=str(here))
        elif not folders:
            findings.add(NO_PHOTO, str(here))


def _refuse_escapes(here: Path, names: list[str], fence: Fence) -> None:
    for name in names:
        path = here / name
        if not name.startswith(".") and path.is_symlink() and not fence.holds(str(path)):
            raise DataError(f"{path}: a link that leads outside the folder; replace it by what it points to")


def _counts(path: Path, findings: Findings) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_symlink():  # it would show a product twice, or never end
        findings.add("links to folders, which are not followed", str(path))
        return False
    if not is_unicode(path.name):
        findings.add("folders whose name is not Unicode", ascii(path.name))
        return False
    return True


def _photos(here: Path, files: list[str], fence: Fence, findings: Findings) -> list[FilePhoto]:
    photos = []
    for name in files:
        if name.startswith("."):
            continue
        if os.path.splitext(name)[1].lower() not in SUFFIXES:  # noqa: PTH122 - a path takes far longer
            findings.add("files of other kinds", ascii(str(here / name))[1:-1])
        else:
            photos.append(FilePhoto(here / name))
            _refuse_escapes(here, [name], fence)
    return photos
