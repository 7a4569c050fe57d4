"""The training objective (paper, sections 4.3, 4.5 and 4.7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def false_negatives(ids: Int64[Tensor, " batch"]) -> Bool[Tensor, "batch batch"]:
    """Pairs (i, j), i != j, that show the same product and must not repel each other."""
    same = ids[:, None] == ids[None, :]
    return same & ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)


def symmetric_info_nce(
    left: Float[Tensor, "batch dim"],
    right: Float[Tensor, "batch dim"],
    ids: Int64[Tensor, " batch"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """SymInfoNCE over cosine similarities (formula 5): the mean of both directions' cross-entropies.

    Row i of `left` belongs to row i of `right`; `ids` names the product of each row, and other rows of the same
    product are left out of the denominators. Computed in float32 (float64 stays float64), whatever the inputs.
    """
    working = torch.promote_types(left.dtype, torch.float32)
    scores = F.normalize(left.to(working), dim=-1) @ F.normalize(right.to(working), dim=-1).T / temperature
    scores = scores.masked_fill(false_negatives(ids), float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
