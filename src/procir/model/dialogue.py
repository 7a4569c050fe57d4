"""The one way to build a prompt, for training, evaluation and search alike (paper, sections 4.2 to 4.6).

    document   [user: views][assistant: <emb_all>]                                       -> d
    query      [user: views][assistant: <emb_all>][user: text][assistant: <emb_all>]     -> s, q   (two turns)
               [user: views + text][assistant: <emb_all>]                                -> q      (single turn)
    refined    a query of two turns, and [user: text][assistant: <emb_all>] again and again   -> s, q1, q2, ...
    caption    [user: caption][assistant: <emb_all>]                                     -> t
    lesson     [system][user: views + request][assistant: thought, answer or <emb_all>]...   -> every assistant token
    opening    [system][user: views][assistant: ...                                      -> what comes next

Every assistant turn opens with a think block, which is empty unless a thought is given. A dialogue ends with
its last embedding token: nothing after it could reach the embedding. Texts are data: characters that spell a special
token stay characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from procir.errors import ConfigError, ContextOverflowError, DataError
from procir.model.pixels import ViewPixels
from procir.model.tokenizers import EMBEDDING_TOKEN, special_id

_REMEMBERED_TEXTS = 1 << 16

_MOST_TURNS = 64
"""Of a query; a lesson reads states at many more places."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialogue:
    """A rendered dialogue: what the language model reads, and where its embeddings stand.

    `position_ids` are Qwen3.5's time, height and width positions; `views` fill the image tokens in order.
    `embedding_at` says where hidden states are read: at the embedding token of every turn; in a lesson at the token
    before each one that is to be learnt; in an opening at the last token.
    """

    token_ids: Int64[np.ndarray, " length"]
    position_ids: Int64[np.ndarray, "3 length"]
    is_image: Bool[np.ndarray, " length"]
    views: tuple[ViewPixels, ...]
    embedding_at: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def digest(self) -> bytes:
        """SHA-256 of tokens and views: dialogues of equal digest have equal embeddings."""
        return sha256(self.token_ids.tobytes() + b"".join(view.digest for view in self.views)).digest()

    @property
    def is_turns(self) -> bool:
        """Whether states are read at the ends of two turns or more alone, and all views are in the first of them."""
        several = 1 < len(self.embedding_at) <= _MOST_TURNS and self.embedding_at[-1] == len(self) - 1
        return several and not self.is_image[self.embedding_at[0] :].any()

    @property
    def turn_digests(self) -> list[bytes]:
        """The digests of the dialogues that end with each turn; for a dialogue that `is_turns`."""
        views = b"".join(view.digest for view in self.views)
        return [sha256(self.token_ids[: at + 1].tobytes() + views).digest() for at in self.embedding_at]

    @property
    def learnt_ids(self) -> Int64[np.ndarray, " learnt"]:
        """What a lesson teaches: the token after each place where a state is read."""
        learnt: Int64[np.ndarray, " learnt"] = self.token_ids[np.array(self.embedding_at) + 1]
        return learnt


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A turn of a lesson: what the user shows and asks, what the assistant thinks and answers.

    Without an `answer` the turn ends with the embedding token.
    """

    views: tuple[ViewPixels, ...] = ()
    request: str = ""
    thought: str = ""
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Token ids of the fixed pieces, as the chat template would give them."""

    user: tuple[int, ...]
    assistant: tuple[int, ...]
    end: tuple[int, ...]
    think: int
    end_think: int
    newline: tuple[int, ...]
    blank_line: tuple[int, ...]
    vision_start: int
    vision_end: int
    image: int
    embedding: int


