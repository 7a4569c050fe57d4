"""The vision tower over many images at once.

transformers runs attention image by image unless FlashAttention is there. Here the same weights are applied to a batch
of equal grids, or to images of any grids laid end to end, whose borders attention keeps to. Both give each photo the
features that it has alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from transformers.models.qwen3_5.modeling_qwen3_5 import apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from procir.model.packed import Borders, attention_within, once_or_twice
from procir.model.packing import by_grid, patches, stack_pixels
from procir.model.pixels import PixelSettings, ViewPixels
from procir.model.transfer import to_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the patches of a grid are: rows and columns, and what their position embeddings are interpolated from."""

    positions: Int64[Tensor, "patches 2"]
    taps: Int64[Tensor, "patches taps"]
    weights: Float[Tensor, "patches taps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Views that go through the vision tower together: stacks of equal grids, and the places of each stack's patches.

    Without `borders` there is one stack, read as a batch; with them all stacks are read end to end in one row.
    """

    stacks: tuple[UInt8[Tensor, "_views _height _width 3"], ...]
    places: tuple[Places, ...]
    borders: Borders | None = None


def lay_out_views(
    tower: Any, views: Sequence[ViewPixels], *, packed: bool, chunk: int
) -> tuple[tuple[Pictures, ...], dict[bytes, range]]:
    """Distinct views as passes of at most `chunk` patches (one view at least), and each view's feature rows by digest.

    Packed passes hold views of any grids, others of one.
    """
    groups = by_grid(views, chunk)
    passes = _filled(groups, chunk) if packed else [[group] for group in groups]
    rows: dict[bytes, range] = {}
    start = 0
    for view in (view for group in groups for view in group):
        rows[view.digest] = range(start, start + view.token_grid[0] * view.token_grid[1])
        start = rows[view.digest].stop
    places = {grid: places_of(tower, grid) for grid in {group[0].token_grid for group in groups}}
    return tuple(_pictures(members, places, packed) for members in passes), rows


def _filled(groups: Sequence[list[ViewPixels]], chunk: int) -> list[list[list[ViewPixels]]]:
    """Neighbouring groups put together while they stay within `chunk` patches."""
    passes: list[list[list[ViewPixels]]] = []
    held = 0
    for group in groups:
        rows, columns = group[0].token_grid
        size = 4 * rows * columns * len(group)
        if not passes or held + size > chunk:
            passes.append([])
            held = 0
        passes[-1].append(group)
        held += size
    return passes


def _pictures(
    groups: Sequence[Sequence[ViewPixels]], places: Mapping[tuple[int, int], Places], packed: bool
) -> Pictures:
    own = tuple(places[group[0].token_grid] for group in groups)
    lengths = [len(at.positions) for group, at in zip(groups, own, strict=True) for _ in group]
    stacks = tuple(stack_pixels(group) for group in groups)
    return Pictures(stacks=stacks, places=own, borders=Borders.of(lengths) if packed else None)


def places_of(tower: Any, token_grid: tuple[int, int]) -> Places:
    """The places of the patches of one grid, on the host."""
    merge = tower.spatial_merge_size
    grid = torch.tensor([[1, token_grid[0] * merge, token_grid[1] * merge]])
    taps, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=tower.num_grid_per_side,
        mode=tower.interpolation_mode,
        align_corners=tower.interpolation_align_corners,
        spatial_merge_size=merge,
    )
    return Places(positions=get_vision_position_ids(grid, merge), taps=taps, weights=weights)


def picture_features(tower: Any, pictures: Pictures, settings: PixelSettings) -> Float[Tensor, "tokens hidden"]:
    """Features of the views of one pass, which is on the tower's device, token by token."""
    values = [patches(stack, settings, tower.dtype) for stack in pictures.stacks]
    return _features(tower, values, pictures.places, pictures.borders)


def view_features(
    tower: Any, patches: Float[Tensor, "views patches values"], token_grid: tuple[int, int]
) -> Float[Tensor, "views tokens hidden"]:
    """Features of views of one grid, as `Qwen3_5VisionModel` gives them for each photo alone.

    `patches` lack the time axis (see `packing.patches`).
    """
    places = to_device(places_of(tower, token_grid), patches.device)
    features = _features(tower, [patches], [places], None)
    return features.view(len(patches), -1, features.shape[-1])


def _features(
    tower: Any,
    values: Sequence[Float[Tensor, "_views _patches values"]],
    places: Sequence[Places],
    borders: Borders | None,
) -> Float[Tensor, "tokens hidden"]:
    embedded = [_embed(tower, *each) for each in zip(values, places, strict=True)]
    turns = [tower.rotary_pos_emb(part, at.positions) for part, at in zip(embedded, places, strict=True)]
    if borders is None:
        (hidden,), (rotation,) = embedded, turns
    else:
        hidden = torch.cat([part.flatten(0, 1) for part in embedded])[None]
        repeated = [[turn.repeat(len(part), 1) for turn in own] for part, own in zip(embedded, turns, strict=True)]
        cosines, sines = zip(*repeated, strict=True)
        rotation = torch.cat(cosines), torch.cat(sines)
    for block in tower.blocks:
        hidden = once_or_twice(block, _apply, block, hidden, rotation, borders)
    merged: Tensor = tower.merger(hidden.flatten(0, 1))
    return merged


def _embed(
    tower: Any, patches: Float[Tensor, "views patches values"], places: Places
) -> Float[Tensor, "views patches width"]:
    """Patches with their position embeddings; the two frames of a photo are equal, so their kernels add."""
    projection = tower.patch_embed.proj
    kernel = projection.weight.sum(dim=2).flatten(1)
    position: Tensor = (tower.pos_embed(places.taps) * places.weights[:, :, None]).sum(1)
    return F.linear(patches, kernel, projection.bias) + position.to(patches.dtype)


def _apply(
    block: Any, hidden: Float[Tensor, "rows patches width"], rotation: tuple[Tensor, Tensor], borders: Borders | None
) -> Float[Tensor, "rows patches width"]:
    hidden = hidden + _attend(block.attn, block.norm1(hidden), rotation, borders)
    last: Tensor = hidden + block.mlp(block.norm2(hidden))
    return last


def _attend(
    attention: Any,
    hidden: Float[Tensor, "rows patches width"],
    rotation: tuple[Tensor, Tensor],
    borders: Borders | None,
) -> Float[Tensor, "rows patches width"]:
    """Attention of every patch to all patches of its photo."""
    count, length, width = hidden.shape
    query, key, value = attention.qkv(hidden).view(count, length, 3, attention.num_heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, *rotation)
    if borders is None:
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling).transpose(1, 2)
    else:
        mixed = attention_within(borders, query[0], key[0], value[0], scale=attention.scaling, causal=False)
    projected: Tensor = attention.proj(mixed.reshape(count, length, width))
    return projected
