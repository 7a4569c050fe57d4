"""The recipe of the checkpoint that ships with procir, and its training record."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from procir.catalog.atelier.catalogue import draw_catalogue
from procir.recipes import tiny
from procir.recipes.console import console, show_rows, stage
from procir.recipes.reading import ReadingConfig, learn_to_read
from procir.recipes.runs import Clock, as_config, evaluate_all, train_watched, usable_device, write_outcome
from procir.train.config import TrainConfig
from procir.train.log import read_log

RECORD = "training.json"
"""File beside the weights that says how they came about."""


def train_starter(out: Path, *, device: str = "cpu", resume: bool = False) -> None:
    """Teach a tiny model to read views, train it on the starter's catalogue, evaluate it, and write `out`/model.

    An interrupted run goes on with `resume`: finished reading lessons are kept, and training goes on from its newest
    checkpoint.
    """
    place, config, lessons = usable_device(device), tiny.starter_training(), tiny.starter_reading()
    workers = os.cpu_count() or 1
    clock = Clock()
    with stage("Drawing") as advance:
        catalogue = draw_catalogue(
            out / "data", tiny.starter_catalogue(), workers, lambda done, total: advance(done, total, "products")
        )
    clock.lap("drawing")
    training, validation = catalogue["train"], catalogue["val"]
    model = tiny.fresh_model(training, config.variant, seed=config.seed)
    model.network.to(place)
    marks = learn_to_read(model, lessons, out / "reading", workers, resume=resume)
    clock.lap("reading")
    train_watched(model, training, validation, config, out, resume=resume)
    clock.lap("training")
    model.save_pretrained(out / "model", card=_card(lessons, config), dtype=torch.bfloat16)
    evaluation, rows = evaluate_all(model, validation)
    clock.lap("evaluation")
    results = write_outcome(
        out, validation, evaluation, rows,
        seed=config.seed,
        config=as_config(reading=lessons, train=config, catalogue=tiny.starter_catalogue(), device=device),
        clock=clock, title="The starting checkpoint",
    )  # fmt: skip
    record = json.dumps(_record(results, marks, out), indent=1)
    (out / "model" / RECORD).write_text(record + "\n", encoding="utf-8")
    show_rows(results["rows"])
    console.print(f"wrote {out / 'model'}")


def _record(results: Mapping[str, Any], marks: Mapping[str, float], out: Path) -> dict[str, Any]:
    """The results, what the reading lessons reached, and the curve of the training."""
    curve = [{name: _short(value) for name, value in row.items()} for row in read_log(out)]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {**results, "reading": dict(marks), "curve": curve, "command": "procir starter", "machine": machine}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _card(lessons: ReadingConfig, config: TrainConfig) -> str:
    catalogue = tiny.starter_catalogue()
    settings = "\n".join(f"- {name}: {value}" for name, value in asdict(config).items())
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
tags: [composed-image-retrieval, multimodal-embeddings, procir]
---
# procir starter

The tiny Qwen3.5-shaped model from which `procir demo` starts. `procir starter` trained it from random weights:

1. reading lessons: the vision tower learnt to name what the views of {lessons.garments:,} unrelated garments show
   ({lessons.steps:,} steps of {lessons.batch_size} views), and stayed as it was then;
2. contrastive training on {catalogue.train_products:,} garments (atelier, seed {catalogue.seed}, families of up to
   {catalogue.family}) with the settings below.

The weights are stored in bfloat16. `{RECORD}` beside this file holds the configuration and what the model reached on
held-out garments. It knows drawn garments and nothing else: use it to see the method work, not to search photographs.

{settings}
"""
