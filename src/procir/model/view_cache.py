"""Resized views on the disk: made once, shared by processes, and mapped into memory where they are read (LMDB).

A view is kept under the hash of its file's content and under all that decides its pixels, so that copies are kept once
and other settings miss. A second table remembers the size and times of every file with its content's hash: as long as
they are the same, the file is not even opened. What is written is whole or absent, however a process ends.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from struct import Struct
from threading import Condition

import lmdb
import numpy as np
import PIL
from jaxtyping import UInt8

from procir.errors import CacheError
from procir.images import read_image
from procir.model.pixels import PixelSettings, ViewPixels, read_view

ROOM = 1 << 40
"""Bytes of address space that a cache may grow to; on the disk it takes what its views take."""

_TABLES = (b"views-1", b"files-1")
"""Names of the tables, with the version of what is in them."""
_DATA, _LOCK = "data.mdb", "lock.mdb"
_VIEW = Struct("<32sII")
"""Before the pixels: the view's digest, and its grid in tokens."""
_FILE = Struct("<Qqq32s")
"""Size of a file, when it and its record were last changed, in nanoseconds, and the SHA-256 of its content."""
_PENDING_BYTES, _PENDING_ROWS = 32 << 20, 512
"""What is written together; a process that is killed has no more than this to do again."""
_READERS = 2048
"""Threads of all processes that may read at a time."""
_SLACK = 16
"""Pages that may be missing at the end of a whole file: some that were never needed are never written."""

_Row = tuple[bool, bytes, bytes]
"""Whether it is a view or tells of a file, its key, and its value."""
_About = tuple[int, int, int]
"""Size of a file, and the times of `_FILE`."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of a full disk; LMDB calls a write that stopped halfway an input/output error."""
_DAMAGED = (
    lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PanicError,
    lmdb.IncompatibleError,
)  # fmt: skip


class ViewCache:
    """The views of one pixel setting in a folder, for any number of threads and processes of one machine.

    Raises CacheError for a folder that is damaged, full, or holds something else. A process may open a folder once at
    a time. The folder must lie on a disk of this machine: processes meet through a file that is mapped into memory.
    """

    def __init__(self, folder: Path, settings: PixelSettings, *, room: int = ROOM) -> None:
        self.folder = folder
        self.settings = settings
        self._mode = _mode(settings)
        self._pending: list[_Row] = []
        self._bytes = 0
        self._users = 0
        self._closed = False
        self._change = Condition()
        with _complaints(folder):
            self._environment = _opened(folder, room)
            self._views, self._files = (self._environment.open_db(name) for name in _TABLES)

    def __enter__(self) -> ViewCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def view(self, path: Path) -> ViewPixels:
        """The view of a file, from the cache if it is there; raises ImageError as `read_view` does."""
        with self._in_use():
            name, about = _about(path)
            content_hash = self._remembered(name, about)
            kept = None if content_hash is None else self._kept(content_hash)
            return kept or self._made(path, name, about)

    def ensure(self, path: Path) -> None:
        """Keep the view of a file unless it is kept; raises ImageError as `read_view` does."""
        with self._in_use():
            name, about = _about(path)
            content_hash = self._remembered(name, about)
            if content_hash is None or not self._has(content_hash):
                self._made(path, name, about)

    def close(self) -> None:
        """Wait for other threads, write what is pending, and let the folder go; a second call does nothing."""
        with self._change:
            if self._closed:
                return
            self._closed = True
            self._change.wait_for(lambda: not self._users)
        try:
            self._write()
        finally:
            self._environment.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the file mapped: who reads from memory that is no longer mapped ends without a word."""
        with self._change:
            if self._closed:
                raise CacheError(f"{self.folder}: the cache of views is closed; open it anew")
            self._users += 1
        try:
            yield
        finally:
            with self._change:
                self._users -= 1
                self._change.notify_all()

    def _remembered(self, name: bytes, about: _About | None) -> bytes | None:
        """The hash of a file's content, if size and times are what they were."""
        with _complaints(self.folder), self._environment.begin(db=self._files) as reading:
            found = reading.get(name)
        if about is None or found is None or len(found) != _FILE.size:
            return None
        *before, content_hash = _FILE.unpack(found)
        return content_hash if tuple(before) == about else None

    def _has(self, content_hash: bytes) -> bool:
        with _complaints(self.folder), self._environment.begin(db=self._views, buffers=True) as reading:
            return reading.get(content_hash + self._mode) is not None

    def _kept(self, content_hash: bytes) -> ViewPixels | None:
        """A copy of what is kept, which outlives the mapping; copying takes a hundredth of the time of decoding."""
        with _complaints(self.folder), self._environment.begin(db=self._views, buffers=True) as reading:
            found = reading.get(content_hash + self._mode)
            copy = None if found is None else np.frombuffer(found, np.uint8).copy()
        return None if copy is None else self._whole(copy)

    def _whole(self, kept: UInt8[np.ndarray, " size"]) -> ViewPixels:
        """A view from its bytes; LMDB keeps no checksums, the view's own digest serves."""
        factor = self.settings.patch * self.settings.merge
        if len(kept) >= _VIEW.size:
            digest, rows, columns = _VIEW.unpack(kept.data[: _VIEW.size])
            pixels = kept[_VIEW.size :]
            if len(pixels) == rows * columns * factor**2 * 3:
                view = ViewPixels(pixels.reshape(rows * factor, columns * factor, 3), (rows, columns))
                if view.digest == digest:
                    return view
        raise _damaged(self.folder, "a view is not what was written")

    def _made(self, path: Path, name: bytes, about: _About | None) -> ViewPixels:
        content = read_image(path)
        content_hash = sha256(content).digest()
        kept = self._kept(content_hash)
        view = kept or read_view(path, self.settings, content)
        rows: list[_Row] = []
        if not kept:
            value = b"".join((_VIEW.pack(view.digest, *view.token_grid), np.ascontiguousarray(view.pixels).data))
            rows.append((True, content_hash + self._mode, value))
        if about is not None and about[0] == len(content):
            rows.append((False, name, _FILE.pack(*about, content_hash)))
        self._add(rows)
        return view

    def _add(self, rows: Sequence[_Row]) -> None:
        with self._change:
            self._pending += rows
            self._bytes += sum(len(value) for _, _, value in rows)
            due = self._bytes >= _PENDING_BYTES or len(self._pending) >= _PENDING_ROWS
        if due:
            self._write()

    def _write(self) -> None:
        with self._change:
            rows, self._pending, self._bytes = self._pending, [], 0
        if rows:
            with _complaints(self.folder), self._environment.begin(write=True) as writing:
                for is_view, key, value in rows:
                    writing.put(key, value, db=self._views if is_view else self._files, overwrite=not is_view)


