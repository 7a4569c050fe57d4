"""Runs of the tiny model: its settings, the shipped starting point, and how that was trained."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from procir.annotators.settings import AnnotatorSettings
from procir.catalog.atelier.catalogue import AtelierConfig
from procir.construct.builtin.faults import Faults
from procir.construct.construction import STAGES
from procir.errors import CheckpointError
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.model.tokenizers import train_tokenizer
from procir.recipes.curriculum import Curriculum
from procir.recipes.study import StudyConfig
from procir.train.config import TrainConfig, Variant
from procir.train.sft_config import SftConfig
from procir.types import Split

VOCABULARY = 2048
"""Bytes and merges of the tiny tokenizer."""

_KEY = "PROCIR_BUILTIN_KEY"

MAIN = Variant(two_turns=True, alignment=True, cot=False)
"""The paper's best variant: two turns and alignment."""


def settings(variant: Variant = MAIN) -> EmbedderSettings:
    """Views of 96 x 96 pixels: nine tokens each."""
    side = 96 * 96
    return EmbedderSettings(two_turns=variant.two_turns, pixels=PixelSettings(min_pixels=side, max_pixels=side))


def demo_catalogue() -> AtelierConfig:
    """What `procir demo` draws."""
    return AtelierConfig(train_products=2600, val_products=700, size=256, family=12, seed=7)


def demo_faults() -> Faults:
    """What goes wrong at the built-in annotator of the demo, about as with real ones."""
    return Faults(
        left_right_errors=0.05, verifier_miss=0.2, verifier_false_alarm=0.005, malformed_json=0.02, rate_limited=0.005,
        retry_after=0.1,
    )  # fmt: skip


def demo_annotators(base_url: str) -> dict[str, AnnotatorSettings]:
    """The built-in annotator for all stages; it takes any key."""
    os.environ.setdefault(_KEY, "none")
    settings = AnnotatorSettings(
        provider="openai", model="builtin", base_url=base_url, key_variable=_KEY, max_tokens=4096, in_flight=16
    )
    return dict.fromkeys(STAGES, settings)


def demo_training() -> TrainConfig:
    """A few minutes on two cores: one pass over the demo's triplets, short texts only, for speed."""
    return TrainConfig(
        variant=MAIN,
        batch_size=48,
        batching="neighbors",
        max_steps=110,
        optimizer="muon",
        learning_rate=1e-3,
        warmup_steps=10,
        modification="short",
        caption="short",
        log_every=1,
        evaluate_every=55,
    )


def ablation_catalogue() -> AtelierConfig:
    """What the sixteen runs share: half of the demo's garments."""
    return AtelierConfig(train_products=1300, val_products=450, size=256, family=12, seed=11)


def ablation_training() -> TrainConfig:
    """Less than a minute on two cores, so that all sixteen runs over three seeds take less than an hour."""
    return TrainConfig(
        batch_size=24, batching="neighbors", max_steps=30, optimizer="muon", learning_rate=1e-3, warmup_steps=4,
        modification="short", caption="short", log_every=1, save_every=15, keep_checkpoints=1,
    )  # fmt: skip


def ablation_sft() -> SftConfig:
    """Two minutes on two cores; every product and triplet may be drawn, for a tiny model has read nothing before."""
    return SftConfig(
        share=1.0, batch_size=8, max_steps=80, max_tokens=2048, learning_rate=1e-4, warmup_steps=8, log_every=1,
        freeze_vision=True, save_every=40, keep_checkpoints=1,
    )  # fmt: skip


def scratch_curriculum() -> Curriculum:
    """Lessons of the demo without the shipped checkpoint: a quarter of the starter's."""
    return _curriculum(garments=10_000, reading=1500, describing=300)


def starter_catalogue() -> AtelierConfig:
    """Its texts teach the shipped checkpoint its tokens, its held-out part examines it; its seed is not the demo's."""
    return AtelierConfig(train_products=11_000, val_products=500, size=256, family=12, seed=2024)


def starter_curriculum() -> Curriculum:
    """How the shipped checkpoint learnt to see and to tell: most of an hour on two cores."""
    return _curriculum(garments=40_000, reading=6000, describing=1500)


def _curriculum(*, garments: int, reading: int, describing: int) -> Curriculum:
    return Curriculum(
        garments=garments,
        reading=StudyConfig(steps=reading, batch_size=128, learning_rate=4e-3, warmup_steps=100),
        describing=StudyConfig(steps=describing, batch_size=64, learning_rate=3e-3, warmup_steps=50),
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
