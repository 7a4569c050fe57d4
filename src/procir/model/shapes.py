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
        tie_word_embeddings=True,
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
    }


def _qwen_0_8b(vocabulary: int) -> dict[str, Any]:
    """The published Qwen3.5-0.8B, whose embedding matrix has 248,320 rows."""
    return {
        "text_config": {
            "vocab_size": max(248_320, _padded(vocabulary, 128)),
            "hidden_size": 1024,
            "intermediate_size": 3584,
            "num_hidden_layers": 24,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 16,
            "max_position_embeddings": 262_144,
            "rope_parameters": _rope(theta=10_000_000.0, rotary=0.25, sections=[11, 11, 10]),
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "depth": 12,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_heads": 12,
            "out_hidden_size": 1024,
            "num_position_embeddings": 2304,
        },
    }


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


SHAPES: Mapping[str, Callable[[int], dict[str, Any]]] = {"tiny": _tiny, "0.8b": _qwen_0_8b}
"""Shape names; each takes the size of the vocabulary."""
