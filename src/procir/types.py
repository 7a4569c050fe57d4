"""The nouns of product-level composed image retrieval, frozen and free of dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

MAX_VIEWS = 5
"""Most views of one product that a model is shown (paper, section 3.1)."""


@dataclass(frozen=True, slots=True, order=True)
class ProductKey:
    """Identity of a product: ids are unique only inside their dataset."""

    dataset: str
    product_id: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.product_id}"


@dataclass(frozen=True, slots=True)
class View:
    """One photo of a product; `name` is front, back, side, detail or full where that is known."""

    path: Path
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """A product and its ordered views."""

    key: ProductKey
    views: tuple[View, ...]
    category: str | None = None
    gender: str | None = None

    def only(self, view_name: str) -> Product:
        """The same product reduced to its views of that name; it may be left without any."""
        return replace(self, views=tuple(view for view in self.views if view.name == view_name))


@dataclass(frozen=True, slots=True)
class Caption:
    """What stage 1 of the dataset construction says of a product (paper, section 3.2).

    `images` holds one text a view in view order, or nothing where only the product texts are known.
    """

    key: ProductKey
    long: str
    short: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Triplet:
    """Source product, what should be different, and the product that was meant.

    `satisfying` lists every product of the split that meets the request, target included, where that is
    known; it is empty where only the target is.
    """

    source: ProductKey
    target: ProductKey
    short: str
    long: str | None = None
    views_involved: tuple[str, ...] = ()
    satisfying: tuple[ProductKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A composed query: a product as its views, and the modification text."""

    source: Product
    text: str


@dataclass(frozen=True, slots=True)
class Split:
    """Products, captions and triplets that belong together; `name` is train or val."""

    name: str
    products: Mapping[ProductKey, Product]
    captions: Mapping[ProductKey, Caption]
    triplets: Sequence[Triplet]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What reading a catalogue kept and what it left out, with up to `EXAMPLES` names for each reason."""

    products: int = 0
    views: int = 0
    captions: int = 0
    triplets: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
