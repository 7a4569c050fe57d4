"""What several subcommands ask for alike: a model, and a data set in the published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A checkpoint, and where and how precisely it computes."""

    model: str
    """Checkpoint folder or Hub id."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1."""
    dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """Precision of the weights; int8 needs the extra int8."""
    embedding_token: str | None = None
    """Name of the token whose hidden state is the embedding, where the checkpoint calls it neither <emb_all> nor what
    its procir.json says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChoice:
    """One split of a data set in the published layout."""

    data: Path
    """Folder with {train,val}_triplets.jsonl and {train,val}_captions.jsonl."""
    images: Path | None = None
    """Folder of the images; DATA/images by default."""
    split: Literal["train", "val"] = "val"
    """Which part of the data."""
    allow_missing: bool = False
    """Leave out products, views, captions and triplets that are missing, and count them, instead of stopping."""
