"""The recipe of the checkpoint that ships with procir, and its training record."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from procir.catalog.atelier.catalogue import draw_catalogue
from procir.evaluate.results import write_results
from procir.recipes import tiny
from procir.recipes.console import console, show_results, stage
from procir.recipes.curriculum import Curriculum, attend
from procir.recipes.runs import Clock, as_config, evaluate_all, usable_device, write_outcome

RECORD = "training.json"
"""File beside the weights that says how they came about."""


def train_starter(out: Path, *, device: str = "cpu", resume: bool = False) -> None:
    """Give a tiny model its lessons, evaluate it on held-out garments, and write `out`/model.

    With `resume`, finished lessons of an interrupted run are kept.
    """
    place, curriculum = usable_device(device), tiny.starter_curriculum()
    workers = os.cpu_count() or 1
    clock = Clock()
    with stage("Drawing") as advance:
        catalogue = draw_catalogue(
            out / "data", tiny.starter_catalogue(), workers, lambda done, total: advance(done, total, "products")
        )
    clock.lap("drawing")
    model = tiny.fresh_model(catalogue["train"], seed=curriculum.seed)
    model.network.to(place)
    lessons = attend(model, curriculum, out / "lessons", workers, resume=resume)
    clock.lap("lessons")
    model.save_pretrained(out / "model", card=_card(curriculum), dtype=torch.bfloat16)
    evaluation, rows = evaluate_all(model, catalogue["val"])
    clock.lap("evaluation")
    results = write_outcome(
        out, catalogue["val"], evaluation, rows,
        seed=curriculum.seed,
        config=as_config(lessons=curriculum, catalogue=tiny.starter_catalogue(), device=device),
        clock=clock, title="The starting checkpoint",
    )  # fmt: skip
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    write_results(
        out / "model" / RECORD, {**results, "lessons": lessons, "command": "procir starter", "machine": machine}
    )
    show_results(results)
    console.print(f"wrote {out / 'model'}")


def _card(lessons: Curriculum) -> str:
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
tags: [composed-image-retrieval, multimodal-embeddings, procir]
---
# procir starter

The tiny Qwen3.5-shaped model from which `procir demo` starts. `procir starter` gave it lessons, from random weights:

1. reading: the vision tower learnt to name what the views of {lessons.garments:,} unrelated drawn garments show
   ({lessons.reading.steps:,} steps of {lessons.reading.batch_size} views), and stayed as it was then;
2. describing: the embeddings of the same garments, and of wishes for others, learnt to tell all that shows
   ({lessons.describing.steps:,} steps of {lessons.describing.batch_size} garments).

It has seen no triplet and no caption: contrastive training is left to whoever starts from it. The weights are stored in
bfloat16. `{RECORD}` beside this file holds the configuration and what the model reached on held-out garments. It knows
drawn garments and nothing else: use it to see the method work, not to search photographs.
"""
