"""Parquet files in the Hub's layout."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.sources.hub import hub_offers, split_of
from procir.construct.export import export_parquet
from procir.construct.statistics import collect
from procir.errors import DataError, ImageError, MissingDataError, RecordError
from procir.types import Product, ProductKey, Split, View

PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def read(root, **options):
    findings = Findings()
    return list(hub_offers(root, findings, **options)), findings


def write(path, columns, schema=None, rows_a_group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=rows_a_group)


def pictures(*names):
    return [{"bytes": f"content of {name}".encode(), "path": name} for name in names]


def table(ids, images, kind=PICTURE, **others):
    return {"product_id": pa.array(ids), "images": pa.array(images, pa.list_(kind)), **others}


def test_a_row_is_a_product(tmp_path):
    columns = table(
        ["a", "b", "c"],
        [pictures("x/1_front.jpg", "2.png"), pictures("7.jpg"), [{"bytes": b"c0", "path": None}] * 2],
        view_names=[["front", "back"], ["side", "back"], [None, None]],
        category=["dress", None, " "],
        color=["red", None, "blue"],
        text=["no detail"] * 3,
    )
    write(tmp_path / "shop" / "data" / "validation-00000-of-00001.parquet", columns)
    offers, findings = read(tmp_path / "shop")
    assert [str(offer.key) for offer in offers] == ["shop/a", "shop/b", "shop/c"]
    assert [[photo.name for photo in offer.photos] for offer in offers] == [
        ["1_front.jpg", "2.png"],
        ["7.jpg"],
        ["000.jpg", "001.jpg"],
    ]
    assert [dict(offer.views) for offer in offers] == [{"1_front.jpg": "front", "2.png": "back"}, {}, {}]
    assert [(offer.details.category, offer.details.colour) for offer in offers] == [
        ("dress", "red"),
        (None, None),
        (None, "blue"),
    ]
    assert [offer.split for offer in offers] == ["val"] * 3
    assert offers[2].where.endswith("validation-00000-of-00001.parquet, row group 1, row 0")
    photos = pickle.loads(pickle.dumps([photo for offer in offers for photo in offer.photos]))
    assert [photo.read() for photo in photos] == [
        b"content of x/1_front.jpg",
        b"content of 2.png",
        b"content of 7.jpg",
        b"c0",
        b"c0",
    ]
    assert len(set(map(repr, photos))) == 5
    assert not findings
    assert read(tmp_path / "shop")[0] == offers


def test_rows_of_one_id_that_follow_each_other_are_one_product(tmp_path):
    columns = {
        "item_ID": pa.array(["a", "a", "a", "b", None, "a"]),
        "image": pa.array(
            [pictures(name)[0] for name in ("0.jpg", "0.jpg", "1.jpg", "9.jpg", "8.jpg", "7.jpg")], PICTURE
        ),
    }
    write(tmp_path / "train.parquet", columns)
    write(tmp_path / "z" / "test.parquet", table(["b"], [pictures("1.jpg")]))
    offers, findings = read(tmp_path, dataset="inshop")
    assert [(str(offer.key), offer.split) for offer in offers] == [("inshop/a", "train"), ("inshop/b", "train")]
    assert [photo.name for photo in offers[0].photos] == ["000_0.jpg", "001_0.jpg", "002_1.jpg"]
    assert offers[0].photos[2].read() == b"content of 1.jpg"
    assert findings.counts == {"rows without an id": 1, "rows of a product that came before": 2}


def test_what_export_writes_is_read(tmp_path):
    views = []
    for number, name in enumerate(("front", "back"), start=1):
        path = tmp_path / "photos" / f"{number}_{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "navy").save(path)
        views.append(View(path, name))
    key = ProductKey("shop", "WOMEN/a")
    split = Split("train", {key: Product(key, tuple(views), "dress", "women")}, {}, ())
    out = tmp_path / "exported"
    export_parquet(out, [split], title="T", statistics=collect([split]), embed=True)
    (offer,), findings = read(out)
    assert (offer.key, offer.split, offer.details.category, offer.details.gender) == (key, "train", "dress", "women")
    assert dict(offer.views) == {"1_front.jpg": "front", "2_back.jpg": "back"}
    assert [photo.read() for photo in offer.photos] == [view.path.read_bytes() for view in views]
    assert findings.counts == {"Parquet files without images": 1}


def test_paths_are_files_below_the_folder(tmp_path):
    photo = tmp_path / "images/shop/a/1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"one")
    write(tmp_path / "train.parquet", table(["a"], [["images/shop/a/1.jpg"]], pa.string()))
    assert read(tmp_path)[0][0].photos[0].read() == b"one"
    (tmp_path / "images/out").symlink_to("/etc")
    for name in ("../x.jpg", "/etc/hostname", "images/out/hostname", "a\\b.jpg"):
        write(tmp_path / "train.parquet", table(["a"], [[name]], pa.string()))
        with pytest.raises(RecordError, match="leads outside"):
            read(tmp_path)


def test_refusals(tmp_path):
    with pytest.raises(MissingDataError, match="no Parquet file"):
        read(tmp_path)
    path = tmp_path / "train.parquet"
    write(path, {"name": ["a"], "image": pa.array(pictures("1.jpg"), PICTURE)})
    with pytest.raises(DataError, match=r"no column of ids .* among name, image"):
        read(tmp_path)
    write(path, {"product_id": ["a"]})
    with pytest.raises(MissingDataError, match="no product in it"):
        read(tmp_path)
    write(path, table(["a"], [[{"bytes": None, "path": "1.jpg"}]]))
    (offer,), _ = read(tmp_path)
    with pytest.raises(ImageError, match="has no content, only a path"):
        offer.photos[0].read()
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="no whole Parquet file"):
        read(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        offer.photos[0].read()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00003.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "val"),
        ("data/train/0000.parquet", "train"),
        ("test.parquet", "val"),
        ("training.parquet", None),
        ("train/x_dev.parquet", "val"),
    ],
)
def test_splits_are_told_by_names(tmp_path, name, split):
    assert split_of(tmp_path / name, tmp_path) == split


def test_contents_are_not_read_while_products_are_listed(tmp_path):
    path = tmp_path / "train.parquet"
    content = bytes(200_000)
    images = [[{"bytes": content, "path": "1.jpg"}, {"bytes": content, "path": "2.jpg"}] for _ in range(100)]
    pq.write_table(pa.table(table([str(n) for n in range(100)], images)), path, row_group_size=10, compression="none")
    before = pa.total_allocated_bytes()
    offers, most = [], 0
    for offer in hub_offers(tmp_path, Findings()):
        offers.append(offer)
        most = max(most, pa.total_allocated_bytes() - before)
    assert len(offers) == 100
    assert most < 1_000_000  # of 40 MB
    assert offers[-1].photos[1].read() == content
