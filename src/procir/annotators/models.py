"""pydantic-ai's models for our settings: how a question is put to an endpoint, and what its reply says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import httpx2
from google.genai.types import HttpRetryOptions
from openai import AsyncOpenAI, NotGiven, Omit
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ValidationError
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings

from procir.annotators.ledger import Spent
from procir.annotators.pictures import media_type
from procir.annotators.request import AnswerT, Request, schema_text
from procir.annotators.settings import AnnotatorSettings
from procir.annotators.transport import LedgerTransport
from procir.errors import AnswerError, RefusedError

FORMAT = "Answer with one JSON object of this JSON schema and with nothing else:\n"
"""Stands before the schema at the end of the system prompt, for endpoints that ignore the response format."""

AGAIN = "This answer cannot be used: {reason}. Answer the question again, correctly and in whole, as one JSON object."
"""What a model is told of an answer that cannot be used."""


def connect_model(settings: AnnotatorSettings, transport: LedgerTransport, client: httpx2.AsyncClient) -> Model:
    """The model of these settings behind a transport and its HTTP client. Raises ConfigError without its key."""
    secret = settings.secret()
    if settings.provider == "google":
        once = HttpRetryOptions(attempts=1)
        provider = GoogleProvider(api_key=secret, base_url=settings.base_url, http_client=client, retry_options=once)
        return GoogleModel(settings.model, provider=provider)
    sdk = AsyncOpenAI(api_key=secret, base_url=settings.base_url, http_client=client, max_retries=0)
    sdk.chat.completions = _Completions(sdk, transport)  # type: ignore[misc, assignment]
    if settings.base_url is None:
        return _ChatModel(settings.model, provider=OpenAIProvider(openai_client=sdk))
    profile = OpenAIModelProfile(supports_json_schema_output=True, openai_chat_supports_max_completion_tokens=False)
    compatible = OpenAICompatibleProvider("openai-compatible", openai_client=sdk, profile=profile)
    return _ChatModel(settings.model, provider=compatible)


class _ChatModel(OpenAIChatModel):
    """Prepares the parameters of a schema once, not for every question."""

    @cached_property
    def _prepared(self) -> dict[int, tuple[ModelSettings | None, ModelRequestParameters, ModelRequestParameters]]:
        """By the identity of parameters, which are held here, so that it stays their own."""
        return {}

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        """As pydantic-ai prepares them; the settings of an annotator never change."""
        number = id(model_request_parameters)
        if number not in self._prepared:
            found = super().prepare_request(model_settings, model_request_parameters)
            self._prepared[number] = (*found, model_request_parameters)
        settings, parameters, _ = self._prepared[number]
        return (settings.copy() if settings else settings), parameters


class _Completions:
    """Sends chat completions without the way through the SDK and its client, which takes most of the CPU of a question.

    The SDK would search the whole body for fields to respell, of which pydantic-ai sends none, and retry, which is not
    its business here.
    """

    def __init__(self, sdk: AsyncOpenAI, transport: LedgerTransport) -> None:
        self._url = f"{sdk.base_url}chat/completions"
        self._headers = {**sdk.auth_headers, "Accept": "application/json", "Content-Type": "application/json"}
        self._transport = transport

    async def create(self, *, extra_body: Mapping[str, Any] | None, **fields: Any) -> ChatCompletion:
        """The parsed reply to a body of these fields; headers and time-outs are those of our own transport."""
        given = {name: value for name, value in fields.items() if not isinstance(value, Omit | NotGiven)}
        del given["extra_headers"], given["timeout"]
        body = json.dumps({**given, **(extra_body or {})}, ensure_ascii=False, separators=(",", ":")).encode()
        content = json.loads(await self._transport.fetch(self._url, self._headers, body))
        try:
            return ChatCompletion.model_validate(content)
        except ValidationError:  # some endpoints leave fields out; this takes what is there, and is slower
            return ChatCompletion.construct(**content)


def model_settings(settings: AnnotatorSettings) -> ModelSettings:
    """The parameters of every call."""
    found = ModelSettings(max_tokens=settings.max_tokens, timeout=settings.timeout)
    if settings.temperature is not None:
        found["temperature"] = settings.temperature
    if settings.thinking is not None:
        # Kimi and Qwen have switches of their own, each under another name.
        name = settings.model.rpartition("/")[2].lower()
        if name.startswith("kimi"):
            found["extra_body"] = {"thinking": {"type": "enabled" if settings.thinking else "disabled"}}
        elif name.startswith("qwen"):
            found["extra_body"] = {"enable_thinking": settings.thinking}
        else:
            found["thinking"] = settings.thinking
    return found


@lru_cache(maxsize=64)
def response_format(schema: type[BaseModel]) -> ModelRequestParameters:
    """The parameters that ask for answers of a schema."""
    wanted = OutputObjectDefinition(json_schema=json.loads(schema_text(schema)), name=schema.__name__)
    return ModelRequestParameters(output_mode="native", output_object=wanted, allow_text_output=True)


def question(request: Request[AnswerT], pictures: Sequence[bytes] | None) -> list[ModelMessage]:
    """The messages of a question, with the bytes of its pictures in their order, or without them."""
    waiting = iter(pictures or ())
    parts = [part for part in request.parts if pictures is not None or isinstance(part, str)]
    content: list[UserContent] = [part if isinstance(part, str) else _binary(next(waiting)) for part in parts]
    system = f"{request.system}\n\n{FORMAT}{schema_text(request.schema)}"
    return [ModelRequest(parts=[SystemPromptPart(system), UserPromptPart(content)])]


def _binary(content: bytes) -> BinaryContent:
    return BinaryContent(content, media_type=media_type(content))


def objection(text: str, reason: str) -> list[ModelMessage]:
    """The messages that follow a question whose answer cannot be used."""
    wrong: list[ModelMessage] = [ModelResponse(parts=[TextPart(text)])] if text.strip() else []
    return [*wrong, ModelRequest(parts=[UserPromptPart(AGAIN.format(reason=reason))])]


def spent(reply: ModelResponse, settings: AnnotatorSettings) -> Spent:
    """What a reply says and used."""
    usage = reply.usage
    details = usage.details
    return Spent(
        model=reply.model_name or settings.model,
        text=reply.text or "",
        input=usage.input_tokens,
        output=usage.output_tokens,
        cached=usage.cache_read_tokens,
        thinking=details.get("reasoning_tokens", 0) or details.get("thoughts_tokens", 0),
        dollars=settings.dollars(usage.input_tokens, usage.output_tokens),
    )


def check_reply(reply: ModelResponse, settings: AnnotatorSettings) -> None:
    """Raises RefusedError for a refusal, AnswerError for an answer that is cut off or empty."""
    details = reply.provider_details or {}
    if reply.finish_reason == "content_filter" or "block_reason" in details:
        said = details.get("refusal") or details.get("block_reason") or details.get("finish_reason")
        raise RefusedError(f"the model refuses to answer ({said or 'content filter'})")
    if reply.finish_reason == "length":
        raise AnswerError(f"the answer was cut off at {settings.max_tokens} tokens (max_tokens)")
    if not (reply.text or "").strip():
        raise AnswerError("the answer is empty")
