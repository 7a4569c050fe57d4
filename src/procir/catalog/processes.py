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

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_AHEAD = 3
"""Tasks a worker that are drawn before their results are wanted."""


def in_processes(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int
) -> Generator[_Result, None, None]:
    """The function's result for every task, in order; tasks are drawn as workers come to them.

    With one worker everything happens in this process; others import the main module anew. Workers end with this
    process, however it ends. Raises DataError if a worker is killed.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    waiting: deque[Future[_Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed, perhaps for memory; take fewer workers, and go on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A pool's workers wait for ever when their parent is killed, so that a thread of theirs waits for that."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
