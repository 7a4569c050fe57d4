"""A conversation about a product, and encoding that reads nothing twice."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from procir.errors import ConfigError, ContextOverflowError, DataError, ImageError
from procir.model.ahead import ahead
from procir.model.embedder import ProCIR
from procir.types import Query


def test_a_conversation_starts_with_the_document_and_goes_on_with_queries(tiny, little_split):
    product = next(iter(little_split.products.values()))
    start = tiny.start(product)
    np.testing.assert_allclose(start.embedding, tiny.encode_products([product])[0], atol=1e-5)
    refined = start.refine("Make it navy")
    np.testing.assert_allclose(refined.embedding, tiny.encode_queries([Query(product, "Make it navy")])[0], atol=1e-5)
    other, again = refined.refine("with a hood"), refined.refine("with a hood")
    np.testing.assert_array_equal(other.embedding, again.embedding)
    assert abs(other.embedding @ refined.embedding) < 1 - 1e-4
    np.testing.assert_allclose(np.linalg.norm(other.embedding), 1, atol=1e-5)


def test_conversations_that_cannot_go_on(tiny, little_split):
    product = next(iter(little_split.products.values()))
    with pytest.raises(DataError, match="the text is empty"):
        tiny.start(product).refine("  ")
    with pytest.raises(ContextOverflowError):
        tiny.start(product).refine("navy " * 5000)
    single = ProCIR(tiny.network, tiny.tokenizer, replace(tiny.settings, two_turns=False))
    with pytest.raises(ConfigError, match="conversations need a two-turn model"):
        single.start(product)


def test_what_is_shown_and_said_twice_is_read_once(tiny, little_split, monkeypatch, tmp_path):
    """Also when it comes from copies of the files, and chunks away."""
    monkeypatch.setattr("procir.model.embedder.ENCODE_CHUNK", 2)
    products = list(little_split.products.values())[:3]
    copies = []
    for number, product in enumerate(products):
        views = []
        for view in product.views:
            path = tmp_path / f"{number}-{view.path.name}"
            path.write_bytes(view.path.read_bytes())
            views.append(replace(view, path=path))
        copies.append(replace(product, views=tuple(views)))
    read = []
    embed = ProCIR.embed
    monkeypatch.setattr(ProCIR, "embed", lambda self, dialogues: read.extend(dialogues) or embed(self, dialogues))
    found = tiny.encode_products([*products, *copies, products[1]])
    assert len(read) == 3
    np.testing.assert_array_equal(found[3:], found[[0, 1, 2, 1]])
    np.testing.assert_allclose(found[:3], tiny.encode_products(products), atol=1e-5)
    texts = ["a", "b", "a", "c", "b", "a"]
    read.clear()
    captions = tiny.encode_captions(texts)
    assert len(read) == 3
    np.testing.assert_array_equal(captions[[0, 1, 0, 3, 1, 0]], captions)


def test_views_of_equal_bytes_and_other_shape_are_others(random_views):
    wide, tall = random_views(1, (1, 2))[0], random_views(1, (2, 1))[0]
    assert wide.pixels.tobytes() == tall.pixels.tobytes()
    assert wide.digest != tall.digest
    assert wide.digest == random_views(1, (1, 2))[0].digest


def test_the_next_item_is_prepared_while_this_one_is_used():
    prepared = {number: threading.Event() for number in range(3)}

    def prepare(number):
        prepared[number].set()
        return number * number

    seen = []
    for number, square in ahead(prepare, range(3)):
        if number + 1 in prepared:
            assert prepared[number + 1].wait(10)
        seen.append((number, square))
    assert seen == [(0, 0), (1, 1), (2, 4)]
    assert list(ahead(prepare, [])) == []


def test_several_items_are_prepared_ahead_in_order_and_no_more():
    prepared, third = [], threading.Event()

    def prepare(number):
        prepared.append(number)
        if number == 3:
            third.set()
        return -number

    coming = ahead(prepare, range(9), depth=3)
    assert next(coming) == (0, 0)
    assert third.wait(10)
    assert prepared == [0, 1, 2, 3]
    coming.close()
    assert list(ahead(prepare, range(5), depth=3)) == [(number, -number) for number in range(5)]
    assert len(prepared) <= 4 + 1 + 5  # closed, the first one finished at most what it had begun


def test_what_fails_ahead_fails_in_its_turn():
    def prepare(number):
        if number == 1:
            raise ImageError("view 1 is broken")
        return number

    done = []
    with pytest.raises(ImageError, match="view 1 is broken"):
        for number, _ in ahead(prepare, range(3)):
            done.append(number)
    assert done == [0]
