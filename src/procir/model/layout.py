"""Everything that the model reads for some dialogues, as tensors on the host: nothing is left to do on its way.

Laying out costs the host a while, and needs no weights: training does it in the thread that prepares the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from procir.model.dialogue import Dialogue
from procir.model.packing import Batch, length_groups, pack, pad, token_groups, unique_views
from procir.model.vision import Pictures, lay_out_views


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Passes of the vision tower, then of the language model, and which of its states were asked for.

    `wanted` are places among the states of all batches at their embedding tokens, one batch after the other.
    """

    pictures: tuple[Pictures, ...]
    batches: tuple[Batch, ...]
    wanted: Int64[Tensor, " embeddings"]


def lay_out(tower: Any, dialogues: Sequence[Dialogue], *, packed: bool, max_tokens: int, patches: int) -> Layout:
    """The layout of dialogues for a vision tower, in passes of at most so many tokens or patches.

    A dialogue that stands twice in the sequence is read once, one that another begins with is read within that, and
    every distinct view goes through the vision tower once, however many dialogues show it. That a document is the first
    turn of a query on the same product is exact: nothing later reaches it.
    """
    distinct = {id(dialogue): dialogue for dialogue in dialogues}
    within = beginnings(list(distinct.values()))
    read = [dialogue for dialogue in distinct.values() if id(dialogue) not in within]
    pictures, rows = lay_out_views(tower, unique_views(read), packed=packed, chunk=patches)
    arrange, group = (pack, token_groups) if packed else (pad, length_groups)
    groups = group([len(dialogue) for dialogue in read], max_tokens=max_tokens)
    place = _places(read, groups)
    for short, whole in within.items():
        place[short] = place[id(whole)][: len(distinct[short].embedding_at)]
    return Layout(
        pictures=pictures,
        batches=tuple(arrange(read, members, rows) for members in groups),
        wanted=torch.from_numpy(np.concatenate([place[id(dialogue)] for dialogue in dialogues])),
    )


def beginnings(dialogues: Sequence[Dialogue]) -> dict[int, Dialogue]:
    """By the id of each dialogue that another one begins with, the longest such other one."""
    longer: dict[bytes, Dialogue] = {}
    for dialogue in sorted(dialogues, key=lambda dialogue: len(dialogue.embedding_at)):
        if dialogue.is_turns:
            longer |= dict.fromkeys(dialogue.turn_digests[:-1], dialogue)
    return {id(dialogue): longer[dialogue.digest] for dialogue in dialogues if longer and dialogue.digest in longer}


def _places(dialogues: Sequence[Dialogue], groups: Sequence[Sequence[int]]) -> dict[int, Int64[np.ndarray, " own"]]:
    """Where the states of each dialogue are among those of the groups in turn, by its id."""
    places, start = {}, 0
    for dialogue in (dialogues[member] for members in groups for member in members):
        places[id(dialogue)] = np.arange(start, start + len(dialogue.embedding_at))
        start += len(dialogue.embedding_at)
    return places
