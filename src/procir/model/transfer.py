"""What is laid out on the host goes to the device that computes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

_Part = TypeVar("_Part")


def to_device(part: _Part, device: torch.device) -> _Part:
    """The same with every tensor on the device; from pinned memory the host does not wait for the copy."""
    return _changed(part, lambda tensor: tensor.to(device, non_blocking=True))


def pinned(part: _Part, device: torch.device) -> _Part:
    """The same in memory that a GPU copies from by itself; for any other device as it is."""
    return _changed(part, Tensor.pin_memory) if device.type == "cuda" else part


def _changed(part: _Part, change: Callable[[Tensor], Tensor]) -> _Part:
    """A tensor, tuple or dataclass with every tensor in it changed, and all else as it is."""
    if isinstance(part, Tensor):
        return cast(_Part, change(part))
    if isinstance(part, tuple):
        return cast(_Part, tuple(_changed(each, change) for each in part))
    if not is_dataclass(part) or isinstance(part, type):
        return part
    values = {field.name: _changed(getattr(part, field.name), change) for field in fields(part)}
    return replace(part, **values)
