"""Checkpoints of a training run: written whole or not at all, resumed exactly, passed over if damaged, or refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from procir.errors import CheckpointError, TrainingError
from procir.model import adapters
from procir.model.embedder import ProCIR
from procir.records import clear_unfinished, replacing_folder
from procir.train.origin import Origin

_STATE_FILE = "state.json"
_OPTIMIZERS_FILE = "optimizers.pt"
_WEIGHTS_FILE = "model/model.safetensors"
_ADAPTERS_FILE = "adapters.safetensors"
_DAMAGED = "damaged-"


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a run goes on: the steps already done, and newer checkpoints that are damaged, with what is wrong."""

    step: int = 0
    damaged: Mapping[Path, str] = field(default_factory=dict)

    def __str__(self) -> str:
        listed = "; ".join(f"{folder.name}: {reason}" for folder, reason in self.damaged.items())
        return f"goes on after step {self.step}, for newer checkpoints are damaged and were set aside ({listed})"


def save(
    out: Path, step: int, model: ProCIR, optimizer_states: Sequence[Mapping[str, Any]], origin: Origin, keep: int
) -> None:
    """Write the checkpoint of a step, with the states of its optimisers, then remove the oldest beyond `keep`.

    With adapters it holds them alone. Raises CheckpointError if it cannot be written; those before it stay.
    """
    try:
        with replacing_folder(_folder(out) / f"step-{step:07d}", durable=True) as folder:
            if adapters.present(model.network):
                learnt = {name: weight.detach().cpu().contiguous() for name, weight in _learnt(model).items()}
                save_file(learnt, folder / _ADAPTERS_FILE)
            else:
                model.save_pretrained(folder / "model")
            torch.save(list(optimizer_states), folder / _OPTIMIZERS_FILE)
            facts = {"step": step, "origin": asdict(origin)}
            (folder / _STATE_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except (OSError, RuntimeError, SafetensorError, CheckpointError) as error:
        before = [path.name for path in _checkpoints(out)]
        raise CheckpointError(
            f"step {step} could not be saved in {_folder(out)}: {str(error).splitlines()[0]}; make room there, and go "
            f"on with --resume{f' from {before[-1]}, which is whole' if before else ', from the start'}"
        ) from error
    for old in _checkpoints(out)[:-keep]:
        shutil.rmtree(old)


def prepare(
    out: Path, model: ProCIR, optimizers: Sequence[Optimizer], origin: Origin, *, resume: bool,
    data_changes: Callable[[], str] = lambda: "",
) -> Resumed:  # fmt: skip
    """Load the newest whole checkpoint of `out`, if there is one and `resume` is set.

    `data_changes` tells what is another in the data, if it can. Raises TrainingError if a fresh run would overwrite
    another, or if the configuration, the model or the data is another than the checkpoint's; CheckpointError if there
    are checkpoints, and all of them are damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = _checkpoints(out)
    if found and not resume:
        raise TrainingError(f"{out} holds checkpoints of an earlier run: resume it, or choose another folder")
    damaged: dict[Path, str] = {}
    for folder in reversed(found):
        try:
            step, before = _read(folder)
            _require_same(folder, before, origin, data_changes)
            _load(folder, model, optimizers)
        except _DamagedError as error:
            damaged[folder] = str(error)
        else:
            return Resumed(step, damaged)
    if damaged:
        listed = "; ".join(f"{folder.name}: {reason}" for folder, reason in damaged.items())
        raise CheckpointError(
            f"no checkpoint in {_folder(out)} is whole ({listed}): restore one, or remove them and start again"
        )
    return Resumed()


def tidy(out: Path, resumed: Resumed) -> None:
    """Remove what interrupted saves left behind, and set damaged checkpoints aside, under names that begin so.

    For one process, when all others have read what they need.
    """
    for name in ("best", "model", "adapter"):
        clear_unfinished(out / name)
    for unfinished in _folder(out).glob(".step-*"):
        shutil.rmtree(unfinished)
    for folder in resumed.damaged:
        aside = folder.with_name(f"{_DAMAGED}{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.replace(aside)


class _DamagedError(Exception):
    """A checkpoint that cannot be read; another may be."""


def _folder(out: Path) -> Path:
    return out / "checkpoints"


def _checkpoints(out: Path) -> list[Path]:
    """Checkpoints, oldest first; each is whole unless it was damaged from outside."""
    return sorted(path for path in _folder(out).glob("step-*") if path.is_dir())


def _learnt(model: ProCIR) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.network.named_parameters() if weight.requires_grad}


def _read(folder: Path) -> tuple[int, Origin]:
    try:
        facts = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        return int(facts["step"]), Origin(**facts["origin"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _DamagedError(f"{_STATE_FILE} cannot be read, {type(error).__name__}") from error


def _require_same(folder: Path, before: Origin, now: Origin, data_changes: Callable[[], str]) -> None:
    refusals = now.refusals(before)
    if refusals:
        raise TrainingError(
            f"{folder} is of another run: {'; '.join(refusals)}; resume with what it was, or start anew"
        )
    if before.data_hash != now.data_hash:
        raise TrainingError(
            f"the training data changed since {folder}: "
            f"{data_changes() or f'its hash was {before.data_hash[:12]} and is now {now.data_hash[:12]}'}; restore "
            "the data, or start a new run"
        )


def _load(folder: Path, model: ProCIR, optimizers: Sequence[Optimizer]) -> None:
    if adapters.present(model.network):
        with _damage(_ADAPTERS_FILE):
            _load_learnt(load_file(folder / _ADAPTERS_FILE), model)
    else:
        with _damage(_WEIGHTS_FILE):
            weights = load_file(folder / _WEIGHTS_FILE, device=str(model.device))
            _require_all(model.network.load_state_dict(weights, strict=False))
    with _damage(_OPTIMIZERS_FILE):
        states = torch.load(folder / _OPTIMIZERS_FILE, weights_only=True, map_location=model.device)
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.load_state_dict(state)


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """Whatever goes wrong in a file of a checkpoint of the right model is damage."""
    try:
        yield
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        raise _DamagedError(f"{name} cannot be read, {type(error).__name__}") from error


def _load_learnt(weights: Mapping[str, torch.Tensor], model: ProCIR) -> None:
    learnt = _learnt(model)
    if weights.keys() != learnt.keys():
        raise ValueError(f"{len(weights.keys() ^ learnt.keys())} adapters are missing or unknown")
    with torch.no_grad():
        for name, weight in learnt.items():
            weight.copy_(weights[name])


def _require_all(found: Any) -> None:
    missing = [name for name in found.missing_keys if name != "lm_head.weight"]
    if missing or found.unexpected_keys:
        raise ValueError(f"{len(missing)} weights are missing and {len(found.unexpected_keys)} unknown")
