"""Retrieval turn by turn: a person refines what was found again and again, and each time one product is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from procir.catalog.chains import Chains
from procir.errors import ConfigError
from procir.evaluate import metrics
from procir.evaluate.protocol import Evaluation, Gallery, Retrieval, Row
from procir.protocols import ConversationEmbedder
from procir.types import Product, Query, Triplet

Chain = tuple[Triplet, ...]


def conversation_rows(
    embedder: ConversationEmbedder, evaluation: Evaluation, turns: int, *, seed: int = 0
) -> dict[str, Row]:
    """Composed retrieval after the second text of a conversation, the third, and so on up to `turns`.

    Every triplet of a gallery begins a conversation, which goes on with drawn triplets (see `Chains`); those that end
    before a turn are not asked in it. Beside the whole conversation each turn is asked with its last text alone, with
    all texts so far joined into one, and with the last text on the photos of the product that was meant before: what a
    person reaches who starts anew from the right product. `evaluation` is that of the same embedder.

    Raises ConfigError for fewer than two turns, or if no conversation has a second.
    """
    if turns < 2:
        raise ConfigError(f"a conversation has at least two texts, not {turns}: a query of one is measured anyway")
    chains = {part.dataset: _chains(part, turns, seed) for part in evaluation.galleries}
    longest = max(len(chain) for each in chains.values() for chain in each)
    if longest < 2:
        raise ConfigError("no triplet begins where another ends: this split has no conversations to measure")
    rows: dict[str, Row] = {}
    whole = {part.dataset: _conversations(embedder, part, chains[part.dataset]) for part in evaluation.galleries}
    for turn in range(2, min(turns, longest) + 1):
        found: dict[str, dict[str, Retrieval]] = {}
        for part in evaluation.galleries:
            asked = [chain[:turn] for chain in chains[part.dataset] if len(chain) >= turn]
            if asked:
                ways = _ways(embedder, part, asked) | {"conversation": whole[part.dataset][turn]}
                for way in ("conversation", "last text", "joined texts", "start anew"):
                    found.setdefault(way, {})[part.dataset] = _ranked(part, evaluation, asked, ways[way])
        rows |= {f"turn {turn}: {way}": Row(datasets=parts) for way, parts in found.items()}
    return rows


def _chains(part: Gallery, turns: int, seed: int) -> list[Chain]:
    rng, chains = np.random.default_rng(seed), Chains(part.triplets)
    return [chains.from_triplet(triplet, turns, rng) for triplet in part.triplets]


def _conversations(
    embedder: ConversationEmbedder, part: Gallery, chains: Sequence[Chain]
) -> dict[int, Float32[np.ndarray, "queries dim"]]:
    """Query embeddings of all chains that reach a turn, by turn."""
    sources = _products(part, [chain[0] for chain in chains])
    found = embedder.encode_conversations(sources, [[triplet.short for triplet in chain] for chain in chains])
    turns = np.concatenate([np.arange(1, len(chain) + 1) for chain in chains])
    return {int(turn): found[turns == turn] for turn in np.unique(turns)}


def _ways(
    embedder: ConversationEmbedder, part: Gallery, chains: Sequence[Chain]
) -> dict[str, Float32[np.ndarray, "queries dim"]]:
    """Query embeddings of the same chains, asked in a single turn in other ways."""
    sources, last = _products(part, [chain[0] for chain in chains]), [chain[-1] for chain in chains]
    joined = [" ".join(triplet.short for triplet in chain) for chain in chains]
    asked = {
        "last text": (sources, [triplet.short for triplet in last]),
        "joined texts": (sources, joined),
        "start anew": (_products(part, last), [triplet.short for triplet in last]),
    }
    return {way: embedder.encode_queries(list(map(Query, *pairs))) for way, pairs in asked.items()}


def _products(part: Gallery, triplets: Sequence[Triplet]) -> list[Product]:
    """The products that triplets start from."""
    known = {product.key: product for product in part.products}
    return [known[triplet.source] for triplet in triplets]


def _ranked(
    part: Gallery, evaluation: Evaluation, chains: Sequence[Chain], queries: Float32[np.ndarray, "queries dim"]
) -> Retrieval:
    place = {key: row for row, key in enumerate(part.keys)}
    targets = np.array([place[chain[-1].target] for chain in chains], np.int64)
    documents = evaluation.documents[part.dataset]
    return Retrieval(ranks=metrics.rank_in_gallery(queries, documents, targets), gallery_size=len(documents))
