"""Dialogues as tensors: equal vision grids together, sequences padded or end to end, nothing done twice."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from procir.model.dialogue import Dialogue
from procir.model.packed import Borders
from procir.model.pixels import MEAN, STD, PixelSettings, ViewPixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Dialogues that the language model reads together: padded to one length, or packed into one row.

    `members` are the dialogues' places in the order that was asked for. Padding on the right needs no mask: attention,
    recurrence and convolution all look backward only, so that no real token ever sees it. `mask` is 0 at padding on the
    left; it covers earlier tokens too where there are any. `borders` says where the sequences of a packed row are.
    `image_at` and `feature_at` say which row of the view features goes to which flat token position.
    """

    members: tuple[int, ...]
    token_ids: Int64[Tensor, "batch length"]
    position_ids: Int64[Tensor, "3 batch length"]
    image_at: Int64[Tensor, " images"]
    feature_at: Int64[Tensor, " images"]
    embedding_at: Int64[Tensor, " embeddings"]
    mask: Int64[Tensor, "batch seen"] | None = None
    borders: Borders | None = None


def unique_views(dialogues: Sequence[Dialogue]) -> list[ViewPixels]:
    """Every distinct view of the dialogues, whatever file it comes from, in order of first appearance."""
    return list({view.digest: view for dialogue in dialogues for view in dialogue.views}.values())


def by_grid(views: Sequence[ViewPixels], chunk: int) -> list[list[ViewPixels]]:
    """Views grouped by equal grid, at most `chunk` patches' worth of views (one at least) in a group."""
    groups: dict[tuple[int, int], list[ViewPixels]] = defaultdict(list)
    for view in views:
        groups[view.token_grid].append(view)
    chunks = []
    for (rows, columns), members in groups.items():
        size = max(1, chunk // (4 * rows * columns))
        chunks += [members[start : start + size] for start in range(0, len(members), size)]
    return chunks


def stack_pixels(views: Sequence[ViewPixels]) -> UInt8[Tensor, "views height width 3"]:
    """Views of one grid as one byte tensor on the host."""
    return torch.from_numpy(np.stack([view.pixels for view in views]))


def patches(
    pixels: UInt8[Tensor, "views height width 3"], settings: PixelSettings, dtype: torch.dtype
) -> Float[Tensor, "views patches values"]:
    """Normalised patches in the vision tower's order: tokens row by row, the patches of a token together.

    A patch holds its channels one after the other, without the time axis: a photo's two frames are the same.
    """
    count, height, width, _ = pixels.shape
    merge, patch = settings.merge, settings.patch
    rows, columns = height // (patch * merge), width // (patch * merge)
    grid = pixels.reshape(count, rows, merge, patch, columns, merge, patch, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    values = grid.reshape(count, rows * columns * merge * merge, 3 * patch * patch).to(torch.float32)
    return ((values / 255 - MEAN) / STD).to(dtype)


def length_groups(lengths: Sequence[int], *, max_tokens: int, waste: float = 0.2) -> list[list[int]]:
    """Indices grouped so that padding a group to its longest member wastes at most about a share `waste`.

    A group holds at most `max_tokens` padded tokens, or a single sequence. Longest first; ties keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    groups: list[list[int]] = []
    for index in order:
        if groups:
            longest = lengths[groups[-1][0]]
            fits = longest * (len(groups[-1]) + 1) <= max_tokens
            if fits and lengths[index] >= (1 - waste) * longest:
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups


def token_groups(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Indices in groups of at most `max_tokens` tokens together, or a single sequence."""
    groups: list[list[int]] = []
    held = 0
    for index, length in enumerate(lengths):
        if not groups or held + length > max_tokens:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += length
    return groups


def pad(
    dialogues: Sequence[Dialogue],
    members: Sequence[int],
    feature_rows: Mapping[bytes, range],
    *,
    left: bool = False,
) -> Batch:
    """The dialogues at `members`, padded, on the host; `feature_rows` maps views' digests to feature rows."""
    lengths = [len(dialogues[member]) for member in members]
    longest = max(lengths)
    starts = [row * longest + (longest - length if left else 0) for row, length in enumerate(lengths)]
    batch = _lay_out(dialogues, members, feature_rows, starts, (len(members), longest))
    if not left or min(lengths) == longest:
        return batch
    mask = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    return replace(batch, mask=mask.long())


def pack(dialogues: Sequence[Dialogue], members: Sequence[int], feature_rows: Mapping[bytes, range]) -> Batch:
    """The dialogues at `members` end to end in one row, on the host; `feature_rows` as in `pad`."""
    borders = Borders.of(len(dialogues[member]) for member in members)
    batch = _lay_out(dialogues, members, feature_rows, borders.at[:-1], (1, borders.at[-1]))
    return replace(batch, borders=borders)


def _lay_out(
    dialogues: Sequence[Dialogue],
    members: Sequence[int],
    feature_rows: Mapping[bytes, range],
    starts: Sequence[int],
    shape: tuple[int, int],
) -> Batch:
    """A batch of so many rows and columns, with every dialogue at its flat start."""
    tokens, positions = np.zeros(math.prod(shape), np.int64), np.zeros((3, math.prod(shape)), np.int64)
    image_at, feature_at, embedding_at = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], []
    for start, member in zip(starts, members, strict=True):
        dialogue = dialogues[member]
        real = slice(start, start + len(dialogue))
        tokens[real], positions[:, real] = dialogue.token_ids, dialogue.position_ids
        image_at.append(start + np.flatnonzero(dialogue.is_image))
        embedding_at += [start + at for at in dialogue.embedding_at]
        rows = [feature_rows[view.digest] for view in dialogue.views]
        feature_at += [np.arange(own.start, own.stop) for own in rows]
    return Batch(
        members=tuple(members),
        token_ids=torch.from_numpy(tokens.reshape(shape)),
        position_ids=torch.from_numpy(positions.reshape(3, *shape)),
        image_at=torch.from_numpy(np.concatenate(image_at)),
        feature_at=torch.from_numpy(np.concatenate(feature_at)),
        embedding_at=torch.tensor(embedding_at),
    )
