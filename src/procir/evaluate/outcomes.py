"""queries.jsonl: the outcome of every composed query, so that systems can be compared query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from procir.errors import MissingDataError, RecordError
from procir.evaluate.protocol import RankedQuery
from procir.evaluate.statistics import Asked
from procir.records import Row, identifier, read_jsonl, text, write_jsonl

FILE = "queries.jsonl"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """By dataset: what was asked, as (source, target, text), and how it came out."""

    queries: Mapping[str, tuple[tuple[str, str, str], ...]]
    asked: Mapping[str, Asked]


def write_outcomes(path: Path, queries: Sequence[RankedQuery]) -> None:
    """Write a line a query in one atomic step."""
    write_jsonl(path, map(_row, queries))


def read_outcomes(path: Path) -> Outcomes:
    """What `write_outcomes` wrote, in its order.

    Raises MissingDataError without the file or any line, RecordError for malformed lines.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file; evaluate again, which writes it beside results.json")
    queries: dict[str, list[tuple[str, str, str]]] = {}
    ranks: dict[str, list[int]] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        rank = row.get("rank")
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise RecordError(f"{where}: rank is {rank!r}, not a number from 1; evaluate again")
        dataset = text(row, "dataset", where)
        ids = (identifier(row, name, where) for name in ("source_id", "target_id"))
        queries.setdefault(dataset, []).append((*ids, text(row, "text", where)))  # type: ignore[arg-type]
        ranks.setdefault(dataset, []).append(rank)
    if not queries:
        raise MissingDataError(f"{path}: holds no query; evaluate again")
    return Outcomes(
        queries={name: tuple(own) for name, own in queries.items()},
        asked={name: Asked(np.array(own), _numbers(queries[name])) for name, own in ranks.items()},
    )


def _row(query: RankedQuery) -> Row:
    triplet = query.triplet
    return {
        "dataset": triplet.source.dataset,
        "source_id": triplet.source.product_id,
        "target_id": triplet.target.product_id,
        "text": triplet.short,
        "rank": query.rank,
        "gallery": query.gallery_size,
    }


def _numbers(queries: Sequence[tuple[str, str, str]]) -> np.ndarray:
    known: dict[str, int] = {}
    return np.array([known.setdefault(source, len(known)) for source, *_ in queries])
