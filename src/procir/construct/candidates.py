"""Stage 3's candidates: near neighbors of a product along several paths, and a seeded draw of them (section 3.4).

Neighbors are exact: the inner products of the given rows in float64, equal ones in key order. They depend neither on
the blocks, nor on the threads, nor on the library that multiplied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt64

from procir.catalog.findings import Findings
from procir.errors import ConfigError, DataError
from procir.types import Product, ProductKey

TOP, SAMPLE = 20, 10
"""Neighbors of each path, and how many of their union are drawn (paper, section 3.4)."""

ROWS, COLUMNS = 512, 2048
"""Size of the blocks of similarities, which bounds the memory: 4 MiB, and up to 8 for the rows of one side."""

Group = tuple[str, str | None, str | None]
"""Dataset, category and gender: candidates share all three."""

_UNIT_TOLERANCE = 1e-3
_EXACT_PIECE = 8192


@dataclass(frozen=True, slots=True)
class Grouping:
    """Products in key order with the group of each, and what is not as the method wants it, counted."""

    keys: tuple[ProductKey, ...]
    groups: tuple[Group, ...]
    findings: Findings


def group_products(products: Iterable[Product]) -> Grouping:
    """The products of one split by dataset, category and gender.

    Those of unknown category (or gender) are a group of their own in each dataset; they are counted, and so are
    products that are alone in their group, which have no candidates.
    """
    ordered = sorted(products, key=lambda product: product.key)
    groups = tuple((product.key.dataset, product.category, product.gender) for product in ordered)
    sizes, findings = Counter(groups), Findings()
    for product, group in zip(ordered, groups, strict=True):
        for reason, found in (
            ("products without a category", product.category is None),
            ("products without a gender", product.gender is None),
            ("products alone in their group", sizes[group] == 1),
        ):
            if found:
                findings.add(reason, str(product.key))
    return Grouping(tuple(product.key for product in ordered), groups, findings)


def mine(
    keys: Sequence[ProductKey],
    groups: Sequence[Hashable],
    paths: Mapping[str, Float[np.ndarray, "products _"]],
    *,
    top: int = TOP,
    sample: int = SAMPLE,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[ProductKey, tuple[ProductKey, ...]]:
    """For each product up to `sample` candidates, drawn from the union of its `top` nearest in each path.

    `paths` holds embeddings of unit length, row i of each belonging to `keys[i]`; they may be memory-mapped. `keys`
    ascend. Candidates share the group, and are never the product itself. What is drawn, and in which order, is a
    function of seed, product and the set drawn from: a grown set changes a draw by its newcomers alone. Raises
    DataError for keys out of order and for rows that are not of unit length, ConfigError for counts below 1.
    """
    _check(keys, groups, paths, top, sample)
    members: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    urns = _Urns.of(keys, seed)
    found: dict[int, list[int]] = {}
    buffer = np.empty(ROWS * COLUMNS, np.float32)
    for places in map(np.array, members.values()):
        for start in range(0, len(places), ROWS):
            near = [_nearest(vectors, places, start, top, buffer) for vectors in paths.values()]
            sources, candidates = np.divmod(_union(near), len(places))
            block = places[start : start + ROWS]
            found.update(urns.draw(block, block[sources], places[candidates], sample))
            progress(len(found), len(keys))
    return {key: tuple(keys[other] for other in found[number]) for number, key in enumerate(keys)}


def _check(
    keys: Sequence[ProductKey], groups: Sequence[Hashable], paths: Mapping[str, np.ndarray], top: int, sample: int
) -> None:
    if top < 1 or sample < 1 or not paths:
        raise ConfigError(f"top {top}, sample {sample} and {len(paths)} paths: candidates need one of each at least")
    for before, after in pairwise(keys):
        if not before < after:
            raise DataError(f"{after} comes after {before}: sort the products by their keys, each once")
    for name, vectors in paths.items():
        if not len(vectors) == len(groups) == len(keys):
            raise DataError(
                f"path {name!r}: {len(vectors)} embeddings and {len(groups)} groups for {len(keys)} products; "
                "encode these products anew"
            )
        for start in range(0, len(keys), COLUMNS):
            rows = np.asarray(vectors[start : start + COLUMNS], np.float32)
            wrong = np.flatnonzero(~(np.abs(np.linalg.norm(rows, axis=1) - 1) <= _UNIT_TOLERANCE))
            if len(wrong):
                raise DataError(
                    f"path {name!r}: the embedding of {keys[start + int(wrong[0])]} has not length 1; "
                    "divide the rows by their length, and encode again what is not finite"
                )


def _nearest(
    vectors: Float[np.ndarray, "products dim"],
    places: Int64[np.ndarray, " members"],
    start: int,
    top: int,
    buffer: Float32[np.ndarray, " room"],
) -> Int64[np.ndarray, " pairs"]:
    """The exact `top` nearest of the block of members at `start`; a pair is source * members + candidate."""
    top = min(top, len(places) - 1)
    if top == 0:
        return np.empty(0, np.int64)
    short = _shortlist(vectors, places, start, top, buffer)
    chosen, unsure, room = _settle(short, top)
    if unsure.any():
        chosen[unsure] = _first_by_exact(vectors, places, start, short, unsure, room)
    return np.asarray(short.rows[chosen] * len(places) + short.columns[chosen])


def _union(near: Sequence[Int64[np.ndarray, " _"]]) -> Int64[np.ndarray, " pairs"]:
    """The pairs of all paths, ascending, each once; sorting beats numpy's own unique here."""
    pairs = np.sort(np.concatenate(near))
    return np.asarray(pairs[np.diff(pairs, prepend=-1) > 0])


