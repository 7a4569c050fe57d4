"""From a directory in the released layout and a checkpoint that transformers alone has saved, to recalls.

`python examples/released_layout.py [FOLDER]` makes both in FOLDER (or a temporary one), so that nothing has to be
downloaded: a few drawn products as `images/DATASET/PRODUCT-ID/*.jpg` with `val_triplets.jsonl` and
`val_captions.jsonl`, and a small Qwen3.5 with random weights and the token `<emb_all>`, saved without procir. Then it
runs `procir evaluate` on them. With the published files, only the last step is left:

    procir evaluate --model yuandaxia/ProCIR --data FashionMV --images images --protocol released
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.model.tokenizers import train_tokenizer


def draw(root: Path) -> list[str]:
    """A data set in the released layout; returns its texts."""
    split = draw_catalogue(root, AtelierConfig(train_products=19, val_products=38, size=160, seed=4))["val"]
    return [triplet.short for triplet in split.triplets] + [caption.short for caption in split.captions.values()]


def save_checkpoint(folder: Path, texts: list[str]) -> None:
    """What users have on disk: config.json, model.safetensors, tokenizer.json, processor files; no procir.json."""
    tokenizer = train_tokenizer(texts, 600)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    edges = {name: tokenizer.convert_tokens_to_ids(f"<|vision_{name}|>") for name in ("start", "end")}
    config = Qwen3_5Config(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4,
            "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "linear_num_key_heads": 2,
            "linear_num_value_heads": 2, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5,
                "mrope_section": [6, 5, 5], "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 96,
            "num_position_embeddings": 256,
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
        vision_start_token_id=edges["start"], vision_end_token_id=edges["end"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3_5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Make the files, and evaluate."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        save_checkpoint(root / "checkpoint", draw(root / "data"))
        command = ["--model", root / "checkpoint", "--data", root / "data", "--images", root / "data" / "images"]
        subprocess.run(
            [sys.executable, "-m", "procir.cli", "evaluate", *command, "--out", root / "scores", "--dtype", "bfloat16"],
            check=True,
        )


if __name__ == "__main__":
    main()
