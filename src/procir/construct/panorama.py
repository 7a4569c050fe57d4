"""All views of a product in one picture, beside each other (paper, section A.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from threading import Lock

import cachetools
from PIL import Image

from procir.annotators.ledger import Seen
from procir.annotators.request import Picture
from procir.images import image_size, load_image, to_jpeg

HEIGHT, WIDTH = 768, 3840
"""Most pixels of a stitched picture; five square views fit at full height."""

CACHE_BYTES = 256 * 2**20
"""Bytes of stitched pictures that are kept: in stage 3 every product is a candidate of about ten others."""

Bounds = tuple[int, int, int, int]
"""Left, top, right, bottom in thousandths of a picture's width and height."""

_FULL = 1000
_QUALITY = 90
_WAY = 1
"""Number of the way from views to a picture; another one makes another question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panorama:
    """A stitched picture, and where each view stands in it."""

    picture: Picture
    boxes: tuple[Bounds, ...]


def panorama(views: Sequence[Path], seen: Sequence[Seen], *, height: int = HEIGHT, width: int = WIDTH) -> Panorama:
    """The views from left to right at one height; `seen` is what is known of their files.

    Opens nothing until the picture is loaded. No view becomes higher than the highest one is. Raises ImageError for a
    view that is no picture.
    """
    assert 0 < len(views) == len(seen), (len(views), len(seen))
    sizes = [found.size or image_size(view) for view, found in zip(views, seen, strict=True)]
    common, widths = _lay_out(sizes, height, width)
    digests = [found.digest for found in seen]
    made = sha256(json.dumps(["panorama", _WAY, _QUALITY, common, widths, digests]).encode()).hexdigest()
    size = sum(widths), common
    picture = Picture(digest=made, load=partial(_stitched, made, tuple(views), common, widths), size=lambda: size)
    return Panorama(picture=picture, boxes=_boxes(widths))


def _lay_out(sizes: Sequence[tuple[int, int]], height: int, width: int) -> tuple[int, tuple[int, ...]]:
    aspect = sum(across / down for across, down in sizes)
    common = max(1, min(height, max(down for _, down in sizes), int(width / aspect)))
    return common, tuple(max(1, int(common * across / down)) for across, down in sizes)


def _boxes(widths: Sequence[int]) -> tuple[Bounds, ...]:
    total = sum(widths)
    edges = [round(_FULL * edge / total) for edge in accumulate(widths, initial=0)]
    # A sliver beside a wide view still gets a box that is not empty.
    bounds = ((min(left, _FULL - 1), right) for left, right in pairwise(edges))
    return tuple((left, 0, max(right, left + 1), _FULL) for left, right in bounds)


@cachetools.cached(cachetools.LRUCache(CACHE_BYTES, getsizeof=len), key=lambda digest, *_: digest, lock=Lock())
def _stitched(digest: str, views: tuple[Path, ...], height: int, widths: tuple[int, ...]) -> bytes:  # noqa: ARG001
    return _stitch(views, height, widths)


def _stitch(views: tuple[Path, ...], height: int, widths: tuple[int, ...]) -> bytes:
    canvas = Image.new("RGB", (sum(widths), height))
    for view, left, width in zip(views, accumulate(widths, initial=0), widths, strict=False):
        canvas.paste(load_image(view).resize((width, height), Image.Resampling.LANCZOS), (left, 0))
    return to_jpeg(canvas, _QUALITY)