def _opened(folder: Path, room: int) -> lmdb.Environment:
    folder.mkdir(parents=True, exist_ok=True)
    names = {entry.name for entry in folder.iterdir()}
    if names - {_DATA, _LOCK} and _DATA not in names:
        raise CacheError(f"{folder} holds something else than a cache of views: choose a new or an empty folder")
    environment = lmdb.open(
        os.fspath(folder), map_size=room, max_dbs=len(_TABLES), max_readers=_READERS, metasync=False
    )
    try:
        environment.reader_check()  # processes that were killed while they read
        _require_own(environment, folder)
    except BaseException:
        environment.close()
        raise
    return environment


def _require_own(environment: lmdb.Environment, folder: Path) -> None:
    """Refuse a file that is cut short, for reading beyond its end would kill the process, and another's database."""
    pages = environment.info()["last_pgno"] + 1  # before the size, which grows first
    if (folder / _DATA).stat().st_size < (pages - _SLACK) * environment.stat()["psize"]:
        raise _damaged(folder, "its end is missing")
    with environment.begin() as reading:
        names = set(reading.cursor().iternext(keys=True, values=False))
    if not names <= set(_TABLES):
        raise CacheError(f"{folder} holds another database or another version's cache: choose a new or an empty folder")


@contextmanager
def _complaints(folder: Path) -> Iterator[None]:
    """LMDB's errors as ours."""
    try:
        yield
    except lmdb.MapFullError as error:
        raise CacheError(
            f"{folder}: the cache of views has no room left; delete the folder, or choose another"
        ) from error
    except _DAMAGED as error:
        raise _damaged(folder, str(error)) from error
    except (lmdb.Error, OSError) as error:
        if (error.code if isinstance(error, lmdb.Error) else error.errno) in _FULL:
            raise CacheError(
                f"{folder}: the disk of the cache of views is full or fails ({error}); make room there, choose another "
                "folder, or do without a cache"
            ) from error
        raise CacheError(
            f"{folder}: the cache of views cannot be used ({error}); check its permissions and that it lies on a disk "
            "of this machine, or choose another folder"
        ) from error


def _damaged(folder: Path, what: str) -> CacheError:
    return CacheError(f"{folder}: the cache of views is damaged ({what}); delete the folder, it is made anew")


def _about(path: Path) -> tuple[bytes, _About | None]:
    """The name that a file is remembered by, and its size and times; None where reading it will say what is wrong."""
    name = sha256(os.fsencode(path.absolute())).digest()
    try:
        found = path.stat()
    except OSError:
        return name, None
    return name, (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _mode(settings: PixelSettings) -> bytes:
    """All that decides what becomes of a file's content; another release of Pillow may decode otherwise."""
    return sha256(json.dumps([PIL.__version__, asdict(settings)], sort_keys=True).encode()).digest()
