"""FashionGen's h5 files in their released layout."""

import io
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.sources.fashiongen import CLOTHING, RowPhoto, fashiongen_offers
from procir.errors import ConfigError, DataError, ImageError, MissingDataError

h5py = pytest.importorskip("h5py")

TRAIN, VALIDATION = "fashiongen_256_256_train.h5", "fashiongen_256_256_validation.h5"


def pixels(row):
    return np.random.default_rng(row).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def write(path, ids, categories=None, side=256, **columns):
    with h5py.File(path, "w") as file:
        images = np.stack([pixels(row)[:side, :side] for row in range(len(ids))])
        file["input_image"] = images
        file["input_productID"] = np.array(ids, dtype=np.int32)[:, None]
        texts = {"input_category": categories or ["SWEATERS"] * len(ids)} | columns
        for name, values in texts.items():
            kind = "f4" if name == "input_msrpUSD" else "S120"
            file[name] = np.array([v.encode("latin-1") if kind != "f4" else v for v in values], dtype=kind)[:, None]


@pytest.fixture
def train(tmp_path):
    path = tmp_path / TRAIN
    write(
        path,
        [95636, 95636, 95636, 7, 7, 12, 12, 95636, 8],
        ["SWEATERS"] * 3 + ["BOOTS"] * 2 + ["TOPS"] * 2 + ["SWEATERS", "JEANS"],
        input_name=["Grey Crêpe Hoodie"] * 3 + ["Boots"] * 2 + ["Tee"] * 2 + ["Grey", "Jeans"],
        input_description=["Long sleeves.<br>Tonal stitching. "] * 9,
        input_gender=["Men"] * 3 + ["Women"] * 6,
        input_pose=["id_gridfs_1", "id_gridfs_2", "Back_view", *["id_gridfs_1"] * 6],
        input_msrpUSD=[395.0] * 5 + [0.0, 0.0, 1.0, float("nan")],
    )
    return path


def read(path, **options):
    findings = Findings()
    return list(fashiongen_offers(path, findings, **options)), findings


def test_rows_of_one_id_are_a_product(train):
    offers, findings = read(train)
    assert [str(offer.key) for offer in offers] == ["fashiongen_train/95636", "fashiongen_train/12"]
    hoodie, tee = offers
    assert [photo.name for photo in hoodie.photos] == ["0.png", "1.png", "2.png", "7.png"]
    assert hoodie.views == {"2.png": "back"}
    assert (hoodie.split, hoodie.where) == ("train", f"{train}, row 0")
    details = hoodie.details
    assert (details.title, details.description) == ("Grey Crêpe Hoodie", "Long sleeves. Tonal stitching.")
    assert (details.category, details.gender, details.price) == ("SWEATERS", "men", "395 USD")
    assert (tee.details.gender, tee.details.price) == ("women", None)
    assert findings.counts == {
        "products whose rows do not follow each other": 1,
        "products of categories that are no clothing": 1,
        "products with fewer than 2 photos": 1,
    }
    assert read(train)[0] == offers


def test_everything_is_kept_where_it_is_asked_for(train):
    offers, _ = read(train, least=1, clothing_only=False)
    assert [offer.key.product_id for offer in offers] == ["95636", "7", "12", "8"]


def test_photos_are_the_rows_without_loss_in_other_processes_too(train):
    (first, *_), _ = read(train)
    photos = pickle.loads(pickle.dumps(first.photos))
    assert photos == first.photos
    assert len(set(map(repr, photos))) == 4
    image = Image.open(io.BytesIO(photos[3].read()))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), pixels(7))
    with pytest.raises(ImageError, match="row 9: cannot be read"):
        RowPhoto(train, 9).read()
    with pytest.raises(ImageError, match="cannot be read"):
        RowPhoto(train.with_name("gone.h5"), 0).read()


def test_a_folder_holds_both_files(train):
    write(train.with_name(VALIDATION), [12, 12])
    write(train.with_name("other.h5"), [1])
    offers, findings = read(train.parent)
    assert [(str(offer.key), offer.split) for offer in offers] == [
        ("fashiongen_train/95636", "train"),
        ("fashiongen_train/12", "train"),
        ("fashiongen_val/12", "val"),
    ]
    assert findings.counts["h5 files with neither train nor validation in their names"] == 1
    write(train.with_name("fashiongen_train_copy.h5"), [1])
    with pytest.raises(DataError, match="two files of fashiongen_train"):
        read(train.parent)


def test_blocks_end_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr("procir.catalog.sources.fashiongen._BLOCK", 2)
    write(tmp_path / TRAIN, [1, 1, 1, 2, 2, 3, 3], side=4, input_name=list("aaabbcc"))
    offers, findings = read(tmp_path)
    assert [(offer.key.product_id, offer.details.title, len(offer.photos)) for offer in offers] == [
        ("1", "a", 3),
        ("2", "b", 2),
        ("3", "c", 2),
    ]
    assert not findings


def test_refusals(train, tmp_path):
    with pytest.raises(MissingDataError, match=r"no fashiongen_256_256_train.h5"):
        read(tmp_path / "empty")
    with pytest.raises(MissingDataError, match="no such file"):
        read(tmp_path / VALIDATION)
    whole = train.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        train.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{TRAIN}: no whole HDF5 file"):
            read(train)
    with h5py.File(train, "w") as file:
        file["input_image"] = np.zeros((2, 256, 256, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="has no input_productID"):
        read(train)
    with h5py.File(train, "a") as file:
        file["input_productID"] = np.zeros((3, 1), dtype=np.int32)
    with pytest.raises(DataError, match="input_productID has 3 rows, input_image has 2"):
        read(train)
    with h5py.File(train, "w") as file:
        file["input_image"] = np.zeros((2, 256, 256), dtype=np.uint8)
        file["input_productID"] = np.zeros((2, 1), dtype=np.int32)
    with pytest.raises(DataError, match=r"not \(rows, height, width, 3\) of uint8"):
        read(train)


def test_without_h5py_the_extra_is_named(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"pip install 'procir\[fashiongen\]'"):
        read(train)


def test_images_stay_on_the_disk_while_products_are_listed(tmp_path):
    path = tmp_path / TRAIN
    with h5py.File(path, "w") as file:
        file.create_dataset("input_image", (1000, 256, 256, 3), np.uint8, chunks=(1, 256, 256, 3))  # never written
        file["input_productID"] = np.repeat(np.arange(500, dtype=np.int32), 2)[:, None]
    findings = Findings()
    tracemalloc.start()
    count = sum(1 for _ in fashiongen_offers(path, findings))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 500
    assert peak < 500 * 1200  # one image takes 196,608 bytes


def test_categories_are_spelled_as_in_the_file():
    assert all(name == name.upper() for name in CLOTHING)
    assert len(CLOTHING) == 14
