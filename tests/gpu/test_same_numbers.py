"""Packed, padded, single, chunked, recomputed: the same numbers on a device, and those of the CPU.

Tolerances are shares of the largest number: float32 leaves 1e-4 on a CPU, and 5e-3 on a GPU, whose kernels multiply
in TF32; bfloat16 leaves 5e-2.
"""

import pytest
import torch

from procir.model.embedder import ProCIR
from procir.model.packed import Borders, _convolve, _delta_rule, attention_within
from procir.model.transfer import to_device
from procir.model.vision import lay_out_views, picture_features
from procir.train import optimizers
from procir.train.contrastive import training_mode
from procir.train.data import ExampleBuilder
from procir.train.gradients import accumulate
from training import crowded_split, fresh_model, gradients_of, settings

CPU = torch.device("cpu")
LENGTHS = (70, 1, 64, 129)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return crowded_split(tmp_path_factory.mktemp("crowded"))


def model_on(device, *, packed, dtype=torch.float32, **named):
    plain = fresh_model()
    network = plain.network.to(device, dtype)
    return ProCIR(network, plain.tokenizer, plain.settings, packed=packed, **named)


def assert_near(found, expected, device, dtype=torch.float32):
    share = 5e-2 if dtype == torch.bfloat16 else 1e-4 if device == CPU else 5e-3
    expected = expected.detach().float().cpu()
    atol = share * float(expected.abs().max()) + 1e-7
    torch.testing.assert_close(found.detach().float().cpu(), expected, rtol=share, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_packed_is_padded_is_single(device, dtype, split):
    packed, padded = (model_on(device, packed=packed, dtype=dtype) for packed in (True, False))
    examples = ExampleBuilder(padded, split, settings()).examples(1)
    dialogues = examples.dialogues(slice(None))
    with torch.inference_mode():
        single = torch.cat([padded.embed([dialogue]) for dialogue in dialogues])
        for model in (packed, padded):
            assert_near(model.embed(dialogues), single, device, dtype)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_packed_passes_are_those_of_padded_ones(device, precision, split):
    config, found = settings(precision=precision), {}
    for packed in (True, False):
        model = model_on(device, packed=packed)
        model.network.train()
        accumulate(model, ExampleBuilder(model, split, config).examples(1), config)
        found[packed] = gradients_of(model)
    for name, gradient in found[False].items():
        error = (found[True][name] - gradient).norm()
        assert error <= (0.2 if precision == "bf16" else 2e-2) * gradient.norm() + 1e-6, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_views_end_to_end_are_views_of_equal_grids(device, dtype, random_views):
    model = model_on(device, packed=True, dtype=dtype)
    tower = model.network.model.visual
    views = [view for seed in range(3) for view in random_views(seed, (2, 3), (1, 2), (2, 2))]
    found = {}
    for packed in (True, False):
        passes, _ = lay_out_views(tower, views, packed=packed, chunk=1 << 20)
        features = [picture_features(tower, to_device(each, device), model.settings.pixels) for each in passes]
        found[packed] = torch.cat(features)
    assert_near(found[True], found[False], device, dtype)


@pytest.mark.parametrize("chunk", [None, 3], ids=["whole", "chunks"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_a_step_is_that_of_the_cpu(device, packed, chunk, split):
    """In float32: losses, gradients, and the weights after the optimiser's step."""
    found = {}
    for place, size in ((device, chunk), (CPU, None)):
        model, config = model_on(place, packed=packed or place == CPU), settings(chunk=size)
        model.network.train()
        moved = optimizers.build(model.network.named_parameters(), "adamw", learning_rate=1e-3, weight_decay=0.01)
        outcome = accumulate(model, ExampleBuilder(model, split, config).examples(1), config)
        gradients = gradients_of(model)
        optimizers.step(moved, 1e-3)
        found[place, size] = outcome.losses, gradients, dict(model.network.named_parameters())
    losses, gradients, weights = found[device, chunk]
    expected, theirs, after = found[CPU, None]
    assert losses == pytest.approx(expected, rel=1e-2)
    for name, gradient in theirs.items():
        assert (gradients[name].cpu() - gradient).norm() <= 2e-2 * gradient.norm() + 1e-6, name
        # A first step of AdamW is the rate in the direction of the gradient's sign.
        assert float((weights[name].detach().cpu() - after[name].detach()).abs().max()) <= 2.1e-3, name


@pytest.mark.parametrize("how", ["selective", "full"])
def test_recomputing_on_a_device(device, how, split):
    config, found = settings(precision="bf16"), {}
    for mode in ("off", how):
        model = model_on(device, packed=True)
        with training_mode(model, mode):
            run = settings(precision="bf16", recompute=mode)
            accumulate(model, ExampleBuilder(model, split, config).examples(1), run)
        found[mode] = gradients_of(model)
    for name, gradient in found["off"].items():
        assert (found[how][name] - gradient).norm() <= 0.1 * gradient.norm() + 1e-6, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_kernels_keep_to_the_borders(device, dtype):
    """Of convolution, recurrence and attention: outputs and gradients on the device, against float32 on the CPU."""
    draw = torch.Generator().manual_seed(0)
    length, heads, dim = sum(LENGTHS), 2, 64
    borders = Borders.of(LENGTHS)
    values = torch.randn(length, heads * dim, generator=draw)
    kernel = torch.randn(heads * dim, 4, generator=draw)
    query, key, value = torch.randn(3, length, heads, dim, generator=draw)
    decay = -torch.rand(length, heads, generator=draw)
    beta = torch.rand(length, heads, generator=draw)
    runs = {
        "convolution": (_convolve, (values, kernel)),
        "recurrence": (_delta_rule, (query, key, value, decay, beta)),
    }
    for causal in (True, False):
        runs[f"attention, causal {causal}"] = (
            lambda *given, causal=causal: attention_within(given[3], *given[:3], scale=dim**-0.5, causal=causal),
            (query, key, value),
        )
    for name, (run, given) in runs.items():
        expected, found = (
            _with_gradients(run, to_device(borders, place), [tensor.to(place, width) for tensor in given])
            for place, width in ((CPU, torch.float32), (device, dtype))
        )
        for one, other in zip(found, expected, strict=True):
            assert one.isfinite().all(), name
            assert_near(one, other, device, dtype)


def _with_gradients(run, borders, given):
    given = [tensor.detach().requires_grad_() for tensor in given]
    result = run(*given, borders)
    gradients = torch.autograd.grad(result.float().square().sum() / 2, given)
    return result, *gradients


@pytest.mark.parametrize("dim", [32, 36])
def test_flash_attention_of_any_width(device, dim):
    """Of heads whose width is no multiple of eight too, such as the tiny vision tower's."""
    if device == CPU:
        pytest.skip("needs a CUDA device: the kernel has no other")
    borders = to_device(Borders.of(LENGTHS), device)
    given = torch.randn(3, sum(LENGTHS), 2, dim, device=device)
    expected = attention_within(borders, *given, scale=dim**-0.5, causal=False)
    found = attention_within(borders, *given.bfloat16(), scale=dim**-0.5, causal=False)
    assert_near(found, expected, device, torch.bfloat16)
