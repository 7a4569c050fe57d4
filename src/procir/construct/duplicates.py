"""Products of one split that look like products of another: the same photos, perhaps resized or encoded anew.

Each photo becomes 192 bits: whether it gets brighter from each of 8 x 8 places to the next on its right, in each color.
Hashes within `DISTANCE` bits certainly share one of `_BANDS` parts, so that only photos that share one are compared,
not all with all. Small copies of those decide: plain photos of different things may have one hash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from procir.catalog.likeness import SIDE, UNLIKE, difference, small_copy
from procir.images import load_image
from procir.types import Product, ProductKey, Split

DISTANCE = 7
"""Most bits of 192 in which two photos of the same differ."""

SHARE = 0.5
"""Products are near duplicates if more than this share of the views of the one with fewer views is in the other."""

_BANDS, _SIDE, _STEP = DISTANCE + 1, 8, 4
_CHUNK, _PIECE = 1024, 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two products of different splits, how many of `views` views they share, and the largest difference of these."""

    products: tuple[ProductKey, ProductKey]
    splits: tuple[str, str]
    shared: int
    views: int
    difference: float


def find_duplicates(
    splits: Sequence[Split], *, threads: int = 2, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[Duplicate, ...]:
    """Near duplicates across splits, sorted by their products; nothing is dropped. Raises ImageError."""
    products = [(split.name, product) for split in splits for product in split.products.values()]
    paths = [view.path for _, product in products for view in product.views]
    owners = np.repeat(np.arange(len(products)), [len(product.views) for _, product in products])
    names = {split.name: number for number, split in enumerate(splits)}
    sides = np.array([names[name] for name, _ in products])[owners]
    hashes, copies = _look(paths, threads, progress)
    matches: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
    for left, right in _near(hashes, sides):
        unlike = difference(copies[left], copies[right])
        if unlike <= UNLIKE:
            matches[int(owners[left]), int(owners[right])].append((left, right, unlike))
    found = (_duplicate(products, pair, views) for pair, views in matches.items())
    return tuple(sorted(filter(None, found), key=lambda duplicate: duplicate.products))


def view_hash(image: Image.Image) -> UInt8[np.ndarray, " bytes"]:
    """The 192 bits of a photo; slopes too small to survive a new encoding count as none."""
    small = image.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.int16)
    rises = values[:, 1:] > values[:, :-1] + _STEP
    # Neighboring bits go to different bands: plain borders would make all bands of a border alike.
    return np.packbits(rises.reshape(-1, _BANDS).T)


def _look(
    paths: Sequence[Path], threads: int, progress: Callable[[int, int], None]
) -> tuple[UInt8[np.ndarray, "views bytes"], UInt8[np.ndarray, "views side side 3"]]:
    """Hashes and small copies: 800 bytes a photo."""
    rows = np.empty((len(paths), 3 * _SIDE * _SIDE // 8), np.uint8)
    copies = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)

    def look(number: int) -> None:
        image = load_image(paths[number])
        rows[number] = view_hash(image)
        copies[number] = small_copy(image)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), _CHUNK):
            stop = min(start + _CHUNK, len(paths))
            list(pool.map(look, range(start, stop)))
            progress(stop, len(paths))
    return rows, copies


def _near(hashes: UInt8[np.ndarray, "views bytes"], sides: Int[np.ndarray, " views"]) -> Iterator[tuple[int, int]]:
    """Pairs of views of different splits within `DISTANCE`, each once, the one of the earlier split first."""
    seen: set[tuple[int, int]] = set()
    width = hashes.shape[1] // _BANDS
    for band in range(_BANDS):
        part = np.ascontiguousarray(hashes[:, band * width : (band + 1) * width])
        keys = part.view(np.dtype((np.void, width))).reshape(-1)
        _, groups = np.unique(keys, return_inverse=True)
        order = np.argsort(groups, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            for pair in _across(hashes, sides, members):
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def _across(
    hashes: UInt8[np.ndarray, "views bytes"], sides: Int[np.ndarray, " views"], members: Int[np.ndarray, " n"]
) -> Iterator[tuple[int, int]]:
    for side in np.unique(sides[members])[:-1]:
        left, right = members[sides[members] == side], members[sides[members] > side]
        step = max(1, _PIECE // max(1, len(right)))
        for start in range(0, len(left), step):
            piece = left[start : start + step]
            near: Bool[np.ndarray, "left right"] = (
                np.bitwise_count(hashes[piece][:, None] ^ hashes[right][None]).sum(axis=2, dtype=np.int32) <= DISTANCE
            )
            for row, column in zip(*np.nonzero(near), strict=True):
                yield int(piece[row]), int(right[column])


def _duplicate(
    products: Sequence[tuple[str, Product]], pair: tuple[int, int], views: Sequence[tuple[int, int, float]]
) -> Duplicate | None:
    (one, first), (other, second) = (products[number] for number in pair)
    fewest = min(len(first.views), len(second.views))
    shared = min(len({left for left, _, _ in views}), len({right for _, right, _ in views}))
    if shared <= SHARE * fewest:
        return None
    return Duplicate(
        products=(first.key, second.key),
        splits=(one, other),
        shared=shared,
        views=fewest,
        difference=round(max(unlike for _, _, unlike in views), 2),
    )


def as_rows(duplicates: Sequence[Duplicate]) -> list[Mapping[str, object]]:
    """The duplicates as JSON lines."""
    return [
        {
            "products": [str(key) for key in duplicate.products],
            "splits": list(duplicate.splits),
            "shared_views": duplicate.shared,
            "views": duplicate.views,
            "difference": duplicate.difference,
        }
        for duplicate in duplicates
    ]
