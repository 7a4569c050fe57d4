"""Work for worker processes, a bounded part of it at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from procir.errors import DataError
from procir.pieces import pieces

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_AHEAD = 3
"""Chunks of tasks a worker that are drawn before their results are wanted."""


def in_processes(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int, chunk: int = 1
) -> Generator[_Result, None, None]:
    """The function's result for every task, in order; tasks are drawn as workers come to them, `chunk` at a time.

    With one worker everything happens in this process; others import the main module anew. Workers end with this
    process, however it ends. Closing the generator cancels what nobody waits for any more, and waits for what is under
    way. Raises DataError if a worker is killed.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    waiting: deque[Future[list[_Result]]] = deque()
    try:
        for piece in pieces(tasks, chunk):
            waiting.append(pool.submit(_all, function, piece))
            if len(waiting) >= _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed, perhaps for memory; take fewer workers, and go on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _all(function: Callable[[_Task], _Result], tasks: list[_Task]) -> list[_Result]:
    return list(map(function, tasks))


def _end_with_parent() -> None:
    """A pool's workers wait for ever when their parent is killed, so that a thread of theirs waits for that."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
