"""The evaluation protocol: which products form a gallery, what queries it, and the rows that give it meaning.

Per dataset the gallery is every product that a triplet names as source or target, sorted by key; the source
of a query stays in it (paper, section 5.1). Composed queries use the short modification text. Results over
several datasets are plain means over datasets.

A k beyond a gallery is reported as None, for that dataset and for the mean: every model would reach 1 there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int

from procir.errors import ConfigError, DataError, MissingDataError, ModelError, UnknownProductError
from procir.evaluate import metrics
from procir.protocols import Embedder, TurnEmbedder
from procir.types import Caption, Product, ProductKey, Query, Split, Triplet

KS = (1, 5, 10)
"""The recalls that the field reports."""

TOP = 10
"""How many results of each composed query are kept for the case sheets."""

Progress = Callable[[str, int, int], None]
"""Called as (stage, items done, items in all) after every piece of work."""

_PIECE = 256
_LENGTH_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """One dataset of a split: its products in key order, and its triplets in source order."""

    dataset: str
    products: tuple[Product, ...]
    triplets: tuple[Triplet, ...]

    @property
    def keys(self) -> tuple[ProductKey, ...]:
        """Keys of the products, in gallery order."""
        return tuple(product.key for product in self.products)

    def sources(self) -> Int[np.ndarray, " queries"]:
        """Gallery row of each triplet's source."""
        return self._rows([triplet.source for triplet in self.triplets])

    def targets(self) -> Int[np.ndarray, " queries"]:
        """Gallery row of each triplet's target."""
        return self._rows([triplet.target for triplet in self.triplets])

    def _rows(self, keys: Sequence[ProductKey]) -> Int[np.ndarray, " queries"]:
        row = {key: index for index, key in enumerate(self.keys)}
        return np.array([row[key] for key in keys], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Ranks of the targets of one dataset's queries in a gallery of `gallery_size`."""

    ranks: Int[np.ndarray, " queries"]
    gallery_size: int

    def recall(self, k: int) -> float | None:
        """Recall at k in [0, 1]; None if k exceeds the gallery or nothing was asked."""
        if k > self.gallery_size or not len(self.ranks):
            return None
        return metrics.recall_at(self.ranks, k, self.gallery_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result table: a way to retrieve, measured on every dataset.

    `substituted` counts the products that lack the view which the row asks for and kept their first one.
    """

    datasets: Mapping[str, Retrieval]
    substituted: int = 0

    def recall(self, k: int) -> float | None:
        """Mean over datasets of the recall at k; None if it is None for any of them."""
        values = [value for retrieval in self.datasets.values() if (value := retrieval.recall(k)) is not None]
        return float(np.mean(values)) if len(values) == len(self.datasets) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedQuery:
    """A composed query's outcome: the target's rank, and the best products with their cosines, best first."""

    triplet: Triplet
    rank: int
    gallery_size: int
    top: tuple[tuple[ProductKey, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A full evaluation of one embedder; `documents` holds each gallery's embeddings in gallery order.

    `asked` holds the embeddings of each gallery's queries in the order of its triplets.

    `seconds` gives the wall time of each stage.
    """

    ks: tuple[int, ...]
    galleries: tuple[Gallery, ...]
    cir: Row
    i2t: Row
    t2i: Row
    queries: tuple[RankedQuery, ...]
    documents: Mapping[str, Float32[np.ndarray, "gallery dim"]]
    asked: Mapping[str, Float32[np.ndarray, "queries dim"]]
    seconds: Mapping[str, float]


def galleries(split: Split) -> tuple[Gallery, ...]:
    """The galleries of a split, sorted by dataset.

    Raises MissingDataError if the split has no triplets, DataError if one joins two datasets, and
    UnknownProductError if one names a product that the split lacks.
    """
    if not split.triplets:
        raise MissingDataError(f"split {split.name!r} has no triplets to evaluate; read or mine triplets first")
    for triplet in split.triplets:
        if triplet.source.dataset != triplet.target.dataset:
            raise DataError(f"triplet {triplet.source} -> {triplet.target} joins two datasets; keep each in one")
    names = sorted({triplet.source.dataset for triplet in split.triplets})
    return tuple(_gallery(split, name) for name in names)


def evaluate(
    embedder: Embedder, split: Split, *, ks: Sequence[int] = KS, progress: Progress | None = None
) -> Evaluation:
    """Composed retrieval, image to text and text to image on every dataset of a split; encodes each product once.

    Image to text asks with a product's embedding among the short captions, text to image the other way;
    products without a caption only stay in the image gallery. Raises ModelError or DataError naming the
    product, query or caption whose embedding is unusable.
    """
    _check_ks(ks)
    encoder = _Encoder(embedder, progress)
    parts = galleries(split)
    encoded = {part.dataset: encoder.composed("products and queries", part.products, part.triplets) for part in parts}
    documents = {name: found for name, (found, _) in encoded.items()}
    queries = {name: found for name, (_, found) in encoded.items()}
    texts = {part.dataset: _TextGallery.encode(encoder, part, split.captions) for part in parts}
    started = time.perf_counter()
    cir = {part.dataset: _composed(part, queries[part.dataset], documents[part.dataset]) for part in parts}
    return Evaluation(
        ks=tuple(ks),
        galleries=parts,
        cir=Row(datasets=cir),
        i2t=Row(datasets={name: text.from_images(documents[name]) for name, text in texts.items()}),
        t2i=Row(datasets={name: text.to_images(documents[name]) for name, text in texts.items()}),
        queries=tuple(
            ranked
            for part in parts
            for ranked in _ranked(part, cir[part.dataset], queries[part.dataset], documents[part.dataset])
        ),
        documents=documents,
        asked=queries,
        seconds={**encoder.seconds, "search": time.perf_counter() - started},
    )


def cir_row(embedder: Embedder, split: Split, *, progress: Progress | None = None) -> Row:
    """Composed retrieval alone, for an embedder that is compared with another."""
    encoder = _Encoder(embedder, progress)
    return Row(datasets={part.dataset: _reencoded(encoder, part, None) for part in galleries(split)})


def plain_rows(embedder: Embedder, evaluation: Evaluation, *, progress: Progress | None = None) -> dict[str, Row]:
    """The same retrieval with part of the query or of the views held back.

    "source only" asks with the source's document embedding, "text only" with the modification text alone,
    and "only NAME" reduces every product, as source and in the gallery, to its views of that name. A product
    without such a view keeps its first view, so that all rows count the same queries in the same gallery.
    `evaluation` is that of the same embedder; its document embeddings are reused.
    """
    encoder = _Encoder(embedder, progress)
    rows = {
        "source only": Row(datasets={part.dataset: _source_only(part, evaluation) for part in evaluation.galleries}),
        "text only": Row(
            datasets={part.dataset: _text_only(encoder, part, evaluation) for part in evaluation.galleries}
        ),
    }
    for name in _view_names(evaluation.galleries):
        rows[f"only {name}"] = _single_view(encoder, evaluation.galleries, name)
    return rows


def truncated_rows(evaluation: Evaluation, dims: Sequence[int]) -> dict[str, Row]:
    """Composed retrieval with the first numbers of each embedding alone, brought to unit length again.

    Models with Matryoshka training lose little by it. Raises ConfigError for a length that is no part of the embedding.
    """
    whole = next(iter(evaluation.documents.values())).shape[1]
    for dim in dims:
        if not 0 < dim < whole:
            raise ConfigError(f"{dim} numbers are no part of an embedding of {whole}: choose 1 to {whole - 1}")
    return {
        f"first {dim}": Row(
            datasets={
                part.dataset: _composed(
                    part, _first(evaluation.asked[part.dataset], dim), _first(evaluation.documents[part.dataset], dim)
                )
                for part in evaluation.galleries
            }
        )
        for dim in dims
    }


def _first(rows: Float32[np.ndarray, "n dim"], dim: int) -> Float32[np.ndarray, "n first"]:
    lengths = np.linalg.norm(rows[:, :dim], axis=1, keepdims=True)
    cut: Float32[np.ndarray, "n first"] = rows[:, :dim] / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cut


class _Encoder:
    """An embedder asked in pieces, with its answers checked, timed and reported."""

    def __init__(self, embedder: Embedder, progress: Progress | None) -> None:
        self._embedder = embedder
        self._progress = progress
        self.seconds: dict[str, float] = {}

    def composed(
        self, stage: str, products: Sequence[Product], triplets: Sequence[Triplet]
    ) -> tuple[Float32[np.ndarray, "products dim"], Float32[np.ndarray, "queries dim"]]:
        """Documents of products in key order, and queries of triplets in source order, whose sources are among them."""
        texts: dict[ProductKey, list[str]] = {product.key: [] for product in products}
        for triplet in triplets:
            texts[triplet.source].append(triplet.short)
        documents, queries = [_no_rows(self._embedder)], [_no_rows(self._embedder)]
        started = time.perf_counter()
        for start in range(0, len(products), _PIECE):
            piece = products[start : start + _PIECE]
            found, asked = self._turns(piece, [texts[product.key] for product in piece])
            documents.append(_checked(found, [f"product {product.key}" for product in piece], self._embedder.dim))
            names = [f"query {product.key} + {text!r}" for product in piece for text in texts[product.key]]
            queries.append(_checked(asked, names, self._embedder.dim))
            self._report(stage, start + len(piece), len(products))
        self._book(stage, started)
        return np.concatenate(documents), np.concatenate(queries)

    def _turns(self, products: Sequence[Product], texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(self._embedder, TurnEmbedder):
            return self._embedder.encode_turns(products, texts)
        queries = [Query(product, text) for product, own in zip(products, texts, strict=True) for text in own]
        return self._embedder.encode_products(products), self._embedder.encode_queries(queries)

    def texts(self, stage: str, texts: Sequence[str], names: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        pieces = [_no_rows(self._embedder)]
        started = time.perf_counter()
        for start in range(0, len(texts), _PIECE):
            stop = min(start + _PIECE, len(texts))
            found = self._embedder.encode_captions(texts[start:stop])
            pieces.append(_checked(found, names[start:stop], self._embedder.dim))
            self._report(stage, stop, len(texts))
        self._book(stage, started)
        return np.concatenate(pieces)

    def _report(self, stage: str, done: int, total: int) -> None:
        if self._progress:
            self._progress(stage, done, total)

    def _book(self, stage: str, started: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextGallery:
    """The short captions of a gallery: their embeddings, and the gallery row that each describes."""

    embeddings: Float32[np.ndarray, "captions dim"]
    rows: Int[np.ndarray, " captions"]

    @classmethod
    def encode(cls, encoder: _Encoder, part: Gallery, captions: Mapping[ProductKey, Caption]) -> _TextGallery:
        rows = [row for row, key in enumerate(part.keys) if key in captions]
        keys = [part.keys[row] for row in rows]
        texts = [captions[key].short for key in keys]
        embeddings = encoder.texts("captions", texts, [f"short caption of {key}" for key in keys])
        return cls(embeddings=embeddings, rows=np.array(rows, dtype=np.int64))

    def from_images(self, documents: Float32[np.ndarray, "gallery dim"]) -> Retrieval:
        own = np.arange(len(self.rows))
        found = metrics.rank_in_gallery(documents[self.rows], self.embeddings, own)
        return Retrieval(ranks=found, gallery_size=len(self.rows))

    def to_images(self, documents: Float32[np.ndarray, "gallery dim"]) -> Retrieval:
        found = metrics.rank_in_gallery(self.embeddings, documents, self.rows)
        return Retrieval(ranks=found, gallery_size=len(documents))


def _gallery(split: Split, dataset: str) -> Gallery:
    # Queries of one source stand together: an embedder that keeps the source's turn then encodes it once.
    triplets = sorted(
        (triplet for triplet in split.triplets if triplet.source.dataset == dataset),
        key=lambda triplet: (triplet.source, triplet.target, triplet.short),
    )
    keys = sorted({key for triplet in triplets for key in (triplet.source, triplet.target)})
    for key in keys:
        if key not in split.products:
            raise UnknownProductError(f"a triplet of split {split.name!r} names {key}, which the catalogue lacks")
    return Gallery(dataset=dataset, products=tuple(split.products[key] for key in keys), triplets=tuple(triplets))


def _composed(
    part: Gallery, queries: Float32[np.ndarray, "queries dim"], documents: Float32[np.ndarray, "gallery dim"]
) -> Retrieval:
    found = metrics.rank_in_gallery(queries, documents, part.targets())
    return Retrieval(ranks=found, gallery_size=len(documents))


def _ranked(
    part: Gallery,
    retrieval: Retrieval,
    queries: Float32[np.ndarray, "queries dim"],
    documents: Float32[np.ndarray, "gallery dim"],
) -> list[RankedQuery]:
    best, scores = metrics.top_k(queries, documents, min(TOP, len(documents)))
    return [
        RankedQuery(
            triplet=triplet,
            rank=int(retrieval.ranks[row]),
            gallery_size=len(documents),
            top=tuple((part.keys[column], float(score)) for column, score in zip(best[row], scores[row], strict=True)),
        )
        for row, triplet in enumerate(part.triplets)
    ]


def _source_only(part: Gallery, evaluation: Evaluation) -> Retrieval:
    documents = evaluation.documents[part.dataset]
    return _composed(part, documents[part.sources()], documents)


def _text_only(encoder: _Encoder, part: Gallery, evaluation: Evaluation) -> Retrieval:
    texts = [triplet.short for triplet in part.triplets]
    names = [f"modification text {text!r}" for text in texts]
    return _composed(part, encoder.texts("text only", texts, names), evaluation.documents[part.dataset])


def _single_view(encoder: _Encoder, parts: Sequence[Gallery], name: str) -> Row:
    lacking = sum(not product.only(name).views for part in parts for product in part.products)
    retrievals = {part.dataset: _reencoded(encoder, part, name) for part in parts}
    return Row(datasets=retrievals, substituted=lacking)


def _reencoded(encoder: _Encoder, part: Gallery, view_name: str | None) -> Retrieval:
    stage = f"only {view_name}" if view_name else "products and queries"
    products = [_reduced(product, view_name) for product in part.products]
    documents, queries = encoder.composed(stage, products, part.triplets)
    return _composed(part, queries, documents)


def _reduced(product: Product, view_name: str | None) -> Product:
    if view_name is None:
        return product
    return product.only(view_name) if product.only(view_name).views else replace(product, views=product.views[:1])


def _view_names(parts: Sequence[Gallery]) -> list[str]:
    """Names of the views in the galleries, the most frequent first."""
    counts = Counter(
        view.name for part in parts for product in part.products for view in product.views if view.name is not None
    )
    return sorted(counts, key=lambda name: (-counts[name], name))


def _no_rows(embedder: Embedder) -> Float32[np.ndarray, "0 dim"]:
    return np.zeros((0, embedder.dim), dtype=np.float32)


def _checked(rows: np.ndarray, names: Sequence[str], dim: int) -> Float32[np.ndarray, "n dim"]:
    if rows.shape != (len(names), dim):
        raise ModelError(f"the embedder gave an array of shape {rows.shape} for {len(names)} items of {dim} numbers")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise DataError(f"the embedding of {names[bad[0]]} holds NaN or infinity; check its images and the checkpoint")
    lengths = np.linalg.norm(rows, axis=1)
    uneven = np.flatnonzero(np.abs(lengths - 1.0) > _LENGTH_TOLERANCE)
    if uneven.size:
        name, length = names[uneven[0]], lengths[uneven[0]]
        raise ModelError(f"the embedding of {name} has length {length:.3f}; an Embedder must give unit length")
    return rows.astype(np.float32, copy=False)


def _check_ks(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks = {tuple(ks)}; give at least one k, each 1 or more")
