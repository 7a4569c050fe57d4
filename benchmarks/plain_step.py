"""The straightforward training step with transformers alone, which `benchmarks.train_step` compares with.

It pads all dialogues of a kind to the longest, with an attention mask, computes rope positions in the forward pass,
runs vision attention image by image unless transformers knows better, and reads every row anew, also where two rows
show one product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.losses import symmetric_info_nce
from procir.model.packing import patches, stack_pixels
from procir.model.pixels import ViewPixels
from procir.train.config import TrainConfig
from procir.train.data import StepExamples
from procir.train.objective import product_numbers


def plain_losses(model: ProCIR, examples: StepExamples, config: TrainConfig) -> Tensor:
    """The objective by four padded forward passes of transformers' own model."""
    queries = plain_embeddings(model, examples.queries)
    documents = plain_embeddings(model, [own for (own,) in examples.documents])
    sources = plain_embeddings(model, examples.source_captions)
    targets = plain_embeddings(model, [own for (own,) in examples.target_captions])
    source_ids, target_ids = product_numbers(examples, model.device)
    target_ids = target_ids[:, 0]
    tau = config.temperature
    return (
        symmetric_info_nce(queries[1::2], documents, target_ids, temperature=tau)
        + config.document_weight * symmetric_info_nce(documents, targets, target_ids, temperature=tau)
        + config.source_weight * symmetric_info_nce(queries[0::2], sources, source_ids, temperature=tau)
    )


def plain_embeddings(model: ProCIR, dialogues: Sequence[Dialogue]) -> Tensor:
    """The states at embedding tokens of dialogues, padded on the right."""
    length = max(map(len, dialogues))
    ids = torch.zeros(len(dialogues), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, dialogue in enumerate(dialogues):
        ids[row, : len(dialogue)] = torch.from_numpy(dialogue.token_ids)
        mask[row, : len(dialogue)] = 1
    views = [view for dialogue in dialogues for view in dialogue.views]
    images = {} if not views else {"pixel_values": _pixel_values(model, views), "image_grid_thw": _grids(model, views)}
    states = model.network.model(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        mm_token_type_ids=(ids == model.dialogues.vocabulary.image).int().to(model.device),
        use_cache=False,
        **images,
    ).last_hidden_state
    return torch.stack([states[row, at] for row, dialogue in enumerate(dialogues) for at in dialogue.embedding_at])


def _pixel_values(model: ProCIR, views: Sequence[ViewPixels]) -> Tensor:
    pixels = model.settings.pixels
    values = [patches(stack_pixels([view]), pixels, torch.float32)[0] for view in views]
    flat = torch.cat(values).view(-1, 3, 1, pixels.patch**2)
    return flat.expand(-1, 3, 2, pixels.patch**2).reshape(len(flat), -1).to(model.device)


def _grids(model: ProCIR, views: Sequence[ViewPixels]) -> Tensor:
    return torch.tensor([[1, 2 * view.token_grid[0], 2 * view.token_grid[1]] for view in views], device=model.device)
