"""Products split by their keys: nobody on both sides, and nobody moves when the catalogue grows."""

import itertools
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.catalog.splits import is_validation, split_products
from procir.errors import ConfigError
from procir.types import Caption, Product, ProductKey, Split, Triplet

ids = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=30)
shares = st.floats(0.05, 0.95)


def catalogue(product_ids):
    """Products with a caption each, and a triplet from each to the next two, which satisfy it."""
    keys = [ProductKey("shop", product_id) for product_id in sorted(product_ids)]
    triplets = [
        Triplet(source, target, "other", satisfying=(target, third))
        for source, target, third in zip(keys, keys[1:], keys[2:], strict=False)
    ]
    return Split(
        "all", {key: Product(key, ()) for key in keys}, {key: Caption(key, "long", "short") for key in keys},
        tuple(triplets),
    )  # fmt: skip


@given(ids, shares)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_each_product_is_on_one_side(product_ids, share):
    whole = catalogue(product_ids)
    train, val, crossing = split_products(whole, validation_share=share)
    assert (train.name, val.name) == ("train", "val")
    assert train.products.keys().isdisjoint(val.products)
    assert {**train.products, **val.products} == whole.products
    assert {**train.captions, **val.captions} == whole.captions
    for part in (train, val):
        assert part.captions.keys() == part.products.keys()
        for triplet in part.triplets:
            assert {triplet.source, triplet.target, *triplet.satisfying} <= part.products.keys()
            assert triplet.target in triplet.satisfying
    sides = [(t.source in val.products, t.target in val.products) for t in whole.triplets]
    assert crossing == sum(source != target for source, target in sides)
    assert len(train.triplets) == sides.count((False, False))
    assert len(val.triplets) == sides.count((True, True))


@given(ids, ids, shares)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_growth_moves_nobody(product_ids, newcomers, share):
    before, _, _ = split_products(catalogue(product_ids), validation_share=share)
    after, _, _ = split_products(catalogue(product_ids | newcomers), validation_share=share)
    assert before.products.keys() == {key for key in after.products if key.product_id in product_ids}


@given(ids, shares, shares)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_larger_share_only_adds(product_ids, one, other):
    small, large = sorted((one, other))
    for product_id in product_ids:
        key = ProductKey("shop", product_id)
        assert is_validation(key, large) or not is_validation(key, small)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_the_share_is_about_right(share):
    """Numbered ids, as shops have them: 4,000 products stay within four standard deviations."""
    found = sum(is_validation(ProductKey("shop", f"dress-{number}"), share) for number in range(4000))
    assert abs(found - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


def test_the_side_is_a_hash_of_dataset_and_id():
    for dataset, product_id in itertools.product(("a", "b"), ("1", "WOMEN/Dresses/id_2", "Süß")):
        number = int(sha256(f"{dataset}/{product_id}".encode()).hexdigest()[:16], 16) / 2**64
        key = ProductKey(dataset, product_id)
        assert not is_validation(key, number - 1e-6)
        assert is_validation(key, number + 1e-6)


def test_sides_of_known_products():
    """These must never change: users' models were trained on one side."""
    sides = [is_validation(ProductKey("shop", f"dress-{number}"), 0.3) for number in range(1, 9)]
    assert sides == [False, False, False, False, False, False, False, True]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 30.0, float("nan")])
def test_impossible_shares(share):
    with pytest.raises(ConfigError, match="validation_share must lie between 0 and 1"):
        split_products(catalogue({"1", "2"}), validation_share=share)
