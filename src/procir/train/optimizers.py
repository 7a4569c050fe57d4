"""What moves the weights: AdamW as in the paper, or Muon for the matrices of small models that start from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from procir.train.config import OptimizerName

_TABLES = ("embed", "lm_head")
"""Parts of the names of weights that are looked up or compared row by row, not multiplied as matrices."""


def build(
    parameters: Iterable[tuple[str, nn.Parameter]], name: OptimizerName, *, learning_rate: float, weight_decay: float
) -> list[Optimizer]:
    """The optimisers of named weights: one for `adamw`, and Muon's before that for `muon`.

    AdamW decays matrices only: gains and biases have no reason to be small. Muon takes the matrices between layers,
    with updates of AdamW's size, so that one learning rate serves both; AdamW keeps embeddings, gains and biases.
    """
    weights = [(title, weight) for title, weight in parameters if weight.requires_grad]
    mixing = [weight for title, weight in weights if name == "muon" and _is_mixing(title, weight)]
    taken = {id(weight) for weight in mixing}
    rest = [weight for _, weight in weights if id(weight) not in taken]
    groups = [
        {"params": [weight for weight in rest if weight.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in rest if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, lr=learning_rate, fused=True)]
    if mixing:
        muon = torch.optim.Muon(mixing, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        optimizers.insert(0, muon)
    return optimizers


def step(optimizers: Sequence[Optimizer], learning_rate: float) -> None:
    """One update of all weights at a learning rate; their gradients are cleared afterwards."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _is_mixing(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim == 2 and not any(part in name for part in _TABLES)
