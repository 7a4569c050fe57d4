"""Where the photos that a table or feed names are: below a folder, or on hosts that the user allows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from procir.catalog.offers import FilePhoto, Photo
from procir.catalog.sources.fetching import RemotePhoto, host_of
from procir.catalog.views import Fence
from procir.errors import ConfigError, RecordError
from procir.images import SUFFIXES

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HARD = re.compile(r"[|;\n]+")


@dataclass(slots=True)
class Places:
    """Turns what a table calls an image into photos that may be read."""

    root: Path
    hosts: Sequence[str] = ()
    _fence: Fence = field(init=False)

    def __post_init__(self) -> None:
        self._fence = Fence(self.root)

    def photo(self, name: str, where: str) -> Photo:
        """The photo; raises RecordError for what leads outside the folder, ConfigError for hosts not allowed."""
        if re.match(r"https?://", name, re.IGNORECASE):
            host = host_of(name, where)
            if host not in self.hosts:
                raise ConfigError(
                    f"{where}: {name} would be fetched from {host}; allow this host (--allow-host {host}), or "
                    "download the photos first"
                )
            return RemotePhoto(name, tuple(self.hosts))
        self._require_inside(name, where)
        path = self.root / name
        if not self._fence.holds(str(path)):
            raise RecordError(f"{where}: {name!r} leads outside {self.root} by a link; replace the link")
        return FilePhoto(path)

    def _require_inside(self, name: str, where: str) -> None:
        windows = PureWindowsPath(name)  # knows both slashes, drives and shares
        if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts or _SCHEME.match(name):
            raise RecordError(f"{where}: {name!r} is not below {self.root}; give paths relative to that folder")
        if "\0" in name or not name.isprintable():
            raise RecordError(f"{where}: {name!r} has characters that no file name has; correct the path")

    def of_product(self, product_id: str) -> list[Photo]:
        """Where no column names photos: ROOT/ID.jpg (or another ending) and those in the folder ROOT/ID."""
        folder = self.root / product_id
        paths = [folder.with_name(f"{folder.name}{suffix}") for suffix in sorted(SUFFIXES)]
        found = [path for path in paths if path.is_file()]
        if folder.is_dir():
            found += sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        return [FilePhoto(path) for path in found if self._fence.holds(str(path))]


def split_names(cell: str) -> list[str]:
    """The images that a cell names: between bars, semicolons and line ends, or commas if every part looks like one."""
    parts = [part.strip() for part in _HARD.split(cell) if part.strip()]
    names = []
    for part in parts:
        pieces = [piece.strip() for piece in part.split(",")]
        all_images = all(os.path.splitext(piece)[1].lower() in SUFFIXES for piece in pieces)  # noqa: PTH122
        names += pieces if len(pieces) > 1 and all_images else [part]
    return names
