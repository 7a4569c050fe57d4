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
from procir.model.packed import packed_states, worthwhile
from procir.model.packing import (
    Batch,
    by_grid,
    length_groups,
    pack,
    pad,
    patches,
    stack_pixels,
    token_groups,
    unique_views,
)
from procir.model.pixels import PixelSettings, PixelStore, ViewPixels
from procir.model.tokenizers import EMBEDDING_TOKEN
from procir.model.vision import view_features

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
    views kept. `packed` reads dialogues end to end instead of padded; None packs where that is faster.
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
        """Whether dialogues are read end to end."""
        return worthwhile(self.device) if self._packed is None else self._packed

    def embed(self, dialogues: Sequence[Dialogue]) -> Float[Tensor, "embeddings dim"]:
        """Hidden states at the embedding tokens, dialogue by dialogue and turn by turn, with gradients.

        A dialogue that stands twice in the sequence is read once, one that another begins with is read within that, and
        every distinct view goes through the vision tower once, however many dialogues show it. That a document is the
        first turn of a query on the same product is exact: nothing later reaches it.
        """
        distinct = {id(dialogue): dialogue for dialogue in dialogues}
        within = beginnings(list(distinct.values()))
        read = [dialogue for dialogue in distinct.values() if id(dialogue) not in within]
        states = self._states(read)
        first = np.cumsum([0, *(len(dialogue.embedding_at) for dialogue in read)])
        place = {id(dialogue): np.arange(*first[i : i + 2]) for i, dialogue in enumerate(read)}
        for short, whole in within.items():
            place[short] = place[id(whole)][: len(distinct[short].embedding_at)]
        wanted = np.concatenate([place[id(dialogue)] for dialogue in dialogues])
        return states[torch.from_numpy(wanted).to(self.device)]

    def _states(self, dialogues: Sequence[Dialogue]) -> Float[Tensor, "embeddings dim"]:
        features, rows = self.view_features(unique_views(dialogues))
        lay_out, group = (pack, token_groups) if self.packed else (pad, length_groups)
        groups = group([len(dialogue) for dialogue in dialogues], max_tokens=self.max_batch_tokens)
        batches = [lay_out(dialogues, members, rows, self.device) for members in groups]
        states = torch.cat([self.read(batch, features) for batch in batches])
        first = np.cumsum([0, *(len(dialogue.embedding_at) for dialogue in dialogues)])
        order = np.concatenate([np.arange(*first[member : member + 2]) for group in groups for member in group])
        return states[torch.from_numpy(np.argsort(order)).to(self.device)]

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
            states = packed_states(language_model, hidden[0], batch.position_ids[:, 0], batch.borders)
            return states[batch.embedding_at]
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
        """What the vision tower sees in views, and the rows of each view's tokens by digest."""
        tower = self.network.model.visual
        rows: dict[bytes, range] = {}
        features: list[Tensor] = []
        start = 0
        for group in by_grid(views, VISION_CHUNK):
            values = patches(stack_pixels(group, self.device), self.settings.pixels, tower.dtype)
            features.append(view_features(tower, values, group[0].token_grid).flatten(0, 1))
            tokens = group[0].token_grid[0] * group[0].token_grid[1]
            for view in group:
                rows[view.digest] = range(start, start + tokens)
                start += tokens
        return (torch.cat(features) if features else None), rows


def beginnings(dialogues: Sequence[Dialogue]) -> dict[int, Dialogue]:
    """By the id of each dialogue that another one begins with, the longest such other one."""
    longer: dict[bytes, Dialogue] = {}
    for dialogue in sorted(dialogues, key=lambda dialogue: len(dialogue.embedding_at)):
        if dialogue.is_turns:
            longer |= dict.fromkeys(dialogue.turn_digests[:-1], dialogue)
    return {id(dialogue): longer[dialogue.digest] for dialogue in dialogues if longer and dialogue.digest in longer}


def unit_rows(states: Float[Tensor, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Embeddings from hidden states: rows of unit length, in NumPy."""
    rows: Float32[np.ndarray, "n dim"] = F.normalize(states.float(), dim=-1).cpu().numpy()
    return rows
