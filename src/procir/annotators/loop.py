"""The event loop in which questions are asked."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

try:
    import uvloop as loops
except ImportError:  # there is none for Windows
    loops = asyncio  # type: ignore[misc]

_Result = TypeVar("_Result")


YOUNG = 50_000
"""Objects that are made between two looks for garbage; Python's 700 would stop all calls many times a second."""


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """As asyncio.run, in the fastest loop that there is, and with fewer pauses for garbage."""
    threshold = gc.get_threshold()
    gc.freeze()  # what is loaded stays, and need not be looked at again
    gc.set_threshold(YOUNG, *threshold[1:])
    try:
        with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
            return runner.run(main)
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
