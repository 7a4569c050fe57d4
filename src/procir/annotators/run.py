"""Many questions to one annotator: what is decided is not asked again, and the rest goes out side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, runtime_checkable

from procir.annotators.ledger import Decision
from procir.annotators.request import AnswerT, Request
from procir.errors import AnswerError, DataError, UnansweredError
from procir.pieces import pieces
from procir.records import Row

CHUNK = 256
"""Questions that are drawn and looked up in the ledger at once."""


Progress = Callable[[int, int], None]
"""Told the numbers of answers and of failures so far."""


@runtime_checkable
class Filed(Protocol):
    """Where questions are looked up."""

    def key(self, request: Request[Any]) -> str:
        """The key of a question."""
        ...

    def known(self, keys: Iterable[str]) -> Mapping[str, Decision]:
        """What became of those questions that are decided."""
        ...


@runtime_checkable
class Annotator(Filed, Protocol):
    """What the stages ask of an annotator."""

    async def decide(self, request: Request[Any], decision: Decision) -> None:
        """Keep what became of a question that was answered otherwise."""
        ...

    def outcomes(
        self, requests: Iterable[Request[AnswerT]], *, retry_failed: bool = False, progress: Progress = lambda *_: None
    ) -> AsyncGenerator[Outcome[AnswerT], None]:
        """The outcome of each question, as they come."""
        ...


@runtime_checkable
class Asked(Filed, Protocol):
    """What a run asks of one annotator in this process."""

    @property
    def in_flight(self) -> int:
        """Most questions under way at once."""
        ...

    async def answer(self, request: Request[AnswerT], round: int = 0) -> AnswerT:
        """The checked answer to a question; a higher `round` asks anew after a failure."""
        ...

    def stop(self) -> None:
        """Let no call leave any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[AnswerT]):
    """A question with its answer, or the reason why it has none."""

    request: Request[AnswerT]
    key: str
    answer: AnswerT | None
    reason: str | None

    @property
    def failure(self) -> Row:
        """A row of failures.jsonl."""
        return failure_row(self.request.stage, self.request.item, self.reason, self.key)


def failure_row(stage: str, item: str, reason: str | None, key: str | None = None) -> Row:
    """A row of failures.jsonl; without a key nothing could be asked."""
    return {"item": item, "stage": stage, "reason": reason, "key": key}


async def annotate(
    annotator: Asked,
    requests: Iterable[Request[AnswerT]],
    *,
    retry_failed: bool = False,
    progress: Progress = lambda *_: None,
) -> AsyncGenerator[Outcome[AnswerT], None]:
    """The outcome of each question, as they come, with answers of earlier runs from the ledger.

    Draws questions as it needs them. Those that failed before are asked anew if `retry_failed`, and come as failures
    otherwise. `progress` gets the numbers of answers and of failures so far. If no more can be asked, or the task is
    cancelled (as asyncio does on an interrupt), the annotator is stopped and what is under way comes to its end before
    the error goes on; close the iterator (`contextlib.aclosing`) if it is left early. Raises ExhaustedError,
    ConfigError and LedgerError.
    """
    counts = [0, 0]
    team = _Team(annotator)
    try:
        async with aclosing(_outcomes(team, requests, retry_failed=retry_failed)) as outcomes:
            async for outcome in outcomes:
                counts[outcome.answer is None] += 1
                progress(*counts)
                yield outcome
    finally:
        await team.finish()


class _Team:
    """The questions that are under way, and what came of them."""

    def __init__(self, annotator: Asked) -> None:
        self.annotator = annotator
        # More than may be in flight, so that some are prepared or kept while others are.
        self.size = 2 * annotator.in_flight
        self.running = 0
        self._stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._found: asyncio.Queue[Outcome[Any] | BaseException] = asyncio.Queue()

    def start(self, request: Request[Any], key: str, count: int) -> None:
        """Ask a question beside the others."""
        task = asyncio.create_task(self._work(request, key, count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.running += 1

    async def _work(self, request: Request[Any], key: str, count: int) -> None:
        found: Outcome[Any] | BaseException
        try:
            found = Outcome(request=request, key=key, answer=await self.annotator.answer(request, count), reason=None)
        except (AnswerError, UnansweredError, DataError) as error:
            open_ = self._stopped and isinstance(error, UnansweredError)
            found = error if open_ else Outcome(request=request, key=key, answer=None, reason=str(error))
        except BaseException as error:  # noqa: BLE001 - the run raises it
            found = error
        self._found.put_nowait(found)

    @property
    def full(self) -> bool:
        """Whether the next outcome should be taken before another question is asked."""
        return self.running >= self.size or not self._found.empty()

    async def next(self) -> Outcome[Any] | BaseException:
        """The next outcome, or the error that ends the run."""
        found = await self._found.get()
        self.running -= 1
        return found

    def stop(self) -> None:
        """Let nothing leave any more."""
        self._stopped = True
        self.annotator.stop()

    async def finish(self) -> None:
        """Give up what waits, and wait for what was sent: it is paid for."""
        if self.running:
            self.stop()
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _outcomes(
    team: _Team, requests: Iterable[Request[AnswerT]], *, retry_failed: bool
) -> AsyncGenerator[Outcome[AnswerT], None]:
    for request, key, decision in decided(team.annotator, requests):
        if decision and not (decision.reason and retry_failed):
            yield stored(request, key, decision)
            if team.running:
                await asyncio.sleep(0)  # a long row of known answers must not hold up those under way
            continue
        async for outcome in _taken(team, lambda: team.full):
            yield outcome
        team.start(request, key, decision.round + 1 if decision else 0)
    async for outcome in _taken(team, lambda: team.running > 0):
        yield outcome


async def _taken(team: _Team, more: Callable[[], bool]) -> AsyncGenerator[Outcome[Any], None]:
    """Outcomes as they come; if the run has to end, those that still come, and then its error."""
    while more():
        found = await team.next()
        if isinstance(found, Outcome):
            yield found
            continue
        team.stop()
        while team.running:
            last = await team.next()
            if isinstance(last, Outcome):
                yield last
        raise found


def decided(
    files: Filed, requests: Iterable[Request[AnswerT]]
) -> Iterator[tuple[Request[AnswerT], str, Decision | None]]:
    """Questions with their keys and what is decided of them, drawn a chunk at a time."""
    for chunk in pieces(requests, CHUNK):
        keys = [files.key(request) for request in chunk]
        known = files.known(keys)
        yield from ((request, key, known.get(key)) for request, key in zip(chunk, keys, strict=True))


def stored(request: Request[AnswerT], key: str, decision: Decision) -> Outcome[AnswerT]:
    """The outcome of a question that is decided."""
    answer = None if decision.answer is None else request.schema.model_validate_json(decision.answer)
    return Outcome(request=request, key=key, answer=answer, reason=decision.reason)
