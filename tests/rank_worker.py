"""One process of several that train together: `python rank_worker.py RANK COUNT FOLDER`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from procir.errors import TrainingError
from procir.train.contrastive import train
from procir.train.distributed import Team
from training import CUTS, RUNS, crowded_split, fresh_model, gradients, settings

CASES = [(name, cut, False) for name in RUNS for cut in CUTS] + [("MT+Align", "whole", True)]
"""Run, cut, and whether the vision tower is frozen."""


def all_gradients(folder: Path, team: Team) -> None:
    split = crowded_split(folder)
    found = {case: gradients(split, case[0], team, cut=case[1], frozen=case[2]) for case in CASES}
    torch.save(found, folder / f"gradients-{team.number}.pt")


def sums(folder: Path, team: Team) -> None:
    """Three weights: with a gradient in both processes, in the first alone, and in none."""
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad = torch.tensor([1.0, 2.0]) * (team.number + 1)
    if team.first:
        weights[1].grad = torch.tensor([5.0, 7.0])
    team.sum_gradients(weights)
    told = team.any(team.number == 1), team.any(False)
    torch.save(([weight.grad for weight in weights], told), folder / f"sums-{team.number}.pt")


def half(folder: Path, team: Team) -> None:
    """Four steps of six, with a checkpoint after the third."""
    _first_half(folder, "run", team)


def half_adapted(folder: Path, team: Team) -> None:
    """The same with adapters."""
    _first_half(folder, "adapted", team, lora_rank=4)


def _first_half(folder: Path, name: str, team: Team, **changes: object) -> None:
    def stop(step):
        if step.step == 4:
            raise KeyboardInterrupt

    run = settings(max_steps=6, save_every=3, evaluate_every=2, chunk=2, **changes)
    with pytest.raises(KeyboardInterrupt):
        train(
            fresh_model(), crowded_split(folder), run, folder / name, data_hash="x", report=stop, team=team,
            evaluate=lambda _: {"R@5": 1.0},
        )  # fmt: skip


def strangers(folder: Path, team: Team) -> None:
    """Processes that read different data."""
    split, own = crowded_split(folder), f"data {team.number}"
    with pytest.raises(TrainingError) as refusal:
        train(fresh_model(), split, settings(), folder / "strangers", data_hash=own, team=team)
    (folder / f"error-{team.number}.txt").write_text(str(refusal.value))


def disagreeing(folder: Path, team: Team) -> None:
    """Processes that were told different settings."""
    run = settings(learning_rate=1e-3 * (1 + team.number))
    with pytest.raises(TrainingError) as refusal:
        train(fresh_model(), crowded_split(folder), run, folder / "disagreeing", data_hash="x", team=team)
    (folder / f"settings-{team.number}.txt").write_text(str(refusal.value))


def main(rank: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    files = dist.FileStore(str(folder / "store"), count)
    dist.init_process_group("gloo", store=files, rank=rank, world_size=count, timeout=timedelta(seconds=120))
    try:
        for job in (all_gradients, sums, half, half_adapted, strangers, disagreeing):
            job(folder, Team(rank, count))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
