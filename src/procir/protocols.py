"""The seams: what evaluation and search ask of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from procir.types import Product, Query


@runtime_checkable
class Embedder(Protocol):
    """Maps products, composed queries and captions into one space; every row has unit length.

    Row i of a result belongs to item i of the argument. An empty argument gives an array of shape (0, dim).
    """

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def encode_products(self, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
        """Document embeddings of products, from all their views."""
        ...

    def encode_queries(self, queries: Sequence[Query]) -> Float32[np.ndarray, "n dim"]:
        """Query embeddings of source products with their modification texts."""
        ...

    def encode_captions(self, texts: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Embeddings of texts alone."""
        ...


@runtime_checkable
class TurnEmbedder(Embedder, Protocol):
    """An embedder that reads a product once for its document embedding and all texts on it."""

    def encode_turns(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "queries dim"]]:
        """Document embeddings of products, and query embeddings of each product's texts, product by product."""
        ...


@runtime_checkable
class ConversationEmbedder(TurnEmbedder, Protocol):
    """An embedder that is told again and again what should be different."""

    def encode_conversations(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> Float32[np.ndarray, "queries dim"]:
        """Query embeddings after every text of each product's conversation, product by product, text by text."""
        ...
