"""What a run of supervised fine-tuning is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from procir.catalog.conversations import SHARE
from procir.errors import ConfigError
from procir.train.config import Recompute, TrainConfig
from procir.train.trackers import TrackerName


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """Settings of supervised fine-tuning; the defaults are the paper's (sections 4.8 and D.3).

    Where the paper states none, they are those of LLaMA-Factory, which it used: no weight decay, gradients clipped.
    """

    seed: int = 0
    """Decides which products and triplets are drawn, and the order of the conversations."""
    share: float = SHARE
    """How much of the products and of the triplets is drawn."""
    max_tokens: int = 4096
    """Longest conversation, and most tokens of one forward pass; longer conversations are left out and counted."""
    batch_size: int = 10
    """Conversations a step; the last step of a pass has those that are left."""
    epochs: float = 1.0
    """Passes over the conversations."""
    max_steps: int | None = None
    """Stop after so many steps instead of after `epochs`."""
    learning_rate: float = 1e-5
    """Peak rate of AdamW, before a cosine decay to zero."""
    warmup_steps: int = 0
    """Steps of linear warm-up before the decay; the paper uses none."""
    weight_decay: float = 0.0
    """Decay of matrices; gains and biases are not decayed."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; weights and optimiser stay fp32."""
    freeze_vision: bool = False
    """Leave the vision tower as it is; the paper trains all weights."""
    recompute: Recompute = "off"
    """What is computed again on the way back, for less memory and more time: nothing; all but linear layers and
    attention; or everything within each layer."""
    log_every: int = 10
    """Steps between rows of the log."""
    trackers: tuple[TrackerName, ...] = ()
    """Services that get the numbers of the log too: wandb, trackio."""
    save_every: int | None = None
    """Steps between checkpoints; without it a run cannot be resumed."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay on disk."""

    def __post_init__(self) -> None:
        positive = ("max_tokens", "batch_size", "epochs", "learning_rate", "clip", "log_every", "keep_checkpoints")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("max_steps", "save_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be positive, not {value}; leave it out to switch it off")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"a share of {self.share}: draw more than 0 and at most 1 of the data")


RunConfig = TrainConfig | SftConfig
"""What a run is: contrastive training, or supervised fine-tuning."""
