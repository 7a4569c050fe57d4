"""One process of two whose weights are shared out: `python shard_worker.py RANK FOLDER`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from procir.model.embedder import ProCIR
from procir.train.contrastive import train, training_mode
from procir.train.data import ExampleBuilder
from procir.train.distributed import Team
from procir.train.gradients import accumulate
from procir.train.sharding import Shards
from procir.types import Split
from training import CUTS, RUNS, InFloat64, crowded_split, fresh_model, settings

GRADIENTS = {
    "padded": ("MT+Align", "whole", False, "off"),
    "packed": ("MT+Align", "whole", True, "off"),
    "chunks": ("MT+Align+CoT", "chunks", False, "off"),
    "tokens": ("Conversations", "tokens", True, "off"),
    "recomputed": ("MT+Align", "chunks", True, "full"),
}
"""Variant, cut, whether packed, and what is recomputed, by the name of the case."""

SIX = {"max_steps": 6, "save_every": 3, "evaluate_every": 2, "sharded": True}


def all_gradients(split: Split, folder: Path, team: Team) -> None:
    found = {}
    for case, (name, cut, packed, how) in GRADIENTS.items():
        config = settings(**RUNS[name], **CUTS[cut], recompute=how)
        plain = fresh_model(two_turns=config.variant.two_turns)
        wide = how == "off"  # what is computed again is out of reach of InFloat64
        plain.network.to(torch.float64 if wide else torch.float32)
        shards = Shards(ProCIR(plain.network, plain.tokenizer, plain.settings, packed=packed), team)
        with InFloat64() if wide else nullcontext(), training_mode(shards.model, how):
            examples = ExampleBuilder(plain, split, config).examples(1, team)
            outcome = accumulate(shards.model, examples, config, team, shards=shards)
        weights = dict(shards.model.network.named_parameters())
        assert all(isinstance(weight, DTensor) for weight in weights.values())
        held = sum(weight.to_local().numel() for weight in weights.values())
        gradients = {name: weight.grad.full_tensor() for name, weight in weights.items() if weight.grad is not None}
        found[case] = dict(outcome.losses), gradients, held, sum(weight.numel() for weight in weights.values())
    torch.save(found, folder / f"sharded-gradients-{team.number}.pt")


def runs(split: Split, folder: Path, team: Team) -> None:
    """A whole run; the first half of one, for one process to go on with; and the second half of one of one process."""

    def stop(step):
        if step.step == 4:
            raise KeyboardInterrupt

    def evaluated(model):
        # Passes of one process alone: the weights are whole here.
        own = [split.products[key] for key in sorted(split.products)][team.number :: 2]
        return {"R@5": float(abs(model.encode_products(own)).sum()) * 0 + 1.0}

    for name, changes in (("all", {}), ("adapted", {"lora_rank": 4})):
        model = fresh_model()
        train(model, split, settings(**SIX, **changes), folder / name, data_hash="x", team=team, evaluate=evaluated)
        if team.first:
            torch.save(model.network.state_dict(), folder / f"{name}.pt")
    with suppress(KeyboardInterrupt):
        train(fresh_model(), split, settings(**SIX), folder / "half", data_hash="x", team=team, report=stop)
    model = fresh_model()
    train(model, split, settings(**SIX), folder / "other-half", data_hash="x", team=team, resume=True)
    torch.save(model.network.state_dict(), folder / f"other-half-{team.number}.pt")


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    files = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=files, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    split = crowded_split(folder)
    try:
        all_gradients(split, folder, Team(rank, 2))
        runs(split, folder, Team(rank, 2))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
