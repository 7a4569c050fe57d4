"""Embedders for tests: deterministic, and without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from procir.types import Product, Query


def unit(seed: str, dim: int) -> np.ndarray:
    """A direction that only depends on a string."""
    digest = hashlib.sha256(seed.encode()).digest()
    row = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(dim)
    return (row / np.linalg.norm(row)).astype(np.float32)


class HashEmbedder:
    """A product's embedding is the hash of its key and view files, a query's adds that of the text.

    `asked` records how many items each method was given.
    """

    def __init__(self, dim: int = 16) -> None:
        self.dim = dim
        self.asked = {"products": 0, "queries": 0, "captions": 0}
        self.products: list[Product] = []
        self.query_sources: list[Product] = []

    def encode_products(self, products: Sequence[Product]) -> np.ndarray:
        self.asked["products"] += len(products)
        self.products.extend(products)
        return self._rows([self._document(product) for product in products])

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        self.asked["queries"] += len(queries)
        self.query_sources.extend(query.source for query in queries)
        return self._rows([self._document(query.source) + unit(query.text, self.dim) for query in queries])

    def encode_captions(self, texts: Sequence[str]) -> np.ndarray:
        self.asked["captions"] += len(texts)
        return self._rows([unit(text, self.dim) for text in texts])

    def _document(self, product: Product) -> np.ndarray:
        views = " ".join(f"{view.name}:{view.path}" for view in product.views)
        return unit(f"{product.key} {views}", self.dim)

    def _rows(self, rows: list[np.ndarray]) -> np.ndarray:
        table = np.array(rows, dtype=np.float32).reshape(len(rows), self.dim)
        return table / np.linalg.norm(table, axis=1, keepdims=True)


class TableEmbedder:
    """Embeddings given by functions of the item, normalised; for hand-computed cases."""

    def __init__(
        self,
        dim: int,
        product: Callable[[Product], Sequence[float]],
        query: Callable[[Query], Sequence[float]],
        caption: Callable[[str], Sequence[float]],
    ) -> None:
        self.dim = dim
        self._product, self._query, self._caption = product, query, caption

    def encode_products(self, products: Sequence[Product]) -> np.ndarray:
        return self._rows([self._product(product) for product in products])

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        return self._rows([self._query(query) for query in queries])

    def encode_captions(self, texts: Sequence[str]) -> np.ndarray:
        return self._rows([self._caption(text) for text in texts])

    def _rows(self, rows: list[Sequence[float]]) -> np.ndarray:
        table = np.array(rows, dtype=np.float32).reshape(len(rows), self.dim)
        return table / np.linalg.norm(table, axis=1, keepdims=True)
