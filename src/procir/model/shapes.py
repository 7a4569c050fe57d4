"""Named shapes of Qwen3.5, for models that start from random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import Qwen3_5Config

from procir.errors import ConfigError
from procir.model.tokenizers import special_id


def configuration(shape: str, tokenizer: Any) -> Qwen3_5Config:
    """The configuration of a named shape for a tokenizer; raises ConfigError for an unknown name."""
    if shape not in SHAPES:
        raise ConfigError(f"unknown shape {shape!r}: choose one of {', '.join(SHAPES)}")
    return Qwen3_5Config(
        **SHAPES[shape](len(tokenizer)),
        image_token_id=special_id(tokenizer, "<|image_pad|>"),
        video_token_id=special_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=special_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=special_id(tokenizer, "<|vision_end|>"),
    )


def _tiny(vocabulary: int) -> dict[str, Any]:
    """About 3.6 M parameters: one linear-attention layer keeps that code path, three full ones keep the speed."""
    return {
        "text_config": {
            "vocab_size": _padded(vocabulary, 64),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "layer_types": ["linear_attention", "full_attention", "full_attention", "full_attention"],
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "linear_num_key_heads": 3,
            "linear_num_value_heads": 3,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 64,
            "max_position_embeddings": 4096,
            "rope_parameters": _rope(theta=10_000.0, rotary=0.5, sections=[6, 5, 5]),
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "depth": 3,
            "hidden_size": 144,
            "intermediate_size": 432,
            "num_heads": 4,
            "out_hidden_size": 192,
            "num_position_embeddings": 256,
        },
        "tie_word_embeddings": True,
    }


def _published(
    vocabulary: int,
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: tuple[int, int],
    value_heads: int,
    vision: tuple[int, int, int, int],
    tied: bool,
) -> dict[str, Any]:
    """What the published Qwen3.5 have in common: every fourth layer is full attention, and 248,320 rows of embeddings.

    `heads` are those of full attention for queries and for keys; all have 16 key heads of linear attention, beside
    `value_heads`. `vision` is depth, hidden size, size of the MLP and heads of the tower.
    """
    depth, tower, tower_mlp, tower_heads = vision
    return {
        "text_config": {
            "vocab_size": max(248_320, _padded(vocabulary, 128)),
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads[0],
            "num_key_value_heads": heads[1],
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": value_heads,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": _rope(theta=10_000_000.0, rotary=0.25, sections=[11, 11, 10]),
            "tie_word_embeddings": tied,
        },
        "vision_config": {
            "depth": depth,
            "hidden_size": tower,
            "intermediate_size": tower_mlp,
            "num_heads": tower_heads,
            "out_hidden_size": hidden,
            "num_position_embeddings": 2304,
        },
        "tie_word_embeddings": tied,
    }


def _qwen_0_8b(vocabulary: int) -> dict[str, Any]:
    """Qwen3.5-0.8B: 0.85 B parameters, the embeddings counted once."""
    return _published(
        vocabulary, hidden=1024, intermediate=3584, layers=24, heads=(8, 2), value_heads=16,
        vision=(12, 768, 3072, 12), tied=True,
    )  # fmt: skip


def _qwen_2b(vocabulary: int) -> dict[str, Any]:
    """Qwen3.5-2B: 2.2 B parameters, the embeddings counted once."""
    return _published(
        vocabulary, hidden=2048, intermediate=6144, layers=24, heads=(8, 2), value_heads=16,
        vision=(24, 1024, 4096, 16), tied=True,
    )  # fmt: skip


def _qwen_4b(vocabulary: int) -> dict[str, Any]:
    """Qwen3.5-4B: 4.5 B parameters, the embeddings counted once; two value heads a key head."""
    return _published(
        vocabulary, hidden=2560, intermediate=9216, layers=32, heads=(16, 4), value_heads=32,
        vision=(24, 1024, 4096, 16), tied=True,
    )  # fmt: skip


def _qwen_9b(vocabulary: int) -> dict[str, Any]:
    """Qwen3.5-9B: 9.4 B parameters, 1 B each of embeddings and of the output layer; two value heads a key head."""
    return _published(
        vocabulary, hidden=4096, intermediate=12_288, layers=32, heads=(16, 4), value_heads=32,
        vision=(27, 1152, 4304, 16), tied=False,
    )  # fmt: skip


def _rope(*, theta: float, rotary: float, sections: list[int]) -> dict[str, Any]:
    return {
        "rope_type": "default",
        "rope_theta": theta,
        "partial_rotary_factor": rotary,
        "mrope_section": sections,
        "mrope_interleaved": True,
    }


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


SHAPES: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "tiny": _tiny,
    "0.8b": _qwen_0_8b,
    "2b": _qwen_2b,
    "4b": _qwen_4b,
    "9b": _qwen_9b,
}
"""Shape names; each takes the size of the vocabulary. All but `tiny` are those of published config.json files."""
