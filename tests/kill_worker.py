"""Saves checkpoints and is killed while it does, again and again: `python kill_worker.py FOLDER TRIALS`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from procir.train import state
from procir.train.optimizers import build
from procir.train.origin import origin
from training import fresh_model, settings


def save_on(out: Path, first: int) -> None:
    """Save one step after another, each with weights that tell its number, until somebody ends this."""
    model, optimizers = made(first)
    for step in range(first + 1, 1_000_000):
        for weight in model.network.parameters():
            weight.data.fill_(step)
        state.save(out, step, model, [each.state_dict() for each in optimizers], origin(model, settings(), "x"), keep=2)


def made(step: int):
    """A model after one step, so that the optimiser has something to save."""
    model = fresh_model()
    optimizers = build(model.network.named_parameters(), "adamw", learning_rate=1e-3, weight_decay=0.0)
    for weight in model.network.parameters():
        weight.grad = torch.full_like(weight, float(step))
    optimizers[0].step()
    return model, optimizers


def trial(out: Path, delay: float, before: int) -> int:
    """Kill a child after a while; then a run must go on from a whole checkpoint, no older than the one before."""
    child = os.fork()
    if child == 0:
        save_on(out, before)
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    model, optimizers = made(0)
    resumed = state.prepare(out, model, optimizers, origin(model, settings(), "x"), resume=True)
    assert resumed.damaged == {}, resumed
    assert resumed.step >= before, (resumed.step, before)
    if resumed.step:
        assert all(bool((weight == resumed.step).all()) for weight in model.network.parameters())
    left = sorted(path.name for path in (out / "checkpoints").glob(".*"))
    state.tidy(out, resumed)
    assert not list((out / "checkpoints").glob(".*"))
    print(f"killed after {delay:.2f} s: step {resumed.step}, unfinished {len(left)}", flush=True)
    return resumed.step


def main(out: Path, trials: int) -> None:
    torch.set_num_threads(1)
    (out / "checkpoints").mkdir(parents=True)
    chance, step = random.Random(7), 0
    for _ in range(trials):
        step = trial(out, chance.uniform(0.15, 0.6), step)
    print(f"saved {step}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
