"""What tests of training share: a small crowded data set, fresh models, and gradients in float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.model.tokenizers import train_tokenizer
from procir.train.config import TrainConfig, Variant
from procir.train.data import ExampleBuilder
from procir.train.distributed import ALONE, Team
from procir.train.gradients import accumulate
from procir.types import Caption, Product, ProductKey, Split, Triplet, View

VARIANTS = {
    variant.name: variant
    for mt, align, cot in itertools.product((False, True), repeat=3)
    for variant in [Variant(two_turns=mt, alignment=align, cot=cot)]
}
"""The eight variants by name."""

RUNS: dict[str, dict[str, Any]] = {name: {"variant": variant} for name, variant in VARIANTS.items()} | {
    "Conversations": {"variant": Variant(cot=True), "turns": 3}
}
"""Settings of runs by name: the eight variants, and conversations of the fullest of them."""

_SIDES = ((64, 64), (32, 64), (64, 32))


class InFloat64(TorchFunctionMode):
    """What asks for float32 gets float64: also the layers that compute in float32 whatever their weights are."""

    def __torch_function__(self, function, _types, arguments=(), named=None):
        if function is torch.Tensor.float:
            return arguments[0].double()
        named = {name: _wide(value) for name, value in (named or {}).items()}
        return function(*map(_wide, arguments), **named)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def crowded_split(folder: Path) -> Split:
    """Five products of one to three views of several sizes, fourteen triplets between them, and captions."""
    rng = np.random.default_rng(0)
    keys = [ProductKey("noise", f"p{number}") for number in range(5)]
    products = {}
    for number, key in enumerate(keys):
        views = []
        for name in ("front", "back", "side")[: 1 + number % 3]:
            path = folder / f"{key.product_id}_{name}.png"
            pixels = rng.integers(0, 256, (*_SIDES[(number + len(views)) % 3], 3), dtype=np.uint8)
            if not path.exists():
                Image.fromarray(pixels).save(path)
            views.append(View(path, name))
        products[key] = Product(key, tuple(views))
    captions = {
        key: Caption(key, f"A long caption of product {number}, with some words.", f"Product {number}.")
        for number, key in enumerate(keys)
    }
    pairs = [(one, other) for one in keys for other in keys if one != other][:14]
    triplets = tuple(
        Triplet(one, other, f"Be {other.product_id}.", f"Turn {one.product_id} into {other.product_id}, wholly.")
        for one, other in pairs
    )
    return Split("train", products, captions, triplets)


@cache
def _tokenizer() -> Any:
    return train_tokenizer(["A long caption of a product, with some words.", "Turn it into another, wholly."], 300)


def fresh_model(*, two_turns: bool = True) -> ProCIR:
    """A tiny model with the same random weights each time."""
    settings = EmbedderSettings(two_turns=two_turns, pixels=PixelSettings(min_pixels=32 * 32, max_pixels=64 * 64))
    return ProCIR.from_shape("tiny", _tokenizer(), settings, seed=3)


def wide_model() -> ProCIR:
    """The same in float64, for `InFloat64`."""
    model = fresh_model()
    model.network.double()
    return model


def settings(**changes: Any) -> TrainConfig:
    """Batches of seven, which two processes share unevenly."""
    return TrainConfig(**{"batch_size": 7, "max_steps": 4, "learning_rate": 1e-3, "seed": 5} | changes)


CUTS: dict[str, dict[str, int]] = {"whole": {}, "chunks": {"chunk": 2}, "tokens": {"chunk_tokens": 400}}
"""Ways to cut a batch."""


def gradients(
    split: Split, name: str, team: Team = ALONE, *, cut: str = "whole", frozen: bool = False
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of the second step of a run, in float64; `frozen` is the vision tower's."""
    config = settings(**RUNS[name], **CUTS[cut])
    model = fresh_model(two_turns=config.variant.two_turns)
    model.network.double().train()
    model.network.model.visual.requires_grad_(not frozen)
    with InFloat64():
        outcome = accumulate(model, ExampleBuilder(model, split, config).examples(1, team), config, team)
    return dict(outcome.losses), gradients_of(model)


def run_ranks(*command: object) -> None:
    """Run two processes of `python COMMAND` in which {rank} is 0 and 1; both must end well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    commands = [[sys.executable, *(str(part).format(rank=rank) for part in command)] for rank in range(2)]
    workers = [subprocess.Popen(each, env=environment, **output) for each in commands]
    try:
        said = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)


def gradients_of(model: ProCIR) -> dict[str, torch.Tensor]:
    """The gradients that weights have, by name."""
    weights = model.network.named_parameters()
    return {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}
