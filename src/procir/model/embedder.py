"""ProCIR: Qwen3.5 whose hidden state at the embedding token is a product's embedding (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor
from transformers import Qwen3_5ForConditionalGeneration

from procir.errors import ConfigError
from procir.model import checkpoint
from procir.model.dialogue import Dialogue, DialogueBuilder
from procir.model.packing import PaddedBatch, by_grid, length_groups, pad, patches, stack_pixels, unique_views
from procir.model.pixels import PixelSettings, PixelStore, ViewPixels
from procir.model.shapes import configuration
from procir.model.tokenizers import EMBEDDING_TOKEN
from procir.model.vision import view_features
from procir.types import MAX_VIEWS, Product, Query

BATCH_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Padded tokens of one forward pass by device: on a CPU small passes stay in its caches, a GPU wants large ones."""

VISION_CHUNK = 32_768
"""Patches that go through the vision tower together."""

ENCODE_CHUNK = 64
"""Items that are rendered and embedded together when encoding."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What a checkpoint says beyond its weights: the dialogue it was trained with, and its view sizes."""

    two_turns: bool = True
    """Whether queries read the views in a turn of their own (section 4.4)."""
    embedding_token: str = EMBEDDING_TOKEN
    """The token whose hidden state is the embedding."""
    pixels: PixelSettings = field(default_factory=PixelSettings)
    """How views are resized."""

    def __post_init__(self) -> None:
        if not self.embedding_token:
            raise ConfigError("embedding_token is empty: name the token that stands for the embedding")


