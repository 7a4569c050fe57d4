"""Weights, gradients and optimiser's state shared out among the processes of a run (FSDP2, `fully_shard`).

Every layer and every vision block is whole in a process only while it is used. That takes all processes to use them in
the same order and as often, although their shares of a batch differ: who has less to read reads something again, which
counts for nothing. The model that training was given stays whole on the host meanwhile: it is what is evaluated and
saved, with weights gathered for that, so that checkpoints are those of any other run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from procir.errors import ConfigError, TrainingError
from procir.model.embedder import ProCIR
from procir.model.layout import Layout
from procir.model.packed import THROUGH
from procir.train.config import TrainConfig
from procir.train.distributed import Team
from procir.train.passes import Pass


def require_shardable(config: TrainConfig) -> None:
    """Refuse what does not go with sharded weights."""
    if config.optimizer == "muon":
        raise ConfigError("sharded: Muon needs whole matrices; take the optimiser adamw, or leave sharded out")
    if config.compile:
        raise ConfigError("sharded: compiled regions have not been tried on sharded weights; leave one of both out")


@contextmanager
def on_host(model: ProCIR, *, wanted: bool) -> Iterator[torch.device]:
    """The model's device; if `wanted`, the model waits on the host meanwhile, with what is built from its weights."""
    device = model.device
    if wanted:
        model.network.to("cpu")
    try:
        yield device
    finally:
        model.network.to(device)


class Shards:
    """A model whose weights are shared out; `whole` is the model that it was made from, and the two are kept apart."""

    def __init__(self, whole: ProCIR, device: torch.device, team: Team) -> None:
        self.whole = whole
        self._team = team
        self._device = device
        self.model = copy(whole)
        self.model.network = _sharded(deepcopy(whole.network), device, team.count)

    def gather(self) -> None:
        """Bring the weights of the whole model, on the host, up to date; all processes call this together."""
        theirs = dict(self.whole.network.named_parameters())
        with torch.no_grad():
            for name, weight in self.model.network.named_parameters():
                theirs[name].copy_(_whole(weight))

    @contextmanager
    def gathered(self) -> Iterator[ProCIR]:
        """The whole model on the device, up to date."""
        self.gather()
        self.whole.network.to(self._device)
        try:
            yield self.whole
        finally:
            self.whole.network.to("cpu")

    def level(self, passes: Sequence[Pass]) -> list[Pass]:
        """The passes, and passes of the vision tower and the language model in them, as many as in every process."""
        said = self._team.said([(len(one.layout.pictures), len(one.layout.batches)) for one in passes])
        most = max(map(len, said))
        idle = [replace(passes[-1], idle=True)] * (most - len(passes))
        return [
            replace(one, layout=_filled(one.layout, *_largest(said, place)))
            for place, one in enumerate((*passes, *idle))
        ]


def optimizer_states(optimizers: Sequence[Optimizer], *, wanted: bool) -> list[dict[str, Any]]:
    """The whole state of each optimiser, on the host where it is shared out; all processes call this together.

    Where it is not `wanted`, shared numbers are put together for the others, and not kept.
    """
    change = _whole if wanted else _passed_on
    return [_mapped(optimizer.state_dict(), change) for optimizer in optimizers]


def share_states(optimizers: Sequence[Optimizer], states: Sequence[Mapping[str, Any]]) -> None:
    """Give optimisers of sharded weights the whole states of optimisers of the same weights."""
    for optimizer, state in zip(optimizers, states, strict=True):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        shared = {number: _like(weights[number], numbers) for number, numbers in state["state"].items()}
        optimizer.load_state_dict({**state, "state": shared})


def _sharded(network: Any, device: torch.device, count: int) -> Any:
    if device.type == "cuda":
        torch.cuda.set_device(device)  # a mesh takes the current device, whatever the weights are on
    mesh = init_device_mesh(device.type, (count,))
    parts = [*network.model.visual.blocks, *network.model.language_model.layers, network]
    for part in parts:
        shared: FSDPModule = fully_shard(part, mesh=mesh)
        shared.set_gradient_divide_factor(1.0)  # the gradient of a batch is a sum over its rows, not a mean of shares
        shared.set_force_sum_reduction_for_comms(True)  # Gloo knows no sum with a factor
        setattr(part, THROUGH, MethodType(_through, part))
        register_fsdp_forward_method(part, THROUGH)
    return network


def _through(_: nn.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _whole(value: torch.Tensor) -> torch.Tensor:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _passed_on(value: torch.Tensor) -> torch.Tensor:
    return value.full_tensor().new_empty(0) if isinstance(value, DTensor) else value


def _like(weight: nn.Parameter, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimiser keeps for a weight, shared out as the weight is."""
    if not isinstance(weight, DTensor):
        return dict(numbers)
    return {
        name: distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
        if isinstance(value, torch.Tensor) and value.shape == weight.shape
        else value
        for name, value in numbers.items()
    }


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(each, change) for name, each in value.items()}
    return [_mapped(each, change) for each in value] if isinstance(value, list) else value


def _largest(said: Sequence[Sequence[tuple[int, int]]], place: int) -> tuple[int, int]:
    counts = [own[min(place, len(own) - 1)] for own in said]
    return max(pictures for pictures, _ in counts), max(batches for _, batches in counts)


def _filled(layout: Layout, pictures: int, batches: int) -> Layout:
    """With the smallest passes again until there are so many; their states are not `wanted`."""
    if pictures and not layout.pictures:
        raise TrainingError(
            "sharded: a process has only texts to read where another has photos; raise batch_size or chunk"
        )
    seen = sorted(layout.pictures, key=lambda each: sum(stack.numel() for stack in each.stacks))[:1]
    read = sorted(layout.batches, key=lambda each: each.token_ids.numel())[:1]
    return replace(
        layout,
        pictures=(*layout.pictures, *seen * (pictures - len(layout.pictures))),
        batches=(*layout.batches, *read * (batches - len(layout.batches))),
    )
