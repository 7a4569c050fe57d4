"""Near duplicates across splits: copies are found however they were saved, other garments are not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.construct import duplicates
from procir.construct.duplicates import Duplicate, as_rows, find_duplicates, view_hash
from procir.errors import ImageError
from procir.types import Product, ProductKey, Split, View


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return draw_catalogue(
        tmp_path_factory.mktemp("shop") / "shop", AtelierConfig(train_products=57, val_products=38, size=128, seed=5)
    )


def copied(product, folder, save, count=None):
    """The product under another name, its views saved anew."""
    folder.mkdir()
    views = []
    for number, view in enumerate(product.views[:count]):
        path = folder / f"{number}.jpg"
        save(Image.open(view.path).convert("RGB"), path)
        views.append(View(path, view.name))
    return replace(product, key=ProductKey("other", product.key.product_id), views=tuple(views))


def grown(split, *products):
    return replace(split, products={**split.products, **{product.key: product for product in products}})


def test_different_garments_are_not_duplicates(splits):
    assert find_duplicates([splits["train"], splits["val"]]) == ()


@pytest.mark.parametrize(
    "save",
    [
        lambda image, path: image.save(path, quality=60),
        lambda image, path: image.resize((300, 300), Image.Resampling.BICUBIC).save(path, quality=90),
        lambda image, path: image.resize((90, 90), Image.Resampling.BICUBIC).save(path, quality=90),
    ],
    ids=["encoded anew", "larger", "smaller"],
)
def test_copies_are_found(splits, tmp_path, save):
    originals = list(splits["train"].products.values())[:6]
    copies = [copied(product, tmp_path / f"copy{i}", save) for i, product in enumerate(originals)]
    found = find_duplicates([splits["train"], grown(splits["val"], *copies)])
    assert [duplicate.products for duplicate in found] == [
        (product.key, copy.key) for product, copy in zip(originals, copies, strict=True)
    ]
    for duplicate, product in zip(found, originals, strict=True):
        assert (duplicate.splits, duplicate.views) == (("train", "val"), len(product.views))
        assert duplicate.shared > len(product.views) / 2
        assert 0 <= duplicate.difference <= 4.5


def test_one_shared_view_of_many_is_not_enough(splits, tmp_path):
    product = next(p for p in splits["train"].products.values() if len(p.views) >= 3)
    other = next(iter(splits["val"].products.values()))
    copy = copied(product, tmp_path / "copy", lambda image, path: image.save(path, quality=90), count=1)
    mixed = replace(copy, views=(*copy.views, *other.views[:2]))
    assert find_duplicates([splits["train"], replace(splits["val"], products={mixed.key: mixed})]) == ()
    alone = find_duplicates([splits["train"], replace(splits["val"], products={copy.key: copy})])
    assert [(found.shared, found.views) for found in alone] == [(1, 1)]


def test_only_other_splits_are_looked_at(splits, tmp_path):
    product = next(iter(splits["train"].products.values()))
    copy = copied(product, tmp_path / "copy", lambda image, path: image.save(path, quality=90))
    assert find_duplicates([grown(splits["train"], copy), splits["val"]]) == ()


def brute(hashes, sides):
    return {
        (i, j)
        for i in range(len(hashes))
        for j in range(len(hashes))
        if sides[i] < sides[j] and sum(bin(a ^ b).count("1") for a, b in zip(hashes[i], hashes[j], strict=True)) <= 7
    }


def test_pairs_are_those_of_all_with_all(monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (12, 24), dtype=np.uint8)
    hashes = base[rng.integers(0, 12, 150)]
    for row in hashes:  # up to 9 flipped bits: 4 of each pair on average
        for bit in rng.integers(0, 192, rng.integers(0, 6)):
            row[bit // 8] ^= 1 << (bit % 8)
    sides = rng.integers(0, 3, 150)
    expected = brute(hashes.tolist(), sides)
    assert len(expected) > 100
    assert set(duplicates._near(hashes, sides)) == expected
    monkeypatch.setattr(duplicates, "_PIECE", 50)
    assert set(duplicates._near(hashes, sides)) == expected


def test_photos_of_one_hash_and_other_colors_are_told_apart(tmp_path):
    """Plain photos have hardly a slope; small copies decide."""
    keys = [ProductKey("shop", name) for name in ("a", "b", "c")]
    products = []
    for key, color in zip(keys, ("#202020", "#203080", "#212121"), strict=True):
        path = tmp_path / f"{key.product_id}.png"
        Image.new("RGB", (64, 64), color).save(path)
        products.append(Product(key, (View(path),)))
    left, right = (
        Split(name, {product.key: product for product in part}, {}, ())
        for name, part in (("train", products[:1]), ("val", products[1:]))
    )
    assert [found.products for found in find_duplicates([left, right])] == [(keys[0], keys[2])]


def test_bits_of_a_photo_computed_by_hand():
    image = Image.new("RGB", (90, 80), "black")
    ImageDraw.Draw(image).rectangle((40, 0, 89, 79), fill=(255, 0, 0))  # red from the fifth of nine columns on
    bits = np.unpackbits(view_hash(image)).reshape(8, 24).T.reshape(8, 8, 3)
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[:, 3, 0] = 1
    np.testing.assert_array_equal(bits, expected)


def test_rows_and_unreadable_photos(tmp_path):
    duplicate = Duplicate(
        products=(ProductKey("a", "1"), ProductKey("b", "2")),
        splits=("train", "val"),
        shared=2,
        views=3,
        difference=1.5,
    )
    assert as_rows([duplicate]) == [
        {"products": ["a/1", "b/2"], "splits": ["train", "val"], "shared_views": 2, "views": 3, "difference": 1.5}
    ]
    key = ProductKey("a", "1")
    broken = Split("train", {key: Product(key, (View(tmp_path / "gone.jpg"),))}, {}, ())
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        find_duplicates([broken])
