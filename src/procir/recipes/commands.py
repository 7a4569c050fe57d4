"""What the plain subcommands do: draw, check, train, evaluate."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.catalog.released import check_images, read_split
from procir.catalog.views import ViewOrder
from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.model.encoding import encode_to
from procir.model.prefix import fingerprint
from procir.recipes import tiny
from procir.recipes.console import console, say, show_load, show_rows, show_skipped, stage
from procir.recipes.runs import (
    Clock,
    as_config,
    closing,
    evaluate_all,
    require_room,
    train_watched,
    usable_device,
    write_outcome,
)
from procir.train.config import TrainConfig
from procir.types import Query, Split


def draw(out: Path, catalogue: AtelierConfig, workers: int) -> None:
    """Draw a catalogue into a new folder."""
    _require_workers(workers)
    with stage("Drawing garments") as advance:
        splits = draw_catalogue(out, catalogue, workers, lambda done, total: advance(done, total, "products"))
    for name, split in splits.items():
        console.print(f"{name}: {len(split.products):,} products, {len(split.triplets):,} triplets")
    say(f"Look at {(out / 'images').resolve()}", "bold")


def check(data: Path, images: Path | None, name: str, allow_missing: bool, workers: int) -> None:
    """Read one split, decode its images, and print what was found."""
    _require_workers(workers)
    split, report = read_split(data, name, images=images, allow_missing=allow_missing)
    show_load(f"{data} {name}", report)
    decoded = check_images(split, workers, allow_unreadable=allow_missing)
    console.print(
        f"[bold]decoded[/]: {decoded.views:,} views; all views of {decoded.products:,} products are readable",
        soft_wrap=True,
    )
    show_skipped(decoded)


def train_model(
    data: Path,
    images: Path | None,
    out: Path,
    start: str,
    device: str,
    config: TrainConfig,
    *,
    resume: bool,
    check_first: bool,
) -> None:
    """Train from a starting point and leave the model in `out`/model."""
    place = usable_device(device)
    if (out / "model").exists() and not resume:
        raise ConfigError(
            f"{out} holds a trained model: choose another folder, or go on from its checkpoints (--resume)"
        )
    training = _read(data, images, "train", captions_required=config.variant.alignment or config.variant.cot)
    watched = (data / "val_triplets.jsonl").exists()
    validation = _read(data, images, "val", captions_required=False) if watched else None
    for split in (training, validation) if check_first else ():
        _decode(split)
    model = _start(start, training, config, place)
    train_watched(model, training, validation, config, out, resume=resume)
    model.save_pretrained(out / "model")
    say(f"The model is in {out / 'model'}", "bold")
    say(f"procir evaluate --model {out / 'model'} --data {data}", "dim")


def evaluate_model(
    model: str,
    data: Path,
    images: Path | None,
    name: str,
    out: Path,
    *,
    allow_missing: bool,
    plain: bool,
    dims: Sequence[int],
    protocol: ViewOrder,
    check_first: bool,
    device: str,
    dtype: str,
    seed: int,
) -> None:
    """Score a checkpoint and write its results and report."""
    place = usable_device(device)
    split = _read(data, images, name, order=protocol, allow_missing=allow_missing, captions_required=False)
    if check_first:
        _decode(split, allow_missing)
    clock = Clock()
    embedder = _embedder(model, dtype, place)
    require_room(embedder, split)
    evaluation, rows = evaluate_all(embedder, split, plain=plain, dims=dims)
    clock.lap("evaluation")
    config = as_config(model=model, data=str(data), split=name, protocol=protocol, dtype=dtype, device=device)
    results = write_outcome(out, split, evaluation, rows, seed=seed, config=config, clock=clock, title=f"{model}")
    show_rows(results["rows"])
    closing(out)


def encode(
    model: str,
    data: Path,
    images: Path | None,
    name: str,
    what: str,
    out: Path,
    *,
    allow_missing: bool,
    half: bool,
    device: str,
    dtype: str,
) -> None:
    """Write the embeddings of a split's products, queries or captions into `out`, or go on there."""
    place = usable_device(device)
    split = _read(data, images, name, allow_missing=allow_missing, captions_required=what == "captions")
    embedder = _embedder(model, dtype, place)
    require_room(embedder, split)
    ids, items, run = _encodable(embedder, split, what)
    with stage("Encoding") as advance:
        found = encode_to(
            out, items, ids, run,
            dim=embedder.dim, fingerprint=fingerprint(embedder), half=half,
            progress=lambda done, total: advance(done, total, what),
        )  # fmt: skip
    say(f"{len(found.ids):,} embeddings of {embedder.dim} numbers are in {out.resolve()}", "bold")


def _embedder(model: str, dtype: str, device: torch.device) -> ProCIR:
    """A checkpoint in float32, bfloat16, or with int8 matrices and the rest in float32."""
    if dtype == "int8":
        return ProCIR.from_pretrained(model, device=device, int8=True)
    return ProCIR.from_pretrained(model, dtype=getattr(torch, dtype), device=device)


def _encodable(embedder: ProCIR, split: Split, what: str) -> tuple[list[str], list[Any], Callable[[Any], Any]]:
    """Ids, items and the way to encode them, in the order of the keys or of the triplets."""
    if what == "products":
        products = sorted(split.products.items())
        return [str(key) for key, _ in products], [product for _, product in products], embedder.encode_products
    if what == "captions":
        captions = sorted(split.captions.items())
        return [str(key) for key, _ in captions], [caption.short for _, caption in captions], embedder.encode_captions
    ids = [f"{triplet.source} -> {triplet.target}" for triplet in split.triplets]
    queries = [Query(split.products[triplet.source], triplet.short) for triplet in split.triplets]
    return ids, queries, embedder.encode_queries


def _read(
    data: Path,
    images: Path | None,
    name: str,
    *,
    order: ViewOrder = "released",
    allow_missing: bool = False,
    captions_required: bool = True,
) -> Split:
    split, report = read_split(
        data, name, images=images, order=order, allow_missing=allow_missing, captions_required=captions_required
    )
    show_load(name, report)
    return split


def _decode(split: Split | None, allow_unreadable: bool = False) -> None:
    """Decode every image now, so that an unreadable one does not stop the run an hour in."""
    if split is not None:
        show_skipped(check_images(split, os.cpu_count() or 1, allow_unreadable=allow_unreadable))


def _start(start: str, training: Split, config: TrainConfig, device: torch.device) -> ProCIR:
    """The model to train, on its device, with the dialogue of the variant and the views of the checkpoint."""
    model = _load(start, training, config)
    dialogue = replace(model.settings, two_turns=config.variant.two_turns)
    return ProCIR(model.network.to(device), model.tokenizer, dialogue)


def _load(start: str, training: Split, config: TrainConfig) -> ProCIR:
    if start == "scratch":
        return tiny.fresh_model(training, config.variant, seed=config.seed)
    if start == "starter":
        if not config.variant.two_turns:
            raise ConfigError("the shipped checkpoint reads two turns: train single-turn variants with --start scratch")
        return tiny.starter_model()
    return ProCIR.from_backbone(start)


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise ConfigError(f"--workers is {workers}: at least one is needed")
