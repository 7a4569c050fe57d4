"""The recipe of the checkpoint that ships with procir, and its training record."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from procir.catalog.atelier.catalogue import draw_catalogue
from procir.recipes import tiny
from procir.recipes.console import console, show_rows, stage
from procir.recipes.runs import Clock, as_config, evaluate_all, train_watched, usable_device, write_outcome
from procir.train.config import TrainConfig


def train_starter(out: Path, *, config: TrainConfig | None = None, device: str = "cpu", resume: bool = False) -> None:
    """Draw the starter's catalogue, train it from random weights, evaluate it, and write it to `out`/model.

    Takes about half an hour on two CPU cores; an interrupted run goes on with `resume`.
    """
    config = config or tiny.starter_training()
    place = usable_device(device)
    clock = Clock()
    with stage("Drawing") as advance:
        catalogue = draw_catalogue(
            out / "data", tiny.starter_catalogue(), os.cpu_count() or 1, lambda done, total: advance(done, total, "")
        )
    clock.lap("drawing")
    training, validation = catalogue["train"], catalogue["val"]
    model = tiny.fresh_model(training, config.variant, seed=config.seed)
    model.network.to(place)
    train_watched(model, training, validation, config, out, resume=resume)
    clock.lap("training")
    model.save_pretrained(out / "model", card=_card(config), dtype=torch.bfloat16)
    evaluation, rows = evaluate_all(model, validation, None)
    clock.lap("evaluation")
    results = write_outcome(
        out, validation, evaluation, rows,
        seed=config.seed, config=as_config(train=config, catalogue=tiny.starter_catalogue(), device=device),
        clock=clock, title="The starting checkpoint",
    )  # fmt: skip
    show_rows(results["rows"])
    console.print(f"wrote {out / 'model'}")


def _card(config: TrainConfig) -> str:
    catalogue = tiny.starter_catalogue()
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
tags: [composed-image-retrieval, multimodal-embeddings, procir]
---
# procir starter

The tiny Qwen3.5-shaped model from which `procir demo` starts. It was trained from random weights by
`procir starter` on {catalogue.train_products:,} drawn garments (atelier, seed {catalogue.seed}, {catalogue.size} px):
variant {config.variant.name}, {config.max_steps:,} steps of {config.batch_size} triplets, learning rate
{config.learning_rate}, {config.precision}. The weights are stored in bfloat16. `training.json` beside this file holds
the configuration and what the model reached on held-out garments.

It knows drawn garments and nothing else: use it to see the method work, not to search photographs.
"""
