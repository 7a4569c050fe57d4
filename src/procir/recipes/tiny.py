"""Runs of the tiny model: its settings, the shipped starting point, and how that was trained."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from procir.catalog.atelier.catalogue import AtelierConfig
from procir.errors import CheckpointError
from procir.model.embedder import EmbedderSettings, ProCIR
from procir.model.pixels import PixelSettings
from procir.model.tokenizers import train_tokenizer
from procir.recipes.reading import ReadingConfig
from procir.train.config import TrainConfig, Variant
from procir.types import Split

VOCABULARY = 2048
"""Bytes and merges of the tiny tokenizer."""

MAIN = Variant(two_turns=True, alignment=True, cot=False)
"""The paper's best variant: two turns and alignment."""


def settings(variant: Variant = MAIN) -> EmbedderSettings:
    """Views of 96 x 96 pixels: nine tokens each."""
    side = 96 * 96
    return EmbedderSettings(two_turns=variant.two_turns, pixels=PixelSettings(min_pixels=side, max_pixels=side))


def demo_catalogue() -> AtelierConfig:
    """What `procir demo` draws."""
    return AtelierConfig(train_products=1000, val_products=700, size=256, seed=7)


def demo_training() -> TrainConfig:
    """A few minutes on two cores, starting from the shipped checkpoint; short texts only, for speed."""
    return TrainConfig(
        variant=MAIN,
        batch_size=48,
        batching="neighbors",
        max_steps=130,
        optimizer="muon",
        learning_rate=1e-3,
        warmup_steps=10,
        modification="short",
        caption="short",
        log_every=1,
        evaluate_every=45,
    )


def scratch_training() -> TrainConfig:
    """The demo without the shipped checkpoint: longer, and with a language model of random weights."""
    return replace(demo_training(), max_steps=300, learning_rate=2e-3, warmup_steps=50, evaluate_every=100)


def scratch_reading() -> ReadingConfig:
    """Reading lessons of the demo without the shipped checkpoint: a quarter of the starter's."""
    return ReadingConfig(garments=10_000, steps=1500)


def starter_catalogue() -> AtelierConfig:
    """The catalogue that the shipped checkpoint was trained on; its seed is not the demo's."""
    return AtelierConfig(train_products=11_000, val_products=500, size=256, family=12, seed=2024)


def starter_reading() -> ReadingConfig:
    """How the vision tower of the shipped checkpoint learnt to see: twenty minutes on two cores."""
    return ReadingConfig()


def starter_training() -> TrainConfig:
    """How the shipped checkpoint was trained: short texts, batches of neighbors, seventeen minutes on two cores."""
    return TrainConfig(
        variant=MAIN,
        batch_size=48,
        batching="neighbors",
        max_steps=700,
        optimizer="muon",
        learning_rate=2e-3,
        warmup_steps=50,
        weight_decay=0.05,
        modification="short",
        caption="short",
        evaluate_every=200,
        save_every=100,
    )


def fresh_model(train: Split, variant: Variant = MAIN, *, seed: int = 0) -> ProCIR:
    """A tiny model with random weights, and a tokenizer learnt from the training texts."""
    return ProCIR.from_shape("tiny", train_tokenizer(_texts(train), VOCABULARY), settings(variant), seed=seed)


def starter_folder() -> Path:
    """Where the shipped checkpoint lies."""
    return Path(str(files("procir.recipes"))) / "starter"


def starter_model(*, dtype: torch.dtype = torch.float32) -> ProCIR:
    """The shipped checkpoint; raises CheckpointError if the installation lacks it."""
    folder = starter_folder()
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(f"this installation lacks the starting checkpoint in {folder}: train from scratch")
    return ProCIR.from_pretrained(folder, dtype=dtype)


def _texts(split: Split) -> list[str]:
    captions: list[str] = [
        text for caption in split.captions.values() for text in (caption.long, caption.short, *caption.images)
    ]
    requests: list[Any] = [text for triplet in split.triplets for text in (triplet.short, triplet.long)]
    return captions + [text for text in requests if text]
