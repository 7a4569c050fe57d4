"""Supervised fine-tuning, and what a fine-tuned model then writes (paper, section 4.8)."""

from __future__ import annotations

from pathlib import Path

from procir.catalog.annotations import caption_row
from procir.catalog.products import read_products
from procir.catalog.released import read_split
from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.pieces import pieces
from procir.recipes import tiny
from procir.recipes.cards import save_trained
from procir.recipes.choices import ModelChoice
from procir.recipes.commands import load_embedder
from procir.recipes.console import say, show_load, stage
from procir.recipes.model_captions import write_captions
from procir.recipes.ranks import ALONE
from procir.recipes.runs import step_note, usable_device
from procir.records import Row, write_jsonl
from procir.train import manifest
from procir.train.log import StepReport
from procir.train.sft import train_sft
from procir.train.sft_config import SftConfig
from procir.train.sft_data import gather
from procir.types import Split


def fine_tune(model: ProCIR, split: Split, config: SftConfig, out: Path, *, resume: bool = False) -> None:
    """Train `model` in place on both tasks, drawn from a split; `out` gets log and checkpoints.

    What does not fit, or lacks texts, is left out, counted and shown.
    """
    with stage("Choosing conversations") as advance:
        conversations, report = gather(model, split, config, lambda done, total: advance(done, total, ""))
    show_load("fine-tuning", report)
    with stage("Fine-tuning") as advance:

        def show(step: StepReport) -> None:
            advance(step.step, step.total, step_note(step))

        data = manifest.take(split, manifest.load(out))
        train_sft(
            model, conversations, config, out, data_hash=data.data_hash, manifest=data, report=show, resume=resume
        )


def tune_model(
    data: Path, images: Path | None, out: Path, start: str, device: str, config: SftConfig, *, resume: bool
) -> None:
    """Fine-tune a checkpoint on the training split and leave the model in `out`/model."""
    place = usable_device(device)
    if (out / "model").exists() and not resume:
        raise ConfigError(
            f"{out} holds a trained model: choose another folder, or go on from its checkpoints (--resume)"
        )
    split, report = read_split(data, "train", images=images)
    show_load("train", report)
    model = tiny.starter_model() if start == "starter" else ProCIR.from_backbone(start)
    model.network.to(place)
    fine_tune(model, split, config, out, resume=resume)
    what = "Fine-tuned to describe products and what leads from one to another"
    save_trained(model, what, start, config, split, out)
    say(f"The model is in {out / 'model'}", "bold")
    say(f"procir train --start {out / 'model'} --data {data} --out ...", "dim")


def caption_catalogue(
    choice: ModelChoice, catalogue: Path, images: Path | None, out: Path, *, batch_size: int, max_new: int,
    temperature: float, seed: int,
) -> None:  # fmt: skip
    """Write the captions that a model gives a catalogue's products to `out`, and what is none beside it."""
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: write about one product at a time at least")
    stock, report = read_products(catalogue, images=images)
    show_load(str(catalogue), report)
    model = load_embedder(choice, ALONE)
    rows: list[Row] = []
    failures: list[Row] = []
    with stage("Writing captions") as advance:
        for part in pieces(stock.products.values(), batch_size):
            for written in write_captions(model, part, max_new=max_new, temperature=temperature, seed=seed):
                if written.caption:
                    rows.append(caption_row(written.caption, stock.products[written.key]))
                else:
                    failures.append({"item": str(written.key), "reason": written.reason, "text": written.text})
            advance(len(rows) + len(failures), len(stock.products), f"{len(failures)} failed" if failures else "")
    write_jsonl(out, rows)
    say(f"The captions of {len(rows):,} products are in {out}", "bold")
    if failures:
        refused = out.with_suffix(".failures.jsonl")
        write_jsonl(refused, failures)
        say(f"What the model wrote of {len(failures):,} others is no caption; see {refused}", "yellow")
