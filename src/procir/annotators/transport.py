"""The way of a call over HTTP: within the limits, again if need be, and into the ledger before anything reads it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import tenacity
from aiolimiter import AsyncLimiter

from procir.annotators.budget import Spending
from procir.annotators.ledger import Call, PaidAnswers
from procir.annotators.settings import AnnotatorSettings
from procir.errors import AnswerError, ConfigError, ExhaustedError, UnansweredError

BACKOFF = 1.0
"""Seconds that the first wait before another try lasts at most; each further one twice as long, up to `LONGEST`."""

LONGEST = 300.0
"""Most seconds between two tries; an endpoint that asks for a longer wait has exhausted its quota."""

_CONNECT = 30.0
_USED_UP = (b"insufficient_quota", b"exceeded_current_quota", b"arrearage", b"billing_hard_limit", b"perday")
"""What a body says, in lower case, where waiting does not help."""


@dataclass(slots=True, kw_only=True)
class Errand:
    """A call, the most it can use, and how far it came; `reserved` is what it holds of the budget.

    `raw` is its answer if the ledger has it: it does not leave then.
    """

    call: Call
    raw: bytes | None
    tokens: int
    price: float
    attempts: int = field(default=0, init=False)
    reserved: float = field(default=0.0, init=False)
    answered: bool = field(default=False, init=False)


ERRAND: ContextVar[Errand] = ContextVar("errand")
"""The errand of the task that sends a request: SDKs pass nothing else through to their transport."""


class _Pace:
    """At most so much a minute, without bursts: a bucket of `size` that leaks at this rate; None never waits."""

    def __init__(self, per_minute: int | None, size: float) -> None:
        self._size = size
        # A bucket that holds a whole minute would let twice the limit through in its first minute.
        self._bucket = AsyncLimiter(size, 60 * size / per_minute) if per_minute else None

    async def take(self, amount: float) -> None:
        """Wait until so much may go."""
        while self._bucket and amount > 0:
            part = min(amount, self._size)
            await self._bucket.acquire(part)
            amount -= part


class _AgainError(Exception):
    """A call that may be tried again, after `wait` seconds if the endpoint says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class LedgerTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an SDK. An answer that the ledger has comes from there; others are kept before they return.

    Only answers reach the SDK; what an endpoint refuses is raised as an error of procir.
    """

    def __init__(self, settings: AnnotatorSettings, ledger: PaidAnswers, budget: Spending | None, secret: str) -> None:
        self._settings = settings
        self._ledger = ledger
        self._budget = budget
        self._secret = secret
        # One connection each: a pool looks at all its connections for every call.
        context, limits = httpx2.create_ssl_context(), httpx2.Limits(max_connections=1)
        self._lines = [httpx2.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(settings.in_flight)]
        self._free: asyncio.LifoQueue[httpx2.AsyncHTTPTransport] = asyncio.LifoQueue()
        for line in self._lines:
            self._free.put_nowait(line)
        self._requests = _Pace(settings.requests_per_minute, 1.0)
        self._tokens = _Pace(settings.tokens_per_minute, (settings.tokens_per_minute or 0) / 60)
        self._waiting: set[asyncio.Task[object]] = set()
        self.stopping = False

    async def aclose(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.aclose()

    def stop(self) -> None:
        """Let nothing leave any more: calls that still wait are given up, those under way come to their end."""
        self.stopping = True
        for task in self._waiting:
            task.cancel()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request, from the ledger or the endpoint."""
        errand = ERRAND.get()
        raw = errand.raw
        if raw is None:
            request.headers["Idempotency-Key"] = errand.call.key
            request.extensions = {**request.extensions, "timeout": {"connect": _CONNECT, "pool": None}}
            raw = await self._answered(request, errand)
        errand.answered = True
        return httpx2.Response(200, headers={"Content-Type": "application/json"}, content=raw, request=request)

    async def _answered(self, request: httpx2.Request, errand: Errand) -> bytes:
        tries = self._settings.tries
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_AgainError),
            stop=tenacity.stop_after_attempt(tries),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, request, errand)
        except _AgainError as error:
            raise UnansweredError(f"no answer from {request.url.host} in {tries} tries ({error})") from error

    async def _attempt(self, request: httpx2.Request, errand: Errand) -> bytes:
        errand.attempts += 1
        with self._waits():
            await self._requests.take(1)
            await self._tokens.take(errand.tokens)
            line = await self._free.get()
        try:
            self._reserve(errand)
            note = await self._ledger.begin(errand.call, errand.attempts)
            begun = time.monotonic()
            status, headers, raw = await self._exchange(request, errand, note, line)
        finally:
            self._free.put_nowait(line)
        if status == httpx2.codes.OK:
            await self._ledger.receive(note, errand.call, raw, time.monotonic() - begun)
            return raw
        self.settle(errand, 0.0)
        reason = f"HTTP {status}: {self._said(raw)}"
        await self._ledger.fail(note, reason)
        raise self._failure(status, headers, raw, reason, request.url.host)

    async def _exchange(
        self, request: httpx2.Request, errand: Errand, note: int, line: httpx2.AsyncHTTPTransport
    ) -> tuple[int, httpx2.Headers, bytes]:
        """Status, headers and body of a call. If it is cut off in the middle, its note stays open: it may be billed."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await _sent(request, line)
        except (TimeoutError, httpx2.TransportError, httpx2.DecodingError) as error:
            never_left = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            self.settle(errand, 0.0 if never_left else None)
            reason = f"no whole answer: {str(error) or type(error).__name__}"
            await self._ledger.fail(note, reason)
            raise _AgainError(reason) from error

    def _reserve(self, errand: Errand) -> None:
        if self._budget:
            self._budget.reserve(errand.price)
            errand.reserved = errand.price

    def settle(self, errand: Errand, dollars: float | None) -> None:
        """Count what a call cost in place of its reservation; None is a price that is not known, and counts in full."""
        if self._budget and errand.reserved:
            self._budget.settle(errand.reserved, errand.reserved if dollars is None else dollars)
            errand.reserved = 0.0

    async def _sleep(self, seconds: float) -> None:
        with self._waits():
            await asyncio.sleep(seconds)

    @contextmanager
    def _waits(self) -> Iterator[None]:
        """Marks the time in which a call has not left, or came back, and may be given up."""
        task = asyncio.current_task()
        assert task is not None
        if self.stopping:
            raise UnansweredError("not asked: the run was stopped")
        self._waiting.add(task)
        try:
            yield
        finally:
            self._waiting.discard(task)

    def _failure(self, status: int, headers: httpx2.Headers, raw: bytes, reason: str, host: str) -> Exception:
        """The error for an answer that is none."""
        model, variable = self._settings.model, self._settings.key_variable
        wait = _retry_after(headers)
        used_up = any(word in raw.lower() for word in _USED_UP)
        if status in (401, 402, 403) or used_up or (status == 429 and (wait or 0) > LONGEST):
            return ExhaustedError(
                f"{model} takes no more questions ({reason}): check the key in {variable}, its quota and its balance; "
                "run again to go on, what was answered is kept"
            )
        if status == 404:
            return ConfigError(f"no model {model} at {host} ({reason}): check model and base_url")
        if status in (408, 409, 425, 429) or status >= 500:
            return _AgainError(reason, None if wait is None else min(wait, LONGEST))
        return AnswerError(reason)

    def _said(self, raw: bytes) -> str:
        """What an endpoint says of a failure, without the key."""
        text = raw[:10_000].decode("utf-8", errors="replace")
        try:
            found = json.loads(text)
            found = found[0] if isinstance(found, list) else found
            error = found.get("error", found)
            text = str(error.get("message", error) if isinstance(error, dict) else error)
            codes = [str(error[name]) for name in ("code", "status", "type") if error.get(name)]
            text = f"{text} ({', '.join(codes)})" if codes else text
        except (ValueError, AttributeError, LookupError, TypeError):
            pass
        return " ".join(text.replace(self._secret, "[key]").split())[:500]


async def _sent(request: httpx2.Request, line: httpx2.AsyncHTTPTransport) -> tuple[int, httpx2.Headers, bytes]:
    response = await line.handle_async_request(request)
    try:
        return response.status_code, response.headers, await response.aread()
    finally:
        await response.aclose()


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: what the endpoint asks for, or exponential with full jitter."""
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, _AgainError) and failure.wait is not None:
        return failure.wait
    return tenacity.wait_random_exponential(multiplier=BACKOFF, max=LONGEST)(state)


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the endpoint asks to wait: a number, or a date."""
    value = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
