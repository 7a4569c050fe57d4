"""Annotators on many machines: questions go out as Ray Data pipelines, and one actor writes the ledger.

Workers ask; the actor notes each call before it leaves and keeps each answer before it is read, as in one process. A
worker that dies is replaced and its questions are asked again: what was answered comes from the ledger.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from procir.annotators import loop
from procir.annotators.budget import Budget
from procir.annotators.client import HttpAnnotator
from procir.annotators.filing import Filing
from procir.annotators.ledger import Call, Decision, Ledger, Seen, Spent
from procir.annotators.request import AnswerT, Request
from procir.annotators.run import Outcome, Progress, annotate, stored
from procir.annotators.settings import AnnotatorSettings
from procir.cluster import connect
from procir.errors import AnnotationError, ConfigError, ExhaustedError, LedgerError, ProcirError
from procir.pieces import pieces

WINDOW = 2048
"""Questions that are handed to the cluster at a time, which bounds the memory."""


class _Owner:
    """The actor that holds ledger and budget of a run."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    async def open(self, path: Path, budget: float | None) -> None:
        self._ledger = self._stack.enter_context(Ledger.open(path))
        self._budget = None if budget is None else Budget(budget)

    async def ledger(self, name: str, *values: Any) -> Any:
        found = getattr(self._ledger, name)(*values)
        return await found if inspect.isawaitable(found) else found

    async def budget(self, name: str, *values: float) -> None:
        if self._budget:
            getattr(self._budget, name)(*values)

    async def close(self) -> None:
        self._stack.close()


@dataclass(frozen=True, slots=True)
class RemoteLedger:
    """The ledger behind its actor, for any process of the cluster; see `Ledger`."""

    owner: Any

    def known(self, keys: Iterable[str]) -> dict[str, Decision]:
        """What became of those questions that are decided."""
        found: dict[str, Decision] = self._now("known", list(keys))
        return found

    def raw(self, key: str) -> bytes | None:
        """The body of an answer as it came, or None if there is none yet."""
        found: bytes | None = self._now("raw", key)
        return found

    def spend(self, key: str, spent: Spent) -> None:
        """Note what an answer used."""
        self.owner.ledger.remote("spend", key, spent)

    def pictures(self, paths: Iterable[Path]) -> list[Seen]:
        """Content hash and size of each picture, as the owner's machine sees it."""
        found: list[Seen] = self._now("pictures", list(paths))
        return found

    def lost(self) -> list[Call]:
        """Calls that were under way when a run ended without closing them."""
        found: list[Call] = self._now("lost")
        return found

    async def begin(self, call: Call, attempt: int) -> int:
        """Note that a call is about to leave, and give the note's id."""
        note: int = await self.owner.ledger.remote("begin", call, attempt)
        return note

    async def fail(self, note: int, reason: str) -> None:
        """Close the note of a call that brought no answer."""
        await self.owner.ledger.remote("fail", note, reason)

    async def receive(self, note: int, call: Call, raw: bytes, seconds: float) -> None:
        """Keep the body of an answer as it came, and close its note."""
        await self.owner.ledger.remote("receive", note, call, raw, seconds)

    async def decide(self, call: Call, decision: Decision) -> None:
        """Keep what became of a question."""
        await self.owner.ledger.remote("decide", call, decision)

    def _now(self, name: str, *values: Any) -> Any:
        import ray

        return ray.get(self.owner.ledger.remote(name, *values))


@dataclass(frozen=True, slots=True)
class RemoteBudget:
    """The budget of a run behind its actor."""

    owner: Any

    def reserve(self, dollars: float) -> None:
        """Set the highest price of a call apart. Raises ExhaustedError if the limit could be passed."""
        import ray

        ray.get(self.owner.budget.remote("reserve", dollars))

    def settle(self, reserved: float, spent: float) -> None:
        """Count what a call really cost in place of what was reserved for it."""
        self.owner.budget.remote("settle", reserved, spent)


@contextmanager
def owned_ledger(path: Path, address: str, budget: float | None) -> Iterator[RemoteLedger]:
    """The ledger of a run on a cluster, in an actor on this machine. Raises ConfigError and LedgerError."""
    ray = connect(address)
    here = ray.get_runtime_context().get_node_id()
    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    owner = ray.remote(_Owner).options(num_cpus=0, max_concurrency=1000, scheduling_strategy=where)
    actor = owner.remote()
    try:
        ray.get(actor.open.remote(path.absolute(), budget))
        yield RemoteLedger(actor)
        ray.get(actor.close.remote())
    finally:
        ray.kill(actor)