class DialogueBuilder:
    """Renders dialogues for one tokenizer and embedding token.

    Raises MissingTokenError if the tokenizer lacks a token of the scheme. Dialogues longer than `max_length`
    tokens raise ContextOverflowError.
    """

    def __init__(
        self, tokenizer: Any, *, two_turns: bool, max_length: int, embedding_token: str = EMBEDDING_TOKEN
    ) -> None:
        self.tokenizer = tokenizer
        self.two_turns = two_turns
        self.max_length = max_length
        self.vocabulary = _read_vocabulary(tokenizer, embedding_token)
        self._ids = lru_cache(maxsize=_REMEMBERED_TEXTS)(self._tokenize)
        self._fixed = _length_of_pieces(self.vocabulary)

    def document(self, views: Sequence[ViewPixels], thought: Sequence[int] | None = None) -> Dialogue:
        """The dialogue of a product alone; its embedding is d, equal to s of a two-turn query."""
        draft = _Draft(self.vocabulary)
        draft.ask(views, ())
        draft.answer(thought)
        return draft.finish(self.max_length)

    def query(self, views: Sequence[ViewPixels], text: str, thought: Sequence[int] | None = None) -> Dialogue:
        """The dialogue of a composed query; with two turns its embeddings are s and q, otherwise q alone.

        A thought goes to the first turn of two (section 4.6); single-turn queries have none.
        """
        return self.conversation(views, [text], thought)

    def conversation(
        self, views: Sequence[ViewPixels], texts: Sequence[str], thought: Sequence[int] | None = None
    ) -> Dialogue:
        """A query that is refined again and again: its embeddings are s, and a q after each of the texts.

        Raises ConfigError for several texts where views and text share a turn.
        """
        draft = _Draft(self.vocabulary)
        first: Sequence[ViewPixels] = views
        if self.two_turns:
            draft.ask(views, ())
            draft.answer(thought)
            first = ()
        elif len(texts) > 1:
            raise ConfigError("this model reads photos and text in one turn: conversations need a two-turn model")
        for text in texts:
            draft.ask(first, self.text_ids(text))
            draft.answer(None)
        return draft.finish(self.max_length)

    def caption(self, text: str) -> Dialogue:
        """The dialogue of a text alone; its embedding is t."""
        draft = _Draft(self.vocabulary)
        draft.ask((), self.text_ids(text))
        draft.answer(None)
        return draft.finish(self.max_length)

    def turn(self, text: str, *, length: int, next_position: int) -> Dialogue:
        """One more turn after a dialogue of `length` tokens whose next position is `next_position`; it has no views.

        Appended to a document's dialogue it gives that of a two-turn query.
        """
        draft = _Draft(self.vocabulary, length, next_position)
        draft.ask((), self.text_ids(text))
        draft.answer(None)
        return draft.finish(self.max_length)

    def lesson(self, system: str | None, exchanges: Sequence[Exchange]) -> Dialogue:
        """A conversation to learn from; everything that the assistant says is to be learnt (formula 13).

        That is each think block, the answer or the embedding token, and the token that ends the turn, not the name of
        the role. Texts meet the line ends around them as in the chat template, which may join both in one token.
        """
        draft = self._instructed(system)
        for exchange in exchanges:
            self._ask(draft, exchange.views, exchange.request)
            ending = self._ids(f"\n\n{exchange.answer.strip()}") if exchange.answer is not None else None
            draft.teach(self._ids(f"\n{exchange.thought}\n"), ending)
        draft.end()
        return draft.finish(self.max_length)

    def opening(self, system: str | None, views: Sequence[ViewPixels], request: str = "") -> Dialogue:
        """A conversation up to where the assistant begins to think, for the model to go on."""
        draft = self._instructed(system)
        self._ask(draft, views, request)
        draft.open()
        return draft.finish(self.max_length)

    def _instructed(self, system: str | None) -> _Draft:
        draft = _Draft(self.vocabulary)
        if system is not None:
            draft.instruct(self._ids("system\n"), self.text_ids(system))
        return draft

    def _ask(self, draft: _Draft, views: Sequence[ViewPixels], request: str) -> None:
        draft.ask(views, self.text_ids(request) if request.strip() else ())

    def most_tokens(self, texts: Sequence[str]) -> int:
        """Tokens of a turn with the longest of these texts."""
        trimmed = [text.strip() for text in texts]
        found = self.tokenizer(trimmed, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return self._fixed + max(map(len, found))

    def require_room(self, text: str, view_tokens: int, what: str) -> None:
        """Raise ContextOverflowError if `text` beside so many view tokens leaves no room for the fixed pieces."""
        beside = view_tokens + self._fixed
        size = len(unicodedata.normalize("NFC", text).encode())
        if text.strip() and size + beside <= self.max_length:
            return  # no token of a byte-level vocabulary is shorter than a byte, and counting takes far longer
        needed = len(self.text_ids(text)) + beside
        if needed > self.max_length:
            raise ContextOverflowError(
                f"{what} may take {needed} tokens, the model reads {self.max_length}: shorten the text "
                f"{text[:40]!r}..., or lower the pixels a view"
            )

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text, trimmed as the chat template trims; special tokens in it are not special."""
        return list(self._ids(text.strip()))

    def _tokenize(self, text: str) -> tuple[int, ...]:
        if not text:
            raise DataError("the text is empty: a query and a caption need at least one character")
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


class _Draft:
    def __init__(self, vocabulary: _Vocabulary, before: int = 0, next_position: int = 0) -> None:
        self.vocabulary = vocabulary
        self.before = before
        self.tokens: list[int] = []
        self.positions: list[Int64[np.ndarray, "3 piece"]] = []
        self.views: list[ViewPixels] = []
        self.embedding_at: list[int] = []
        self.next_position = next_position

    def ask(self, views: Sequence[ViewPixels], text: Sequence[int]) -> None:
        v = self.vocabulary
        if self.before + len(self.tokens):
            self._text(v.end)
        self._text(v.user)
        for view in views:
            self._text((v.vision_start,))
            self._view(view)
            self._text((v.vision_end,))
        self._text(text)
        self._text(v.end)

    def answer(self, thought: Sequence[int] | None) -> None:
        v = self.vocabulary
        inside = (*v.newline, *thought, *v.newline) if thought else v.blank_line
        self._text((*v.assistant, v.think, *inside, v.end_think, *v.blank_line))
        self.embedding_at.append(len(self.tokens))
        self._text((v.embedding,))

    def instruct(self, role: Sequence[int], text: Sequence[int]) -> None:
        self._text((self.vocabulary.user[0], *role, *text))  # `ask` ends it, as it ends every turn before

    def teach(self, thought: Sequence[int], answer: Sequence[int] | None) -> None:
        v = self.vocabulary
        self._text(v.assistant)
        first = len(self.tokens)
        ending = (*v.blank_line, v.embedding) if answer is None else answer
        self._text((v.think, *thought, v.end_think, *ending))
        self.embedding_at.extend(range(first - 1, len(self.tokens)))  # the last of them foretells the turn's end

    def end(self) -> None:
        self._text(self.vocabulary.end[:1])

    def open(self) -> None:
        self._text((*self.vocabulary.assistant, self.vocabulary.think))
        self.embedding_at.append(len(self.tokens) - 1)

    def finish(self, max_length: int) -> Dialogue:
        length = self.before + len(self.tokens)
        if length > max_length:
            raise ContextOverflowError(
                f"a dialogue of {len(self.views)} views and its texts takes {length} tokens, the model "
                f"reads {max_length}: shorten the text, lower the pixels a view, or show fewer views"
            )
        tokens = np.asarray(self.tokens, dtype=np.int64)
        return Dialogue(
            token_ids=tokens,
            is_image=tokens == self.vocabulary.image,
            position_ids=np.concatenate(self.positions, axis=1),
            views=tuple(self.views),
            embedding_at=tuple(self.embedding_at),
        )

    def _text(self, ids: Sequence[int]) -> None:
        self.tokens.extend(ids)
        positions = np.arange(self.next_position, self.next_position + len(ids), dtype=np.int64)
        self.positions.append(np.broadcast_to(positions, (3, len(ids))))
        self.next_position += len(ids)

    def _view(self, view: ViewPixels) -> None:
        rows, columns = view.token_grid
        self.views.append(view)
        self.tokens.extend([self.vocabulary.image] * (rows * columns))
        grid = np.stack([np.zeros((rows, columns), np.int64), *np.indices((rows, columns))])
        self.positions.append(grid.reshape(3, -1) + self.next_position)
        self.next_position += max(rows, columns)


def _length_of_pieces(v: _Vocabulary) -> int:
    """Tokens of a two-turn query beside its views and texts, with the frame of a thought."""
    turn = len(v.user) + len(v.end) + len(v.assistant) + 2 + 2 * len(v.newline) + len(v.blank_line) + 1
    return 2 * turn + len(v.end)


def _read_vocabulary(tokenizer: Any, embedding_token: str) -> _Vocabulary:
    def pieces(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    start, end = special_id(tokenizer, "<|im_start|>"), special_id(tokenizer, "<|im_end|>")
    return _Vocabulary(
        user=(start, *pieces("user\n")),
        assistant=(start, *pieces("assistant\n")),
        end=(end, *pieces("\n")),
        think=special_id(tokenizer, "<think>"),
        end_think=special_id(tokenizer, "</think>"),
        newline=pieces("\n"),
        blank_line=pieces("\n\n"),
        vision_start=special_id(tokenizer, "<|vision_start|>"),
        vision_end=special_id(tokenizer, "<|vision_end|>"),
        image=special_id(tokenizer, "<|image_pad|>"),
        embedding=special_id(tokenizer, embedding_token),
    )
