"""Adapters (LoRA, Hu et al. 2021): small matrices beside the frozen ones of the language model, put there by peft.

All linear layers of the language model get one. One row of the embeddings learns too: that of the embedding token,
which a backbone has never read. peft's way to train a row copies the whole matrix, 248,320 rows, in every forward pass,
so the row is a module of its own here. The vision tower stays as it is: with nothing to learn below the language
model, photos need no backward pass and nothing is kept for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from procir.errors import ConfigError
from procir.records import replacing_folder

_NAME = "default"
_LANGUAGE_MODEL = "model.language_model."


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """How large adapters are, and what their first numbers are drawn from."""

    rank: int
    alpha: int
    """What an adapter says counts alpha / rank times."""
    seed: int = 0


class _WithOwnRow(nn.Embedding):
    """Embeddings whose row `number` is the parameter `row`; their matrix is that of `base`, and stays as it is."""

    def __init__(self, base: nn.Embedding, number: int) -> None:
        super().__init__(base.num_embeddings, base.embedding_dim, base.padding_idx, _weight=base.weight)
        self.weight = base.weight  # the same parameter, which an output layer may be tied to
        self.number = number
        self.row = nn.Parameter(base.weight[number].detach().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of ids."""
        found = super().forward(ids)
        return torch.where((ids == self.number)[..., None], self.row.to(found.dtype), found)


@contextmanager
def adapted(network: Any, token: int, settings: AdapterSettings | None) -> Iterator[None]:
    """The network with adapters, which alone learn; afterwards they are merged into its weights, however that ends.

    `token` is the number of the embedding token. Without settings the network stays as it is. Raises ConfigError
    without peft.
    """
    if settings is None:
        yield
        return
    learnt = {name: weight.requires_grad for name, weight in network.named_parameters()}
    table = network.get_input_embeddings()
    _inject(network, token, settings)
    try:
        yield
    finally:
        _merge(network, table)
        for name, weight in network.named_parameters():
            weight.requires_grad_(learnt[name])


def present(network: Any) -> bool:
    """Whether the network has adapters."""
    return isinstance(network.get_input_embeddings(), _WithOwnRow)


def merged_state(network: Any) -> dict[str, Tensor]:
    """The weights of the network without adapters that says the same; its own stay as they are."""
    state: dict[str, Tensor] = network.state_dict()
    if not present(network):
        return state
    table = network.get_input_embeddings()
    for name, module in network.named_modules():
        if module is table:
            state.pop(f"{name}.row")
            state[f"{name}.weight"] = _with_row(table)
        elif _is_adapted(module):
            for part in [part for part in state if part.startswith(f"{name}.lora_")]:
                del state[part]
            for part in [part for part in state if part.startswith(f"{name}.base_layer.")]:
                state[part.replace(".base_layer.", ".")] = state.pop(part)
            state[f"{name}.weight"] = _merged_weight(module)
    return state


def export(network: Any, folder: Path, settings: AdapterSettings) -> None:
    """Write the adapters alone as peft reads them, for the model that training started from; whole or not at all."""
    table = network.get_input_embeddings()
    learnt: dict[str, Tensor] = {}
    for name, weight in network.named_parameters():
        if weight is table.row:
            path = f"{name.removesuffix('.row')}.token_adapter.trainable_tokens_delta"
            learnt[f"base_model.model.{path}"] = weight[None]
        elif weight.requires_grad:
            learnt[f"base_model.model.{name.replace(f'.{_NAME}.', '.')}"] = weight
    config = _peft_config(network, settings)
    config.trainable_token_indices = {"embed_tokens": [table.number]}
    config.inference_mode = True
    with replacing_folder(folder, durable=True) as scratch:
        save_file({name: weight.detach().cpu().contiguous() for name, weight in learnt.items()},
                  scratch / "adapter_model.safetensors")  # fmt: skip
        config.save_pretrained(str(scratch))
        description = scratch / "adapter_config.json"
        content = json.loads(description.read_text(encoding="utf-8"))
        content["target_modules"].sort()  # a set, whose order differs from run to run
        description.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _inject(network: Any, token: int, settings: AdapterSettings) -> None:
    try:
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("adapters (lora_rank) need peft: pip install 'procir[lora]'") from error
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        inject_adapter_in_model(_peft_config(network, settings), network, _NAME)
    network.set_input_embeddings(_WithOwnRow(network.get_input_embeddings(), token))


def _peft_config(network: Any, settings: AdapterSettings) -> Any:
    from peft import LoraConfig

    linear = {
        name.removesuffix(".base_layer")
        for name, layer in network.named_modules()
        if type(layer) is nn.Linear and name.startswith(_LANGUAGE_MODEL) and ".lora_" not in name
    }
    return LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=sorted(linear))


@torch.no_grad()  # and not through .data: whoever remembers a weight by its version must see that it changed
def _merge(network: Any, table: nn.Embedding) -> None:
    own = network.get_input_embeddings()
    table.weight[own.number] = own.row
    network.set_input_embeddings(table)
    for name, module in list(network.named_modules()):
        if _is_adapted(module):
            plain = module.base_layer
            plain.weight.copy_(_merged_weight(module))
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, plain)


def _is_adapted(module: nn.Module) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


@torch.no_grad()
def _merged_weight(module: Any) -> Tensor:
    weight = module.base_layer.weight
    merged: Tensor = weight + module.get_delta_weight(_NAME).to(weight.dtype)
    return merged


@torch.no_grad()
def _with_row(table: _WithOwnRow) -> Tensor:
    return table.weight.index_copy(0, torch.tensor([table.number], device=table.weight.device), table.row[None])
