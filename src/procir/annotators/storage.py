"""The database file below the ledger: one writing process, and many waiters for each commit."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from procir.errors import LedgerError

VERSION = 1
"""Layout of the tables; a file of another version is refused."""

APPLICATION = 0x70634C31
"""Marks a SQLite file as a ledger."""

BATCH = 512
"""Most waiters of one commit."""

_TABLES = """
CREATE TABLE intents (id INTEGER PRIMARY KEY, key BLOB, attempt INTEGER, stage TEXT, item TEXT, model TEXT,
    started REAL, ended REAL, result TEXT);
CREATE INDEX open_intents ON intents (id) WHERE result IS NULL OR result = 'lost';
CREATE TABLE answers (key BLOB PRIMARY KEY, stage TEXT, item TEXT, model TEXT, raw BLOB, received REAL, seconds REAL,
    text TEXT, billed_model TEXT, input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
    thinking_tokens INTEGER, dollars REAL);
CREATE TABLE outcomes (key BLOB PRIMARY KEY, stage TEXT, item TEXT, model TEXT, answer TEXT, reason TEXT,
    round INTEGER, decided REAL);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB,
    width INTEGER, height INTEGER) WITHOUT ROWID;
"""

Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""

_Waiter = asyncio.Future[None] | Future[None]


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite and the disk complain of into a LedgerError that says what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = str(error)
        if isinstance(error, sqlite3.OperationalError) and ("full" in text or "I/O" in text):
            raise LedgerError(
                f"{path}: the disk does not take more ({text}): make room; a later run goes on where this one stopped"
            ) from error
        if isinstance(error, sqlite3.OperationalError | OSError):
            raise LedgerError(f"{path}: cannot be used ({text}): check the path and its permissions") from error
        raise LedgerError(f"{path}: damaged, or no ledger ({text}): restore it, or choose another file") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes from writing to the ledger; the system ends the lock with the process.

    Raises LedgerError if another process has it.
    """
    # Not the database itself: closing any handle of it would end SQLite's own locks.
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a+")
    with file:
        _take(file, path)
        yield


def _take(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise LedgerError(
            f"{path}: in use by process {holder}: wait for it, stop it, or choose another ledger"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """A connection to a whole ledger of this version; one that writes makes the file if it is missing."""
    with explained(path):
        if not writing and not path.is_file():
            raise LedgerError(f"{path}: there is no ledger: check the path, or run the construction first")
        address = path.absolute().as_uri() + ("" if writing else "?mode=ro")
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=60)
        try:
            _prepare(connection, path, writing=writing)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path, *, writing: bool) -> None:
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and writing:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise LedgerError(f"{path}: a database, but no ledger: choose another file")
    if version != VERSION:
        raise LedgerError(
            f"{path}: of version {version}, this procir reads {VERSION}: use the procir that wrote it, or a new ledger"
        )
    connection.execute("PRAGMA synchronous = FULL")


class WholeCheck:
    """Reads every page of a ledger in a thread of its own, which takes seconds for gigabytes."""

    def __init__(self, path: Path) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"check of {path.name}")
        self._found = self._pool.submit(_check_whole, path)

    def wait(self, seconds: float | None = None) -> None:
        """Return when the ledger is known to be whole, or after so many seconds. Raises LedgerError if it is not."""
        with suppress(TimeoutError):
            self._found.result(seconds)

    def close(self) -> None:
        """Wait for the end."""
        self._pool.shutdown()


def _check_whole(path: Path) -> None:
    # A connection that outlives the writer's would keep SQLite from putting the log back into the file.
    with closing(connect(path, writing=False)) as connection, explained(path):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise LedgerError(
            f"{path}: damaged ({' '.join(found.split())}): restore it from a copy, or choose another file"
        )


class Writer:
    """Commits what many tasks and threads hand in, all that waits in one transaction.

    Nothing is written before `sound`, which raises LedgerError for a damaged file. After a failure, such as a full
    disk, nothing more is written: what was committed is whole, and everything later gets the same LedgerError.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, sound: Callable[[], None]) -> None:
        self._connection = connection
        self._path = path
        self._sound = sound
        self._queue: SimpleQueue[tuple[Sequence[Statement], _Waiter] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"ledger {path.name}", daemon=True)
        self._thread.start()

    def submit(self, *statements: Statement) -> Future[None]:
        """Hand in statements that belong together; the future is done when they are on the disk."""
        future: Future[None] = Future()
        self._queue.put((statements, future))
        return future

    async def commit(self, *statements: Statement) -> None:
        """Return when statements that belong together are on the disk. Raises LedgerError."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put((statements, future))
        await future

    def close(self) -> None:
        """Commit what waits, and end."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        failure: LedgerError | None = None
        running = True
        while running:
            batch, running = self._next()
            failure = failure or self._write([statement for statements, _ in batch for statement in statements])
            _tell([waiter for _, waiter in batch], failure)

    def _next(self) -> tuple[list[tuple[Sequence[Statement], _Waiter]], bool]:
        """What waits, and whether more may come."""
        batch = []
        entry = self._queue.get()
        while entry is not None:
            batch.append(entry)
            if len(batch) >= BATCH or self._queue.empty():
                return batch, True
            entry = self._queue.get()
        return batch, False

    def _write(self, statements: Sequence[Statement]) -> LedgerError | None:
        try:
            self._sound()
            with explained(self._path):
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    for sql, parameters in statements:
                        self._connection.execute(sql, parameters)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except LedgerError as error:
            return error
        return None


def _tell(waiters: Sequence[_Waiter], failure: LedgerError | None) -> None:
    """Wake those who wait: the tasks of one loop all at once, for each call into a loop costs a system call."""
    tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        if isinstance(waiter, asyncio.Future):
            tasks.setdefault(waiter.get_loop(), []).append(waiter)
        else:
            _settle([waiter], failure)
    for loop, futures in tasks.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, futures, failure)


def _settle(waiters: Sequence[_Waiter], failure: LedgerError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure:
            waiter.set_exception(failure)
        else:
            waiter.set_result(None)
