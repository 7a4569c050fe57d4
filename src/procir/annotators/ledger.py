"""The ledger of paid answers: what was asked, what came back, and what became of it.

One SQLite file. A call is noted before it leaves; its answer is on the disk, as received, before anything reads it.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any, Protocol, runtime_checkable

from procir.annotators.storage import Statement, WholeCheck, Writer, connect, explained, locked
from procir.errors import ImageError, LedgerError, MissingDataError
from procir.images import image_size
from procir.pieces import pieces
from procir.records import content_hash

CHUNK = 500
"""Keys or files looked up in one query."""

_PATIENCE = 0.2
"""Seconds within which a ledger is read through before it is used; a larger one meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question on its way: `key` is that of the question, or derived from it for another round or a second ask."""

    key: str
    stage: str
    item: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one answer used; `thinking` is a part of `output`, `cached` of `input`, `dollars` None if unpriced."""

    model: str
    text: str
    input: int
    output: int
    cached: int
    thinking: int
    dollars: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of a question: its checked answer as JSON, or the reason why there is none.

    `round` counts how often it was asked anew after a failure.
    """

    answer: str | None
    reason: str | None
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the answers of one model in one stage used; `dollars` is None if the price of any of them is unknown."""

    stage: str
    model: str
    calls: int
    input: int
    output: int
    dollars: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture file: the hash of its content, and its width and height where its header can be read."""

    digest: str
    size: tuple[int, int] | None


@runtime_checkable
class PaidAnswers(Protocol):
    """What annotators and stages ask of the ledger, in this process or behind an actor; see `Ledger`."""

    def known(self, keys: Iterable[str]) -> dict[str, Decision]:
        """What became of those questions that are decided."""
        ...

    def raw(self, key: str) -> bytes | None:
        """The body of an answer as it came."""
        ...

    def spend(self, key: str, spent: Spent) -> None:
        """Note what an answer used."""
        ...

    def pictures(self, paths: Iterable[Path]) -> list[Seen]:
        """Content hash and size of each picture, in their order."""
        ...

    def lost(self) -> list[Call]:
        """Calls that were under way when a run ended without closing them."""
        ...

    async def begin(self, call: Call, attempt: int) -> int:
        """Note that a call is about to leave."""
        ...

    async def fail(self, note: int, reason: str) -> None:
        """Close the note of a call that brought no answer."""
        ...

    async def receive(self, note: int, call: Call, raw: bytes, seconds: float) -> None:
        """Keep the body of an answer as it came."""
        ...

    async def decide(self, call: Call, decision: Decision) -> None:
        """Keep what became of a question."""
        ...


class Ledger:
    """All that annotators were asked and answered. Open it with `open` or `read`, in a `with` block."""

    def __init__(self, path: Path, reader: Connection, writer: Writer | None) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._reading = Lock()
        last: int = self._rows("SELECT coalesce(max(id), 0) FROM intents", [])[0][0]
        self._notes = count(last + 1)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Ledger]:
        """The ledger for writing, made if it is missing; calls that were under way at a crash count as lost.

        Raises LedgerError for another version, while another process writes, and for a damaged file. A large one is
        still read through while what it has is looked up; nothing is written before it is known to be whole.
        """
        with locked(path):
            connection = connect(path, writing=True)
            with closing(WholeCheck(path)) as check, closing(Writer(connection, path, check.wait)) as writer:
                check.wait(_PATIENCE)
                with closing(connect(path, writing=False)) as reader:
                    if reader.execute("SELECT EXISTS (SELECT 1 FROM intents WHERE result IS NULL)").fetchone()[0]:
                        writer.submit(("UPDATE intents SET result = 'lost' WHERE result IS NULL", ())).result()
                    yield cls(path, reader, writer)
                check.wait()

    @classmethod
    @contextmanager
    def read(cls, path: Path) -> Iterator[Ledger]:
        """The ledger for looking at it, also while another process writes. Raises LedgerError as `open` does."""
        with closing(connect(path, writing=False)) as reader:
            yield cls(path, reader, None)

    async def begin(self, call: Call, attempt: int) -> int:
        """Note that a call is about to leave, and give the note's id."""
        note = next(self._notes)
        values = (note, _bytes(call.key), attempt, call.stage, call.item, call.model, time.time())
        sql = "INSERT INTO intents (id, key, attempt, stage, item, model, started) VALUES (?, ?, ?, ?, ?, ?, ?)"
        await self._write((sql, values))
        return note

    async def fail(self, note: int, reason: str) -> None:
        """Close the note of a call that brought no answer."""
        await self._write(_closed(note, reason))

    async def receive(self, note: int, call: Call, raw: bytes, seconds: float) -> None:
        """Keep the body of an answer as it came, and close its note."""
        packed = await asyncio.to_thread(zlib.compress, raw, 1) if len(raw) > 100_000 else zlib.compress(raw, 1)
        values = (_bytes(call.key), call.stage, call.item, call.model, packed, time.time(), seconds)
        names = "key, stage, item, model, raw, received, seconds"
        sql = f"INSERT OR REPLACE INTO answers ({names}) VALUES ({_marks(values)})"  # noqa: S608
        await self._write((sql, values), _closed(note, "ok"))

    def raw(self, key: str) -> bytes | None:
        """The body of an answer as it came, or None if there is none yet."""
        found = self._rows("SELECT raw FROM answers WHERE key = ?", [_bytes(key)])
        return zlib.decompress(found[0][0]) if found else None

    def spend(self, key: str, spent: Spent) -> None:
        """Note what an answer used, once; it is on the disk when the next write that one waits for is."""
        sql = (
            "UPDATE answers SET text = ?, billed_model = ?, input_tokens = ?, output_tokens = ?, cached_tokens = ?, "
            "thinking_tokens = ?, dollars = ? WHERE key = ? AND text IS NULL"
        )
        values = (spent.text, spent.model, spent.input, spent.output, spent.cached, spent.thinking, spent.dollars)
        self._writing().submit((sql, (*values, _bytes(key))))

    async def decide(self, call: Call, decision: Decision) -> None:
        """Keep what became of a question; `call` has the question's own key."""
        values = (_bytes(call.key), call.stage, call.item, call.model, decision.answer, decision.reason,
                  decision.round, time.time())  # fmt: skip
        await self._write(("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values))

    def known(self, keys: Iterable[str]) -> dict[str, Decision]:
        """What became of those questions that are decided."""
        found: dict[str, Decision] = {}
        for part in pieces(keys, CHUNK):
            sql = f"SELECT key, answer, reason, round FROM outcomes WHERE key IN ({_marks(part)})"  # noqa: S608
            for key, answer, reason, times in self._rows(sql, [_bytes(key) for key in part]):
                found[key.hex()] = Decision(answer=answer, reason=reason, round=times)
        return found

    def lost(self) -> list[Call]:
        """Calls that were under way when a run was cut off: they may have been billed."""
        sql = "SELECT key, stage, item, model FROM intents WHERE result = 'lost' ORDER BY id"
        rows = self._rows(sql, [])
        return [Call(key=key.hex(), stage=stage, item=item, model=model) for key, stage, item, model in rows]

    def usage(self) -> list[Usage]:
        """What was used, by stage and the model that was billed."""
        sql = """
            SELECT stage, coalesce(billed_model, model) AS billed, count(*), coalesce(sum(input_tokens), 0),
                coalesce(sum(output_tokens), 0), CASE WHEN count(dollars) = count(*) THEN sum(dollars) END
            FROM answers GROUP BY stage, billed ORDER BY stage, billed
        """
        names = ("stage", "model", "calls", "input", "output", "dollars")
        return [Usage(**dict(zip(names, row, strict=True))) for row in self._rows(sql, [])]

    def counts(self) -> dict[str, tuple[int, int]]:
        """How many questions are answered and how many have failed, by stage."""
        sql = "SELECT stage, count(answer), count(reason) FROM outcomes GROUP BY stage ORDER BY stage"
        return {stage: (answered, failed) for stage, answered, failed in self._rows(sql, [])}

    def pictures(self, paths: Iterable[Path]) -> list[Seen]:
        """Content hash and size of each picture; files of known path, size and time of change are not opened.

        Raises MissingDataError for a file that cannot be read.
        """
        return [seen for part in pieces(paths, CHUNK) for seen in self._part_pictures(part)]

    def _part_pictures(self, paths: Sequence[Path]) -> list[Seen]:
        marks = [_mark(path) for path in paths]
        sql = f"SELECT path, size, mtime_ns, digest, width, height FROM files WHERE path IN ({_marks(marks)})"  # noqa: S608
        found = {row[:3]: _seen(*row[3:]) for row in self._rows(sql, [name for name, *_ in marks])}
        new = {mark: path for mark, path in zip(marks, paths, strict=True) if mark not in found}
        if new:
            with ThreadPoolExecutor() as pool:
                found.update(zip(new, pool.map(_look, new.values()), strict=True))
            sql = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)"
            rows = ((*mark, _bytes(found[mark].digest), *(found[mark].size or (None, None))) for mark in new)
            self._writing().submit(*((sql, row) for row in rows)).result()
        return [found[mark] for mark in marks]

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with explained(self.path), self._reading:
            return self._reader.execute(sql, values).fetchall()

    async def _write(self, *statements: Statement) -> None:
        await self._writing().commit(*statements)

    def _writing(self) -> Writer:
        if self._writer is None:
            raise LedgerError(f"{self.path}: opened for reading only: open it for writing")
        return self._writer


def _closed(note: int, result: str) -> Statement:
    return "UPDATE intents SET ended = ?, result = ? WHERE id = ?", (time.time(), result, note)


def _look(path: Path) -> Seen:
    digest = content_hash(path)
    try:
        return Seen(digest, image_size(path))
    except ImageError:
        return Seen(digest, None)


def _seen(digest: bytes, width: int | None, height: int | None) -> Seen:
    return Seen(digest.hex(), None if width is None or height is None else (width, height))


def _mark(path: Path) -> tuple[bytes, int, int]:
    name = os.fspath(path)
    try:
        status = os.stat(name)  # noqa: PTH116 - half the time of path.stat, half a million times
    except OSError as error:
        raise MissingDataError(f"{path}: cannot be hashed ({error.strerror}); restore the file") from error
    # Bytes, for the name of a file need not be valid Unicode.
    whole = name if os.path.isabs(name) else os.path.abspath(name)  # noqa: PTH100, PTH117 - as above
    return os.fsencode(whole), status.st_size, status.st_mtime_ns


def _bytes(key: str) -> bytes:
    return bytes.fromhex(key)


def _marks(items: Collection[object]) -> str:
    return ", ".join("?" * len(items))
