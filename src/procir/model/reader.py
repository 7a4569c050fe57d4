"""The network with its tokenizer: dialogues in, hidden states at the embedding tokens out (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from procir.errors import ConfigError
from procir.model import checkpoint
from procir.model.dialogue import Dialogue, DialogueBuilder
from procir.model.layout import Layout, lay_out
from procir.model.packed import packed_states, padded_states, worthwhile
from procir.model.packing import Batch
from procir.model.pixels import PixelSettings, PixelStore, ViewPixels
from procir.model.tokenizers import EMBEDDING_TOKEN
from procir.model.transfer import pinned, to_device
from procir.model.vision import Pictures, lay_out_views, picture_features

BATCH_TOKENS = {"cpu": 2048, "cuda": 65_536}
"""Tokens of one forward pass by device: on a CPU small passes stay in its caches, a GPU wants large ones."""

VISION_CHUNK = 32_768
"""Patches that go through the vision tower together."""


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


class Reader:
    """A Qwen3.5 model with an embedding token, and the one way to build and read its dialogues.

    `max_batch_tokens` bounds the tokens of one forward pass (see `BATCH_TOKENS`); `cache_bytes` bounds the decoded
    views kept. `packed` reads dialogues end to end instead of padded, and views end to end instead of equal sizes
    together; None packs where that is faster.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        settings: EmbedderSettings,
        *,
        max_batch_tokens: int | None = None,
        cache_bytes: int = 1 << 30,
        packed: bool | None = None,
    ) -> None:
        text = network.config.text_config
        checkpoint.require_embedding_row(network, tokenizer, settings.embedding_token)
        self.network = network
        self.tokenizer = tokenizer
        self.settings = settings
        self._max_batch_tokens = max_batch_tokens
        self._packed = packed
        self.store = PixelStore(settings.pixels, capacity=cache_bytes)
        self.dialogues = DialogueBuilder(
            tokenizer,
            two_turns=settings.two_turns,
            max_length=text.max_position_embeddings,
            embedding_token=settings.embedding_token,
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
        """Tokens of one forward pass, padding included, those of the device unless set."""
        return self._max_batch_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cuda"])

    @property
    def packed(self) -> bool:
        """Whether dialogues and views are read end to end."""
        return worthwhile(self.device) if self._packed is None else self._packed

    def embed(self, dialogues: Sequence[Dialogue]) -> Float[Tensor, "embeddings dim"]:
        """Hidden states at the embedding tokens, dialogue by dialogue and turn by turn, with gradients.

        Nothing is read twice: see `procir.model.layout.lay_out`.
        """
        return self.states(self.lay_out(dialogues))

    def lay_out(self, dialogues: Sequence[Dialogue]) -> Layout:
        """What `states` reads for dialogues; any thread may call this while another one uses the model."""
        layout = lay_out(
            self.network.model.visual,
            dialogues,
            packed=self.packed,
            max_tokens=self.max_batch_tokens,
            patches=VISION_CHUNK,
        )
        return pinned(layout, self.device)

    def states(self, layout: Layout) -> Float[Tensor, "embeddings dim"]:
        """What `embed` gives for the dialogues that were laid out; a layout may be read any number of times."""
        features = self._see(layout.pictures)
        found = [self.read(to_device(batch, self.device), features) for batch in layout.batches]
        return torch.cat(found)[to_device(layout.wanted, self.device)]

    def read(
        self, batch: Batch, features: Float[Tensor, "tokens hidden"] | None, cache: Any = None
    ) -> Float[Tensor, "embeddings dim"]:
        """The states of one batch at its embedding tokens; a cache goes before a padded one and takes it in."""
        hidden = self.network.get_input_embeddings()(batch.token_ids)
        if features is not None and len(batch.image_at):
            shown = features[batch.feature_at].to(hidden.dtype)
            hidden = hidden.flatten(0, 1).index_copy(0, batch.image_at, shown).view_as(hidden)
        language_model = self.network.model.language_model
        if batch.borders is not None:
            return packed_states(language_model, hidden[0], batch.position_ids[:, 0], batch.borders, batch.embedding_at)
        if cache is None and batch.mask is None and language_model.config._attn_implementation == "sdpa":
            return padded_states(language_model, hidden, batch.position_ids, batch.embedding_at)
        padded: Tensor = language_model(
            inputs_embeds=hidden,
            position_ids=batch.position_ids,
            attention_mask=batch.mask,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return padded.flatten(0, 1)[batch.embedding_at]

    def view_features(
        self, views: Sequence[ViewPixels]
    ) -> tuple[Float[Tensor, "tokens hidden"] | None, dict[bytes, range]]:
        """What the vision tower sees in distinct views, and the rows of each view's tokens by digest."""
        pictures, rows = lay_out_views(self.network.model.visual, views, packed=self.packed, chunk=VISION_CHUNK)
        return self._see(pictures), rows

    def _see(self, pictures: Sequence[Pictures]) -> Float[Tensor, "tokens hidden"] | None:
        tower = self.network.model.visual
        seen = [picture_features(tower, to_device(each, self.device), self.settings.pixels) for each in pictures]
        return torch.cat(seen) if seen else None


def unit_rows(states: Float[Tensor, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Embeddings from hidden states: rows of unit length, in NumPy."""
    rows: Float32[np.ndarray, "n dim"] = F.normalize(states.float(), dim=-1).cpu().numpy()
    return rows
