"""The nouns: identity, order, and immutability."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from procir import types
from procir.types import Product, ProductKey, View

NOUNS = [value for value in vars(types).values() if dataclasses.is_dataclass(value)]


def test_keys_of_two_datasets_differ_and_sort_by_dataset_first() -> None:
    keys = {ProductKey("b", "1"), ProductKey("a", "2"), ProductKey("a", "1"), ProductKey("a", "1")}
    assert [str(key) for key in sorted(keys)] == ["a/1", "a/2", "b/1"]
    # The written forms of these two agree; the keys do not.
    assert ProductKey("a", "b/1") != ProductKey("a/b", "1")


def test_only_keeps_the_order_and_the_rest_of_the_product() -> None:
    views = tuple(View(Path(f"{number}.png"), name) for number, name in enumerate(("front", "back", "front", None)))
    product = Product(ProductKey("d", "1"), views, "tees", "men")
    assert product.only("front") == Product(product.key, (views[0], views[2]), "tees", "men")
    assert product.only("side").views == ()
    assert product.views == views


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_nouns_are_frozen_and_slotted(noun: type) -> None:
    assert noun.__dataclass_params__.frozen
    assert "__slots__" in vars(noun)
