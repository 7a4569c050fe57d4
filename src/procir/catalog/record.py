"""What an import has done so far, kept beside the catalogue, so that it goes on after any end of its process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from procir.catalog.choosing import ViewRules
from procir.catalog.offers import FilePhoto, Offer, Photo
from procir.errors import ConfigError, RecordError
from procir.records import replacing
from procir.types import ProductKey

IMPORTS = "imports"
"""Folder of the records of all imports into a catalogue, NAME.jsonl, and of their reports.

A record has one line a product, those left out too: its offer's hash, what was found, and size and SHA-256 of every
view.
"""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    length: int
    offer: str
    retry: bool


class Record:
    """The lines of an import that are whole; hold it by `recording`."""

    def __init__(self, file: BinaryIO, path: Path, head: Mapping[str, Any]) -> None:
        self._file = file
        self._path = path
        self._head = _encode(head)
        found, self._lines, end = _index(file, path)
        if found is not None and found != head:
            raise ConfigError(
                f"{path}: the earlier import follows other rules than {json.dumps(head)}; pass another --out, or "
                "remove the folder"
            )
        file.seek(end)
        file.truncate()  # a line that a killed process has left unfinished
        if found is None:
            file.write(self._head)
            file.flush()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write a line; it counts from now on, even if this process is killed."""
        self._file.seek(0, 2)
        start = self._file.tell()
        line = _encode(entry)
        self._file.write(line)
        self._file.flush()
        self._lines[_key(entry)] = _Line(start, len(line), entry["offer"], entry["retry"])

    def has(self, offer: Offer, images: Path) -> bool:
        """Whether an equal offer was taken without failures, and its views are still there in their size."""
        line = self._lines.get(offer.key)
        if line is None or line.retry or line.offer != offer_hash(offer):
            return False
        folder = images / offer.key.dataset / offer.key.product_id
        return all(_has_size(folder / photo["file"], photo["bytes"]) for photo in _entry(self._file, line)["photos"])

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines that count, sorted by product."""
        return (_entry(self._file, self._lines[key]) for key in sorted(self._lines))

    def drop(self, known: Iterable[ProductKey]) -> list[dict[str, Any]]:
        """Forget the products that are not among the known, and return their lines."""
        gone = sorted(self._lines.keys() - set(known))
        return [_entry(self._file, self._lines.pop(key)) for key in gone]

    def tidy(self) -> None:
        """Write the record anew, with the lines that count in their order."""
        with replacing(self._path) as file:
            file.write(self._head)
            for entry in self.entries():
                file.write(_encode(entry))


def _index(file: BinaryIO, path: Path) -> tuple[Any, dict[ProductKey, _Line], int]:
    """A record's head (None if it has none), where the newest line of each product is, and where whole lines end."""
    lines: dict[ProductKey, _Line] = {}
    try:
        head = file.readline()
        if not head.endswith(b"\n"):
            return None, lines, 0
        start = len(head)
        for line in file:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            lines[_key(entry)] = _Line(start, len(line), entry["offer"], entry["retry"])
            start += len(line)
        return json.loads(head), lines, start
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged ({error!r}); remove the folder and import anew") from error


def _entry(file: BinaryIO, line: _Line) -> dict[str, Any]:
    file.seek(line.start)
    entry: dict[str, Any] = json.loads(file.read(line.length))
    return entry


def _key(entry: Mapping[str, Any]) -> ProductKey:
    return ProductKey(entry["dataset"], entry["product_id"])


def finished_imports(out: Path) -> dict[str, Path]:
    """The records of all imports into a catalogue that have ended well once, by name."""
    reports = sorted((out / IMPORTS).glob("*.json"))
    return {path.stem: path.with_suffix(".jsonl") for path in reports if path.with_suffix(".jsonl").is_file()}


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record that count, sorted by product; raises RecordError for a damaged one."""
    with path.open("rb") as file:
        _, lines, _ = _index(file, path)
        for key in sorted(lines):
            yield _entry(file, lines[key])


@contextmanager
def recording(out: Path, name: str, rules: ViewRules) -> Iterator[Record]:
    """The record of an import into `out`, for one process at a time; raises ConfigError for other rules."""
    if not (out / IMPORTS).exists() and (out / "images").exists():
        raise ConfigError(f"{out}: holds images, but no import of them; pass a new folder")
    (out / IMPORTS).mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(out / IMPORTS / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise ConfigError(f"{out}: another import works in this folder; wait for it, or pass another --out") from error
    with lock:
        path = out / IMPORTS / f"{name}.jsonl"
        path.touch()
        with path.open("r+b") as file:
            yield Record(file, path, {"import": _VERSION, "rules": asdict(rules)})


def offer_hash(offer: Offer) -> str:
    """Tells an offer from others, and its photos that are files from later versions of these."""
    facts = [
        str(offer.key), offer.where, offer.split, asdict(offer.details), dict(offer.views), dict(offer.captions),
        [_stamp(photo) for photo in offer.photos],
    ]  # fmt: skip
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stamp(photo: Photo) -> list[object]:
    if not isinstance(photo, FilePhoto):
        return [repr(photo)]
    try:
        status = photo.path.stat()
    except OSError:
        return [str(photo.path)]
    return [str(photo.path), status.st_size, status.st_mtime_ns]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _encode(entry: Mapping[str, Any]) -> bytes:
    # ASCII, for names of files that are not Unicode.
    return json.dumps(entry).encode("ascii") + b"\n"
