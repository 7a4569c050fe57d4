"""The language-model loss of supervised fine-tuning, in memory that the vocabulary does not multiply (section 4.8)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from procir.model.dialogue import Dialogue
from procir.model.reader import Reader

CHUNK = 1024
"""Tokens whose scores over the whole vocabulary are in memory together: a gigabyte of them for Qwen3.5."""


def language_loss(model: Reader, lessons: Sequence[Dialogue]) -> Float[Tensor, ""]:
    """Sum of -log p over the tokens that lessons teach (formula 13); divide by their number for the mean.

    The head reads the states before these tokens and no others.
    """
    targets = torch.from_numpy(np.concatenate([lesson.learnt_ids for lesson in lessons])).to(model.device)
    return summed_cross_entropy(model.network.lm_head, model.embed(lessons), targets)


def summed_cross_entropy(
    head: Any, states: Float[Tensor, "tokens dim"], targets: Int64[Tensor, " tokens"], *, chunk: int = CHUNK
) -> Float[Tensor, ""]:
    """Sum of the cross-entropies of a head's scores, in float32.

    Scores are computed `chunk` tokens at a time, and again for the gradient, so that few are kept; on a GPU with
    liger-kernel (the extra `gpu`) its fused kernel does the same.
    """
    if states.is_cuda and importlib.util.find_spec("liger_kernel") is not None:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused: Tensor = LigerFusedLinearCrossEntropyLoss(reduction="sum")(head.weight, states, targets)
        return fused
    pieces = zip(torch.split(states, chunk), torch.split(targets, chunk), strict=True)
    parts = [checkpoint(_cross_entropy, head, *piece, use_reentrant=False) for piece in pieces]
    return torch.stack(parts).sum()


def _cross_entropy(head: Any, states: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(states).float(), targets, reduction="sum")
