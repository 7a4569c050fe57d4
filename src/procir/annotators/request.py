"""A question to an annotator: texts and pictures in, an instance of a schema out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

AnswerT = TypeVar("AnswerT", bound=BaseModel)

# Made once: json.dumps makes an encoder for each text, which takes longer than the text does.
_readable = json.JSONEncoder(ensure_ascii=False).encode

OPEN, CLOSE = "<data>", "</data>"
"""What stands around data of a catalogue in a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that is opened only if the answer has to be paid for.

    `digest` names it without opening it: the hashes of its files and the way it is made from them. `load` gives its
    bytes as JPEG, PNG or WebP, and raises ImageError. `size` is for estimates: width and height as sent, from headers
    alone; without it the largest size is assumed.
    """

    digest: str
    load: Callable[[], bytes]
    size: Callable[[], tuple[int, int]] | None = None


@dataclass(frozen=True, kw_only=True)
class Request(Generic[AnswerT]):
    """One question about one item, such as a product.

    `check` raises AnswerError with a reason for an answer that fits the schema, but not the question.
    """

    stage: str
    item: str
    system: str
    parts: tuple[str | Picture, ...]
    schema: type[AnswerT]
    check: Callable[[AnswerT], None]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the answer depends on beside the model and its parameters."""
        # JSON put together by hand: an encoder of whole structures takes longer than all else that a question needs.
        parts = ", ".join(
            _quoted(part) if isinstance(part, str) else f'{{"picture": {_quoted(part.digest)}}}' for part in self.parts
        )
        system, schema = _hash(self.system), _hash(schema_text(self.schema))
        return sha256(f'[{_quoted(self.stage)}, "{system}", [{parts}], "{schema}"]'.encode()).hexdigest()


@lru_cache(maxsize=64)
def schema_text(schema: type[BaseModel]) -> str:
    """The JSON schema of an answer, as JSON; remembered, for pydantic takes longer to make it than a request takes."""
    return json.dumps(schema.model_json_schema(), sort_keys=True)


@lru_cache(maxsize=64)
def _hash(text: str) -> str:
    """SHA-256 of a prompt or a schema, remembered: they are the same in all questions of a stage."""
    return sha256(text.encode()).hexdigest()


def data(content: Mapping[str, Any]) -> str:
    """Data of a catalogue as a part of a request: JSON between marks that nothing in it can close."""
    text = _readable(dict(content)).replace("<", "\\u003c")
    return f"{OPEN}\n{text}\n{CLOSE}"
