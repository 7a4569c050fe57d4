"""Catalogues without annotations."""

import json

import pytest
from PIL import Image

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.catalog.products import Stock, read_products, write_products
from procir.errors import DataError, MissingDataError, RecordError
from procir.types import ProductKey


def photo(root, *parts):
    path = root.joinpath("images", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), "navy").save(path)


@pytest.fixture
def shop(tmp_path):
    photo(tmp_path, "deepfashion", "WOMEN", "Dresses", "id_1", "02", "1_front.jpg")
    photo(tmp_path, "deepfashion", "WOMEN", "Dresses", "id_1", "02", "2_back.jpg")
    photo(tmp_path, "shop", "a", "10.jpg")
    photo(tmp_path, "shop", "a", "2.jpg")
    photo(tmp_path, "shop", "b", "1.png")
    return tmp_path


def lines(root, *rows):
    (root / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_folders_with_photos_are_products(shop):
    photo(shop, "shop", "loose.jpg")
    stock, report = read_products(shop)
    assert list(map(str, stock.products)) == ["deepfashion/WOMEN/Dresses/id_1/02", "shop/a", "shop/b"]
    assert [view.name for view in next(iter(stock.products.values())).views] == ["front", "back"]
    assert [view.path.name for view in stock.products[ProductKey("shop", "a")].views] == ["10.jpg", "2.jpg"]
    natural, _ = read_products(shop, order="natural")
    assert [view.path.name for view in natural.products[ProductKey("shop", "a")].views] == ["2.jpg", "10.jpg"]
    assert (report.products, report.views, stock.native) == (3, 5, {})
    assert report.skipped == {"photos outside the products' folders": 1}


def test_lines_say_what_is_known(shop):
    lines(
        shop,
        {"dataset": "shop", "product_id": "a", "category": "dress", "gender": "women", "split": "val"},
        {"dataset": "shop", "product_id": "b"},
    )
    stock, report = read_products(shop)
    product = stock.products[ProductKey("shop", "a")]
    assert (product.category, product.gender, report.products) == ("dress", "women", 2)
    assert stock.native == {product.key: "val"}
    write_products(shop, stock)
    assert read_products(shop)[0] == stock
    assert write_products(shop, Stock(products={}, native={})) == 0


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"dataset": "shop", "product_id": "../b"}, RecordError, r"products.jsonl:2: shop/../b would leave its folder"),
        ({"dataset": "shop", "product_id": "a"}, RecordError, r"products.jsonl:2: a second line of shop/a, first in"),
        ({"dataset": "shop", "product_id": "b", "split": "test"}, RecordError, "split is 'test', not train or val"),
        ({"product_id": "b"}, RecordError, "field 'dataset' is missing"),
        ({"dataset": "shop", "product_id": "c"}, MissingDataError, r"shop/c\): 1 products without a readable folder"),
        ({"dataset": "else", "product_id": "c"}, MissingDataError, "1 products of a dataset without a folder"),
    ],
)
def test_what_is_wrong_is_named(shop, row, error, message):
    lines(shop, {"dataset": "shop", "product_id": "a"}, row)
    with pytest.raises(error, match=message):
        read_products(shop)


def test_missing_products_may_be_counted(shop):
    lines(shop, {"dataset": "shop", "product_id": "a", "split": "val"}, {"dataset": "shop", "product_id": "c"})
    stock, report = read_products(shop, allow_missing=True)
    assert list(map(str, stock.products)) == ["shop/a"]
    assert report.skipped == {"products without a readable folder": 1}
    lines(shop, {"dataset": "shop", "product_id": "c"})
    with pytest.raises(MissingDataError, match="holds no product"):
        read_products(shop, allow_missing=True)


def test_folders_that_are_not_there_and_links_that_lead_outside(shop, tmp_path_factory):
    with pytest.raises(MissingDataError, match="no such folder; pass a folder that holds images/"):
        read_products(shop / "nowhere")
    outside = tmp_path_factory.mktemp("outside")
    photo(outside, "secret.jpg")
    (shop / "images" / "shop" / "b" / "2.jpg").symlink_to(outside / "images" / "secret.jpg")
    with pytest.raises(DataError, match="links that lead outside"):
        read_products(shop)


def test_a_drawn_catalogue_lists_its_products(tmp_path):
    splits = draw_catalogue(tmp_path / "out", AtelierConfig(train_products=6, val_products=4, size=32, seed=3))
    stock, _ = read_products(tmp_path / "out")
    assert dict(stock.products) == {**splits["train"].products, **splits["val"].products}
    assert set(stock.native.values()) == {"train", "val"}
    assert {key for key, name in stock.native.items() if name == "val"} == set(splits["val"].products)
