"""Supervised fine-tuning with a progress bar (paper, section 4.8)."""

from __future__ import annotations

from pathlib import Path

from procir.model.embedder import ProCIR
from procir.recipes.console import show_load, stage
from procir.recipes.runs import step_note
from procir.records import data_hash
from procir.train.log import StepReport
from procir.train.sft import train_sft
from procir.train.sft_config import SftConfig
from procir.train.sft_data import gather
from procir.types import Split


def fine_tune(model: ProCIR, split: Split, config: SftConfig, out: Path, *, resume: bool = False) -> None:
    """Train `model` in place on both tasks, drawn from a split; `out` gets log and checkpoints.

    What does not fit, or lacks texts, is left out, counted and shown.
    """
    with stage("Choosing conversations") as advance:
        conversations, report = gather(model, split, config, lambda done, total: advance(done, total, ""))
    show_load("fine-tuning", report)
    with stage("Fine-tuning") as advance:

        def show(step: StepReport) -> None:
            advance(step.step, step.total, step_note(step))

        train_sft(model, conversations, config, out, data_hash=data_hash(split), report=show, resume=resume)
