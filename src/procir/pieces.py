"""Long rows of things, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")


def pieces(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """The items in lists of `size`, the last one perhaps shorter; draws no more than the piece that it gives."""
    remaining = iter(items)
    while piece := list(islice(remaining, size)):
        yield piece
