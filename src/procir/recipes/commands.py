"""What the plain subcommands do: draw, check, train, evaluate, encode."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.catalog.released import check_images, read_split
from procir.catalog.views import ViewOrder
from procir.errors import ConfigError
from procir.model.embedder import ENCODE_CHUNK, ProCIR
from procir.model.encoding import PIECE, Encode, encode_to, one_by_one
from procir.model.on_cluster import on_cluster
from procir.model.pixels import PixelSettings, require_view
from procir.model.prefix import fingerprint
from procir.recipes import tiny
from procir.recipes.cards import save_trained
from procir.recipes.choices import ClusterChoice, DataChoice, ModelChoice, require_workers
from procir.recipes.console import console, say, show_load, show_results, show_skipped, stage
from procir.recipes.ranks import ALONE, Rank, this_rank
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
from procir.recipes.views import kept_views
from procir.train.config import TrainConfig
from procir.types import Query, Split


def draw(out: Path, catalogue: AtelierConfig, workers: int) -> None:
    """Draw a catalogue into a new folder."""
    require_workers(workers)
    with stage("Drawing garments") as advance:
        splits = draw_catalogue(out, catalogue, workers, lambda done, total: advance(done, total, "products"))
    for name, split in splits.items():
        console.print(f"{name}: {len(split.products):,} products, {len(split.triplets):,} triplets")
    say(f"Look at {(out / 'images').resolve()}", "bold")


def check(source: DataChoice, workers: int) -> None:
    """Read one split, decode its images, and print what was found."""
    require_workers(workers)
    split, report = read_split(source.data, source.split, images=source.images, allow_missing=source.allow_missing)
    show_load(f"{source.data} {source.split}", report)
    read = partial(require_view, settings=PixelSettings())
    decoded = check_images(split, workers, allow_unreadable=source.allow_missing, read=read)
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
    embedding_token: str | None,
    resume: bool,
    check_first: bool,
    cache: Path | None = None,
    reduced_jpeg: bool = False,
) -> None:
    """Train from a starting point and leave the model in `out`/model; of several processes the first one writes."""
    with this_rank() as rank:
        console.quiet = rank.number > 0
        place = usable_device(rank.device(device))
        if (out / "model").exists() and not resume:
            raise ConfigError(
                f"{out} holds a trained model: choose another folder, or go on from its checkpoints (--resume)"
            )
        train = DataChoice(data=data, images=images, split="train")
        training = _read(train, captions_required=config.variant.alignment or config.variant.cot)
        watched = (data / "val_triplets.jsonl").exists()
        validation = _read(replace(train, split="val"), captions_required=False) if watched else None
        gc.freeze()  # millions of records, which are kept: no search for garbage need look at them again
        model = _start(start, training, config, place, embedding_token, reduced_jpeg=reduced_jpeg)
        with kept_views(model, cache) as read:
            for split in (training, validation) if check_first and rank.number == 0 else ():
                _decode(split, read)
            train_watched(model, training, validation, config, out, resume=resume, rank=rank)
        if rank.number > 0:
            return
        what = f"Product-level composed image retrieval, variant {config.variant.name}"
        save_trained(model, what, start, config, training, out)
    say(f"The model is in {out / 'model'}", "bold")
    say(f"procir evaluate --model {out / 'model'} --data {data}", "dim")


def evaluate_model(
    choice: ModelChoice,
    source: DataChoice,
    out: Path,
    *,
    plain: bool,
    dims: Sequence[int],
    turns: int,
    protocol: ViewOrder,
    check_first: bool,
    seed: int,
    cache: Path | None = None,
) -> None:
    """Score a checkpoint and write its results and report; of several processes the first one writes."""
    with this_rank() as rank:
        console.quiet = rank.number > 0
        split = _read(source, order=protocol, captions_required=False)
        embedder = load_embedder(choice, rank)
        if turns > 1 and not embedder.settings.two_turns:
            raise ConfigError("--turns: this model reads photos and text in one turn, and so holds no conversations")
        require_room(embedder, split, turns)
        with kept_views(embedder, cache) as read:
            if check_first and rank.number == 0:
                _decode(split, read, source.allow_missing)
            clock = Clock()
            evaluation, rows = evaluate_all(
                rank.share(embedder), split, plain=plain, dims=dims, turns=turns, seed=seed
            )  # fmt: skip
        clock.lap("evaluation")
        if rank.number > 0:
            return
        config = as_config(
            model=choice.model, data=str(source.data), split=source.split, protocol=protocol, dtype=choice.dtype,
            device=choice.device, processes=rank.count,
        )  # fmt: skip
        results = write_outcome(out, split, evaluation, rows, seed=seed, config=config, clock=clock, title=choice.model)
    show_results(results)
    closing(out)


def encode(
    choice: ModelChoice,
    source: DataChoice,
    what: str,
    out: Path,
    cluster: ClusterChoice,
    *,
    half: bool,
    cache: Path | None = None,
) -> None:
    """Write the embeddings of a split's products, queries or captions into `out`, or go on there."""
    if cache is not None and cluster.cluster is not None:
        raise ConfigError("--cache is for one machine: leave it out with --cluster")
    split = _read(source, captions_required=what == "captions")
    embedder = load_embedder(choice, ALONE)
    require_room(embedder, split)
    ids, items = _encodable(split, what)
    if cluster.cluster is None:
        run, piece = one_by_one(_encoder(embedder, what)), PIECE
    else:
        load = partial(_load_encoder, choice, what)
        run, piece = on_cluster(load, cluster.cluster, cluster.workers, choice.device), ENCODE_CHUNK
    with kept_views(embedder, cache), stage("Encoding") as advance:
        found = encode_to(
            out, items, ids, run,
            dim=embedder.dim, fingerprint=fingerprint(embedder), half=half, piece=piece,
            progress=lambda done, total: advance(done, total, what),
        )  # fmt: skip
    say(f"{len(found.ids):,} embeddings of {embedder.dim} numbers are in {out.resolve()}", "bold")


