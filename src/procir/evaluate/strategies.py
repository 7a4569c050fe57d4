"""Ways to ask a model about several views: together, which is an `Embedder` as it is, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from procir.protocols import Embedder
from procir.types import Product, Query


class MeanPool:
    """Embeds every view by itself; a product or query is the mean of its views' embeddings (paper, section 5.1).

    An `Embedder` around another one, whose embeddings have unit length.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._embedder.dim

    def encode_products(self, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
        """Means over the views of each product, of unit length."""
        single = [view for product in products for view in _single_views(product)]
        return _means(self._embedder.encode_products(single), [len(product.views) for product in products])

    def encode_queries(self, queries: Sequence[Query]) -> Float32[np.ndarray, "n dim"]:
        """Means over the queries of each source view with the text, of unit length."""
        single = [Query(view, query.text) for query in queries for view in _single_views(query.source)]
        return _means(self._embedder.encode_queries(single), [len(query.source.views) for query in queries])

    def encode_captions(self, texts: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """The inner embedder's: texts have no views."""
        return self._embedder.encode_captions(texts)


def _single_views(product: Product) -> list[Product]:
    return [replace(product, views=(view,)) for view in product.views]


def _means(rows: Float32[np.ndarray, "views dim"], counts: Sequence[int]) -> Float32[np.ndarray, "n dim"]:
    if not counts:
        return rows
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(rows, starts, axis=0)
    means: Float32[np.ndarray, "n dim"] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return means
