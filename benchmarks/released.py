"""The released evaluation protocol, written down straightforwardly with transformers alone: the peer of benchmarks.

Every query reads its source's images again, in right-padded batches of ten; the embedding is the last hidden state at
the last embedding token. Facts of the authors' script: pixels of a view within 128 x 128 and 512 x 512, at most five
views in the order of their file names, no system message, an empty think block before the token, bfloat16 or whatever
the network is in, a gallery of all sources and targets, the source of a query among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

BATCH = 10
MAX_VIEWS = 5
TOKEN = "<emb_all>"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_THINK = "<think>\n\n</think>\n\n"


class Released:
    """A network and a tokenizer read as the released script reads them."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.processor = Qwen2VLImageProcessorPil(
            size={"shortest_edge": 128 * 128, "longest_edge": 512 * 512},
            patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        )  # fmt: skip
        self.token = tokenizer.convert_tokens_to_ids(TOKEN)
        self.image = tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def encode(self, folders: Sequence[Path], texts: Sequence[str | None]) -> np.ndarray:
        """Unit rows: of products where the text is None, of composed queries otherwise."""
        rows = []
        for start in range(0, len(folders), BATCH):
            with torch.inference_mode():
                rows.append(self._batch(folders[start : start + BATCH], texts[start : start + BATCH]))
        return np.concatenate(rows)

    def _batch(self, folders: Sequence[Path], texts: Sequence[str | None]) -> np.ndarray:
        images = [[Image.open(path).convert("RGB") for path in view_files(folder)] for folder in folders]
        seen = self.processor(images=[image for views in images for image in views], return_tensors="pt")
        grids = iter(seen["image_grid_thw"])
        prompts = [self._prompt(len(views), text, grids) for views, text in zip(images, texts, strict=True)]
        ids = [self.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        longest = max(map(len, ids))
        tokens = torch.zeros(len(ids), longest, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, own in enumerate(ids):
            tokens[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
        states = self.network.model(
            input_ids=tokens,
            attention_mask=mask,
            pixel_values=seen["pixel_values"].to(self.network.dtype),
            image_grid_thw=seen["image_grid_thw"],
            mm_token_type_ids=(tokens == self.image).int(),
        ).last_hidden_state
        last = [int(torch.nonzero(row == self.token)[-1]) for row in tokens]
        return F.normalize(states[torch.arange(len(ids)), last].float(), dim=-1).numpy()

    def _prompt(self, views: int, text: str | None, grids: Any) -> str:
        merged = self.processor.merge_size**2
        shown = "".join(
            f"<|vision_start|>{'<|image_pad|>' * (int(next(grids).prod()) // merged)}<|vision_end|>"
            for _ in range(views)
        )
        prompt = _user(shown) + _assistant()
        if text is not None:
            prompt += "<|im_end|>\n" + _user(text) + _assistant()
        return prompt


def _user(content: str) -> str:
    return f"<|im_start|>user\n{content}<|im_end|>\n"


def _assistant() -> str:
    return f"<|im_start|>assistant\n{_THINK}{TOKEN}"


def view_files(folder: Path) -> list[Path]:
    """At most five images of a product, their names sorted as text."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:MAX_VIEWS]


def recalls(
    released: Released, root: Path, triplets: Sequence[tuple[str, str, str]], ks: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Recall at k of (source id, target id, text) triplets of one dataset whose products are folders of `root`."""
    ids = sorted({name for source, target, _ in triplets for name in (source, target)})
    gallery = released.encode([root / name for name in ids], [None] * len(ids))
    queries = released.encode([root / source for source, _, _ in triplets], [text for _, _, text in triplets])
    best = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    targets = np.array([ids.index(target) for _, target, _ in triplets])
    ranks = (best == targets[:, None]).argmax(axis=1)
    return {k: float((ranks < k).mean()) for k in ks}
