"""What a contrastive run is: the variant of the method and the optimiser's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from procir.errors import ConfigError
from procir.train.trackers import TrackerName

TextLength = Literal["short", "long", "both"]
OptimizerName = Literal["adamw", "muon"]
Recompute = Literal["off", "selective", "full"]

CONDUCT = frozenset(
    {
        "chunk", "chunk_tokens", "recompute", "compile", "log_every", "evaluate_every", "keep_best", "save_every",
        "keep_checkpoints", "diverged_above", "trackers", "sharded",
    }
)  # fmt: skip
"""Settings that say how a run is carried out, not what it computes; they may change when it is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Which mechanisms are on; the eight combinations are the rows of the paper's Table 3."""

    two_turns: bool = True
    """Read the views in a turn of their own, before the modification text (MT, section 4.4)."""
    alignment: bool = True
    """Pull products towards their captions (Align, section 4.5)."""
    cot: bool = False
    """Show the long caption while thinking, and take it away over the first half of training (CoT, section 4.6)."""

    @property
    def name(self) -> str:
        """MT+Align+CoT and the like; the bare single-turn baseline is called Single."""
        parts = [name for name, on in (("MT", self.two_turns), ("Align", self.alignment), ("CoT", self.cot)) if on]
        return "+".join(parts) or "Single"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of contrastive training; the defaults are the paper's (section D.1, Table 7)."""

    variant: Variant = field(default_factory=Variant)
    """Which mechanisms are on; the eight combinations are the rows of the paper's Table 3."""
    seed: int = 0
    """Decides the order of the triplets and every random choice of a step."""
    batch_size: int = 160
    """Triplets a step; every other product of the batch is a negative."""
    batching: Literal["uniform", "distinct", "neighbors"] = "uniform"
    """How triplets meet in a batch: at random as in the paper; at random, but no product in two triplets of a batch
    where that can be avoided; or in a few neighborhoods of products that triplets join, for harder negatives."""
    turns: int = 1
    """Modification texts of a conversation at most. Above 1 a triplet is followed by others, drawn anew at each step,
    that begin where the one before ends; the loss is taken after every text, and each query counts alike."""
    epochs: float = 1.0
    """Passes over the triplets; the ragged last batch of a pass is left out."""
    max_steps: int | None = None
    """Stop after so many steps instead of after `epochs`."""
    optimizer: OptimizerName = "adamw"
    """AdamW for all weights as in the paper, or Muon for the matrices between layers, with which a small model
    learns from random weights in fewer steps."""
    learning_rate: float = 1e-5
    """Peak rate; Muon's updates are scaled to the size of AdamW's."""
    weight_decay: float = 0.01
    """Decay of matrices; gains and biases are not decayed."""
    warmup_steps: int = 0
    """Steps of linear warm-up before the cosine decay to zero; the paper uses none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    temperature: float = 0.07
    """Divides the cosine similarities (formula 5)."""
    document_weight: float = 0.25
    """Share of the document-caption loss in the objective (formula 12)."""
    source_weight: float = 0.25
    """Share of the source-caption loss in the objective (formula 12)."""
    modification: TextLength = "both"
    """Modification texts to train on; both draws long or short anew at each step, half and half."""
    caption: TextLength = "both"
    """Captions to align with; both draws long or short anew at each step, half and half."""
    lora_rank: int | None = None
    """Rank of adapters (LoRA) on all linear layers of the language model, which then alone learn, beside the row of
    the embedding token; the vision tower stays as it is. None trains all weights, as the paper does. Needs the extra
    lora."""
    lora_alpha: int = 32
    """With `lora_rank`: what an adapter says counts lora_alpha / lora_rank times."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; weights and optimiser stay fp32."""
    chunk: int | None = None
    """Triplets that a process sends back through the model together. The gradient stays that of the whole batch, and
    the memory is that of a chunk, for one more forward pass; None takes all at once."""
    chunk_tokens: int | None = None
    """Instead of `chunk`: as many triplets together as have no more tokens, of text and images, than this; at least
    one."""
    recompute: Recompute = "off"
    """What is computed again on the way back, for less memory and more time: nothing; all but linear layers and
    attention; or everything within each layer."""
    compile: bool = False
    """Compile MLPs and norms with torch.compile: the first steps take minutes, later ones less time."""
    sharded: bool = False
    """With several processes: each keeps its share of weights, gradients and optimiser's state (FSDP), for less memory
    and more traffic."""
    log_every: int = 10
    """Steps between rows of the log."""
    trackers: tuple[TrackerName, ...] = ()
    """Services that get the numbers of the log too: wandb, trackio."""
    evaluate_every: int | None = None
    """Steps between evaluations; the start and the last step are always evaluated."""
    keep_best: str | None = "R@5"
    """With `evaluate_every`: OUT/best is the model whose evaluation was best by this measure."""
    save_every: int | None = None
    """Steps between checkpoints; without it a run cannot be resumed."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay on disk."""
    diverged_above: float | None = 2.0
    """Stop when the retrieval loss, averaged over the last 20 steps since the start or a resume, is above so many
    times that of chance, ln(batch_size); None goes on whatever happens."""

    def __post_init__(self) -> None:
        positive = (
            "batch_size", "turns", "epochs", "learning_rate", "clip", "temperature", "lora_alpha", "log_every",
            "keep_checkpoints",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        if self.turns > 1 and not self.variant.two_turns:
            raise ConfigError(
                f"conversations of {self.turns} texts need two turns: photos and text share one in {self.variant.name}"
            )
        if self.batch_size < 2:
            raise ConfigError("batch_size must be at least 2: the other products of a batch are the negatives")
        if self.chunk is not None and self.chunk_tokens is not None:
            raise ConfigError("chunk and chunk_tokens both cut the batch: leave one of them out")
        optional = (
            "max_steps", "evaluate_every", "save_every", "chunk", "chunk_tokens", "lora_rank", "diverged_above",
        )  # fmt: skip
        for name in optional:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be positive, not {value}; leave it out to switch it off")
        for name in ("weight_decay", "warmup_steps", "document_weight", "source_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, but is {getattr(self, name)}")
