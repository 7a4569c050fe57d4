"""`procir catalog import` of the paper's datasets, into one catalogue that is a data set."""

import json

import pytest
from PIL import Image

from procir.catalog.released import read_split
from procir.cli import main
from procir.types import ProductKey


@pytest.fixture
def sources(tmp_path):
    """Two datasets in their layouts, and annotations that name products of both."""
    photos = [
        f"In-shop/Img/img/WOMEN/Dresses/id_00000001/0{colour}_{number}_{view}.jpg"
        for colour in (1, 2)
        for number, view in ((1, "front"), (2, "side"), (3, "back"))
    ]
    photos += [
        f"f200k/women/tops/tees/{product}/{product}_{number}.jpeg" for product in (7, 8) for number in (0, 2, 10)
    ]
    for place, name in enumerate(photos):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 20 * (place + 1)).convert("RGB").save(path)
    released = tmp_path / "FashionMV"
    released.mkdir()
    pairs = {
        "deepfashion": ("WOMEN/Dresses/id_00000001/01", "WOMEN/Dresses/id_00000001/02"),
        "f200k": ("7", "8"),
    }
    triplets = [
        {"dataset": name, "source_id": one, "target_id": other, "modification_text_short": "in red"}
        for name, (one, other) in pairs.items()
    ]
    captions = [
        {"dataset": name, "product_id": product_id, "long_caption": "l", "short_caption": "s", "category": "dress"}
        for name, ids in pairs.items()
        for product_id in ids
    ]
    for kind, rows in (("triplets", triplets), ("captions", captions)):
        (released / f"val_{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(*arguments):
    return main(["catalog", "import", *map(str, arguments), "--workers", "1"])


def test_two_datasets_become_one_data_set(sources):
    out, named = sources / "out", ("--annotations", sources / "FashionMV")
    assert run("deepfashion", sources / "In-shop", "--out", out, *named) == 0
    assert run("fashion200k", sources / "f200k", "--out", out, *named) == 0
    split, report = read_split(out, "val")
    assert (report.products, report.views, report.triplets) == (4, 12, 2)
    dress = split.products[ProductKey("deepfashion", "WOMEN/Dresses/id_00000001/01")]
    assert [view.name for view in dress.views] == ["front", "side", "back"]
    assert dress.category == "dress"
    originals = [sources / f"f200k/women/tops/tees/7/7_{number}.jpeg" for number in (0, 10, 2)]  # sorted as text
    found = [view.path.read_bytes() for view in split.products[ProductKey("f200k", "7")].views]
    assert found == [path.read_bytes() for path in originals]
    assert main(["catalog", "check", str(out), "--workers", "1"]) == 0


def test_without_annotations_all_products_come(sources):
    assert run("deepfashion", sources / "In-shop", "--out", sources / "out") == 0
    rows = [json.loads(line) for line in (sources / "out" / "products.jsonl").read_text().splitlines()]
    assert [row["product_id"] for row in rows] == ["WOMEN/Dresses/id_00000001/01", "WOMEN/Dresses/id_00000001/02"]
    assert {row["gender"] for row in rows} == {"women"}


def test_a_folder_that_is_no_such_dataset_is_refused(sources, capsys):
    assert run("deepfashion", sources / "f200k", "--out", sources / "out") == 1
    assert "holds WOMEN or MEN" in capsys.readouterr().err.replace("\n", " ")
    assert run("hub", sources / "f200k", "--out", sources / "out") == 1
