"""The way of a call over HTTP: within the limits, again if need be, and into the ledger before anything reads it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
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
_OUR_HEADERS = ("host", "connection", "content-length", "accept-encoding", "idempotency-key")
"""Headers of an SDK that the sender sets by itself."""

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


@dataclass(frozen=True, slots=True)
class _Letter:
    """What goes to an endpoint."""

    url: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or self.url


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
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._requests = _Pace(settings.requests_per_minute, 1.0)
        self._tokens = _Pace(settings.tokens_per_minute, (settings.tokens_per_minute or 0) / 60)
        self._waiting: set[asyncio.Task[object]] = set()
        self.stopping = False

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    def stop(self) -> None:
        """Let nothing leave any more: calls that still wait are given up, those under way come to their end."""
        self.stopping = True
        for task in self._waiting:
            task.cancel()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request of an SDK, from the ledger or the endpoint."""
        raw = await self.fetch(str(request.url), dict(request.headers), request.content)
        return httpx2.Response(200, headers={"Content-Type": "application/json"}, content=raw, request=request)

    async def fetch(self, url: str, headers: Mapping[str, str], content: bytes) -> bytes:
        """The body of the answer to the errand of this task, from the ledger or the endpoint."""
        errand = ERRAND.get()
        raw = errand.raw
        if raw is None:
            kept = {name: value for name, value in headers.items() if name.lower() not in _OUR_HEADERS}
            letter = _Letter(url, {**kept, "Idempotency-Key": errand.call.key}, content)
            raw = await self._answered(letter, errand)
        errand.answered = True
        return raw

    async def _answered(self, letter: _Letter, errand: Errand) -> bytes:
        tries = self._settings.tries
        try:
            return await self._attempt(letter, errand)  # nearly always enough, and without the cost of retrying
        except _AgainError as error:
            if tries == 1:
                raise _unanswered(letter, tries, error) from error
            first = error
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_AgainError),
            stop=tenacity.stop_after_attempt(tries - 1),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        await self._sleep(_pause(first, 1))
        try:
            return await retrying(self._attempt, letter, errand)
        except _AgainError as error:
            raise _unanswered(letter, tries, error) from error

    async def _attempt(self, letter: _Letter, errand: Errand) -> bytes:
        errand.attempts += 1
        with self._waits():
            await self._requests.take(1)
            await self._tokens.take(errand.tokens)
        note = await self._ledger.begin(errand.call, errand.attempts)
        try:
            with self._waits():
                await self._slots.acquire()
        except BaseException:
            await self._ledger.fail(note, "not sent")
            raise
        begun = time.monotonic()
        try:
            self._reserve(errand)
            status, headers, raw = await self._exchange(letter, errand, note)
        except ExhaustedError:
            await self._ledger.fail(note, "not sent")
            raise
        finally:
            self._slots.release()
        if status == httpx2.codes.OK:
            await self._ledger.receive(note, errand.call, raw, time.monotonic() - begun)
            return raw
        self.settle(errand, 0.0)
        reason = f"HTTP {status}: {self._said(raw)}"
        await self._ledger.fail(note, reason)
        raise self._failure(status, headers, raw, reason, letter.host)

    async def _exchange(self, letter: _Letter, errand: Errand, note: int) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of a call. If it is cut off in the middle, its note stays open: it may be billed."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._sent(letter)
        except (TimeoutError, aiohttp.ClientError) as error:
            never_left = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            self.settle(errand, 0.0 if never_left else None)
            reason = f"no whole answer: {str(error) or type(error).__name__}"
            await self._ledger.fail(note, reason)
            raise _AgainError(reason) from error

    async def _sent(self, letter: _Letter) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            waits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=waits, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True
            )
        # A redirect would carry question and key to a host that nobody named.
        sent = self._session.post(letter.url, data=letter.content, headers=letter.headers, allow_redirects=False)
        async with sent as response:
            return response.status, response.headers, await response.read()

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

    def _failure(self, status: int, headers: Mapping[str, str], raw: bytes, reason: str, host: str) -> Exception:
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
        if 300 <= status < 400:
            place = headers.get("Location", "nowhere")
            return ConfigError(f"{host} sends the questions to {place}, which is not followed: set base_url to it")
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


def _unanswered(letter: _Letter, tries: int, error: Exception) -> UnansweredError:
    return UnansweredError(f"no answer from {letter.host} in {tries} tries ({error})")


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try of those after the first."""
    return _pause(state.outcome.exception() if state.outcome else None, state.attempt_number + 1)


def _pause(failure: BaseException | None, tried: int) -> float:
    """What the endpoint asks for, or exponential with full jitter."""
    if isinstance(failure, _AgainError) and failure.wait is not None:
        return failure.wait
    return random.uniform(0, min(LONGEST, BACKOFF * 2.0 ** (tried - 1)))


def _retry_after(headers: Mapping[str, str]) -> float | None:
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
