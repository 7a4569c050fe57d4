"""Weights in int8, for encoding on small machines (torchao)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from procir.errors import ConfigError


def to_int8(network: Any) -> None:
    """Keep the matrices of the language model as int8 with one scale a row, in place; embeddings and tower stay.

    Raises ConfigError without torchao.
    """
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ConfigError("int8 weights need torchao: pip install 'procir[int8]'") from error
    quantize_(network.model.language_model, Int8WeightOnlyConfig())


def parts(weight: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a weight consists of: itself, or its integers and scales."""
    if not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from parts(getattr(weight, name))


def require_whole(network: Any) -> None:
    """Raise ConfigError for a network with int8 weights, which are not for saving."""
    if any(hasattr(weight, "__tensor_flatten__") for weight in network.parameters()):
        raise ConfigError("int8 weights are for encoding: save the model that they were made from")
