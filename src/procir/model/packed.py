"""The language model over sequences laid end to end, without padding.

transformers runs Qwen3.5 over padded batches; in a packed row its layers let one sequence leak into the next unless
every kernel is told the borders. Here the same weights are applied layer by layer and the borders go everywhere: to
the convolution, to the recurrence and to attention. On a GPU these are flash-linear-attention's kernels and torch's
variable-length attention; without them sequences are taken one by one, which saves nothing and gives the same numbers.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers.models.qwen3_5.modeling_qwen3_5 import apply_rotary_pos_emb, torch_chunk_gated_delta_rule

_FLASH_DTYPES = (torch.bfloat16, torch.float16)

# transformers puts flash-linear-attention's kernel in its place where that is installed, also for other devices.
_delta_rule_alone: Any = inspect.unwrap(torch_chunk_gated_delta_rule)


@dataclass(frozen=True, slots=True)
class Borders:
    """Where sequences begin and end in a packed row: 0, the end of the first, ..., the length of the row.

    `at` is for the host, `tensor` the same for kernels.
    """

    at: tuple[int, ...]
    tensor: Int32[Tensor, " borders"]

    @classmethod
    def of(cls, lengths: Iterable[int]) -> Borders:
        """The borders of sequences of these lengths, on the host."""
        at = (0, *accumulate(lengths))
        return cls(at, torch.tensor(at, dtype=torch.int32))

    @property
    def slices(self) -> list[slice]:
        """The places of every sequence."""
        return [slice(*pair) for pair in pairwise(self.at)]

    @property
    def longest(self) -> int:
        """Length of the longest sequence."""
        return max(stop - start for start, stop in pairwise(self.at))


@cache
def worthwhile(device: torch.device) -> bool:
    """Whether packing is faster than padding there: on a GPU with flash-linear-attention (the extra `gpu`)."""
    return device.type == "cuda" and importlib.util.find_spec("fla") is not None


def packed_states(
    language_model: Any,
    hidden: Float[Tensor, "length width"],
    positions: Int64[Tensor, "3 length"],
    borders: Borders,
    wanted: Int64[Tensor, " states"],
) -> Float[Tensor, "states width"]:
    """The last hidden states of packed sequences at the `wanted` places, each as if it were alone.

    Nothing after the last mixing of tokens is computed for other places.
    """
    rotation = language_model.rotary_emb(hidden[None], positions[:, None])
    *before, last = language_model.layers
    for layer in before:
        hidden = once_or_twice(layer, _apply, layer, hidden, rotation, borders)
    states: Tensor = language_model.norm(once_or_twice(last, _apply, last, hidden, rotation, borders, wanted))
    return states


def padded_states(
    language_model: Any,
    hidden: Float[Tensor, "batch length width"],
    positions: Int64[Tensor, "3 batch length"],
    wanted: Int64[Tensor, " states"],
) -> Float[Tensor, "states width"]:
    """The last hidden states at flat places of sequences that are padded on the right.

    As transformers gives them, but for what it would compute after the last mixing of tokens at places not wanted.
    """
    rotation = language_model.rotary_emb(hidden, positions)
    *before, last = language_model.layers
    for layer in before:
        hidden = layer(hidden, position_embeddings=rotation, attention_mask=None)
    states: Tensor = language_model.norm(once_or_twice(last, _finish, last, hidden, rotation, wanted))
    return states


def _finish(
    layer: Any, hidden: Float[Tensor, "batch length width"], rotation: tuple[Tensor, Tensor], wanted: Tensor
) -> Float[Tensor, "states width"]:
    """A layer over padded sequences, as far as it is wanted."""
    mixed = layer.input_layernorm(hidden)
    if layer.block_type == "linear_attention":
        mixed = layer.linear_attn(hidden_states=mixed, attention_mask=None)
    else:
        mixed, _ = layer.self_attn(hidden_states=mixed, position_embeddings=rotation, attention_mask=None)
    return _widened(layer, (hidden + mixed).flatten(0, 1)[wanted])


def _widened(layer: Any, hidden: Float[Tensor, "length width"]) -> Float[Tensor, "length width"]:
    """A layer's second half, which sees every token alone."""
    last: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return last


