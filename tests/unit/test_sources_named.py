"""Released annotations joined to a source."""

import json

import pytest
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.offers import Details, FilePhoto, Offer
from procir.catalog.released import read_split
from procir.catalog.sources.fashion200k import DATASETS, fashion200k_offers
from procir.catalog.sources.named import named_offers, place_annotations, read_named
from procir.errors import DataError, MissingDataError, RecordError
from procir.types import ProductKey


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def triplet(dataset, source, target):
    return {"dataset": dataset, "source_id": source, "target_id": target, "modification_text_short": "in red"}


def caption(dataset, product_id, **more):
    return {"dataset": dataset, "product_id": product_id, "long_caption": "l", "short_caption": "s"} | more


@pytest.fixture
def released(tmp_path):
    folder = tmp_path / "FashionMV"
    write(folder / "train_triplets.jsonl", triplet("deepfashion", "WOMEN/a/id_1/02", "WOMEN/a/id_2/01"))
    write(folder / "val_triplets.jsonl", triplet("f200k", "1", "2"), triplet("f200k", "2", "9"))
    write(folder / "val_captions.jsonl", caption("f200k", 1, category="dress", gender="women"), caption("f200k", 3))
    return folder


def offers(*ids):
    for product_id in ids:
        details = Details(category="dresses", gender="girls", title="t")
        yield Offer(key=ProductKey("f200k", product_id), photos=(), where=f"row {product_id}", details=details)


def test_every_product_that_a_line_names_is_known(released):
    named = read_named(released, Findings())
    assert {str(key): split for key, split in named.splits.items()} == {
        "deepfashion/WOMEN/a/id_1/02": "train",
        "deepfashion/WOMEN/a/id_2/01": "train",
        "f200k/1": "val",
        "f200k/2": "val",
        "f200k/3": "val",
        "f200k/9": "val",
    }
    assert named.categories == {ProductKey("f200k", "1"): "dress"}
    assert named.genders == {ProductKey("f200k", "1"): "women"}
    assert named.where[ProductKey("f200k", "9")] == f"{released}/val_triplets.jsonl:2"


def test_only_named_products_are_taken(released):
    named, findings = read_named(released, Findings()), Findings()
    found = list(named_offers(lambda _: offers("1", "2", "4"), named, DATASETS, findings))
    assert [(offer.key.product_id, offer.split) for offer in found] == [("1", "val"), ("2", "val")]
    assert [(offer.details.category, offer.details.gender, offer.details.title) for offer in found] == [
        ("dress", "women", "t"),
        ("dresses", "girls", "t"),
    ]
    assert findings.counts == {
        "products that the annotations do not name": 1,
        "products of f200k that the annotations name and the source lacks": 2,
    }
    assert findings.names["products of f200k that the annotations name and the source lacks"] == [
        f"{released}/val_captions.jsonl:2 (f200k/3)",
        f"{released}/val_triplets.jsonl:2 (f200k/9)",
    ]


def test_products_of_both_splits_are_val(released):
    write(released / "train_captions.jsonl", caption("f200k", "2"))
    findings = Findings()
    assert read_named(released, findings).splits[ProductKey("f200k", "2")] == "val"
    assert findings.counts == {"products that both splits name, which are taken as val": 1}


def test_refusals(released, tmp_path):
    with pytest.raises(MissingDataError, match=r"none of train_captions.jsonl, .*val_triplets.jsonl"):
        read_named(tmp_path, Findings())
    for row in (triplet("f200k", "1", "../2"), triplet("f200k", "1", "/2"), triplet("..", "1", "2")):
        write(released / "val_triplets.jsonl", row)
        with pytest.raises(RecordError, match=r"val_triplets.jsonl:1: .* would leave its folder"):
            read_named(released, Findings())
    write(released / "val_triplets.jsonl", {"dataset": "f200k", "source_id": "1"})
    with pytest.raises(RecordError, match=r"val_triplets.jsonl:1: field 'target_id' is missing"):
        read_named(released, Findings())


def test_placed_annotations_are_read_with_the_photos(tmp_path):
    """Photos put in the offers' order under numbers give the views that the published protocol shows."""
    released, source, out = tmp_path / "FashionMV", tmp_path / "f200k", tmp_path / "out"
    write(released / "val_triplets.jsonl", triplet("f200k", "1", "2"))
    write(released / "val_captions.jsonl", caption("f200k", "1"), caption("f200k", "2"))
    for product_id, number in (("1", 0), ("1", 2), ("1", 10), ("2", 0), ("3", 0), ("3", 1)):
        path = source / f"women/tops/tees/{product_id}/{product_id}_{number}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)

    def f200k(findings):
        return fashion200k_offers(source, findings, least=1)

    for offer in named_offers(f200k, read_named(released, Findings()), DATASETS, Findings()):
        folder = out / "images" / offer.key.dataset / offer.key.product_id
        folder.mkdir(parents=True)
        for photo in offer.photos:
            assert isinstance(photo, FilePhoto)
            (folder / photo.name).write_bytes(photo.read())
    assert place_annotations(released, out) == ("val_captions.jsonl", "val_triplets.jsonl")
    split, report = read_split(out, "val")
    assert (report.products, report.views, report.triplets, dict(report.skipped)) == (2, 4, 1, {})
    views = split.products[ProductKey("f200k", "1")].views
    assert [view.path.name for view in views] == ["1_0.jpeg", "1_10.jpeg", "1_2.jpeg"]


def test_other_annotations_are_not_replaced(released, tmp_path):
    out = tmp_path / "out"
    place_annotations(released, out)
    assert place_annotations(released, out) == ("train_triplets.jsonl", "val_captions.jsonl", "val_triplets.jsonl")
    write(out / "val_captions.jsonl", caption("f200k", "5"))
    with pytest.raises(DataError, match=r"val_captions.jsonl: is there, and is not"):
        place_annotations(released, out)
