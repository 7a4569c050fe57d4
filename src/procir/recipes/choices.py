"""What several subcommands ask for alike: a model, and a data set in the published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A checkpoint, and where and how precisely it computes."""

    model: str
    """Checkpoint folder or Hub id, or starter for the tiny checkpoint that ships with procir."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstructChoice:
    """A catalogue to make a data set from, and how."""

    catalogue: Path
    """Folder with images/DATASET/PRODUCT-ID/ and, if there is one, products.jsonl, whose lines have dataset and
    product_id and may have category, gender and split."""
    images: Path | None = None
    """Folder of the images; CATALOGUE/images by default."""
    allow_missing: bool = False
    """Leave out products without photos, and count them, instead of stopping."""
    domain: str = "fashion"
    """What the products are: fashion, furniture, electronics, or a folder with prompts of your own."""
    annotators: Path | None = None
    """TOML file with tables caption, verify and triplets, which change the models and settings of the paper."""
    validation_share: float = 0.2
    """Share of the products without a split of their own that are held out, by the hashes of their keys."""
    seed: int = 0
    """Draw of the candidates."""
