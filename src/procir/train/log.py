"""The record of a training run: JSONL for programs, TensorBoard for eyes, and trackers where some are wanted."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from procir.records import read_jsonl, write_jsonl
from procir.train.sft_config import RunConfig
from procir.train.trackers import Tracker, TrackerName, open_trackers

LOG_FILE = "log.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one optimiser step did; `step` counts from 1, `similarities` are mean cosines (see `objective`)."""

    step: int
    total: int
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    samples_per_second: float
    seconds_left: float
    similarities: Mapping[str, float] = field(default_factory=dict)
    repeated: int = 0
    """Triplets of the batch that share a product with another of them."""


class TrainingLog:
    """Appends steps and evaluations of a run; what a resumed run will do again is dropped first."""

    def __init__(self, out: Path, first_step: int, config: RunConfig) -> None:
        path = out / LOG_FILE
        self._last = first_step
        self._trackers = open_trackers(config.trackers, out, asdict(config), resumed=first_step > 0)
        kept = [row for row in read_log(out) if row["step"] <= first_step] if first_step else []
        write_jsonl(path, kept)
        if first_step == 0:
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step + 1)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()
        for name in list(self._trackers):
            if trouble := self._told(name, lambda tracker: tracker.close()):
                self.warn(self._last, f"{name} may lack the last numbers ({trouble}); {LOG_FILE} has all of them")
        self._file.close()

    def step(self, report: StepReport) -> None:
        """Log one training step."""
        values = asdict(report)
        numbers = values.pop("losses") | {
            name: values[name] for name in ("learning_rate", "gradient_norm", "samples_per_second", "repeated")
        }
        numbers |= {f"{name}_similarity": value for name, value in report.similarities.items()}
        self._write(report.step, "train", numbers)

    def evaluation(self, step: int, scores: Mapping[str, float]) -> None:
        """Log the scores of the model after a step."""
        self._write(step, "eval", scores)

    def warn(self, step: int, text: str) -> None:
        """Log what a person should know, and say it."""
        self._file.write(json.dumps({"step": step, "kind": "warning", "text": text}) + "\n")
        self._file.flush()
        logging.getLogger("procir").warning("training %s", text)

    def _write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        self._last = step
        self._file.write(json.dumps({"step": step, "kind": kind, **numbers}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)
        told = {f"{kind}/{name}": value for name, value in numbers.items()}
        for tracker in list(self._trackers):
            if trouble := self._told(tracker, lambda own: own.log(step, told)):
                self.warn(step, f"{tracker} takes no more numbers ({trouble}); {LOG_FILE} has all of them")

    def _told(self, name: TrackerName, tell: Callable[[Tracker], None]) -> Exception | None:
        """Let a tracker do something; one that fails is left alone from then on, for training is worth more."""
        try:
            tell(self._trackers[name])
        except Exception as error:  # noqa: BLE001 - whatever a service's client may raise
            del self._trackers[name]
            return error
        return None


def read_log(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's log: `step`, `kind` (train or eval), and numbers by name; empty if there is none."""
    path = out / LOG_FILE
    return [row for _, row in read_jsonl(path)] if path.exists() else []
