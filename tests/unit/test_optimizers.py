"""Which weights each optimiser moves, and how."""

import pytest
import torch
from torch import nn

from procir.train import optimizers


def build(network, name):
    return optimizers.build(network.named_parameters(), name, learning_rate=0.5, weight_decay=0.1)


def moved(optimizer):
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_weight_has_one_optimizer(tiny, name):
    weights = [id(weight) for optimizer in build(tiny.network, name) for weight in moved(optimizer)]
    assert sorted(weights) == sorted(map(id, tiny.network.parameters()))


def test_muon_takes_the_matrices_between_layers(tiny):
    muon, adamw = build(tiny.network, "muon")
    names = {id(weight): name for name, weight in tiny.network.named_parameters()}
    mixing = {names[id(weight)] for weight in moved(muon)}
    rest = {names[id(weight)] for weight in moved(adamw)}
    assert isinstance(muon, torch.optim.Muon)
    assert {"model.visual.blocks.0.attn.qkv.weight", "model.language_model.layers.3.mlp.down_proj.weight"} <= mixing
    assert {
        "model.language_model.embed_tokens.weight", "model.visual.pos_embed.weight",
        "model.visual.patch_embed.proj.weight", "model.language_model.norm.weight",
    } <= rest  # fmt: skip


def test_only_matrices_decay():
    """Without gradients to follow, AdamW's decay alone scales a matrix by 1 - rate * decay and leaves a bias."""
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizers.step(build(layer, "adamw"), 0.5)
    torch.testing.assert_close(layer.weight, before[0] * (1 - 0.5 * 0.1))
    torch.testing.assert_close(layer.bias, before[1])
    assert layer.weight.grad is None


def test_an_update_of_muon_is_as_large_as_one_of_adamw():
    """The update is orthogonal; scaled, its root mean square is about 0.2 of the rate, as AdamW's is in practice."""
    layer = nn.Linear(64, 64, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    muon = optimizers.build(layer.named_parameters(), "muon", learning_rate=1.0, weight_decay=0.0)[0]
    optimizers.step([muon], 0.25)
    size = (layer.weight - before).square().mean().sqrt().item()
    assert 0.7 < size / (0.2 * 0.25) < 1.3
