"""The built-in annotator behind HTTP, in OpenAI's dialect: POST /v1/chat/completions and GET /v1/models."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, runtime_checkable

from fastapi import FastAPI, Request, Response

from procir.annotators.budget import CHARACTERS, PATCH
from procir.catalog.atelier.garments import Garment
from procir.construct.builtin.album import Album
from procir.construct.builtin.annotator import REFUSAL, BuiltinAnnotator
from procir.construct.builtin.faults import Faults, Weather
from procir.construct.builtin.reading import Question, read_question
from procir.errors import BadQuestionError, ImageError
from procir.images import image_size
from procir.types import ProductKey

MODEL = "builtin"
"""The model that /v1/models lists; requests may name any."""

MAX_BODY = 64 * 2**20
"""Most bytes of a request."""

Event = Literal["answered", "replayed", "refused", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A body that was sent, and the question that it answers."""

    digest: str
    body: bytes
    tokens: int


class _StatusError(Exception):
    """A request that gets an HTTP status other than 200."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class RequestLog:
    """One JSON line a request, flushed before its answer leaves; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def note(self, event: Event, key: str | None, stage: str | None, items: Sequence[str], **facts: int) -> None:
        """Add what became of a request."""
        if self._file:
            row = {"time": datetime.now(UTC).isoformat(), "event": event, "key": key, "stage": stage, "items": items}
            self._file.write(json.dumps(row | facts) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


@runtime_checkable
class Answering(Protocol):
    """What answers questions behind HTTP."""

    def items(self, question: Question) -> list[str]:
        """The ids of the products that a question is about. Raises BadQuestionError for one that is not known."""
        ...

    def refuses(self, question: Question) -> bool:
        """Whether it refuses to answer."""
        ...

    def answer(self, question: Question, name: str) -> str:
        """The text of the answer to a question of that name. Raises BadQuestionError."""
        ...


class _Service:
    """Everything between HTTP and the annotator; answers to idempotency keys are kept while it lives."""

    def __init__(
        self, annotator: Answering, faults: Faults, api_key: str | None, log: RequestLog, max_body: int
    ) -> None:
        self._annotator = annotator
        self._faults = faults
        self._weather = Weather(faults)
        self._api_key = api_key
        self._log = log
        self._max_body = max_body
        self._replies: dict[str, _Reply] = {}

    async def models(self, request: Request) -> Response:
        """The list of models."""
        try:
            self._check_key(request)
        except _StatusError as error:
            return _failure(error)
        return _json({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "procir"}]})

    async def chat(self, request: Request) -> Response:
        """The answer to a question, or an HTTP failure."""
        key = request.headers.get("Idempotency-Key")
        question: Question | None = None
        items: Sequence[str] = ()
        try:
            self._check_key(request)
            question = read_question(await self._body(request))
            items = self._annotator.items(question)
            return _sent(await self._answered(question, items, key))
        except (_StatusError, BadQuestionError) as error:
            failure = error if isinstance(error, _StatusError) else _StatusError(400, str(error))
            stage = question.stage if question else None
            self._log.note("error", key, stage, items, status=failure.status, tokens=0)
            return _failure(failure)

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._api_key is not None and not hmac.compare_digest(given.encode(), self._api_key.encode()):
            raise _StatusError(401, "the key in the header Authorization is not the one of this server")

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_body:
                raise _StatusError(413, f"the request is over the limit of {self._max_body} bytes")
        return bytes(body)

    async def _answered(self, question: Question, items: Sequence[str], key: str | None) -> _Reply:
        known = self._replies.get(key) if key else None
        if known:
            if known.digest != question.digest:
                raise _StatusError(422, "the Idempotency-Key was used for another request")
            self._log.note("replayed", key, question.stage, items, status=200, tokens=known.tokens)
            return known
        arrival = self._weather.next()
        if arrival.status == 429:
            raise _StatusError(429, "too many requests", {"Retry-After": f"{self._faults.retry_after:g}"})
        if arrival.status:
            raise _StatusError(arrival.status, "the server failed")
        refused = self._annotator.refuses(question)
        reply = self._reply(question, key, refused=refused)
        if key:
            # Kept before it leaves, so that a second request in the meantime is not billed either.
            self._replies[key] = reply
        await asyncio.sleep(arrival.seconds)
        event: Event = "refused" if refused else "answered"
        self._log.note(event, key, question.stage, items, status=200, tokens=reply.tokens)
        return reply

    def _reply(self, question: Question, key: str | None, *, refused: bool) -> _Reply:
        name = key or question.digest
        text = None if refused else self._annotator.answer(question, name)
        usage = _usage(question, REFUSAL if text is None else text)
        body = _completion(question.model, name, text, usage)
        return _Reply(digest=question.digest, body=json.dumps(body).encode(), tokens=usage["total_tokens"])


def create_app(
    sheets: Mapping[ProductKey, Garment],
    faults: Faults,
    *,
    album: Album | None = None,
    api_key: str | None = None,
    log: RequestLog | None = None,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """The server for the products of some attribute sheets. Without `api_key` any key will do."""
    annotator = BuiltinAnnotator(sheets, faults, album)
    return app_of(annotator, faults, api_key=api_key, log=log, max_body=max_body)


def app_of(
    annotator: Answering,
    faults: Faults,
    *,
    api_key: str | None = None,
    log: RequestLog | None = None,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """The server before an annotator. Without `api_key` any key will do."""
    service = _Service(annotator, faults, api_key, log or RequestLog(None), max_body)
    app = FastAPI(title="An annotator of procir", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_route("/v1/chat/completions", service.chat, methods=["POST"])
    app.add_route("/v1/models", service.models, methods=["GET"])
    return app


def _usage(question: Question, text: str) -> dict[str, int]:
    """Tokens as `procir.annotators.budget` estimates them."""
    try:
        sizes = [image_size(photo) for photos in question.photos for photo in photos]
    except ImageError as error:
        raise BadQuestionError(f"a picture cannot be read: {error}") from error
    pictures = sum(-(-width // PATCH) * -(-height // PATCH) for width, height in sizes)
    prompt = -(-sum(map(len, question.texts)) // CHARACTERS) + pictures
    completion = -(-len(text) // CHARACTERS)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _completion(model: str, name: str, text: str | None, usage: Mapping[str, int]) -> dict[str, Any]:
    refusal = REFUSAL if text is None else None
    return {
        "id": f"chatcmpl-{name[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }


def _sent(reply: _Reply) -> Response:
    return Response(reply.body, media_type="application/json")


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(content).encode(), status_code=status, headers=dict(headers or {}), media_type="application/json"
    )


def _failure(error: _StatusError) -> Response:
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return _json({"error": {"message": str(error), "type": kind, "code": error.status}}, error.status, error.headers)
