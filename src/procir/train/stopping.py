"""Signals that end a run in order: the running step is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_to_stop(*, insist: bool = True) -> Iterator[list[str]]:
    """The names of the signals, SIGINT or SIGTERM, that asked this process to stop while the block runs.

    With `insist` a second one ends the block at once, with KeyboardInterrupt; a launcher of several processes repeats
    signals on its own. Only the main thread can take signals; what was ignored before stays ignored.
    """
    told: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        if told and insist:
            raise KeyboardInterrupt
        told.append(signal.Signals(number).name)

    main = threading.current_thread() is threading.main_thread()
    heard = [number for number in _ASKING if main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
