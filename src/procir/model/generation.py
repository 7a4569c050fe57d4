"""Text from the model: what comes after a dialogue that ends where the assistant speaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache

from procir.errors import ConfigError
from procir.model.dialogue import Dialogue
from procir.model.packing import Batch, pad, unique_views
from procir.model.reader import Reader
from procir.model.transfer import to_device


@torch.no_grad()
def generate(
    model: Reader, openings: Sequence[Dialogue], *, max_new: int, temperature: float = 0.0, seed: int = 0
) -> list[list[int]]:
    """The tokens that follow each opening up to the end of the turn, which is left out, or at most `max_new`.

    All openings go on side by side from one cache. A temperature of 0 takes the likeliest token; above it tokens are
    drawn, by `seed`. Raises ConfigError for settings that make no sense.
    """
    if max_new < 1 or temperature < 0:
        raise ConfigError(f"max_new {max_new} and temperature {temperature}: at least 1 token, and not below 0")
    if not openings:
        return []
    features, rows = model.view_features(unique_views(openings))
    batch = to_device(pad(openings, range(len(openings)), rows, left=True), model.device)
    cache = DynamicCache(config=model.network.config.text_config)
    draw = torch.Generator(model.device).manual_seed(seed)
    states = model.read(batch, features, cache)
    positions = torch.tensor([int(dialogue.position_ids.max()) + 1 for dialogue in openings], device=model.device)
    mask = batch.mask if batch.mask is not None else torch.ones_like(batch.token_ids)
    end = model.dialogues.vocabulary.end[0]
    written: list[list[int]] = [[] for _ in openings]
    running = [True] * len(openings)
    for _ in range(max_new):
        tokens = _choose(model.network.lm_head(states).float(), temperature, draw)
        for place, token in enumerate(tokens.tolist()):
            running[place] = running[place] and token != end
            if running[place]:
                written[place].append(token)
        if not any(running):
            break
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        states = model.read(_next(tokens, positions, mask), None, cache)
        positions = positions + 1
    return written


def _choose(
    scores: Float[Tensor, "batch vocabulary"], temperature: float, draw: torch.Generator
) -> Int64[Tensor, " batch"]:
    if temperature == 0:
        return scores.argmax(dim=-1)
    return torch.multinomial(torch.softmax(scores / temperature, dim=-1), 1, generator=draw)[:, 0]


def _next(tokens: Int64[Tensor, " batch"], positions: Int64[Tensor, " batch"], mask: Tensor) -> Batch:
    """One more token of each dialogue."""
    count, none = len(tokens), torch.zeros(0, dtype=torch.long, device=tokens.device)
    return Batch(
        members=tuple(range(count)),
        token_ids=tokens[:, None],
        position_ids=positions.expand(3, count)[..., None],
        image_at=none,
        feature_at=none,
        embedding_at=torch.arange(count, device=tokens.device),
        mask=mask,
    )
