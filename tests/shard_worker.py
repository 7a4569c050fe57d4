"""One process of two whose weights are shared out: `python shard_worker.py RANK FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from procir.errors import StoppedError
from procir.model.embedder import ProCIR
from procir.train.contrastive import train, training_mode
from procir.train.data import ExampleBuilder
from procir.train.distributed import Team
from procir.train.gradients import accumulate
from procir.train.sharding import Shards
from procir.types import Split
from training import CUTS, RUNS, InFloat64, crowded_split, fresh_model, gradients_of, settings, wide_model

GRADIENTS = {
    "padded": ("MT+Align", "whole", False, "off"),
    "packed": ("MT+Align", "whole", True, "off"),
    "chunks": ("MT+Align+CoT", "chunks", False, "off"),
    "tokens": ("Conversations", "tokens", True, "off"),
    "recomputed": ("MT+Align", "chunks", True, "full"),
    "selective": ("MT+Align", "chunks", False, "selective"),
}
"""Variant, cut, whether packed, and what is recomputed, by the name of the case."""

SIX = {"max_steps": 6, "save_every": 3, "evaluate_every": 2, "log_every": 1, "sharded": True}


def all_gradients(split: Split, folder: Path, team: Team) -> None:
    found = {}
    for case, (name, cut, packed, how) in GRADIENTS.items():
        config = settings(**RUNS[name], **CUTS[cut], recompute=how)
        plain = fresh_model(two_turns=config.variant.two_turns)
        wide = how == "off"  # what is computed again is out of reach of InFloat64
        plain.network.to(torch.float64 if wide else torch.float32)
        whole = ProCIR(plain.network, plain.tokenizer, plain.settings, packed=packed)
        shards = Shards(whole, torch.device("cpu"), team)
        at_once = whole_layers(shards.model)
        with InFloat64() if wide else nullcontext(), training_mode(shards.model, how):
            examples = ExampleBuilder(plain, split, config).examples(1, team)
            outcome = accumulate(shards.model, examples, config, team, shards=shards)
        assert max(at_once) <= (1 if wide else 2), at_once  # on the way back the next layer is fetched ahead
        weights = dict(shards.model.network.named_parameters())
        held = sum(weight.to_local().untyped_storage().nbytes() for weight in weights.values())
        total = sum(weight.nbytes for weight in weights.values())
        found[case] = dict(outcome.losses), _whole(gradients_of(shards.model)), held, total
    torch.save(found, folder / f"sharded-gradients-{team.number}.pt")


def whole_layers(model: ProCIR) -> list[int]:
    """Is told, in the midst of every layer of the language model, of how many layers all weights are there."""
    layers, found = model.network.model.language_model.layers, []

    def note(*_: object) -> None:
        found.append(sum(not isinstance(next(layer.parameters()), DTensor) for layer in layers))

    for layer in layers:
        layer.mlp.register_forward_pre_hook(note)
    return found


def narrow_gradients(split: Split, folder: Path, team: Team) -> None:
    """Of bf16, with weights whole and shared out."""
    found = []
    for sharded in (False, True):
        config = settings(precision="bf16", recompute="full", sharded=sharded)
        plain = fresh_model()
        model = ProCIR(plain.network, plain.tokenizer, plain.settings, packed=True)
        shards = Shards(model, torch.device("cpu"), team) if sharded else None
        learning = shards.model if shards else model
        with training_mode(learning, "full"):
            examples = ExampleBuilder(plain, split, config).examples(1, team)
            accumulate(learning, examples, config, team, shards=shards)
        found.append(_whole(gradients_of(learning)))
    torch.save(found, folder / f"narrow-gradients-{team.number}.pt")


def _whole(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in values.items()}


def runs(split: Split, folder: Path, team: Team) -> None:
    """A whole run; the first half of one, for one process to go on with; and the second half of one of one process.

    All in float64, where any difference is one of what is computed.
    """

    def stop(step):
        if step.step == 4 and not team.first:
            os.kill(os.getpid(), signal.SIGTERM)

    def evaluated(model):
        # Passes of one process alone: the weights are whole here.
        own = [split.products[key] for key in sorted(split.products)][team.number :: 2]
        return {"R@5": float(abs(model.encode_products(own)).sum()) * 0 + 1.0}

    def trained(name: str, changes: dict[str, Any] | None = None, **more: Any) -> dict[str, torch.Tensor]:
        model = wide_model()
        with InFloat64():
            train(model, split, settings(**SIX, **(changes or {})), folder / name, data_hash="x", team=team, **more)
        assert not model.network.training
        return model.network.state_dict()

    for name, changes in (("all", {}), ("adapted", {"lora_rank": 4})):
        torch.save(trained(name, changes, evaluate=evaluated), folder / f"{name}-{team.number}.pt")
    with pytest.raises(StoppedError):
        trained("half", report=stop)
    torch.save(trained("other-half", resume=True), folder / f"other-half-{team.number}.pt")


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("error", message=".*FSDP")
    files = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=files, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    split, team = crowded_split(folder), Team(rank, 2)
    try:
        all_gradients(split, folder, team)
        narrow_gradients(split, folder, team)
        runs(split, folder, team)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
