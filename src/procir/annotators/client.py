"""An annotator behind an HTTP endpoint: each question is paid for once, and its answer checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import httpx2
from pydantic_ai.messages import ModelMessage, ModelResponse

from procir.annotators.answers import read_answer
from procir.annotators.budget import Spending, input_tokens
from procir.annotators.filing import Filing
from procir.annotators.ledger import Call, Decision, PaidAnswers
from procir.annotators.models import (
    check_reply,
    connect_model,
    model_settings,
    objection,
    question,
    response_format,
    spent,
)
from procir.annotators.request import AnswerT, Picture, Request
from procir.annotators.run import Outcome, Progress, annotate
from procir.annotators.settings import AnnotatorSettings
from procir.annotators.transport import ERRAND, Errand, LedgerTransport
from procir.errors import AnswerError, ExhaustedError, ProcirError, RefusedError, UnansweredError

LEAST_SILENCE = 8
"""Questions in a row without an answer that end a run, at least; more where more are in flight."""


class HttpAnnotator(Filing):
    """Asks one model, within one budget, and keeps all in one ledger; close it with `async with`.

    Raises ConfigError without a key, and for a budget without prices.
    """

    def __init__(self, settings: AnnotatorSettings, ledger: PaidAnswers, budget: Spending | None = None) -> None:
        if budget:
            settings.require_prices()
        super().__init__(settings, ledger)
        self._transport = LedgerTransport(settings, ledger, budget, settings.secret())
        self._client = httpx2.AsyncClient(transport=self._transport, timeout=settings.timeout)
        self._model = connect_model(settings, self._transport, self._client)
        self._model_settings = model_settings(settings)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._silence = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @property
    def in_flight(self) -> int:
        """Most calls under way at once."""
        return self.settings.in_flight

    def stop(self) -> None:
        """Let no call leave any more; those under way come to their end."""
        self._transport.stop()

    def outcomes(
        self, requests: Iterable[Request[AnswerT]], *, retry_failed: bool = False, progress: Progress = lambda *_: None
    ) -> AsyncGenerator[Outcome[AnswerT], None]:
        """The outcome of each question, as they come; see `procir.annotators.run.annotate`."""
        return annotate(self, requests, retry_failed=retry_failed, progress=progress)

    async def answer(self, request: Request[AnswerT], round: int = 0) -> AnswerT:
        """The checked answer to a question, noted in the ledger; a higher `round` asks anew after a failure.

        Raises AnswerError for an answer that cannot be used, also after the model was told so once; UnansweredError
        and ImageError where nothing is decided; ExhaustedError, ConfigError and LedgerError where no call can succeed.
        """
        key = self.key(request)
        # Equal questions wait for each other: the second finds the answer of the first in the ledger.
        async with self._turns.setdefault(key, asyncio.Lock()):
            try:
                answer = await self._ask(request, _derived(key, f"round {round}") if round else key)
            except AnswerError as error:
                await self.decide(request, Decision(answer=None, reason=str(error), round=round))
                raise
            text = answer.model_dump_json(by_alias=True)
            await self.decide(request, Decision(answer=text, reason=None, round=round))
        return answer

    async def _ask(self, request: Request[AnswerT], key: str) -> AnswerT:
        """The answer to a question, or to the same question with the reason why its first answer would not do."""
        reply = await self._reply(request, key, [])
        try:
            return self._read(reply, request)
        except RefusedError:
            raise
        except AnswerError as error:
            reason = str(error)
        again = await self._reply(request, _derived(key, reason), objection(reply.text or "", reason))
        return self._read(again, request)

    def _read(self, reply: ModelResponse, request: Request[AnswerT]) -> AnswerT:
        check_reply(reply, self.settings)
        return read_answer(reply.text or "", request)

    async def _reply(self, request: Request[AnswerT], key: str, after: Sequence[ModelMessage]) -> ModelResponse:
        """What a model says to a question and the messages after it, paid for once."""
        call = Call(key=key, stage=request.stage, item=request.item, model=self.settings.model)
        raw = self.ledger.raw(key)
        if raw is None:
            # Beside the loop, for pictures are opened here.
            errand, pictures = await asyncio.to_thread(self._prepare, request, call)
        else:
            errand, pictures = Errand(call=call, raw=raw, tokens=0, price=0.0), None
        token = ERRAND.set(errand)
        try:
            reply = await self._model.request(
                [*question(request, pictures), *after], self._model_settings, response_format(request.schema)
            )
        except Exception as error:
            self._failed(errand, error)
            raise
        finally:
            ERRAND.reset(token)
        self._silence = 0
        used = spent(reply, self.settings)
        self._transport.settle(errand, used.dollars)
        self.ledger.spend(key, used)
        return reply

    def _prepare(self, request: Request[AnswerT], call: Call) -> tuple[Errand, list[bytes]]:
        """A call to be paid for, and the bytes of its pictures. Raises ImageError."""
        asked, most = input_tokens(request, self.settings), self.settings.max_tokens
        price = self.settings.dollars(asked, most) or 0.0
        pictures = [part.load() for part in request.parts if isinstance(part, Picture)]
        return Errand(call=call, raw=None, tokens=asked + most, price=price), pictures

    def _failed(self, errand: Errand, error: Exception) -> None:
        """Raise what procir says of a failure that came up through the SDK; return if it has nothing to say."""
        ours = _ours(error)
        if isinstance(ours, UnansweredError | AnswerError) and not self._transport.stopping:
            self._silence += 1
            if self._silence >= max(LEAST_SILENCE, self.in_flight):
                raise ExhaustedError(f"{self._silence} questions in a row got no answer: {ours}") from error
        if ours:
            raise ours from error
        if errand.answered:
            self._transport.settle(errand, None)
            raise AnswerError(f"the reply of the endpoint cannot be read ({error})") from error


def _derived(key: str, why: str) -> str:
    return sha256(f"{key} {why}".encode()).hexdigest()


def _ours(error: BaseException | None) -> ProcirError | None:
    """The error of procir below those that SDKs put around it."""
    while error is not None and not isinstance(error, ProcirError):
        error = error.__cause__ or error.__context__
    return error
