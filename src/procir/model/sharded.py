"""One embedder in several processes: each encodes its part, and all have all results in the order asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch.distributed as dist
from jaxtyping import Float32

from procir.protocols import ConversationEmbedder
from procir.types import Product, Query

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ShardedEmbedder:
    """An embedder that every process calls with the same arguments; item i is encoded by process i modulo `count`."""

    def __init__(self, embedder: ConversationEmbedder, rank: int, count: int) -> None:
        self._embedder = embedder
        self._rank = rank
        self._count = count

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._embedder.dim

    def encode_products(self, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
        """Document embeddings, as the embedder alone gives them."""
        return self._shared(self._embedder.encode_products, products)

    def encode_queries(self, queries: Sequence[Query]) -> Float32[np.ndarray, "n dim"]:
        """Query embeddings, as the embedder alone gives them."""
        return self._shared(self._embedder.encode_queries, queries)

    def encode_captions(self, texts: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Caption embeddings, as the embedder alone gives them."""
        return self._shared(self._embedder.encode_captions, texts)

    def encode_turns(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "queries dim"]]:
        """Document and query embeddings, product by product, as the embedder alone gives them."""
        own = slice(self._rank, None, self._count)
        parts = self._gathered(self._embedder.encode_turns(products[own], texts[own]))
        documents = self._woven([found for found, _ in parts], len(products))
        return documents, self._in_order([asked for _, asked in parts], texts)

    def encode_conversations(
        self, products: Sequence[Product], texts: Sequence[Sequence[str]]
    ) -> Float32[np.ndarray, "queries dim"]:
        """Query embeddings after every text, product by product, as the embedder alone gives them."""
        own = slice(self._rank, None, self._count)
        return self._in_order(self._gathered(self._embedder.encode_conversations(products[own], texts[own])), texts)

    def _in_order(
        self, parts: Sequence[Float32[np.ndarray, "part dim"]], texts: Sequence[Sequence[str]]
    ) -> Float32[np.ndarray, "queries dim"]:
        """Each process's queries of its products' texts, put in the order of all products."""
        queries = [self._by_product(asked, texts[rank :: self._count]) for rank, asked in enumerate(parts)]
        in_order = [queries[i % self._count][i // self._count] for i in range(len(texts))]
        return np.concatenate([np.empty((0, self.dim), np.float32), *in_order])

    def _shared(
        self, encode: Callable[[Sequence[_Item]], Float32[np.ndarray, "part dim"]], items: Sequence[_Item]
    ) -> Float32[np.ndarray, "n dim"]:
        return self._woven(self._gathered(encode(items[self._rank :: self._count])), len(items))

    def _gathered(self, own: _Result) -> list[_Result]:
        """What every process has, in the order of their numbers."""
        found: list[_Result] = [own] * self._count
        dist.all_gather_object(found, own)
        return found

    def _woven(self, parts: Sequence[Float32[np.ndarray, "part dim"]], count: int) -> Float32[np.ndarray, "n dim"]:
        rows = np.empty((count, self.dim), np.float32)
        for rank, part in enumerate(parts):
            rows[rank :: self._count] = part
        return rows

    @staticmethod
    def _by_product(
        asked: Float32[np.ndarray, "queries dim"], texts: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "own dim"]]:
        return np.split(asked, np.cumsum([len(own) for own in texts])[:-1]) if texts else []
