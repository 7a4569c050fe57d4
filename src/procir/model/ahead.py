"""Work that is prepared while other work runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[tuple[_Item, _Result]]:
    """Every item with the function's result, in order; the next one is computed in a thread meanwhile."""
    coming = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        item = next(coming, None)
        waiting = None if item is None else (item, pool.submit(function, item))
        while waiting is not None:
            this, future = waiting
            result = future.result()
            item = next(coming, None)
            waiting = None if item is None else (item, pool.submit(function, item))
            yield this, result
