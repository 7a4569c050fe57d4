"""How much memory a run will take, roughly, before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Muon, Optimizer

from procir.model.embedder import ProCIR
from procir.model.packing import unique_views
from procir.train.config import Recompute, TrainConfig
from procir.train.data import StepExamples
from procir.train.distributed import Team
from procir.train.passes import chunks

_FLOAT = 4
"""Bytes of a number; automatic bfloat16 keeps copies in both widths, and so saves little of what is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one device; kernels' own room and what the allocator holds back are not counted."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimiser": self.optimizer,
            "activations": self.activations,
        }
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())
        return f"about {sum(parts.values()) / 1e9:.1f} GB on each device: {listed}"


def estimate(
    model: ProCIR, examples: StepExamples, optimizers: Sequence[Optimizer], config: TrainConfig, team: Team
) -> Memory:
    """The memory of a run whose steps are like the one of `examples`.

    Activations are those of the largest chunk: what plain layers keep for the backward pass by `language_numbers` and
    `vision_numbers`. With `config.recompute` they are what goes into every layer, with "selective" also what its linear
    layers and its attention give, and what one layer keeps that is computed again. A vision tower that does not learn
    keeps nothing; adapters keep their rank for each token and matrix. With `config.sharded` a process has its share of
    all but the activations, and the largest layer whole, with its gradient.
    """
    weights = list(model.network.parameters())
    trained = sum(weight.nbytes for weight in weights if weight.requires_grad)
    shares = team.count if config.sharded else 1
    largest = _largest_part(model) if shares > 1 else 0
    return Memory(
        weights=sum(weight.nbytes for weight in weights) // shares + largest,
        gradients=trained // shares + largest if shares > 1 else trained * (1 if team.count == 1 else 2),
        optimizer=_FLOAT * sum(map(_optimizer_numbers, optimizers)) // shares,
        activations=_FLOAT * _activation_numbers(model, examples, config),
    )


def language_numbers(text: Any, how: Recompute = "off") -> list[int]:
    """Numbers that each layer of the language model keeps for one token.

    8 h + 4 f + 5 m: h is the hidden size, f that of the MLP, m the widths of what enters the mixing of tokens together.
    With "selective" 3 h + 2 f + m, and in full attention the heads' widths a once more; with "full" h. The MLP of the
    last layer reads the embedding tokens alone: 4 h + 4 f less are kept there, or 1 h + 2 f.
    """
    keys = text.linear_num_key_heads * text.linear_key_head_dim
    values = text.linear_num_value_heads * text.linear_value_head_dim
    heads = text.num_attention_heads * text.head_dim
    mixed = {
        "linear_attention": (2 * keys + 2 * values, 0),
        "full_attention": (2 * (text.num_attention_heads + text.num_key_value_heads) * text.head_dim, heads),
    }
    h, f = text.hidden_size, text.intermediate_size
    numbers: dict[Recompute, Callable[[int, int], int]] = {
        "off": lambda m, _: 8 * h + 4 * f + 5 * m,
        "selective": lambda m, a: 3 * h + 2 * f + m + a,
        "full": lambda *_: h,
    }
    kept = [numbers[how](*mixed[kind]) for kind in text.layer_types]
    spared: dict[Recompute, int] = {"off": 4 * h + 4 * f, "selective": h + 2 * f, "full": 0}
    return [*kept[:-1], kept[-1] - spared[how]]


def vision_numbers(vision: Any, how: Recompute = "off") -> list[int]:
    """Numbers that each layer of the vision tower keeps for one patch: 10 h + 3 f, 7 h + f ("selective") or h."""
    h, f = vision.hidden_size, vision.intermediate_size
    numbers: dict[Recompute, int] = {"off": 10 * h + 3 * f, "selective": 7 * h + f, "full": h}
    return [numbers[how]] * int(vision.depth)


def _activation_numbers(model: ProCIR, examples: StepExamples, config: TrainConfig) -> int:
    text, vision = model.network.config.text_config, model.network.config.vision_config
    learns = any(weight.requires_grad for weight in model.network.model.visual.parameters())
    largest = 0
    for rows in chunks(examples, config):
        dialogues = list({id(dialogue): dialogue for dialogue in examples.dialogues(rows)}.values())
        tokens = sum(map(len, dialogues))
        patches = sum(4 * view.token_grid[0] * view.token_grid[1] for view in unique_views(dialogues))
        language = sum(_with_adapters(language_numbers(text, config.recompute), text, config))
        seen = patches * sum(vision_numbers(vision, config.recompute)) if learns else 0
        again = [tokens * max(language_numbers(text)), patches * max(vision_numbers(vision)) if learns else 0]
        kept = tokens * language + seen
        largest = max(largest, kept if config.recompute == "off" else kept + max(again))
    return largest


def _largest_part(model: ProCIR) -> int:
    """Bytes of the weights that are whole at a time when they are shared out: those outside the layers, and a layer."""
    layers = [*model.network.model.visual.blocks, *model.network.model.language_model.layers]
    sizes: list[int] = [sum(weight.nbytes for weight in layer.parameters()) for layer in layers]
    beside: int = sum(weight.nbytes for weight in model.network.parameters()) - sum(sizes)
    return beside + max(sizes)


def _with_adapters(layers: Sequence[int], text: Any, config: TrainConfig) -> list[int]:
    """A linear-attention layer has eight matrices with adapters, a full one seven; recomputed whole it keeps none."""
    matrices = {"linear_attention": 8, "full_attention": 7}
    rank = 0 if config.recompute == "full" else config.lora_rank or 0
    return [own + rank * matrices[kind] for own, kind in zip(layers, text.layer_types, strict=True)]


def _optimizer_numbers(optimizer: Optimizer) -> int:
    """AdamW keeps two numbers a weight, Muon one."""
    numbers: int = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    return numbers if isinstance(optimizer, Muon) else 2 * numbers