def load_embedder(choice: ModelChoice, rank: Rank) -> ProCIR:
    """The shipped checkpoint or another one, in float32, bfloat16, or with int8 matrices and the rest in float32."""
    int8 = choice.dtype == "int8"
    return ProCIR.from_pretrained(
        tiny.starter_folder() if choice.model == "starter" else choice.model,
        dtype=torch.float32 if int8 else getattr(torch, choice.dtype),
        device=usable_device(rank.device(choice.device)),
        embedding_token=choice.embedding_token,
        int8=int8,
    )


def _load_encoder(choice: ModelChoice, what: str) -> Encode[Any]:
    """What a process of a cluster encodes with."""
    return _encoder(load_embedder(choice, ALONE), what)


def _encoder(embedder: ProCIR, what: str) -> Encode[Any]:
    if what == "products":
        return embedder.encode_products
    return embedder.encode_captions if what == "captions" else embedder.encode_queries


def _encodable(split: Split, what: str) -> tuple[list[str], list[Any]]:
    """Ids and items, in the order of the keys or of the triplets."""
    if what == "products":
        products = sorted(split.products.items())
        return [str(key) for key, _ in products], [product for _, product in products]
    if what == "captions":
        captions = sorted(split.captions.items())
        return [str(key) for key, _ in captions], [caption.short for _, caption in captions]
    ids = [f"{triplet.source} -> {triplet.target}" for triplet in split.triplets]
    return ids, [Query(split.products[triplet.source], triplet.short) for triplet in split.triplets]


def _read(source: DataChoice, *, order: ViewOrder = "released", captions_required: bool = True) -> Split:
    split, report = read_split(
        source.data, source.split, images=source.images, order=order, allow_missing=source.allow_missing,
        captions_required=captions_required,
    )  # fmt: skip
    show_load(source.split, report)
    return split


def _decode(split: Split | None, read: Callable[[Path], object], allow_unreadable: bool = False) -> None:
    """Read every image now, so that an unreadable one does not stop the run an hour in."""
    if split is not None:
        show_skipped(check_images(split, os.cpu_count() or 1, allow_unreadable=allow_unreadable, read=read))


def _start(
    start: str,
    training: Split,
    config: TrainConfig,
    device: torch.device,
    embedding_token: str | None,
    *,
    reduced_jpeg: bool,
) -> ProCIR:
    """The model to train, on its device, with the dialogue of the variant and the views of the checkpoint."""
    model = _load(start, training, config, embedding_token)
    pixels = replace(model.settings.pixels, reduced_jpeg=reduced_jpeg or model.settings.pixels.reduced_jpeg)
    dialogue = replace(model.settings, two_turns=config.variant.two_turns, pixels=pixels)
    return ProCIR(model.network.to(device), model.tokenizer, dialogue)


def _load(start: str, training: Split, config: TrainConfig, embedding_token: str | None) -> ProCIR:
    if start in ("scratch", "starter") and embedding_token is not None:
        raise ConfigError(f"--embedding-token goes with a checkpoint of your own, not with --start {start}")
    if start == "scratch":
        return tiny.fresh_model(training, config.variant, seed=config.seed)
    if start == "starter":
        if not config.variant.two_turns:
            raise ConfigError("the shipped checkpoint reads two turns: train single-turn variants with --start scratch")
        return tiny.starter_model()
    return ProCIR.from_backbone(start, embedding_token=embedding_token)
