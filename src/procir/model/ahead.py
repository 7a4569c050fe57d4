"""Work that is prepared while other work runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], depth: int = 1
) -> Iterator[tuple[_Item, _Result]]:
    """Every item with the function's result, in order; the next `depth` are computed in a thread meanwhile."""
    coming = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = deque((item, pool.submit(function, item)) for item in islice(coming, depth))
        try:
            while waiting:
                item, future = waiting.popleft()
                result = future.result()
                waiting.extend((new, pool.submit(function, new)) for new in islice(coming, 1))
                yield item, result
        finally:
            for _, future in waiting:
                future.cancel()
