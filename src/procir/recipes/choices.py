"""What several subcommands ask for alike: a model, and a data set in the published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from procir.errors import ConfigError


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoice:
    """Whether a job runs on a Ray cluster; raises ConfigError for workers without one."""

    cluster: str | None = None
    """Work on a Ray cluster: its address, auto (the one that this machine belongs to) or local (this machine's cores).
    Every machine must see photos and model under the same paths, and have the keys of annotators in its environment.
    Needs the extra cluster."""
    workers: int = 1
    """With --cluster: most processes that work, each with a model and, with --device cuda, a GPU of its own, or with
    its share of the annotators' limits."""

    def __post_init__(self) -> None:
        require_workers(self.workers)
        if self.workers != 1 and self.cluster is None:
            raise ConfigError("--workers goes with --cluster ADDRESS; without it one process works")


def require_workers(workers: int) -> None:
    """Raise ConfigError unless there is at least one."""
    if workers < 1:
        raise ConfigError(f"--workers is {workers}: at least one is needed")