class ClusterAnnotator(Filing):
    """An annotator whose questions are asked by up to `workers` processes of a cluster, each at its share of the rate.

    Raises ConfigError for a budget without prices. The key has to be in the environment of every machine.
    """

    def __init__(self, settings: AnnotatorSettings, ledger: RemoteLedger, workers: int, *, budget: bool) -> None:
        if budget:
            settings.require_prices()
        super().__init__(settings, ledger)
        self.workers = workers
        self.budget = budget

    async def outcomes(
        self, requests: Iterable[Request[AnswerT]], *, retry_failed: bool = False, progress: Progress = lambda *_: None
    ) -> AsyncGenerator[Outcome[AnswerT], None]:
        """The outcome of each question, as they come; see `procir.annotators.run.annotate`."""
        counts = [0, 0]
        failure: ProcirError | None = None
        for window in pieces(requests, WINDOW):
            rows = _rows(self, window, retry_failed=retry_failed)
            while (row := await asyncio.to_thread(next, rows, None)) is not None:
                if row["stop"]:  # raised once the others have come to their end: what they sent is paid for
                    failure = failure or _ERRORS[row["stop"]](row["reason"])
                    continue
                decision = Decision(answer=row["answer"], reason=row["reason"], round=0)
                outcome = stored(window[row["number"]], row["key"], decision)
                counts[outcome.answer is None] += 1
                progress(*counts)
                yield outcome
            if failure:
                raise failure


_ERRORS: Mapping[str, type[ProcirError]] = {
    kind.__name__: kind for kind in (ExhaustedError, ConfigError, LedgerError, AnnotationError)
}


def _rows(
    annotator: ClusterAnnotator, window: Sequence[Request[Any]], *, retry_failed: bool
) -> Iterator[dict[str, Any]]:
    """What became of the questions of a window, by their numbers."""
    import ray
    from ray import cloudpickle

    rows = [{"number": number, "request": cloudpickle.dumps(request)} for number, request in enumerate(window)]
    share = _share(annotator.settings, annotator.workers)
    size = min(4 * share.in_flight, -(-len(rows) // annotator.workers))
    asked = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map_batches(
        _Worker,
        fn_constructor_args=(share, annotator.ledger, annotator.budget, retry_failed),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=annotator.workers),
    )
    yield from asked.iter_rows()


def _share(settings: AnnotatorSettings, workers: int) -> AnnotatorSettings:
    """One worker's part of the limits."""

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, limit // workers)

    return replace(
        settings,
        requests_per_minute=part(settings.requests_per_minute),
        tokens_per_minute=part(settings.tokens_per_minute),
        in_flight=max(1, settings.in_flight // workers),
    )


class _Worker:
    """A process of the cluster that asks questions, a batch at a time."""

    def __init__(self, settings: AnnotatorSettings, ledger: RemoteLedger, budget: bool, retry_failed: bool) -> None:
        self._settings = settings
        self._ledger = ledger
        self._budget = RemoteBudget(ledger.owner) if budget else None
        self._retry_failed = retry_failed

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        from ray import cloudpickle

        requests = {int(number): cloudpickle.loads(request) for number, request in zip(*batch.values(), strict=True)}
        found = loop.run(self._ask(requests))
        names = ("number", "key", "answer", "reason", "stop")
        return {name: [row[name] for row in found] for name in names}

    async def _ask(self, requests: dict[int, Request[Any]]) -> list[dict[str, Any]]:
        numbers = {id(request): number for number, request in requests.items()}
        found: list[dict[str, Any]] = []
        try:
            async with HttpAnnotator(self._settings, self._ledger, self._budget) as annotator:
                async for outcome in annotate(annotator, requests.values(), retry_failed=self._retry_failed):
                    answer = None if outcome.answer is None else outcome.answer.model_dump_json(by_alias=True)
                    row = {"number": numbers[id(outcome.request)], "key": outcome.key, "answer": answer}
                    found.append(row | {"reason": outcome.reason, "stop": ""})
        except ProcirError as error:
            name = next(kind.__name__ for kind in _ERRORS.values() if isinstance(error, kind))
            found.append({"number": -1, "key": "", "answer": None, "reason": str(error), "stop": name})
        return found
