"""Compiled regions of the network: what torch.compile speeds up without meeting kernels that it cannot see through."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from procir.errors import ConfigError


@contextmanager
def compiled(network: Any, *, wanted: bool) -> Iterator[None]:
    """If `wanted`, the MLPs and norms of all layers and vision blocks are compiled, until the end of the context.

    Shapes are dynamic, so that steps of other lengths use the same code. Results are equal up to rounding. Raises
    ConfigError on a CPU without a C++ compiler.
    """
    if wanted and network.device.type == "cpu" and not has_compiler():
        raise ConfigError("compile needs a C++ compiler on a CPU: install g++, name one in CXX, or leave compile out")
    regions = _regions(network) if wanted else []
    for region in regions:
        region.forward = torch.compile(region.forward, dynamic=True)
    try:
        yield
    finally:
        for region in regions:
            del region.forward  # the instance's own: that of the class is found again


def _regions(network: Any) -> list[nn.Module]:
    blocks = [(block.norm1, block.norm2, block.mlp) for block in network.model.visual.blocks]
    layers = network.model.language_model.layers
    parts = [(layer.input_layernorm, layer.post_attention_layernorm, layer.mlp) for layer in layers]
    return [region for group in (*blocks, *parts) for region in group]


def has_compiler() -> bool:
    """Whether there is a C++ compiler."""
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
