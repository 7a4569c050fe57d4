"""A user's own folder: one sub-folder of photos a product, and what may be wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from procir.catalog.folder import read_folder
from procir.errors import DataError, MissingDataError, RecordError, UnknownProductError
from procir.types import Caption, LoadReport, ProductKey, Triplet, View


def place(root: Path, product_id: str, *names: str) -> Path:
    folder = root / product_id
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"never decoded")
    return folder


def lines(path: Path, *rows: dict) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    place(root, "red dress", "front.JPG", "back.webp")
    place(root, "blue dress", "2.png", "10.png", "1.tif")
    return root


def test_sub_folders_are_products_in_natural_order(shop: Path) -> None:
    split, report = read_folder(shop)
    blue, red = ProductKey("shop", "blue dress"), ProductKey("shop", "red dress")
    assert list(split.products) == [blue, red]
    assert [view.path.name for view in split.products[blue].views] == ["1.tif", "2.png", "10.png"]
    assert split.products[red].views == (
        View(shop / "red dress" / "back.webp", "back"),
        View(shop / "red dress" / "front.JPG", "front"),
    )
    assert (split.name, split.captions, split.triplets) == ("val", {}, ())
    assert report == LoadReport(products=2, views=5)
    other, _ = read_folder(shop, name="train", order="released")
    assert other.name == "train"
    assert [view.path.name for view in other.products[blue].views] == ["1.tif", "10.png", "2.png"]


def test_dataset_is_named_as_the_folder_however_it_is_spelled(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    split, _ = read_folder(Path())
    assert {key.dataset for key in split.products} == {"shop"}


def test_annotations_may_leave_the_dataset_out(shop: Path) -> None:
    texts = {"long_caption": "a long red dress", "short_caption": "red dress"}
    lines(shop / "captions.jsonl", {"product_id": "red dress", "category": "dresses", "dataset": "shop"} | texts)
    lines(
        shop / "triplets.jsonl",
        {"source_id": "red dress", "target_id": "blue dress", "modification_text_short": "in blue"},
    )
    split, report = read_folder(shop)
    blue, red = sorted(split.products)
    assert split.captions == {red: Caption(red, "a long red dress", "red dress")}
    assert split.products[red].category == "dresses"
    assert split.triplets == (Triplet(red, blue, "in blue"),)
    assert (report.captions, report.triplets) == (1, 1)


def test_what_is_no_product_is_counted_or_hidden(shop: Path) -> None:
    place(shop, "no photos", "notes.txt", "raw.heic")
    place(shop, "nested")
    place(shop / "nested", "inner", "front.jpg")
    place(shop, ".thumbnails", "x.jpg")
    place(shop, "many", *(f"{number}.jpg" for number in range(7)), "._0.jpg")
    (shop / "loose.jpg").touch()
    (shop / "readme.md").touch()
    split, report = read_folder(shop)
    assert [key.product_id for key in split.products] == ["blue dress", "many", "red dress"]
    assert report.skipped == {
        "photos outside the sub-folders": 1,
        "views beyond the first 5": 2,
        "sub-folders without a photo": 2,
        "files of other kinds": 2,
    }
    assert report.examples["sub-folders without a photo"] == ("nested", "no photos")
    assert report.examples["files of other kinds"] == ("no photos/notes.txt", "no photos/raw.heic")


def test_a_folder_name_that_is_not_unicode_is_counted(shop: Path) -> None:
    (shop / os.fsdecode(b"caf\xe9")).mkdir()
    _, report = read_folder(shop)
    assert report.skipped == {"sub-folders whose name is not Unicode": 1}
    assert report.examples["sub-folders whose name is not Unicode"] == (r"'caf\udce9'",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.touch(), "no such folder"),
        (lambda root: root.mkdir(), "and is empty; put the photos"),
        (lambda root: place(root, ".git", "x.jpg"), "and is empty; put the photos"),
        (lambda root: place(root, ".", "a.jpg", "b.jpg"), "a.jpg, b.jpg: 2 photos outside the sub-folders; put"),
        (lambda root: place(root, "p", "notes.txt"), "p: 1 sub-folders without a photo"),
    ],
)
def test_folders_without_a_product_are_refused(tmp_path: Path, make, said: str) -> None:
    make(tmp_path / "shop")
    with pytest.raises(MissingDataError) as caught:
        read_folder(tmp_path / "shop")
    assert str(caught.value).startswith(f"{tmp_path / 'shop'}: ")
    assert said in str(caught.value)


def test_unknown_products_are_refused_with_similar_ids(shop: Path) -> None:
    place(shop, "hollow")
    wrong = [("red dres", "blue dress"), ("Blue dress", "hollow"), ("zzz", "red dress")]
    lines(
        shop / "triplets.jsonl",
        *({"source_id": s, "target_id": t, "modification_text_short": "x"} for s, t in wrong),
    )
    with pytest.raises(UnknownProductError) as caught:
        read_folder(shop)
    message = str(caught.value)
    assert message.startswith(f"{shop}/triplets.jsonl:1 ('red dres', similar: 'red dress', 'blue dress')")
    assert "triplets.jsonl:2 ('Blue dress', similar: 'blue dress'" in message
    assert "triplets.jsonl:2 ('hollow')" in message
    assert "triplets.jsonl:3 ('zzz')" in message
    assert "4 ids without a sub-folder of photos" in message
    assert "correct the ids" in message


def test_unknown_captions_are_refused(shop: Path) -> None:
    lines(shop / "captions.jsonl", {"product_id": "green", "long_caption": "x", "short_caption": "y"})
    with pytest.raises(UnknownProductError, match=r"captions\.jsonl:1 \('green'\)"):
        read_folder(shop)


@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        ({"dataset": "f200k"}, RecordError, "dataset 'f200k' is not 'shop'"),
        ({"target_id": "../red dress"}, RecordError, "would leave their folder"),
        ({"target_id": None}, RecordError, "'target_id' is missing"),
        ({"modification_text_short": " "}, MissingDataError, "fill the texts in"),
    ],
)
def test_wrong_lines_are_refused(shop: Path, row: dict, error: type, said: str) -> None:
    fine = {"source_id": "red dress", "target_id": "blue dress", "modification_text_short": "in blue"}
    lines(shop / "triplets.jsonl", fine | row)
    with pytest.raises(error, match=said) as caught:
        read_folder(shop)
    assert str(caught.value).startswith(f"{shop}/triplets.jsonl:1")


@pytest.mark.parametrize("link", ["whole product", "red dress/photo.jpg"])
def test_links_that_lead_outside_are_refused(shop: Path, link: str) -> None:
    outside = place(shop.parent, "outside", "front.jpg")
    (shop / link).symlink_to(outside / "front.jpg" if link.endswith("jpg") else outside)
    with pytest.raises(DataError, match="lead outside the folder; replace them"):
        read_folder(shop)


def test_links_inside_are_followed(shop: Path) -> None:
    (shop / "copy").symlink_to("red dress")
    split, _ = read_folder(shop)
    assert len(split.products[ProductKey("shop", "copy")].views) == 2
