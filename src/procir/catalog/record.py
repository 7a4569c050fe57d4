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

RECORD = "import.jsonl"
"""One line a product, those left out too: its offer's hash, what was found, and size and SHA-256 of every view."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    length: int
    offer: str
    retry: bool


class Record:
    """The lines of an import that are whole; hold it by `recording`."""

    def __init__(self, file: BinaryIO, head: bytes, rules: str) -> None:
        self._file = file
        self._head = head
        self._lines: dict[ProductKey, _Line] = {}
        self._read(rules)

    def _read(self, rules: str) -> None:
        try:
            self._read_lines(rules)
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self._file.name}: damaged ({error!r}); remove the folder and import anew") from error

    def _read_lines(self, rules: str) -> None:
        head = self._file.readline()
        if head and head.endswith(b"\n") and json.loads(head) != json.loads(self._head):
            raise ConfigError(
                f"{self._file.name}: the import in this folder follows other rules than {rules}; pass another --out, "
                "or remove the folder"
            )
        start = self._file.tell() if head.endswith(b"\n") else 0
        for line in self._file if start else ():
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            self._keep(entry, start, len(line))
            start += len(line)
        self._file.seek(start)
        self._file.truncate()  # a line that a killed process has left unfinished
        if not start:
            self._file.write(self._head)
            self._file.flush()

    def _keep(self, entry: Mapping[str, Any], start: int, length: int) -> None:
        key = ProductKey(entry["dataset"], entry["product_id"])
        self._lines[key] = _Line(start, length, entry["offer"], entry["retry"])

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write a line; it counts from now on, even if this process is killed."""
        self._file.seek(0, 2)
        start = self._file.tell()
        line = _encode(entry)
        self._file.write(line)
        self._file.flush()
        self._keep(entry, start, len(line))

    def has(self, offer: Offer, images: Path) -> bool:
        """Whether an equal offer was taken without failures, and its views are still there in their size."""
        line = self._lines.get(offer.key)
        if line is None or line.retry or line.offer != offer_hash(offer):
            return False
        folder = images / offer.key.dataset / offer.key.product_id
        return all(_has_size(folder / photo["file"], photo["bytes"]) for photo in self._entry(line)["photos"])

    def _entry(self, line: _Line) -> dict[str, Any]:
        self._file.seek(line.start)
        entry: dict[str, Any] = json.loads(self._file.read(line.length))
        return entry

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines that count, sorted by product."""
        return (self._entry(self._lines[key]) for key in sorted(self._lines))

    def drop(self, known: Iterable[ProductKey]) -> list[dict[str, Any]]:
        """Forget the products that are not among the known, and return their lines."""
        gone = sorted(self._lines.keys() - set(known))
        return [self._entry(self._lines.pop(key)) for key in gone]

    def tidy(self, path: Path) -> None:
        """Write the record anew, with the lines that count in their order."""
        with replacing(path) as file:
            file.write(self._head)
            for entry in self.entries():
                file.write(_encode(entry))


@contextmanager
def recording(out: Path, rules: ViewRules) -> Iterator[Record]:
    """The record of the import into `out`, for one process at a time; raises ConfigError for other rules."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(out / ".import.lock", timeout=0).acquire()
    except Timeout as error:
        raise ConfigError(f"{out}: another import works in this folder; wait for it, or pass another --out") from error
    with lock:
        path = out / RECORD
        if not path.exists() and (out / "images").exists():
            raise ConfigError(f"{out}: holds images, but no import of them; pass a new folder")
        path.touch()
        with path.open("r+b") as file:
            head = {"import": _VERSION, "rules": asdict(rules)}
            yield Record(file, _encode(head), json.dumps(asdict(rules)))


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
