"""How a tiny model studies: a loop over steps that lower a loss, and keeping what was learnt."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from procir.errors import ConfigError, TrainingError
from procir.recipes.console import Advance
from procir.records import replacing_folder
from procir.train import optimizers

_WEIGHTS, _RECORD = "weights.safetensors", "record.json"
_SMOOTH = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """How long a model studies, and how fast."""

    steps: int
    """Updates."""
    batch_size: int
    """Items an update."""
    learning_rate: float
    """Peak rate of Muon and AdamW; warm-up, then a cosine to zero."""
    warmup_steps: int
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """Decay of matrices."""
    shift: int = 4
    """Most pixels that a view is moved up, down and sideways, so that it is never seen twice in the same place."""
    seed: int = 0
    """Decides order, shifts and texts."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1:
            raise ConfigError(f"{self.steps} steps of {self.batch_size}: at least one step of one item is needed")


def study(
    weights: Iterable[tuple[str, nn.Parameter]], loss: Callable[[int], Tensor], config: StudyConfig, progress: Advance
) -> None:
    """Lower the loss of every step in turn by moving the named weights; the progress shows the smoothed loss."""
    moving = optimizers.build(weights, "muon", learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    smooth = 0.0
    for step in range(config.steps):
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        optimizers.step(moving, _rate(step, config))
        smooth = value.item() if step == 0 else _SMOOTH * smooth + (1 - _SMOOTH) * value.item()
        progress(step + 1, config.steps, f"loss {smooth:.2f}")


def once(
    module: nn.Module,
    config: Mapping[str, Any],
    folder: Path,
    learn: Callable[[], dict[str, float]],
    *,
    resume: bool,
) -> dict[str, Any]:
    """Let `module` learn and keep its weights in `folder`, or with `resume` take those that are kept there.

    Returns the record of the lessons: `config`, `marks` and `seconds`. Raises TrainingError if the kept weights had
    other lessons.
    """
    if resume and (folder / _RECORD).is_file():
        kept: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if kept["config"] != config:
            raise TrainingError(f"{folder} holds what other lessons left: choose another folder")
        load_model(module, folder / _WEIGHTS)
        return kept
    started = time.perf_counter()
    marks = learn()
    record = {"config": config, "marks": marks, "seconds": round(time.perf_counter() - started, 1)}
    with replacing_folder(folder) as scratch:
        save_model(module, str(scratch / _WEIGHTS))
        (scratch / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    return record


def _rate(step: int, config: StudyConfig) -> float:
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))
