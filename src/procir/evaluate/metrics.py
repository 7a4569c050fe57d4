"""Ranks and recalls as pure functions of scores or embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from procir.errors import ConfigError, DataError


def ranks(
    scores: Float[np.ndarray, "queries gallery"], relevant: Int[np.ndarray, " queries"]
) -> Int[np.ndarray, " queries"]:
    """Rank of each query's target, 1 for the best.

    Ties are pessimistic: every other product with the target's score counts as before it, so that a model
    which gives all products one embedding ranks every target last instead of first. `relevant` holds the
    column of each target. Raises DataError naming the first row with a NaN score.
    """
    _check_targets(relevant, scores.shape[1])
    _check_scores(scores, first_row=0)
    own = np.take_along_axis(scores, relevant[:, None], axis=1)
    return np.asarray(np.count_nonzero(scores >= own, axis=1), dtype=np.int64)


def recall_at(ranks: Int[np.ndarray, " queries"], k: int, gallery_size: int) -> float:
    """Fraction of queries with the target among the first k, in [0, 1].

    Raises ConfigError if k is below 1 or exceeds the gallery, where the recall would be 1 whatever the model
    does, and DataError if there are no queries.
    """
    _check_k(k, gallery_size)
    if ranks.size == 0:
        raise DataError("recall of no queries: the split has no triplets for this gallery")
    return float(np.mean(ranks <= k))


def rank_in_gallery(
    queries: Float32[np.ndarray, "queries dim"],
    gallery: Float32[np.ndarray, "gallery dim"],
    target_index: Int[np.ndarray, " queries"],
    block: int = 256,
) -> Int[np.ndarray, " queries"]:
    """`ranks` of the dot products, holding `block` rows of the score matrix at a time.

    Only queries are blocked: a row's scores come from one matrix product, hence the target's score is
    rounded like its rivals'. Products with the same embedding are scored once, so that their tie is exact.
    """
    _check_targets(target_index, len(gallery))
    distinct = _distinct(gallery)
    copies = np.bincount(distinct.column, minlength=len(distinct.rows))
    columns = distinct.column[target_index]
    found = np.empty(len(queries), dtype=np.int64)
    for start, scores in _score_blocks(queries, distinct.rows, block):
        stop = start + len(scores)
        own = np.take_along_axis(scores, columns[start:stop, None], axis=1)
        found[start:stop] = (scores >= own) @ copies
    return found


def top_k(
    queries: Float32[np.ndarray, "queries dim"],
    gallery: Float32[np.ndarray, "gallery dim"],
    k: int,
    block: int = 256,
) -> tuple[Int[np.ndarray, "queries k"], Float32[np.ndarray, "queries k"]]:
    """Gallery rows and scores of each query's k best products, best first; of equal scores the lower row leads.

    Raises ConfigError if k is below 1 or exceeds the gallery.
    """
    _check_k(k, len(gallery))
    distinct = _distinct(gallery)
    best = np.empty((len(queries), k), dtype=np.int64)
    values = np.empty((len(queries), k), dtype=np.float32)
    for start, scores in _score_blocks(queries, distinct.rows, block):
        for row, line in enumerate(scores[:, distinct.column], start):
            best[row] = _best_columns(line, k)
            values[row] = line[best[row]]
    return best, values


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The different rows of a gallery, and for each of its products the row that it became."""

    rows: Float32[np.ndarray, "distinct dim"]
    column: Int[np.ndarray, " gallery"]


def _distinct(gallery: Float32[np.ndarray, "gallery dim"]) -> _Distinct:
    # Matrix products may round equal columns differently at the edge of a tile; one column a value cannot.
    seen: dict[bytes, int] = {}
    column = [seen.setdefault((row + 0.0).tobytes(), len(seen)) for row in gallery]
    first = np.full(len(seen), -1, dtype=np.int64)
    for index, value in reversed(list(enumerate(column))):
        first[value] = index
    return _Distinct(rows=gallery[first], column=np.asarray(column, dtype=np.int64))


def _score_blocks(
    queries: Float32[np.ndarray, "queries dim"], gallery: Float32[np.ndarray, "distinct dim"], block: int
) -> Iterator[tuple[int, Float32[np.ndarray, "rows distinct"]]]:
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ gallery.T
        _check_scores(scores, first_row=start)
        yield start, scores


def _best_columns(line: Float32[np.ndarray, " gallery"], k: int) -> Int[np.ndarray, " k"]:
    least = np.partition(line, len(line) - k)[len(line) - k]
    candidates = np.flatnonzero(line >= least)
    return candidates[np.argsort(-line[candidates], kind="stable")[:k]]


def _check_k(k: int, gallery_size: int) -> None:
    if not 1 <= k <= gallery_size:
        raise ConfigError(f"k = {k} for a gallery of {gallery_size} products; use a k from 1 to {gallery_size}")


def _check_targets(targets: Int[np.ndarray, " queries"], gallery_size: int) -> None:
    assert np.all((targets >= 0) & (targets < gallery_size)), "a target lies outside the gallery"


def _check_scores(scores: Float[np.ndarray, "rows columns"], first_row: int) -> None:
    bad = np.flatnonzero(np.isnan(scores).any(axis=1))
    if bad.size:
        raise DataError(f"the scores of query row {first_row + bad[0]} hold NaN; check the embeddings it came from")