@dataclass(frozen=True, slots=True)
class _Shortlist:
    """Pairs that may be among the nearest: sources of the block, ascending, candidates, and their products."""

    rows: Int64[np.ndarray, " pairs"]
    columns: Int64[np.ndarray, " pairs"]
    scores: Float32[np.ndarray, " pairs"]
    slack: float
    """Twice the largest error of a product in float32: pairs further apart cannot change places."""


def _shortlist(
    vectors: Float[np.ndarray, "products dim"],
    places: Int64[np.ndarray, " members"],
    start: int,
    top: int,
    buffer: Float32[np.ndarray, " room"],
) -> _Shortlist:
    """All pairs whose product in float32 is not certainly below the last of the nearest."""
    left = _take(vectors, places[start : start + ROWS])
    slack = 2 * left.shape[1] * 2.0**-24 * (1 + 3 * _UNIT_TOLERANCE)
    best = np.full((len(left), top), -np.inf, np.float32)
    pieces = []
    for first in range(0, len(places), COLUMNS):
        right = _take(vectors, places[first : first + COLUMNS])
        block = np.matmul(left, right.T, out=buffer[: len(left) * len(right)].reshape(len(left), len(right)))
        own = np.arange(max(start, first), min(start + len(left), first + len(right)))
        block[own - start, own - first] = -np.inf
        best = _raise(best, block)
        flat = np.flatnonzero(block >= best[:, :1] - np.float32(slack))
        rows, columns = np.divmod(flat, len(right))
        pieces.append((rows, columns + first, block.reshape(-1)[flat]))
    rows, columns, scores = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    kept = (scores >= best[rows, 0] - np.float32(slack)) & (columns != rows + start)
    rows, columns, scores = rows[kept], columns[kept], scores[kept]
    order = np.lexsort((-scores, rows))
    return _Shortlist(rows[order], columns[order], scores[order], slack)


