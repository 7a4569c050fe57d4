"""The vision tower over many images of one grid at once.

transformers runs attention image by image unless FlashAttention is there; the same weights applied to a batch
of equal grids give the same features in one call a layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers.models.qwen3_5.modeling_qwen3_5 import apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from procir.model.packed import once_or_twice


def view_features(
    tower: Any, patches: Float[Tensor, "views patches values"], token_grid: tuple[int, int]
) -> Float[Tensor, "views tokens hidden"]:
    """Features of views of one grid, as `Qwen3_5VisionModel` gives them for each photo alone.

    `patches` lack the time axis (see `packing.patches`); the two frames of a photo are equal, so their kernels add.
    """
    count, length, _ = patches.shape
    merge = tower.spatial_merge_size
    grid = torch.tensor([[1, token_grid[0] * merge, token_grid[1] * merge]], device=patches.device)
    hidden = _embed_patches(tower, patches) + _position_embedding(tower, grid, merge).to(patches.dtype)
    rotation = tower.rotary_pos_emb(hidden, get_vision_position_ids(grid, merge))
    for block in tower.blocks:
        hidden = once_or_twice(block.gradient_checkpointing and block.training, _apply, block, hidden, rotation)
    merged: Tensor = tower.merger(hidden.reshape(count * length, -1))
    return merged.view(count, length // merge**2, -1)


def _apply(
    block: Any, hidden: Float[Tensor, "views patches width"], rotation: tuple[Tensor, Tensor]
) -> Float[Tensor, "views patches width"]:
    hidden = hidden + _attend(block.attn, block.norm1(hidden), rotation)
    last: Tensor = hidden + block.mlp(block.norm2(hidden))
    return last


def _embed_patches(tower: Any, patches: Float[Tensor, "views patches values"]) -> Float[Tensor, "views patches width"]:
    projection = tower.patch_embed.proj
    kernel = projection.weight.sum(dim=2).flatten(1)
    return F.linear(patches, kernel, projection.bias)


def _position_embedding(tower: Any, grid: Tensor, merge: int) -> Float[Tensor, "patches width"]:
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=tower.num_grid_per_side,
        mode=tower.interpolation_mode,
        align_corners=tower.interpolation_align_corners,
        spatial_merge_size=merge,
    )
    weighted: Tensor = tower.pos_embed(indices) * weights[:, :, None]
    return weighted.sum(1)


def _attend(
    attention: Any, hidden: Float[Tensor, "views patches width"], rotation: tuple[Tensor, Tensor]
) -> Float[Tensor, "views patches width"]:
    count, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).view(count, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, *rotation)
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), scale=attention.scaling
    )
    projected: Tensor = attention.proj(mixed.transpose(1, 2).reshape(count, length, width))
    return projected
