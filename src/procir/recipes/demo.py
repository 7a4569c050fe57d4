"""The main job, end to end: a drawn catalogue, a model trained on it, its evaluation, and a report."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.model.embedder import ProCIR
from procir.recipes import tiny
from procir.recipes.console import console, say, show_results, stage
from procir.recipes.curriculum import attend
from procir.recipes.runs import Clock, as_config, closing, evaluate_all, listed, train_watched, write_outcome
from procir.train.config import TrainConfig
from procir.types import Split


def run_demo(out: Path, *, from_scratch: bool = False, seed: int = 0, catalogue: AtelierConfig | None = None) -> None:
    """Draw, train, evaluate and report into `out`; a catalogue that is already drawn there is used again.

    Writes `data/`, `model/`, `log.jsonl`, `results.json` and `report.html`; from scratch, the model has lessons
    first, which are kept in `lessons/`.
    """
    catalogue = catalogue or tiny.demo_catalogue()
    config = replace(tiny.demo_training(), seed=seed)
    starter = None if from_scratch else tiny.starter_model()
    say(f"procir demo → {out}  (a catalogue that is already drawn there is used again)")
    clock = Clock()
    splits = _draw(out / "data", catalogue)
    clock.lap("drawing")
    model, untrained = _models(splits["train"], starter, seed)
    if from_scratch:
        attend(model, tiny.scratch_curriculum(), out / "lessons", os.cpu_count() or 1, resume=True)
        clock.lap("lessons")
    console.print(f"[dim]{len(splits['train'].triplets):,} training triplets; {model.parameters() / 1e6:.1f} M weights")
    train_watched(model, splits["train"], splits["val"], config, out)
    clock.lap("training")
    model.save_pretrained(out / "model", card=_card(config, catalogue))
    evaluation, rows = evaluate_all(model, splits["val"], untrained=untrained)
    clock.lap("evaluation")
    results = write_outcome(
        out, splits["val"], evaluation, rows,
        seed=seed,
        config=as_config(
            catalogue=catalogue, train=config, start="random weights" if from_scratch else "starting checkpoint",
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
        ),
        clock=clock, title="procir demo",
    )  # fmt: skip
    show_results(results)
    closing(
        out,
        f"The trained model is in {out / 'model'}; use it on photographs of your own:",
        f"  procir demo --images FOLDER --model {out / 'model'} --ask PRODUCT='the same in navy'",
        f"Score any checkpoint on this catalogue:  procir evaluate --model MODEL --data {out / 'data'}",
    )


def _draw(root: Path, catalogue: AtelierConfig) -> dict[str, Split]:
    with stage("Drawing garments") as advance:
        return draw_catalogue(
            root, catalogue, os.cpu_count() or 1, lambda done, total: advance(done, total, "products")
        )


def _models(training: Split, starter: ProCIR | None, seed: int) -> tuple[ProCIR, ProCIR]:
    """The model to train, and one of the same shape that nobody trained."""
    model = starter or tiny.fresh_model(training, seed=seed)
    return model, ProCIR.from_shape("tiny", model.tokenizer, model.settings, seed=seed + 1)


def _card(config: TrainConfig, catalogue: AtelierConfig) -> str:
    return f"""\
---
library_name: transformers
pipeline_tag: feature-extraction
tags: [composed-image-retrieval, multimodal-embeddings, procir]
---
# A model from `procir demo`

Trained on {catalogue.train_products:,} drawn garments (atelier, seed {catalogue.seed}). It knows drawn garments only.

{listed(config)}
"""
