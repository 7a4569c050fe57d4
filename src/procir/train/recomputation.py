"""What a layer keeps for the way back, and what is computed again then (activation checkpointing)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from procir.train.config import Recompute

_KEPT = [
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.torch_attn._varlen_attn.default,
]
"""The operations that cost most: linear layers and attention. The recurrence of a linear-attention layer, whose kernels
do not tell torch of themselves, is computed again."""


def recompute(network: Any, how: Recompute) -> None:
    """Tell all layers of the language model and of the vision tower; they heed it in training mode."""
    if how == "off":
        network.activation_checkpointing_disable()
        return
    chosen: dict[str, Any] = {"use_reentrant": False}
    if how == "selective":
        chosen["context_fn"] = partial(create_selective_checkpoint_contexts, _KEPT)
    network.activation_checkpointing_enable(chosen)
