"""The small pictures of a page: each image file is embedded once, however often it is shown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from procir.images import load_image, thumbnail, to_data_url

SIDE = 168
"""Longer side of an embedded picture in pixels."""

_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Picture:
    """An embedded picture: its id in the page, its size in pixels, and its bytes as a data URL."""

    id: str
    width: int
    height: int
    url: str


class Pictures:
    """Pictures by image file, in the order of their first use."""

    def __init__(self) -> None:
        self._by_path: dict[Path, Picture] = {}

    def add(self, path: Path) -> Picture:
        """The picture of an image file. Raises ImageError if the file cannot be read."""
        if path not in self._by_path:
            small = thumbnail(load_image(path), SIDE)
            name = f"picture-{len(self._by_path) + 1}"
            self._by_path[path] = Picture(name, small.width, small.height, to_data_url(small, _QUALITY))
        return self._by_path[path]

    def all(self) -> tuple[Picture, ...]:
        """Every picture so far."""
        return tuple(self._by_path.values())

    def shape(self) -> float:
        """Usual width of a picture over its height, in 0.6 .. 1.5; 0.75 without pictures."""
        if not self._by_path:
            return 0.75
        usual = statistics.median(picture.width / picture.height for picture in self._by_path.values())
        return min(max(usual, 0.6), 1.5)
