"""Conversations of several texts: chains of triplets, their dialogues, losses and retrieval."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from procir.catalog.chains import Chains
from procir.errors import ConfigError, ContextOverflowError
from procir.evaluate.conversations import conversation_rows
from procir.evaluate.protocol import evaluate
from procir.train.config import Variant
from procir.train.contrastive import train
from procir.train.data import ExampleBuilder
from procir.train.log import read_log
from procir.train.objective import Places, objective, similarities
from procir.types import Product, ProductKey, Split, Triplet, View
from training import crowded_split, fresh_model, settings


def key(name):
    return ProductKey("shop", name)


def triplet(source, target, text=None):
    return Triplet(key(source), key(target), text or f"from {source} to {target}")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return crowded_split(tmp_path_factory.mktemp("crowded"))


def test_chains_go_on_where_the_one_before_ends():
    """a -> b goes on to c, not back to a; c -> d ends, as d leads nowhere."""
    ab, ba, bc, cd = (triplet(*pair) for pair in ("ab", "ba", "bc", "cd"))
    chains = Chains([ab, ba, bc, cd])
    rng = np.random.default_rng(0)
    assert chains.from_triplet(ab, 1, rng) == (ab,)
    assert chains.from_triplet(ab, 2, rng) == (ab, bc)
    assert chains.from_triplet(ab, 9, rng) == (ab, bc, cd)
    assert chains.from_triplet(ba, 9, rng) == (ba,)


def test_chains_are_drawn_among_all_that_fit():
    begun, ends = triplet("a", "b"), [triplet("b", name) for name in "cdef"]
    chains = Chains([begun, *ends])
    drawn = [chains.from_triplet(begun, 2, np.random.default_rng(seed))[1] for seed in range(40)]
    assert set(drawn) == set(ends)
    assert drawn == [chains.from_triplet(begun, 2, np.random.default_rng(seed))[1] for seed in range(40)]


def test_a_conversation_begins_with_its_query(split):
    model = fresh_model()
    (shown,) = model.store.products([next(iter(split.products.values()))])
    texts = ["Be red.", "Be longer, please.", "No belt."]
    whole = model.dialogues.conversation(shown, texts)
    for count in (1, 2, 3):
        part = model.dialogues.conversation(shown, texts[:count])
        assert len(part.embedding_at) == count + 1
        assert whole.token_ids[: len(part)].tolist() == part.token_ids.tolist()
        assert whole.position_ids[:, : len(part)].tolist() == part.position_ids.tolist()
        assert whole.embedding_at[: count + 1] == part.embedding_at
    assert model.dialogues.query(shown, texts[0]).digest == model.dialogues.conversation(shown, texts[:1]).digest


def test_conversations_are_those_of_a_person_who_refines(split):
    model = fresh_model()
    products = list(split.products.values())[:3]
    texts = [["Be red.", "Be longer.", "No belt."], [], ["Be blue."]]
    found = model.encode_conversations(products, texts)
    expected = []
    for product, own in zip(products, texts, strict=True):
        state = model.start(product)
        for text in own:
            state = state.refine(text)
            expected.append(state.embedding)
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    assert model.encode_conversations([], []).shape == (0, model.dim)


def test_single_turn_models_hold_no_conversations(split):
    model = fresh_model(two_turns=False)
    product = next(iter(split.products.values()))
    with pytest.raises(ConfigError, match="conversations need a two-turn model"):
        model.encode_conversations([product], [["Be red.", "Be blue."]])
    with pytest.raises(ConfigError, match="conversations of 2 texts need two turns"):
        settings(variant=Variant(two_turns=False), turns=2)


def test_examples_of_conversations(split):
    """Rows begin with the step's triplets; a row has a document and a caption for each text, -1 where it has ended."""
    model = fresh_model()
    alone = ExampleBuilder(model, split, settings())
    builder = ExampleBuilder(model, split, settings(turns=3))
    examples, chains = builder.examples(1), builder.conversations(1)
    assert [chain[0] for chain in chains] == alone.triplets(1)
    assert {len(chain) for chain in chains} >= {3}
    assert any(again != chains for again in (builder.conversations(step) for step in (2, 3)))
    numbers = {product: number for number, product in enumerate(sorted(split.products))}
    for row, chain in enumerate(chains):
        assert all(one.target == other.source for one, other in pairwise(chain))
        ids = [numbers[part.target] for part in chain]
        assert examples.targets[row].tolist() == ids + [-1] * (3 - len(chain))
        assert len(examples.queries[row].embedding_at) == 1 + len(chain)
        assert len(examples.documents[row]) == len(examples.target_captions[row]) == len(chain)


def test_the_room_of_all_turns_is_needed(split):
    model = fresh_model()
    model.dialogues.max_length = 100
    ExampleBuilder(model, split, settings())
    with pytest.raises(ContextOverflowError, match="may take"):
        ExampleBuilder(model, split, settings(turns=8))


