"""The door for sentence-transformers: every checkpoint that procir saves loads there, too.

    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer("runs/demo/model", trust_remote_code=True)  # this module, from the installed procir
    products = model.encode([{"image": ["front.jpg", "back.jpg"]}])
    queries = model.encode([{"image": ["front.jpg", "back.jpg"], "text": "the same in navy"}])
    captions = model.encode(["A navy dress with a zipper at the back"])

Needs sentence-transformers 5.7 or newer (the extra `sentence-transformers`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sentence_transformers.base.modules.input_module import InputModule

from procir.errors import DataError
from procir.images import as_rgb, load_image
from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.pixels import ViewPixels, resize
from procir.types import MAX_VIEWS


class ProCIRModule(InputModule):
    """Captions are texts; products {"image": views}; queries {"image": views, "text": modification text}.

    A view is a path or a PIL image; a single one need not be in a list. The first five views count. Embeddings have
    unit length.
    """

    def __init__(self, model: ProCIR) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = model.network
        self.model = model
        self.tokenizer = model.tokenizer

    @property
    def modalities(self) -> list[Any]:
        """What may be encoded; "message" stands for batches that mix these."""
        return ["text", "image", ("image", "text"), ("text", "image"), "message"]

    def preprocess(self, inputs: list[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """The dialogues of a batch. Raises DataError for what is neither text nor views, or if there is a prompt."""
        if prompt:
            raise DataError("procir has no prompts: its dialogues are fixed; leave the prompt out")
        return {"dialogues": [self._dialogue(item) for item in inputs]}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds "sentence_embedding" (items, dim): of the last turn of each dialogue."""
        dialogues: list[Dialogue] = features["dialogues"]
        states = self.model.embed(dialogues)
        last = np.cumsum([len(dialogue.embedding_at) for dialogue in dialogues]) - 1
        chosen = states[torch.from_numpy(last).to(states.device)]
        return {**features, "sentence_embedding": F.normalize(chosen.float(), dim=-1)}

    def get_embedding_dimension(self) -> int:
        """Length of an embedding."""
        return self.model.dim

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the checkpoint into a folder that sentence-transformers has begun; its own files stay."""
        with tempfile.TemporaryDirectory() as scratch:
            whole = Path(scratch) / "checkpoint"
            self.model.save_pretrained(whole)
            for path in whole.iterdir():
                if not (Path(output_path) / path.name).exists():
                    shutil.copy2(path, output_path)

    @classmethod
    def load(cls, model_name_or_path: str, *_: Any, **__: Any) -> ProCIRModule:
        """Read a checkpoint folder or Hub id; raises CheckpointError."""
        return cls(ProCIR.from_pretrained(model_name_or_path))

    def _dialogue(self, item: Any) -> Dialogue:
        build = self.model.dialogues
        if isinstance(item, str):
            return build.caption(item)
        shown = item if isinstance(item, dict) else {"image": item}
        views = self._views(shown.get("image"))
        return build.query(views, shown["text"]) if "text" in shown else build.document(views)

    def _views(self, images: Any) -> list[ViewPixels]:
        given = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
        views = [view for view in given if isinstance(view, str | Path | Image.Image)]
        if not views or len(views) < len(given):
            raise DataError(f"{images!r:.80}: give a path, a PIL image, or a list of these as 'image'")
        loaded = [as_rgb(view) if isinstance(view, Image.Image) else load_image(Path(view)) for view in views]
        return [resize(image, self.model.settings.pixels) for image in loaded[:MAX_VIEWS]]
