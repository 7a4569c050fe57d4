"""Checkpoints of a training run: written whole or not at all, resumed exactly or refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.optim import Optimizer

from procir.errors import CheckpointError, TrainingError
from procir.model.embedder import ProCIR
from procir.records import replacing_folder
from procir.train.config import CONDUCT
from procir.train.sft_config import RunConfig

_STATE_FILE = "state.json"


def save(
    out: Path, step: int, model: ProCIR, optimizers: Sequence[Optimizer], config: RunConfig, data_hash: str
) -> None:
    """Write the checkpoint of a step, then remove the oldest beyond `config.keep_checkpoints`."""
    with replacing_folder(_folder(out) / f"step-{step:07d}") as folder:
        model.save_pretrained(folder / "model")
        torch.save([optimizer.state_dict() for optimizer in optimizers], folder / "optimizers.pt")
        facts = {"step": step, "config": asdict(config), "data_hash": data_hash}
        (folder / _STATE_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for old in _checkpoints(out)[: -config.keep_checkpoints]:
        shutil.rmtree(old)


def prepare(
    out: Path, model: ProCIR, optimizers: Sequence[Optimizer], config: RunConfig, data_hash: str, *, resume: bool
) -> int:
    """Load the newest checkpoint of `out`, if there is one and `resume` is set; returns the steps already done.

    Raises TrainingError if a fresh run would overwrite another, if the configuration (but for `CONDUCT`) or the data
    changed, CheckpointError for a checkpoint that is damaged or of another architecture.
    """
    out.mkdir(parents=True, exist_ok=True)
    for unfinished in _folder(out).glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)  # other processes of the run remove them too
    found = _checkpoints(out)
    if found and not resume:
        raise TrainingError(f"{out} holds checkpoints of an earlier run: resume it, or choose another folder")
    if not found:
        return 0
    newest = found[-1]
    facts = _facts(newest)
    changed = sorted(_changes(_computed(facts["config"]), _computed(json.loads(json.dumps(asdict(config))))))
    if changed:
        raise TrainingError(f"{newest} was trained with other settings: {'; '.join(changed)}")
    if facts["data_hash"] != data_hash:
        raise TrainingError(
            f"the training data changed since {newest}: its hash was {facts['data_hash'][:12]} and is now "
            f"{data_hash[:12]}; restore the data, or start a new run"
        )
    _load(newest, model, optimizers)
    return int(facts["step"])


def _folder(out: Path) -> Path:
    return out / "checkpoints"


def _checkpoints(out: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(path for path in _folder(out).glob("step-*") if (path / _STATE_FILE).is_file())


def _facts(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/{_STATE_FILE} cannot be read: {error}; remove this checkpoint") from error


def _load(folder: Path, model: ProCIR, optimizers: Sequence[Optimizer]) -> None:
    try:
        weights = load_file(folder / "model" / "model.safetensors", device=str(model.device))
        missing, unexpected = model.network.load_state_dict(weights, strict=False)
        states = torch.load(folder / "optimizers.pt", weights_only=True, map_location=model.device)
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(state)
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{folder} cannot be resumed: {error}; remove this checkpoint") from error
    missing = [name for name in missing if name != "lm_head.weight"]
    if missing or unexpected:
        raise CheckpointError(f"{folder} holds another architecture: {len(missing)} weights missing, {unexpected[:3]}")


def _computed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in CONDUCT}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    changes = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += _changes(old, new, f"{prefix}{name}.")
        elif old != new:
            changes.append(f"{prefix}{name} was {old!r} and is now {new!r}")
    return changes
