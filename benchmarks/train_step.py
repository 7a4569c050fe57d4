"""A training step of the tiny model, against the plain way with transformers alone.

The plain way pads all dialogues of a kind to the longest, with an attention mask, computes rope positions in the
forward pass, runs vision attention image by image, and reads every row anew, also where two rows show one product.
Both take the same examples and weights; their losses must agree. `python -m benchmarks.train_step` prints what it
measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.losses import symmetric_info_nce
from procir.model.packing import patches, stack_pixels
from procir.recipes import tiny
from procir.train.config import TrainConfig
from procir.train.data import ExampleBuilder, StepExamples
from procir.train.objective import losses

TARGET = 2.0
ROUNDS = 5
TOLERANCE = 1e-3


def plain_losses(model: ProCIR, examples: StepExamples, config: TrainConfig) -> Tensor:
    """The objective by four padded forward passes of transformers' own model."""
    queries = plain_embeddings(model, examples.queries)
    documents = plain_embeddings(model, [own for (own,) in examples.documents])
    sources = plain_embeddings(model, examples.source_captions)
    targets = plain_embeddings(model, [own for (own,) in examples.target_captions])
    source_ids, target_ids = torch.from_numpy(examples.sources), torch.from_numpy(examples.targets[:, 0])
    tau = config.temperature
    return (
        symmetric_info_nce(queries[1::2], documents, target_ids, temperature=tau)
        + config.document_weight * symmetric_info_nce(documents, targets, target_ids, temperature=tau)
        + config.source_weight * symmetric_info_nce(queries[0::2], sources, source_ids, temperature=tau)
    )


def plain_embeddings(model: ProCIR, dialogues: Sequence[Dialogue]) -> Tensor:
    length = max(map(len, dialogues))
    ids = torch.zeros(len(dialogues), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, dialogue in enumerate(dialogues):
        ids[row, : len(dialogue)] = torch.from_numpy(dialogue.token_ids)
        mask[row, : len(dialogue)] = 1
    views = [view for dialogue in dialogues for view in dialogue.views]
    images = {} if not views else {"pixel_values": _pixel_values(model, views), "image_grid_thw": _grids(views)}
    states = model.network.model(
        input_ids=ids,
        attention_mask=mask,
        mm_token_type_ids=(ids == model.dialogues.vocabulary.image).int(),
        use_cache=False,
        **images,
    ).last_hidden_state
    return torch.stack([states[row, at] for row, dialogue in enumerate(dialogues) for at in dialogue.embedding_at])


def _pixel_values(model: ProCIR, views: Sequence) -> Tensor:
    pixels = model.settings.pixels
    values = [patches(stack_pixels([view]), pixels, torch.float32)[0] for view in views]
    flat = torch.cat(values).view(-1, 3, 1, pixels.patch**2)
    return flat.expand(-1, 3, 2, pixels.patch**2).reshape(len(flat), -1)


def _grids(views: Sequence) -> Tensor:
    return torch.tensor([[1, 2 * view.token_grid[0], 2 * view.token_grid[1]] for view in views])


def timed(model: ProCIR, objective: Callable[[], Tensor]) -> tuple[float, float]:
    """Seconds of one forward and backward pass, and the loss."""
    model.network.zero_grad(set_to_none=True)
    start = time.perf_counter()
    loss = objective()
    loss.backward()
    return time.perf_counter() - start, loss.item()


def main() -> int:
    config = tiny.demo_training()
    with tempfile.TemporaryDirectory() as folder:
        catalogue = AtelierConfig(train_products=400, val_products=20, size=96, seed=3)
        training = draw_catalogue(Path(folder) / "data", catalogue)["train"]
        model = tiny.fresh_model(training)
        model.network.train()
        builder = ExampleBuilder(model, training, config)
        batches = [builder.examples(step) for step in range(ROUNDS + 1)]
    ours, plain = [], []
    for number, batch in enumerate(batches):
        seconds, loss = timed(model, lambda batch=batch: losses(model, batch, config)["loss"])
        plain_seconds, plain_loss = timed(model, lambda batch=batch: plain_losses(model, batch, config))
        assert abs(loss - plain_loss) < TOLERANCE * plain_loss, f"losses differ: {loss} and {plain_loss}"
        if number:  # the first round warms up
            ours.append(seconds)
            plain.append(plain_seconds)
    ratios = [slow / fast for fast, slow in zip(ours, plain, strict=True)]
    value = statistics.median(ratios)
    speed = config.batch_size / statistics.median(ours)
    print(f"{os.cpu_count()} cores, batches of {config.batch_size}, {ROUNDS} rounds, forward and backward, in turn")
    print(f"this step {statistics.median(ours):.2f} s ({speed:.1f} samples a second)")
    print(f"plain step {statistics.median(plain):.2f} s; plain / this from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"peak memory of both {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    claim = "a training step of the tiny model takes at most half of the plain padded one's time"
    print(json.dumps({"claim": claim, "value": round(value, 2), "target": TARGET, "holds": min(ratios) >= TARGET}))
    return 0 if min(ratios) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