def _take(vectors: Float[np.ndarray, "products dim"], rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n dim"]:
    return np.asarray(vectors[rows], np.float32)


def _raise(
    best: Float32[np.ndarray, "rows top"], block: Float32[np.ndarray, "rows columns"]
) -> Float32[np.ndarray, "rows top"]:
    """`top` values a row that as many products reach, the least of them first, as high as is cheap.

    Columns share buckets, whose maxima stand for them: far fewer values to look through, and a bound hardly lower
    than the last of the nearest.
    """
    rows, columns = block.shape
    buckets = 8 * best.shape[1]
    if columns >= 2 * buckets:
        whole = columns - columns % buckets
        block = block[:, :whole].reshape(rows, -1, buckets).max(axis=1)
    both = np.concatenate([best, block], axis=1)
    last = both.shape[1] - best.shape[1]
    both.partition(last, axis=1)
    return both[:, last:]


def _settle(
    short: _Shortlist, top: int
) -> tuple[Bool[np.ndarray, " pairs"], Bool[np.ndarray, " pairs"], Int64[np.ndarray, " rows"]]:
    """Pairs that are among the nearest for certain, pairs that are too close to call, and how many of those a row."""
    starts = np.flatnonzero(np.diff(short.rows, prepend=-1))
    last = short.scores[starts + top - 1][short.rows].astype(np.float64)
    certain = short.scores > last + short.slack
    close = ~certain & (short.scores >= last - short.slack)
    room = top - np.bincount(short.rows, certain).astype(np.int64)
    crowded = np.bincount(short.rows, close).astype(np.int64) > room
    return certain | (close & ~crowded[short.rows]), close & crowded[short.rows], room


def _first_by_exact(
    vectors: Float[np.ndarray, "products dim"],
    places: Int64[np.ndarray, " members"],
    start: int,
    short: _Shortlist,
    unsure: Bool[np.ndarray, " pairs"],
    room: Int64[np.ndarray, " rows"],
) -> Bool[np.ndarray, " unsure"]:
    """Which of the unsure pairs come first by their exact products, as many a row as it has room for."""
    rows, columns = short.rows[unsure], short.columns[unsure]
    exact = _exact(vectors, places[start + rows], places[columns])
    order = np.lexsort((columns, -exact, rows))
    chosen = np.empty(len(rows), np.bool_)
    chosen[order] = _rank(rows) < room[rows]  # rows ascend, so that sorting within them leaves the rows in place
    return chosen


def _exact(
    vectors: Float[np.ndarray, "products dim"], left: Int64[np.ndarray, " n"], right: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    exact = np.empty(len(left))
    for start in range(0, len(left), _EXACT_PIECE):
        piece = slice(start, start + _EXACT_PIECE)
        # A sum over each row alone, not a matrix product: equal rows must give equal sums, wherever they stand.
        exact[piece] = (vectors[left[piece]].astype(np.float64) * vectors[right[piece]]).sum(axis=1)
    return exact


def _rank(rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The place of each entry within its row, from 0; `rows` ascend."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    counts = np.diff(starts, append=len(rows))
    return np.arange(len(rows)) - np.repeat(starts, counts)


@dataclass(frozen=True, slots=True)
class _Urns:
    """Numbers from which every pair gets its lot: of each product as a source, and as a candidate."""

    sources: UInt64[np.ndarray, " products"]
    candidates: UInt64[np.ndarray, " products"]

    @staticmethod
    def of(keys: Sequence[ProductKey], seed: int) -> _Urns:
        """The numbers of the keys, by their hashes."""
        digests = b"".join(sha256(f"{seed}\0{key.dataset}\0{key.product_id}".encode()).digest()[:16] for key in keys)
        numbers = np.frombuffer(digests, "<u8").astype(np.uint64).reshape(-1, 2)
        return _Urns(numbers[:, 0], numbers[:, 1])

    def draw(
        self,
        block: Int64[np.ndarray, " sources"],
        sources: Int64[np.ndarray, " pairs"],
        candidates: Int64[np.ndarray, " pairs"],
        count: int,
    ) -> dict[int, list[int]]:
        """For each source of the block the `count` candidates of the lowest lots; `sources` ascend."""
        lots = _mix(self.sources[sources] ^ self.candidates[candidates])
        order = np.lexsort((lots, sources))
        sources, candidates = sources[order], candidates[order]
        drawn = _rank(sources) < count
        found: dict[int, list[int]] = {source: [] for source in block.tolist()}
        for source, candidate in zip(sources[drawn].tolist(), candidates[drawn].tolist(), strict=True):
            found[source].append(candidate)
        return found


def _mix(numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Each number scrambled, so that near ones end far apart (the finalizer of splitmix64)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
