"""ProCIR: Qwen3.5 whose hidden state at the embedding token is a product's embedding (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float32
from transformers import Qwen3_5ForConditionalGeneration

from procir.errors import ConfigError
from procir.model import checkpoint, prefix, quantization
from procir.model.ahead import ahead
from procir.model.conversation import Conversation
from procir.model.dialogue import Dialogue
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings, Reader, unit_rows
from procir.model.shapes import configuration
from procir.types import MAX_VIEWS, Product, Query

ENCODE_CHUNK = 64
"""Items that are rendered and embedded together when encoding."""

SNAPSHOT_BYTES = 1 << 30
"""Bytes of snapshots that are kept at a time when texts go on from products."""

_Item = TypeVar("_Item")


class ProCIR(Reader):
    """A Qwen3.5 model with an embedding token; an `Embedder` for products, composed queries and captions."""

    @classmethod
    def from_shape(cls, shape: str, tokenizer: Any, settings: EmbedderSettings, *, seed: int = 0) -> ProCIR:
        """A model of a named shape (see `procir.model.shapes`) with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Qwen3_5ForConditionalGeneration(configuration(shape, tokenizer))
        return cls(network.eval(), tokenizer, settings)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        settings: EmbedderSettings | None = None,
        embedding_token: str | None = None,
        int8: bool = False,
    ) -> ProCIR:
        """A checkpoint directory or Hub id with an embedding token, as `save_pretrained` or the authors wrote it.

        With `int8`, the matrices of the language model are kept as int8 with a scale a row, for encoding alone.

        `settings`, or the name of the token alone, override what the checkpoint says of itself; checkpoints without
        `procir.json` are read with the published model's settings. Raises CheckpointError naming what is missing,
        MissingTokenError if the tokenizer lacks the embedding token.
        """
        loaded = checkpoint.load(path, dtype=dtype)
        network = loaded.network.to(device).eval()
        if int8:
            quantization.to_int8(network)
        return cls(network, loaded.tokenizer, _settings(loaded, settings, embedding_token))

    @classmethod
    def from_backbone(
        cls,
        path: str | Path,
        settings: EmbedderSettings | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        embedding_token: str | None = None,
    ) -> ProCIR:
        """Any Qwen3.5 as the start of training: the embedding token is added if the tokenizer lacks it.

        `settings` and `embedding_token` override what the checkpoint says of itself, as in `from_pretrained`. Raises
        CheckpointError.
        """
        loaded = checkpoint.load(path, dtype=dtype)
        settings = _settings(loaded, settings, embedding_token)
        checkpoint.add_embedding_token(loaded.network, loaded.tokenizer, settings.embedding_token)
        return cls(loaded.network.eval(), loaded.tokenizer, settings)

    def save_pretrained(self, path: Path, *, card: str | None = None, dtype: torch.dtype | None = None) -> None:
        """Write a checkpoint directory in the Hub's format, whole or not at all.

        `card` is the text of its README.md; a short one is written otherwise. `dtype` narrows the stored weights.
        """
        quantization.require_whole(self.network)
        checkpoint.save(
            path, network=self.network, tokenizer=self.tokenizer, settings=self.settings, card=card, dtype=dtype
        )

    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(weight.numel() for weight in self.network.parameters())

    def with_views(self, pixels: PixelSettings) -> ProCIR:
        """The same weights looking at views of another size."""
        return type(self)(self.network, self.tokenizer, replace(self.settings, pixels=pixels))

    def require_room(self, queries: Iterable[Query], captions: Iterable[str], *, further: int = 0) -> None:
        """Raise ContextOverflowError if a dialogue of these could be longer than the model's context.

        Called before long work. Views count with the most tokens that the settings allow; a thought counts as the
        caption that it is taken from. `further` tokens may follow a query, as later turns of a conversation.
        """
        pixels = self.settings.pixels
        view_tokens = pixels.max_pixels // (pixels.patch * pixels.merge) ** 2 + 2
        for query in queries:
            views = len(query.source.views[:MAX_VIEWS])
            beside = views * view_tokens + further
            self.dialogues.require_room(query.text, beside, f"the query on {query.source.key}")
        for text in captions:
            self.dialogues.require_room(text, MAX_VIEWS * view_tokens, "a caption")

    def encode_products(self, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
        """Document embeddings d of unit length, from up to five views each (section 4.3)."""
        return self._encode(products, self._documents, 1)

    def encode_queries(self, queries: Sequence[Query]) -> Float32[np.ndarray, "n dim"]:
        """Query embeddings q of unit length, from views and modification text (section 4.4)."""

        def render(chunk: Sequence[Query]) -> list[Dialogue]:
            shown = self.store.products([query.source for query in chunk])
            return [self.dialogues.query(views, query.text) for views, query in zip(shown, chunk, strict=True)]

        return self._encode(queries, render, 2 if self.settings.two_turns else 1)

    def encode_captions(self, texts: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Caption embeddings t of unit length, from text alone (section 4.5)."""
        return self._encode(texts, lambda chunk: [self.dialogues.caption(text) for text in chunk], 1)

    def start(self, product: Product) -> Conversation:
        """A product as the start of a conversation: its photos are read now, and never again.

        Raises ConfigError for a single-turn model, whose queries read photos and text together.
        """
        if not self.settings.two_turns:
            raise ConfigError("this model reads photos and text in one turn: conversations need a two-turn model")
        return Conversation(self, prefix.start(self, self._documents([product]))[0])

    def encode_turns(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "queries dim"]]:
        """Document embeddings d of products, and query embeddings q of each product's texts, product by product.

        With two turns each product is read once and its texts go on from there; the snapshots kept at a time take at
        most `SNAPSHOT_BYTES`, or are one.
        """
        asked = [Query(product, text) for product, own in zip(products, texts, strict=True) for text in own]
        if not self.settings.two_turns:
            return self.encode_products(products), self.encode_queries(asked)
        documents, queries = np.empty((len(products), self.dim), np.float32), [np.empty((0, self.dim), np.float32)]
        chunks = range(0, len(products), ENCODE_CHUNK)
        for first, dialogues in ahead(lambda first: self._documents(products[first : first + ENCODE_CHUNK]), chunks):
            for part in self._within_memory(dialogues):
                snapshots = prefix.start(self, [dialogues[index] for index in part])
                states = torch.stack([snapshot.embedding for snapshot in snapshots])
                documents[first + part.start : first + part.stop] = unit_rows(states)
                own = [texts[first + index] for index in part]
                repeated = [s for s, its in zip(snapshots, own, strict=True) for _ in its]
                if repeated:
                    queries.append(unit_rows(prefix.ask(self, repeated, [text for its in own for text in its])))
        return documents, np.concatenate(queries)

    def encode_conversations(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> Float32[np.ndarray, "queries dim"]:
        """Query embeddings after every text of each product's conversation, product by product, text by text.

        Equal to those of `start` and `refine`. Raises ConfigError for several texts if the model is a single-turn one.
        """
        found = [np.empty((0, self.dim), np.float32)]

        def render(first: int) -> list[Dialogue]:
            chunk = slice(first, first + ENCODE_CHUNK)
            shown = self.store.products(products[chunk])
            return [self.dialogues.conversation(*pair) for pair in zip(shown, texts[chunk], strict=True)]

        for first, dialogues in ahead(render, range(0, len(products), ENCODE_CHUNK)):
            with torch.inference_mode():
                states = self.embed(dialogues)
            counts = [len(own) for own in texts[first : first + ENCODE_CHUNK]]
            ends = np.cumsum([len(dialogue.embedding_at) for dialogue in dialogues])
            asked = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
            found.append(unit_rows(states)[np.concatenate(asked)])
        return np.concatenate(found)

    def _documents(self, products: Sequence[Product]) -> list[Dialogue]:
        return [self.dialogues.document(views) for views in self.store.products(products)]

    def _within_memory(self, dialogues: Sequence[Dialogue]) -> Iterator[range]:
        """Runs of dialogues whose snapshots fit into `SNAPSHOT_BYTES`."""
        first, held = 0, 0
        for index, dialogue in enumerate(dialogues):
            size = prefix.snapshot_bytes(self, len(dialogue))
            if index > first and held + size > SNAPSHOT_BYTES:
                yield range(first, index)
                first, held = index, 0
            held += size
        yield range(first, len(dialogues))

    def _encode(
        self, items: Sequence[_Item], render: Callable[[Sequence[_Item]], list[Dialogue]], turns: int
    ) -> Float32[np.ndarray, "n dim"]:
        """Unit embeddings of the last of `turns` turns; what is shown and said twice is read once.

        The dialogues of the next chunk are rendered while the model reads this one.
        """
        result = np.empty((len(items), self.dim), np.float32)
        rows: dict[bytes, int] = {}
        chunks = range(0, len(items), ENCODE_CHUNK)
        for start, dialogues in ahead(lambda start: render(items[start : start + ENCODE_CHUNK]), chunks):
            own = [rows.setdefault(dialogue.digest, start + i) for i, dialogue in enumerate(dialogues)]
            new = [i for i, row in enumerate(own) if row == start + i]
            if new:
                with torch.inference_mode():
                    last = self.embed([dialogues[i] for i in new])[turns - 1 :: turns]
                result[[start + i for i in new]] = unit_rows(last)
            result[start : start + len(dialogues)] = result[own]
        return result


def _settings(
    loaded: checkpoint.Loaded, settings: EmbedderSettings | None, embedding_token: str | None
) -> EmbedderSettings:
    chosen = settings or EmbedderSettings(**loaded.settings)
    return chosen if embedding_token is None else replace(chosen, embedding_token=embedding_token)
