"""Exports: Parquet that gives the splits back, a card that says what is there, and conversations to learn from."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from procir.construct import export
from procir.construct.export import export_parquet
from procir.construct.prompts.schemas import Box, CaptionAnalysis
from procir.construct.statistics import collect
from procir.construct.verdicts import Verdict
from procir.errors import DataError, MissingDataError
from procir.types import Caption, Product, ProductKey, Split, Triplet, View


def make_split(root, name, count=5, dataset="shop"):
    """Products of two views, the last one without a caption, and a chain of triplets."""
    products, captions = {}, {}
    for number in range(count):
        key = ProductKey(dataset, f"{name}/ä{number}")
        paths = [root / dataset / key.product_id / f"{view}.png" for view in ("front", "1")]
        for place, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number * 9, place * 90, len(name) * 20)).save(path)
        views = (View(paths[0], "front"), View(paths[1]))
        products[key] = Product(key, views, "tees" if number else None, "women" if number % 2 else None)
        captions[key] = Caption(key, f"long {name} {number}", f"short {number}", ("a", "b") if number % 2 else ())
    captions.pop(key)
    keys = sorted(products)
    triplets = (
        Triplet(keys[0], keys[1], "red", "all red", ("front", "back"), (keys[1], keys[2])),
        Triplet(keys[1], keys[2], "blue"),
    )
    return Split(name, products, captions, triplets)


@pytest.fixture
def splits(tmp_path):
    return [make_split(tmp_path / "images", "train"), make_split(tmp_path / "images", "val", 3)]


def verdicts_of(split):
    box = Box(element="pocket", bbox=(1, 20, 300, 1000), position_in_image="left")
    analyses = (
        CaptionAnalysis(caption_name="long_caption", bounding_boxes=(box,), reasoning="seen", has_error=True),
        CaptionAnalysis(caption_name="short_caption", bounding_boxes=(), reasoning="", has_error=False),
    )
    first, *others = sorted(split.products)
    return [Verdict(first, True, analyses), *(Verdict(key, False) for key in others)]


def run(folder, splits, **changes):
    statistics = changes.pop("statistics", None) or collect(splits)
    return export_parquet(folder, splits, **({"title": "A: set", "statistics": statistics, "embed": True} | changes))


def read(folder, config, name):
    paths = sorted((folder / config).glob(f"{name}-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def given_back(folder, name, root):
    """The split in a folder of Parquet files whose views lie below `root`; embedded ones must be the files there."""
    products, captions, triplets = {}, {}, []
    for row in read(folder, "products", name):
        key = ProductKey(row["dataset"], row["product_id"])
        paths = []
        for image in row["images"]:
            paths.append(root.parent / (image["path"] if isinstance(image, dict) else image))
            if isinstance(image, dict):
                assert image["bytes"] == paths[-1].read_bytes()
        views = tuple(map(View, paths, row["view_names"]))
        products[key] = Product(key, views, row["category"], row["gender"])
        if row["long_caption"] is not None:
            captions[key] = Caption(key, row["long_caption"], row["short_caption"], tuple(row["image_captions"]))
    for row in read(folder, "triplets", name):
        source, target, *satisfying = (
            ProductKey(row["dataset"], product_id)
            for product_id in (row["source_id"], row["target_id"], *row["satisfying_ids"])
        )
        texts = row["modification_text_short"], row["modification_text_long"], tuple(row["views_involved"])
        triplets.append(Triplet(source, target, *texts, tuple(satisfying)))
    return Split(name, products, captions, tuple(triplets))


@pytest.mark.parametrize("embed", [True, False])
def test_the_splits_come_back(tmp_path, splits, embed):
    configs = run(tmp_path / "out", splits, embed=embed)
    assert [(config.name, dict(config.rows)) for config in configs] == [
        ("products", {"train": 5, "val": 3}), ("triplets", {"train": 2, "val": 2}),
    ]  # fmt: skip
    for split in splits:
        assert given_back(tmp_path / "out", split.name, tmp_path / "images") == split
    assert {path.name for path in tmp_path.iterdir()} == {"images", "out"}


def test_verdicts_come_back(tmp_path, splits):
    run(tmp_path / "out", splits, verdicts={"train": verdicts_of(splits[0])})
    found = [
        Verdict(
            ProductKey(row["dataset"], row["product_id"]),
            row["has_error"],
            tuple(CaptionAnalysis.model_validate(analysis) for analysis in row["caption_analyses"]),
        )
        for row in read(tmp_path / "out", "verdicts", "train")
    ]
    assert found == verdicts_of(splits[0])


def test_schemas_tell_the_datasets_library_what_is_a_picture(tmp_path, splits):
    run(tmp_path / "out", splits, verdicts={"train": verdicts_of(splits[0])})
    schema = pq.read_schema(tmp_path / "out" / "products" / "train-00000-of-00001.parquet")
    told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    text = {"dtype": "string", "_type": "Value"}
    assert told["images"] == [{"_type": "Image"}]
    assert (told["product_id"], told["view_names"]) == (text, [text])
    assert list(told) == schema.names
    assert schema.field("images").type == pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    schema = pq.read_schema(tmp_path / "out" / "verdicts" / "train-00000-of-00001.parquet")
    (analysis,) = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["caption_analyses"]
    assert analysis["bounding_boxes"] == [
        {"element": text, "bbox": [{"dtype": "int32", "_type": "Value"}], "position_in_image": text}
    ]
    (row, *_) = read(tmp_path / "out", "products", "train")
    with Image.open(io.BytesIO(row["images"][0]["bytes"])) as image:
        assert image.size == (8, 8)


def test_files_are_compressed_with_zstd(tmp_path, splits):
    run(tmp_path / "out", splits)
    file = pq.ParquetFile(tmp_path / "out" / "triplets" / "val-00000-of-00001.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_large_splits_become_several_files(tmp_path, splits, monkeypatch):
    """Row groups of two products, and a file is full after the first of them."""
    monkeypatch.setattr(export, "_PICTURE_PIECE", 2)
    monkeypatch.setattr(export, "SHARD_BYTES", 5)
    run(tmp_path / "out", splits)
    names = sorted(path.name for path in (tmp_path / "out" / "products").glob("train-*"))
    assert names == [f"train-0000{number}-of-00003.parquet" for number in range(3)]
    rows = [pq.read_metadata(tmp_path / "out" / "products" / name).num_rows for name in names]
    assert rows == [2, 2, 1]
    assert given_back(tmp_path / "out", "train", tmp_path / "images") == splits[0]


def test_small_row_groups_share_a_file(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(export, "_PICTURE_PIECE", 2)
    run(tmp_path / "out", splits)
    metadata = pq.read_metadata(tmp_path / "out" / "products" / "train-00000-of-00001.parquet")
    assert (metadata.num_row_groups, metadata.num_rows) == (3, 5)


def test_a_split_without_triplets_has_its_file(tmp_path, splits):
    run(tmp_path / "out", [replace(splits[0], triplets=())])
    assert read(tmp_path / "out", "triplets", "train") == []
    assert (tmp_path / "out" / "triplets" / "train-00000-of-00001.parquet").is_file()


def test_the_card_names_configs_features_and_numbers(tmp_path, splits):
    run(tmp_path / "out", splits, verdicts={"train": verdicts_of(splits[0])})
    card = (tmp_path / "out" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert 'license: "[fill in: the license of the pictures and of the texts]"\npretty_name: "A: set"\n' in front
    assert (
        "- config_name: triplets\n  data_files:\n  - split: train\n    path: triplets/train-*\n"
        "  - split: val\n    path: triplets/val-*\n"
    ) in front
    assert "  - name: images\n    list: image\n" in front
    assert "    - name: bounding_boxes\n      list:\n      - name: element\n        dtype: string\n" in front
    assert body.startswith("\n# A: set\n")
    assert "| `products` | products: their views, captions, category and gender | 5 train, 3 val |" in body
    assert "| `verdicts` | whether a product's captions confuse left and right | 5 train |" in body
    assert "The files of the views are inside, unchanged" in body
    assert "| shop | train | 2 | 3 | 5 |" in body
    assert "To be filled in" in body
    for name in ("views.png", "words.png"):
        assert f"]({name})" in body
        assert (tmp_path / "out" / name).is_file()


def test_the_card_says_where_files_must_lie(tmp_path, splits):
    run(tmp_path / "out", splits, embed=False)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the files are not part of this data set" in card
    assert "  - name: images\n    list: string\n" in card


def test_a_failing_export_leaves_nothing(tmp_path, splits):
    next(iter(splits[1].products.values())).views[0].path.unlink()
    with pytest.raises(MissingDataError, match=r"front\.png: cannot be read \(No such file or directory\)"):
        run(tmp_path / "out", splits)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_other_files_are_never_replaced(tmp_path, splits):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    (tmp_path / "note").write_text("precious")
    for name in ("photos", "note"):
        with pytest.raises(DataError, match=f"{name} is there and not empty: choose a new or an empty folder"):
            run(tmp_path / name, splits)
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty", splits)


def test_what_the_layout_cannot_hold_is_refused(tmp_path, splits):
    train, val = splits
    known = sorted(train.products)
    stranger, foreign = ProductKey("shop", "nobody"), ProductKey("other", "1")
    elsewhere = replace(train, products={**train.products, foreign: Product(foreign, ())})
    cases = [
        ([replace(train, triplets=(Triplet(known[0], stranger, "x"),))], "train: shop/train/ä0 -> shop/nobody: 1 trip"),
        ([replace(elsewhere, triplets=(Triplet(known[0], foreign, "x"),))], "1 triplets across datasets; mend or"),
        ([train, replace(val, name="train")], "splits named train, train: give each its own name"),
        ([replace(train, name="../train")], "'../train' is no name of a split for the Hub"),
    ]
    for given, said in cases:
        with pytest.raises(DataError, match=said):
            run(tmp_path / "out", given, statistics=collect([train]))
    with pytest.raises(DataError, match="'a-b' is no name of a split"):
        run(tmp_path / "out", splits, verdicts={"a-b": []})
    assert not (tmp_path / "out").exists()
