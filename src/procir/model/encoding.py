"""Embeddings of any number of items on disk: written piece by piece, resumed where an interruption left them.

A folder holds `embeddings.npy` (items, dim), `ids.jsonl` with one id a row, and `encoding.json`, which says what was
encoded by which model and how far it came. The arrays are memory-mapped: memory does not grow with the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32

from procir.errors import DataError, MissingDataError, RecordError
from procir.records import content_hash, read_jsonl, write_json, write_jsonl

PIECE = 1024
"""Items between two notes of how far an encoding came."""

_VECTORS, _IDS, _ABOUT = "embeddings.npy", "ids.jsonl", "encoding.json"
_FORMAT = 1

_Item = TypeVar("_Item")
Encode = Callable[[Sequence[_Item]], Float32[np.ndarray, "n dim"]]
EncodePieces = Callable[[Iterable[Sequence[_Item]]], Iterator[Float32[np.ndarray, "n dim"]]]
"""Pieces of items to their embeddings, in order."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Embeddings of unit length, memory-mapped, and the id of each row."""

    ids: Sequence[str]
    vectors: Float[np.ndarray, "items dim"]


def one_by_one(encode: Encode[_Item]) -> EncodePieces[_Item]:
    """Encodes piece after piece in this process."""
    return lambda pieces: map(encode, pieces)


def encode_to(
    folder: Path,
    items: Sequence[_Item],
    ids: Sequence[str],
    encode: EncodePieces[_Item],
    *,
    dim: int,
    fingerprint: str,
    half: bool = False,
    piece: int = PIECE,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Encoded:
    """Encode items into `folder` in their order, or go on there; `half` stores float16 instead of float32.

    `fingerprint` is that of the model; `piece` items are encoded between two notes of how far it came. Raises
    DataError if the folder holds the embeddings of another model or of other items, and whatever `encode` raises, after
    which a second call goes on from the last piece.
    """
    about = {
        "format": _FORMAT,
        "model": fingerprint,
        "ids": content_hash(*(name.encode() for name in ids)),
        "items": len(items),
        "dim": dim,
        "dtype": "float16" if half else "float32",
    }
    done = _begin(folder, about, ids)
    if done < len(items):
        vectors = np.lib.format.open_memmap(folder / _VECTORS, mode="r+")
        progress(done, len(items))
        pieces = (items[start : start + piece] for start in range(done, len(items), piece))
        for rows in encode(pieces):
            vectors[done : done + len(rows)] = rows
            vectors.flush()
            done += len(rows)
            write_json(folder / _ABOUT, {**about, "done": done})
            progress(done, len(items))
        del vectors
    return read_encoded(folder)


def read_encoded(folder: Path) -> Encoded:
    """What `encode_to` wrote. Raises MissingDataError without it, DataError if it is not finished or not whole."""
    about = _about(folder)
    if about is None:
        raise MissingDataError(f"{folder}: holds no {_ABOUT}: encode a catalogue into it first")
    if about["done"] < about["items"]:
        raise DataError(f"{folder}: only {about['done']} of {about['items']} items are encoded: run the encoding again")
    ids = [str(row["id"]) for _, row in read_jsonl(folder / _IDS)]
    try:
        vectors = np.load(folder / _VECTORS, mmap_mode="r") if ids else np.zeros((0, about["dim"]), about["dtype"])
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / _VECTORS}: cannot be read ({error}): remove the folder and encode again") from error
    if vectors.shape != (len(ids), about["dim"]) or len(ids) != about["items"]:
        raise DataError(
            f"{folder}: {len(ids)} ids and embeddings of shape {vectors.shape} do not belong together: encode again"
        )
    return Encoded(ids, vectors)


def _begin(folder: Path, about: dict[str, Any], ids: Sequence[str]) -> int:
    """How many items are done in the folder; a new one gets its files first."""
    found = _about(folder)
    if found is not None:
        done = int(found.pop("done"))
        if found != about:
            unlike = ", ".join(name for name in about if found.get(name) != about[name])
            raise DataError(f"{folder}: holds an encoding that differs in {unlike}: choose another folder")
        return done
    if folder.is_dir() and any(not _is_ours(path) for path in folder.iterdir()):
        raise DataError(f"{folder}: holds other files: choose an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / _IDS, ({"id": name} for name in ids))
    if ids:
        shape = (about["items"], about["dim"])
        np.lib.format.open_memmap(folder / _VECTORS, mode="w+", dtype=about["dtype"], shape=shape).flush()
    write_json(folder / _ABOUT, {**about, "done": 0})
    return 0


def _is_ours(path: Path) -> bool:
    """Whether an encoding that was stopped before its first note may have left the file."""
    return path.name in (_VECTORS, _IDS) or (path.name.startswith(".") and path.suffix == ".tmp")


def _about(folder: Path) -> dict[str, Any] | None:
    path = folder / _ABOUT
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found if found["done"] >= 0 and found["items"] >= 0 and found["dim"] and found["dtype"] else None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path}:1: not what an encoding writes ({error!r}): remove the folder, encode again"
        ) from error
