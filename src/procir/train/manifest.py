"""What a run is trained on, item by item: so that a resumed run knows soon that nothing changed, or says what did.

The hash of the data is that of `records.data_hash`. Beside it a run keeps a digest of every item, and of every photo
its content's hash with the size and time of the file: a photo whose size and time are the same is not read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from procir.errors import MissingDataError
from procir.records import collector_paused, data_lines, file_hash, write_bytes
from procir.types import Split

FILE = "data.parquet"
"""Name of the file that a run keeps its manifest in."""

_FORMAT = "procir-data-1"
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class _Photo:
    size: int
    modified: int
    digest: str


@dataclass(slots=True)
class Manifest:
    """Digests of products, captions and triplets by name, and of photos by path.

    A name that stands repeatedly, as triplets of the same products, is numbered.
    """

    data_hash: str = ""
    items: dict[str, dict[str, str]] = field(default_factory=dict)
    photos: dict[str, _Photo] = field(default_factory=dict)
    known: bool = field(default=False, compare=False)
    """Whether it equals the one that was on the disk when it was taken."""

    def changes(self, now: Manifest) -> str:
        """What is another now: for each kind how many were added, removed or changed, with examples."""
        found = []
        for kind, before, after in (("photo", *_photos(self, now)), *_pairs(self.items, now.items)):
            parts = {
                "added": sorted(after.keys() - before.keys()),
                "removed": sorted(before.keys() - after.keys()),
                "changed": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
            }
            found += [f"{_count(names, kind)} {how} ({_some(names)})" for how, names in parts.items() if names]
        return "; ".join(found) or "the order of the triplets changed"

    def save(self, folder: Path) -> None:
        """Write the manifest into a folder, whole or not at all."""
        rows = [(kind, name, digest, 0, 0) for kind, items in self.items.items() for name, digest in items.items()]
        rows += [("photo", path, photo.digest, photo.size, photo.modified) for path, photo in self.photos.items()]
        columns = dict(zip(("kind", "name", "digest", "size", "modified"), zip(*rows, strict=True), strict=True))
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        sink = pa.BufferOutputStream()
        about = {"format": _FORMAT, "data_hash": self.data_hash}
        pq.write_table(table.replace_schema_metadata(about), sink, compression="zstd")
        write_bytes(folder / FILE, sink.getvalue().to_pybytes())


def take(split: Split, known: Manifest | None = None) -> Manifest:
    """The manifest of a split. What `known` says of photos with the same path, size and time is believed."""
    manifest, total = Manifest(), hashlib.sha256()
    remembered = known.photos if known else {}

    def image_hash(path: Path) -> str:
        name = os.fspath(path)
        try:
            about = os.stat(name)  # noqa: PTH116 - half the time of Path.stat, for every photo
        except OSError as error:
            raise MissingDataError(f"{path}: cannot be hashed ({error.strerror}); restore the file") from error
        photo = remembered.get(name)
        if photo is None or (photo.size, photo.modified) != (about.st_size, about.st_mtime_ns):
            photo = _Photo(about.st_size, about.st_mtime_ns, file_hash(path))
        manifest.photos[name] = photo
        return photo.digest

    with collector_paused():
        for kind, name, line in data_lines(split, image_hash):
            total.update(line)
            items = manifest.items.setdefault(kind, {})
            items[_numbered(name, items)] = hashlib.blake2b(line, digest_size=8).hexdigest()
    manifest.data_hash = total.hexdigest()
    manifest.known = manifest == known
    return manifest


def told_by(now: Manifest | None, folder: Path) -> Callable[[], str]:
    """Tells what changed between the manifest that a run's folder holds and that of now; nothing without both."""

    def tell() -> str:
        before = load(folder)
        return before.changes(now) if before and now else ""

    return tell


def keep(now: Manifest | None, folder: Path) -> None:
    """Leave a run's manifest in its folder, unless it is there."""
    if now and not (now.known and (folder / FILE).is_file()):
        now.save(folder)


def load(folder: Path) -> Manifest | None:
    """The manifest that a folder holds; None without one that can be read, for then the data is read anew."""
    try:
        table = pq.read_table(folder / FILE)
        about = table.schema.metadata or {}
        if about.get(b"format") != _FORMAT.encode():
            return None
        with collector_paused():
            return _manifest(about[b"data_hash"].decode(), table)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def _manifest(data_hash: str, table: pa.Table) -> Manifest:
    manifest = Manifest(data_hash)
    for kind, name, digest, size, modified in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if kind == "photo":
            manifest.photos[name] = _Photo(size, modified, digest)
        else:
            manifest.items.setdefault(kind, {})[name] = digest
    return manifest


def _numbered(name: str, taken: Mapping[str, object]) -> str:
    names = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return next(free for free in names if free not in taken)


def _pairs(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str]]]:
    return ((kind, before.get(kind, {}), after.get(kind, {})) for kind in sorted(before.keys() | after.keys()))


def _photos(before: Manifest, after: Manifest) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of photos by path below the folder that holds them all, which may have moved."""

    def below(photos: Mapping[str, _Photo]) -> dict[str, str]:
        root = os.path.commonpath(map(os.path.dirname, photos)) if photos else ""
        return {path[len(root) + 1 :]: photo.digest for path, photo in photos.items()}

    return below(before.photos), below(after.photos)


def _count(names: list[str], kind: str) -> str:
    return f"{len(names):,} {kind}" + ("s" if len(names) != 1 else "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
