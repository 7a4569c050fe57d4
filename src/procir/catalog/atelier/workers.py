"""Drawing on several processor cores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def in_processes(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int, chunk: int
) -> Generator[_Result, None, None]:
    """The function's result for every task, in order, from `workers` processes that get `chunk` tasks at a time.

    With one worker everything happens in this process; others import the main module anew. Closing the generator
    cancels what nobody waits for any more, and waits for what is under way.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(function, tasks, chunksize=chunk)
    finally:
        pool.shutdown(cancel_futures=True)