class ProCIR:
    """A Qwen3.5 model with an embedding token; an `Embedder` for products, composed queries and captions.

    `max_batch_tokens` bounds the padded tokens of one forward pass (see `BATCH_TOKENS`); `cache_bytes` bounds the
    decoded views kept.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        settings: EmbedderSettings,
        *,
        max_batch_tokens: int | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        text = network.config.text_config
        checkpoint.require_embedding_row(network, tokenizer, settings.embedding_token)
        self.network = network
        self.tokenizer = tokenizer
        self.settings = settings
        self._max_batch_tokens = max_batch_tokens
        self.store = PixelStore(settings.pixels, capacity=cache_bytes)
        self.dialogues = DialogueBuilder(
            tokenizer,
            two_turns=settings.two_turns,
            max_length=text.max_position_embeddings,
            embedding_token=settings.embedding_token,
        )

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
    ) -> ProCIR:
        """A checkpoint directory or Hub id with an embedding token, as `save_pretrained` or the authors wrote it.

        `settings` overrides what the checkpoint says of itself; checkpoints without `procir.json` are read with
        the published model's settings. Raises CheckpointError naming what is missing, MissingTokenError if the
        tokenizer lacks the embedding token.
        """
        loaded = checkpoint.load(path, dtype=dtype)
        network = loaded.network.to(device).eval()
        return cls(network, loaded.tokenizer, settings or EmbedderSettings(**loaded.settings))

    @classmethod
    def from_backbone(
        cls, path: str | Path, settings: EmbedderSettings | None = None, *, dtype: torch.dtype = torch.float32
    ) -> ProCIR:
        """Any Qwen3.5 as the start of training: the embedding token is added if the tokenizer lacks it.

        `settings` overrides what the checkpoint says of itself, as in `from_pretrained`. Raises CheckpointError.
        """
        loaded = checkpoint.load(path, dtype=dtype)
        settings = settings or EmbedderSettings(**loaded.settings)
        checkpoint.add_embedding_token(loaded.network, loaded.tokenizer, settings.embedding_token)
        return cls(loaded.network.eval(), loaded.tokenizer, settings)

    def save_pretrained(self, path: Path, *, card: str | None = None, dtype: torch.dtype | None = None) -> None:
        """Write a checkpoint directory in the Hub's format, whole or not at all.

        `card` is the text of its README.md; a short one is written otherwise. `dtype` narrows the stored weights.
        """
        checkpoint.save(
            path, network=self.network, tokenizer=self.tokenizer, settings=self.settings, card=card, dtype=dtype
        )

    @property
    def dim(self) -> int:
        """Length of an embedding: the hidden size."""
        return int(self.network.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    @property
    def max_batch_tokens(self) -> int:
        """Padded tokens of one forward pass, those of the device unless set."""
        return self._max_batch_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cuda"])

    def parameters(self) -> int:
        """How many weights the model has."""
        return sum(weight.numel() for weight in self.network.parameters())

    def with_views(self, pixels: PixelSettings) -> ProCIR:
        """The same weights looking at views of another size."""
        return type(self)(self.network, self.tokenizer, replace(self.settings, pixels=pixels))

    def require_room(self, queries: Iterable[Query], captions: Iterable[str]) -> None:
        """Raise ContextOverflowError if a dialogue of these could be longer than the model's context.

        Called before long work. Views count with the most tokens that the settings allow; a thought counts as the
        caption that it is taken from.
        """
        pixels = self.settings.pixels
        view_tokens = pixels.max_pixels // (pixels.patch * pixels.merge) ** 2 + 2
        for query in queries:
            views = len(query.source.views[:MAX_VIEWS])
            self.dialogues.require_room(query.text, views * view_tokens, f"the query on {query.source.key}")
        for text in captions:
            self.dialogues.require_room(text, MAX_VIEWS * view_tokens, "a caption")

    def embed(self, dialogues: Sequence[Dialogue]) -> Float[Tensor, "embeddings dim"]:
        """Hidden states at the embedding tokens, dialogue by dialogue and turn by turn, with gradients.

        A dialogue that stands twice in the sequence is read once, and every distinct view goes through the
        vision tower once, however many dialogues show it.
        """
        distinct = list({id(dialogue): dialogue for dialogue in dialogues}.values())
        states = self._states(distinct)
        first = np.cumsum([0, *(len(dialogue.embedding_at) for dialogue in distinct)])
        place = {id(dialogue): np.arange(*first[i : i + 2]) for i, dialogue in enumerate(distinct)}
        wanted = np.concatenate([place[id(dialogue)] for dialogue in dialogues])
        return states[torch.from_numpy(wanted).to(self.device)]

    def _states(self, dialogues: Sequence[Dialogue]) -> Float[Tensor, "embeddings dim"]:
        features, rows = self._view_features(unique_views(dialogues))
        groups = length_groups([len(dialogue) for dialogue in dialogues], max_tokens=self.max_batch_tokens)
        batches = [pad(dialogues, members, rows, self.device) for members in groups]
        states = torch.cat([self._read(batch, features) for batch in batches])
        first = np.cumsum([0, *(len(dialogue.embedding_at) for dialogue in dialogues)])
        order = np.concatenate([np.arange(*first[member : member + 2]) for group in groups for member in group])
        return states[torch.from_numpy(np.argsort(order)).to(self.device)]

    def _read(
        self, batch: PaddedBatch, features: Float[Tensor, "tokens hidden"] | None
    ) -> Float[Tensor, "embeddings dim"]:
        """The states of one padded batch at its embedding tokens."""
        hidden = self.network.get_input_embeddings()(batch.token_ids)
        if features is not None and len(batch.image_at):
            shown = features[batch.feature_at].to(hidden.dtype)
            hidden = hidden.flatten(0, 1).index_copy(0, batch.image_at, shown).view_as(hidden)
        states: Tensor = self.network.model.language_model(
            inputs_embeds=hidden, position_ids=batch.position_ids, use_cache=False
        ).last_hidden_state
        return states.flatten(0, 1)[batch.embedding_at]

    def encode_products(self, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
        """Document embeddings d of unit length, from up to five views each (section 4.3)."""
        return self._encode(
            products, lambda chunk: [self.dialogues.document(views) for views in self.store.products(chunk)], 1
        )

    def encode_queries(self, queries: Sequence[Query]) -> Float32[np.ndarray, "n dim"]:
        """Query embeddings q of unit length, from views and modification text (section 4.4)."""

        def render(chunk: Sequence[Query]) -> list[Dialogue]:
            shown = self.store.products([query.source for query in chunk])
            return [self.dialogues.query(views, query.text) for views, query in zip(shown, chunk, strict=True)]

        return self._encode(queries, render, 2 if self.settings.two_turns else 1)

    def encode_captions(self, texts: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Caption embeddings t of unit length, from text alone (section 4.5)."""
        return self._encode(texts, lambda chunk: [self.dialogues.caption(text) for text in chunk], 1)

    def _encode(
        self, items: Sequence[_Item], render: Callable[[Sequence[_Item]], list[Dialogue]], turns: int
    ) -> Float32[np.ndarray, "n dim"]:
        result = np.empty((len(items), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(items), ENCODE_CHUNK):
                dialogues = render(items[start : start + ENCODE_CHUNK])
                last = self.embed(dialogues)[turns - 1 :: turns]
                result[start : start + len(dialogues)] = F.normalize(last.float(), dim=-1).cpu().numpy()
        return result

    def _view_features(
        self, views: Sequence[ViewPixels]
    ) -> tuple[Float[Tensor, "tokens hidden"] | None, dict[int, range]]:
        tower = self.network.model.visual
        rows: dict[int, range] = {}
        features: list[Tensor] = []
        start = 0
        for group in by_grid(views, VISION_CHUNK):
            values = patches(stack_pixels(group, self.device), self.settings.pixels, tower.dtype)
            features.append(view_features(tower, values, group[0].token_grid).flatten(0, 1))
            tokens = group[0].token_grid[0] * group[0].token_grid[1]
            for view in group:
                rows[id(view)] = range(start, start + tokens)
                start += tokens
        return (torch.cat(features) if features else None), rows