def once_or_twice(layer: Any, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """The function's result for a layer of transformers, computed again on the way back where the layer is told to.

    See `procir.train.recomputation`, which tells layers how.
    """
    function = partial(by_way_of, layer, function)
    if layer.gradient_checkpointing and layer.training:
        result: Tensor = layer._gradient_checkpointing_func(function, *arguments)
        return result
    return function(*arguments)


THROUGH = "use_weights"
"""Name of the method by which a module whose weights are shared out makes them whole, see `procir.train.sharding`."""


def by_way_of(module: Any, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """The function's result, with the module's weights whole meanwhile."""
    through = getattr(module, THROUGH, None)
    return function(*arguments) if through is None else through(function, *arguments)


def _apply(
    layer: Any,
    hidden: Float[Tensor, "length width"],
    rotation: tuple[Tensor, Tensor],
    borders: Borders,
    wanted: Int64[Tensor, " states"] | None = None,
) -> Float[Tensor, "states width"]:
    mixed = layer.input_layernorm(hidden)
    if layer.block_type == "linear_attention":
        hidden = hidden + _recur(layer.linear_attn, mixed, borders)
    else:
        hidden = hidden + _attend(layer.self_attn, mixed, rotation, borders)
    return _widened(layer, hidden if wanted is None else hidden[wanted])


def _recur(net: Any, hidden: Float[Tensor, "length width"], borders: Borders) -> Float[Tensor, "length width"]:
    """The gated delta net of one layer."""
    mixed = _convolve(net.in_proj_qkv(hidden), net.conv1d.weight.squeeze(1), borders)
    query, key, value = torch.split(mixed, [net.key_dim, net.key_dim, net.value_dim], dim=-1)
    gate = net.in_proj_z(hidden).view(-1, net.head_v_dim)
    beta = net.in_proj_b(hidden).sigmoid()
    decay = -net.A_log.float().exp() * F.softplus(net.in_proj_a(hidden).float() + net.dt_bias)
    found = _delta_rule(
        _heads(query, net.head_k_dim), _heads(key, net.head_k_dim), _heads(value, net.head_v_dim), decay, beta, borders
    )
    normed = net.norm(found.reshape(-1, net.head_v_dim), gate)
    projected: Tensor = net.out_proj(normed.view(len(hidden), -1))
    return projected


def _convolve(
    values: Float[Tensor, "length channels"], kernel: Float[Tensor, "channels width"], borders: Borders
) -> Float[Tensor, "length channels"]:
    if worthwhile(values.device):
        from fla.modules.causal_conv1d import causal_conv1d

        weight = kernel.to(values.dtype)  # autocast does not reach the kernel
        found: Tensor = causal_conv1d(values[None], weight, activation="silu", cu_seqlens=borders.tensor)[0][0]
        return found
    width = kernel.shape[1]
    parts = [
        F.conv1d(F.pad(values[part].T, (width - 1, 0)), kernel[:, None], groups=len(kernel)).T
        for part in borders.slices
    ]
    return F.silu(torch.cat(parts))


def _delta_rule(
    query: Float[Tensor, "length key_heads key_dim"],
    key: Float[Tensor, "length key_heads key_dim"],
    value: Float[Tensor, "length heads dim"],
    decay: Float[Tensor, "length heads"],
    beta: Float[Tensor, "length heads"],
    borders: Borders,
) -> Float[Tensor, "length heads dim"]:
    row = [tensor[None] for tensor in (query, key, value, decay, beta)]
    if worthwhile(query.device):
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        found: Tensor = chunk_gated_delta_rule(*row, use_qk_l2norm_in_kernel=True, cu_seqlens=borders.tensor)[0][0]
        return found
    parts = [
        _delta_rule_alone(*(tensor[:, part] for tensor in row), use_qk_l2norm_in_kernel=True)[0][0]
        for part in borders.slices
    ]
    return torch.cat(parts)


def _attend(
    net: Any, hidden: Float[Tensor, "length width"], rotation: tuple[Tensor, Tensor], borders: Borders
) -> Float[Tensor, "length width"]:
    """The full attention of one layer, with its output gate."""
    query, gate = _heads(net.q_proj(hidden), 2 * net.head_dim).chunk(2, dim=-1)
    key = net.k_norm(_heads(net.k_proj(hidden), net.head_dim))
    value = _heads(net.v_proj(hidden), net.head_dim)
    query, key = apply_rotary_pos_emb(
        net.q_norm(query).transpose(0, 1)[None], key.transpose(0, 1)[None], *rotation
    )  # (1, heads, length, head dim)
    # Rotation leaves what autocast had narrowed in float32 again.
    query, key = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key))
    mixed = attention_within(borders, query, key, value, scale=net.scaling, causal=True)
    projected: Tensor = net.o_proj(mixed.flatten(1) * gate.flatten(1).sigmoid())
    return projected


def attention_within(
    borders: Borders,
    query: Float[Tensor, "length heads dim"],
    key: Float[Tensor, "length key_heads dim"],
    value: Float[Tensor, "length key_heads dim"],
    *,
    scale: float,
    causal: bool,
) -> Float[Tensor, "length heads dim"]:
    """Attention inside every sequence; in float32, which flash kernels lack, sequence by sequence."""
    if query.is_cuda and query.dtype in _FLASH_DTYPES:
        return _flash(borders, query, key, value, scale, causal)
    parts = []
    for part in borders.slices:
        q, k, v = (tensor[part].transpose(0, 1)[None] for tensor in (query, key, value))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=True)
        parts.append(attended[0].transpose(0, 1))
    return torch.cat(parts)


def _flash(
    borders: Borders, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
) -> Float[Tensor, "length heads dim"]:
    """Attention by the kernel, which takes heads of a multiple of eight numbers: zeros change nothing."""
    dim = query.shape[-1]
    if dim % 8:
        query, key, value = (F.pad(tensor, (0, -dim % 8)) for tensor in (query, key, value))
    found: Tensor = varlen_attn(
        query, key, value, borders.tensor, borders.tensor, borders.longest, borders.longest,
        scale=scale, window_size=(-1, 0) if causal else (-1, -1), enable_gqa=True,
    )  # type: ignore[assignment]  # fmt: skip
    return found[..., :dim]


def _heads(values: Float[Tensor, "length width"], dim: int) -> Float[Tensor, "length heads dim"]:
    return values.view(len(values), -1, dim)
