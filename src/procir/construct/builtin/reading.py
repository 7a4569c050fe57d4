"""A chat request, read as one of the questions that `procir.construct.questions` asks."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from procir.annotators.request import CLOSE, OPEN
from procir.catalog.conversations import image_label
from procir.construct.prompts.schemas import CaptionAnswer
from procir.construct.questions import CAPTION, TRIPLETS, VERIFY, candidate_label
from procir.errors import BadQuestionError

_URL_HEAD, _URL_MIDDLE = "data:image/", ";base64,"
_COMMON = frozenset(CaptionAnswer.model_fields) - {"belongs"}
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture of a request."""

    content: bytes


Part = str | Photo | Mapping[str, Any]
"""A text, a picture, or what stands in a block of data."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: its stage, the blocks of data in order, and the pictures that belong to each of them.

    `member` is the name of the field in which stage 1 says whether the product belongs to the domain. `objected` says
    whether the request goes on with an objection to an earlier answer.
    """

    model: str
    stage: str
    member: str
    blocks: tuple[Mapping[str, Any], ...]
    photos: tuple[tuple[bytes, ...], ...]
    objected: bool
    texts: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts and the number of pictures."""
        counts = [len(photos) for photos in self.photos]
        return sha256(json.dumps([self.model, self.stage, self.texts, counts]).encode()).hexdigest()


def read_question(body: bytes) -> Question:
    """The question in the body of a chat request. Raises BadQuestionError that says what is wrong and where."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadQuestionError(f"the body is not JSON in UTF-8 ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), str):
        raise BadQuestionError("the body must be a JSON object with the name of a model")
    stage, member = _stage(content)
    messages = [(message["role"], tuple(_parts(message))) for message in _messages(content)]
    users = [parts for role, parts in messages if role == "user"]
    if not users:
        raise BadQuestionError("messages holds none of role user")
    read = {CAPTION: _read_captioning, VERIFY: _read_verification, TRIPLETS: _read_selection}[stage]
    blocks, photos = read([_as_data(part) for part in users[0]])
    return Question(
        model=content["model"],
        stage=stage,
        member=member,
        blocks=tuple(blocks),
        photos=tuple(photos),
        objected=len(users) > 1,
        texts=tuple(part for _, parts in messages for part in parts if isinstance(part, str)),
    )


def _stage(content: Mapping[str, Any]) -> tuple[str, str]:
    """The stage, by the fields of the schema that is asked for; and stage 1's name of `belongs`."""
    names = frozenset(_at(content, "response_format", "json_schema", "schema", "properties"))
    if names == {"products"}:
        return VERIFY, ""
    if names == {"selections"}:
        return TRIPLETS, ""
    members = names - _COMMON
    if names > _COMMON and len(members) == 1:
        return CAPTION, next(iter(members))
    raise BadQuestionError(
        f"response_format asks for a JSON schema with the fields {sorted(names)}, which is none of the three stages'"
    )


def _at(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        content = content.get(name, _EMPTY)
        if not isinstance(content, Mapping):
            raise BadQuestionError(f"{name} in response_format is no object")
    return content


def _messages(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = content.get("messages")
    if not isinstance(messages, list):
        raise BadQuestionError("messages is no list")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("system", "developer", "user", "assistant"):
            raise BadQuestionError("an entry of messages is no object with the role system, user or assistant")
    return messages


def _parts(message: Mapping[str, Any]) -> Iterator[str | Photo]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise BadQuestionError(f"the content of a message of role {message['role']} is neither a text nor a list")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            yield part["text"]
        elif kind == "image_url":
            yield Photo(_decoded(part.get("image_url")))
        else:
            raise BadQuestionError(f"a part of a message is of type {kind!r}; known are text and image_url")


def _decoded(image: object) -> bytes:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith(_URL_HEAD) or _URL_MIDDLE not in url[:64]:
        raise BadQuestionError("an image_url is no data URL in base64; addresses are never opened")
    try:
        return base64.b64decode(url[url.index(_URL_MIDDLE) + len(_URL_MIDDLE) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadQuestionError(f"an image_url is not base64 ({error})") from error


def _as_data(part: str | Photo) -> Part:
    if isinstance(part, Photo) or not part.startswith(OPEN):
        return part
    if not part.endswith(CLOSE) or part.count(OPEN) + part.count(CLOSE) != 2:
        raise BadQuestionError(f"a block of data does not end with {CLOSE}, or holds another one")
    try:
        block = json.loads(part.removeprefix(OPEN).removesuffix(CLOSE))
    except (ValueError, RecursionError) as error:
        raise BadQuestionError(f"a block of data is not JSON ({error})") from error
    if not isinstance(block, dict):
        raise BadQuestionError("a block of data is no object")
    return block


Read = tuple[list[Mapping[str, Any]], list[tuple[bytes, ...]]]


def _read_captioning(parts: Sequence[Part]) -> Read:
    labels, photos = parts[1::2], parts[2::2]
    expected = [image_label(number) for number in range(1, len(photos) + 1)]
    if list(labels) != expected:
        raise BadQuestionError(f"after the block of data must come {expected}, with a picture after each")
    block = _block(parts, 0)
    if block.get("images") != len(photos):
        raise BadQuestionError(f"the block of data says {block.get('images')!r} images, but there are {len(photos)}")
    return [block], [tuple(_photo(parts, 2 + 2 * i) for i in range(len(photos)))]


def _read_verification(parts: Sequence[Part]) -> Read:
    if not parts or len(parts) % 2:
        raise BadQuestionError("the parts are not blocks of data with a picture after each")
    places = range(0, len(parts), 2)
    return [_block(parts, place) for place in places], [(_photo(parts, place + 1),) for place in places]


def _read_selection(parts: Sequence[Part]) -> Read:
    labels = parts[2::3]
    expected = [candidate_label(number) for number in range(1, len(labels) + 1)]
    if list(labels) != expected or len(parts) != 2 + 3 * len(labels):
        raise BadQuestionError(f"after the source must come {expected}, with data and a picture after each")
    source = _block(parts, 0).get("source")
    if not isinstance(source, dict):
        raise BadQuestionError("the first block of data has no source")
    places = range(3, len(parts), 3)
    blocks = [source, *(_block(parts, place) for place in places)]
    return blocks, [(_photo(parts, place + 1),) for place in (0, *places)]


def _block(parts: Sequence[Part], place: int) -> Mapping[str, Any]:
    part = parts[place] if place < len(parts) else None
    if not isinstance(part, Mapping):
        raise BadQuestionError(f"part {place + 1} of the question is no block of data")
    return part


def _photo(parts: Sequence[Part], place: int) -> bytes:
    part = parts[place] if place < len(parts) else None
    if not isinstance(part, Photo):
        raise BadQuestionError(f"part {place + 1} of the question is no picture")
    return part.content