def test_places():
    found = Places.of(settings(turns=2))
    assert (found.source, found.queries, found.documents) == (0, range(1, 3), range(3, 5))
    assert (found.source_caption, found.captions, found.count) == (5, range(6, 8), 8)
    bare = Places.of(settings(variant=Variant(two_turns=False, alignment=False)))
    assert (bare.source, bare.queries, bare.documents, bare.source_caption) == (None, range(1), range(1, 2), None)
    assert (len(bare.captions), bare.count) == (0, 2)


def entropy(cosines):
    """Symmetric cross-entropy of a matrix whose diagonal is right, by hand."""
    scores = np.array(cosines) / 0.07
    ways = [-(np.diag(s) - np.log(np.exp(s).sum(1))) for s in (scores, scores.T)]
    return (ways[0].mean() + ways[1].mean()) / 2


def test_the_loss_of_each_turn_counts_by_its_rows():
    """Three rows in the first turn, two in the second; what stands in the third row's second turn is not looked at."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3, 5, 4))  # s, q1, q2, d1, d2
    config = settings(variant=Variant(alignment=False), turns=2)
    targets = torch.tensor([[1, 4], [2, 5], [3, -1]])
    parts = objective(torch.tensor(rows), torch.tensor([7, 8, 9]), targets, config)
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    first, second = unit[:, 1] @ unit[:, 3].T, (unit[:, 2] @ unit[:, 4].T)[:2, :2]
    assert parts["loss"].item() == pytest.approx((3 * entropy(first) + 2 * entropy(second)) / 5)
    told = similarities(torch.tensor(rows, dtype=torch.float32), targets, config)
    assert told == pytest.approx(
        {
            "positive": first.trace() / 3,
            "negative": (first.sum() - first.trace()) / 6,
            "positive_2": second.trace() / 2,
            "negative_2": (second.sum() - second.trace()) / 2,
        },
        abs=1e-6,
    )


def test_a_conversation_is_learnt(split, tmp_path):
    model = fresh_model()
    run = settings(max_steps=12, turns=3, log_every=1, batch_size=6, optimizer="muon", learning_rate=2e-3)
    train(model, split, run, tmp_path, data_hash="x")
    rows = [row for row in read_log(tmp_path) if row["kind"] == "train"]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    for turn in ("", "_2"):
        margins = [row[f"positive{turn}_similarity"] - row[f"negative{turn}_similarity"] for row in rows]
        assert np.mean(margins[-3:]) > np.mean(margins[:3]) + 0.1


class Counting:
    """Products on a circle; every text says how many places to go on, and all that was said is added up."""

    dim = 2
    places = 12

    def encode_products(self, products):
        return self._at([int(product.key.product_id) for product in products])

    def encode_captions(self, texts):
        return self._at([0 for _ in texts])

    def encode_queries(self, queries):
        return self._at([int(query.source.key.product_id) + sum(map(int, query.text.split())) for query in queries])

    def encode_turns(self, products, texts):
        return self.encode_products(products), self.encode_conversations(products, [own[:1] for own in texts])

    def encode_conversations(self, products, texts):
        reached = []
        for product, own in zip(products, texts, strict=True):
            at = int(product.key.product_id)
            for text in own:
                at += int(text)
                reached.append(at)
        return self._at(reached)

    def _at(self, numbers):
        angles = 2 * math.pi * np.array(numbers, np.float64).reshape(-1) / self.places
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def circle(triplets):
    names = [f"{number:02}" for number in range(Counting.places)]
    products = {key(name): Product(key(name), (View(Path(f"{name}.png")),)) for name in names}
    return Split("val", products, {}, tuple(triplets))


def test_rows_of_conversations_by_counting():
    """0 -> 3 -> 5 -> 6 and 1 -> 4: one conversation has three turns, two have two.

    The last text alone ends at the wrong place on the circle, all of them end at the right one.
    """
    triplets = [triplet("00", "03", "3"), triplet("03", "05", "2"), triplet("05", "06", "1"), triplet("01", "04", "3")]
    embedder = Counting()
    rows = conversation_rows(embedder, evaluate(embedder, circle(triplets), ks=(1,)), 3)
    asked = {name: [len(retrieval.ranks) for retrieval in row.datasets.values()] for name, row in rows.items()}
    assert asked == {
        f"turn {turn}: {way}": [count]
        for turn, count in ((2, 2), (3, 1))
        for way in ("conversation", "last text", "joined texts", "start anew")
    }
    recalls = {name: row.recall(1) for name, row in rows.items()}
    for turn in (2, 3):
        assert recalls[f"turn {turn}: conversation"] == 1.0
        assert recalls[f"turn {turn}: joined texts"] == 1.0
        assert recalls[f"turn {turn}: start anew"] == 1.0
        assert recalls[f"turn {turn}: last text"] == 0.0


def test_a_split_without_conversations_is_refused():
    embedder = Counting()
    evaluation = evaluate(embedder, circle([triplet("00", "03", "3"), triplet("01", "04", "3")]), ks=(1,))
    with pytest.raises(ConfigError, match="no triplet begins where another ends"):
        conversation_rows(embedder, evaluation, 2)
    with pytest.raises(ConfigError, match="at least two texts, not 1"):
        conversation_rows(embedder, evaluation, 1)
