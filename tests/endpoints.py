"""Endpoints of both dialects on 127.0.0.1, which answer as a test says and remember what they were asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One HTTP call as the endpoint saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self.headers["idempotency-key"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the endpoint says: a model's text, or an HTTP failure, or half a body."""

    text: str | None = None
    status: int = 200
    error: object = None
    headers: dict[str, str] = field(default_factory=dict)
    finish: str = "stop"
    refusal: str | None = None
    wait: float = 0.0
    cut: bool = False
    html: str | None = None
    blocked: str | None = None


Script = Callable[[Asked], Reply]


@dataclass
class Endpoint:
    """`script` says what comes next; `log` has every call in its order, and `begin` starts a new one."""

    script: Script = lambda asked: Reply(text="{}")
    log: list[Asked] = field(default_factory=list)
    url: str = ""
    at_once: int = 0
    most_at_once: int = 0

    def answers(self, *replies: Reply | str) -> None:
        """Answer with these, one after the other, and then with the last one again."""
        waiting = [Reply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        self.script = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def begin(self) -> None:
        """Forget what was asked, also what is still being answered."""
        self.log = []
        self.at_once = self.most_at_once = 0

    @property
    def base_url(self) -> str:
        """Base address of the dialect of OpenAI; Gemini's is `url`."""
        return f"{self.url}/v1"


def _app(endpoint: Endpoint) -> FastAPI:
    app = FastAPI()

    @app.post("/{path:path}")
    async def any_path(path: str, request: Request) -> Response:
        body = json.loads(await request.body())
        asked = Asked(path=path, headers=dict(request.headers), body=body, at=time.monotonic())
        log = endpoint.log
        log.append(asked)
        reply = endpoint.script(asked)
        endpoint.at_once += 1
        endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
        await asyncio.sleep(reply.wait)
        if log is endpoint.log:
            endpoint.at_once -= 1
        return _response(reply, chat=path == "v1/chat/completions")

    return app


def _response(reply: Reply, *, chat: bool) -> Response:
    if reply.status != 200:
        content = reply.error if reply.error is not None else {"error": {"message": "no"}}
        return JSONResponse(content, status_code=reply.status, headers=reply.headers)
    if reply.html:
        return PlainTextResponse(reply.html)
    body = _chat(reply) if chat else _gemini(reply)
    if reply.cut:
        whole = json.dumps(body).encode()

        async def half() -> AsyncIterator[bytes]:
            yield whole[: len(whole) // 2]

        return StreamingResponse(half(), headers={"content-length": str(len(whole))})
    return JSONResponse(body)


def _chat(reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "billed-model",
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1100,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
    }


def _gemini(reply: Reply) -> dict[str, Any]:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 40, "thoughtsTokenCount": 60, "totalTokenCount": 1100}
    head = {"modelVersion": "billed-model", "responseId": "gemini-1", "usageMetadata": usage}
    if reply.blocked:
        return {**head, "promptFeedback": {"blockReason": reply.blocked}}
    parts = [] if reply.text is None else [{"text": reply.text}]
    finish = {"stop": "STOP", "length": "MAX_TOKENS"}.get(reply.finish, reply.finish)
    return {**head, "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}]}


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    """The endpoint, reachable while the block lasts."""
    config = uvicorn.Config(_app(endpoint), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(1000):
        if server.started:
            break
        time.sleep(0.01)
    assert server.started
    endpoint.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield endpoint
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
