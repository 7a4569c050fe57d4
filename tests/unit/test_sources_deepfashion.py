"""DeepFashion In-shop in its released layout."""

import json
import pickle

import pytest
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.sources.deepfashion import deepfashion_offers, image_folder
from procir.errors import DataError, MissingDataError, RecordError

DRESS = "WOMEN/Dresses/id_00004544"
PHOTOS = (
    f"{DRESS}/02_1_front.jpg",
    f"{DRESS}/02_2_side.jpg",
    f"{DRESS}/02_3_back.jpg",
    f"{DRESS}/02_7_additional.jpg",
    f"{DRESS}/01_4_full.jpg",
    f"{DRESS}/01_6_flat.jpg",
    "MEN/Denim/id_00000080/01_1_front.jpg",
    "MEN/Denim/id_00000080/01_3_back.jpg",
    "MEN/Shorts/id_00000017/03_1_front.jpg",
)


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "navy").save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def partition(root, *rows, count=None):
    lines = [str(len(rows) if count is None else count), "image_name item_id evaluation_status", *rows]
    write(root / "Eval/list_eval_partition.txt", "\n".join(lines) + "\n")


@pytest.fixture
def inshop(tmp_path):
    root = tmp_path / "In-shop"
    for name in PHOTOS:
        photo(root / "Img/img" / name)
    partition(
        root,
        *(f"img/{name}                 id_00004544 train" for name in PHOTOS[:4]),
        *(f"img/{name} id_00004544 gallery " for name in PHOTOS[4:6]),
        f"img/{PHOTOS[6]} id_00000080 query",
        f"img/{PHOTOS[7]} id_00000080 gallery",
        f"img/{PHOTOS[8]} id_00000017 train",
    )
    write(root / "Anno/list_item_inshop.txt", "4\nid_00000017\nid_00000080\nid_00004544\nid_00009999\n")
    texts = [
        {"item": "id_00004544", "color": "Black", "description": ["A flared dress.", "100% cotton"]},
        {"item": "id_00000080", "color": "Indigo", "description": "Slim jeans"},
    ]
    write(root / "Anno/list_description_inshop.json", json.dumps(texts))
    colours = f"2\nimage_name color\nimg/{PHOTOS[0]}     Heather grey\nimg/{PHOTOS[1]} Red\n"
    write(root / "Anno/attributes/list_color_cloth.txt", colours)
    return root


def read(root, **options):
    findings = Findings()
    return list(deepfashion_offers(root, findings, **options)), findings


def test_products_are_items_in_one_colour(inshop):
    offers, findings = read(inshop)
    assert [str(offer.key) for offer in offers] == [
        "deepfashion/MEN/Denim/id_00000080/01",
        f"deepfashion/{DRESS}/01",
        f"deepfashion/{DRESS}/02",
    ]
    jeans, pale, dress = offers
    assert [offer.split for offer in offers] == ["val", "val", "train"]
    assert [photo.name for photo in dress.photos] == [
        "02_1_front.jpg",
        "02_2_side.jpg",
        "02_3_back.jpg",
        "02_7_additional.jpg",
    ]
    assert list(dress.views.values()) == ["front", "side", "back", "detail"]
    assert pale.views == {"01_4_full.jpg": "full", "01_6_flat.jpg": "full"}
    assert (dress.details.category, dress.details.gender) == ("Dresses", "women")
    assert (jeans.details.category, jeans.details.gender) == ("Denim", "men")
    assert dress.details.description == pale.details.description == "A flared dress. 100% cotton"
    # A colour of the item is that of its only variant; of two variants it may be either's.
    assert [offer.details.colour for offer in offers] == ["Indigo", None, "Heather grey"]
    assert dress.where == str(inshop / "Img/img" / DRESS / "02")
    assert findings.counts == {
        "products with fewer than 2 photos": 1,
        "items that the list names and the folder lacks": 1,
    }


def test_a_second_reading_offers_the_same_and_photos_can_be_pickled(inshop):
    first, _ = read(inshop)
    assert read(inshop)[0] == first
    photos = [photo for offer in first for photo in offer.photos]
    assert pickle.loads(pickle.dumps(photos)) == photos
    assert len(set(map(repr, photos))) == len(photos) == 8
    assert photos[0].read() == (inshop / "Img/img" / PHOTOS[6]).read_bytes()


def test_single_photos_are_kept_where_they_are_asked_for(inshop):
    assert str(read(inshop, least=1)[0][1].key) == "deepfashion/MEN/Shorts/id_00000017/03"


def test_large_photos_are_preferred_and_a_linked_disk_is_fine(inshop, tmp_path):
    photo(tmp_path / "disk" / DRESS / "05_1_front.jpg")
    photo(tmp_path / "disk" / DRESS / "05_3_back.jpg")
    (inshop / "Img/img_highres").symlink_to(tmp_path / "disk")
    offers, findings = read(inshop)
    assert [str(offer.key) for offer in offers] == [f"deepfashion/{DRESS}/05"]
    assert findings.counts["products without a line in the partition"] == 1
    assert findings.counts["photos that the partition names and the folder lacks"] == 9
    assert image_folder(inshop) == inshop / "Img/img_highres"


def test_what_does_not_belong_is_counted(inshop):
    base = inshop / "Img/img"
    photo(base / DRESS / "front.jpg")
    photo(base / "WOMEN/loose.jpg")
    photo(base / DRESS / "more/02_1_front.jpg")
    (base / "WOMEN/Dresses/id_00000005").mkdir()
    write(base / DRESS / "Thumbs.db", "x")
    (base / PHOTOS[0]).unlink()
    offers, findings = read(inshop)
    assert [len(offer.photos) for offer in offers] == [2, 2, 3]
    assert findings.counts == {
        "photos outside the products' folders": 1,
        "products without a photo": 1,
        "files of other kinds": 1,
        "folders inside those of products": 1,
        "photos that are not named COLOUR_NUMBER_VIEW": 1,
        "photos that the partition names and the folder lacks": 1,
        "products with fewer than 2 photos": 1,
        "items that the list names and the folder lacks": 1,
    }


def test_lines_that_cannot_be_used_are_counted(inshop):
    partition(
        inshop,
        f"img/{PHOTOS[0]} id_00004544 train",
        f"img/{PHOTOS[1]} id_00004544 query",
        "img/../../../etc/02_1_front.jpg id_1 train",
        "/img/WOMEN/Dresses/id_1/02_1_front.jpg id_1 train",
        f"img/{PHOTOS[2]} id_00004544",
        f"img/{PHOTOS[2]} id_00004544 testing",
        count=9,
    )
    offers, findings = read(inshop)
    assert [offer.split for offer in offers] == [None, None, "val"]
    path = inshop / "Eval/list_eval_partition.txt"
    assert findings.names["lines that cannot be used"] == [f"{path}:{line}" for line in (5, 6, 7, 8)]
    assert findings.names["lists with another number of rows than they say"] == [f"{path} (6 of 9)"]
    assert findings.counts["products in both splits, which are taken as val"] == 1
    assert findings.counts["products without a line in the partition"] == 3


def test_without_the_other_files_photos_are_enough(tmp_path):
    for name in PHOTOS:
        photo(tmp_path / name)
    offers, findings = read(tmp_path)
    assert [(offer.split, offer.details.description) for offer in offers] == [(None, None)] * 3
    assert findings.counts["files that are absent, so that what they tell is not known"] == 4


def test_refusals(inshop, tmp_path):
    with pytest.raises(MissingDataError, match="none of Img/img_highres, Img/img,"):
        read(tmp_path / "elsewhere")
    (inshop / "Img/img" / DRESS / "02_9_front.jpg").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"02_9_front.jpg: a link that leads outside"):
        read(inshop)
    (inshop / "Img/img" / DRESS / "02_9_front.jpg").unlink()
    write(inshop / "Anno/list_description_inshop.json", '[{"item": "id_0')
    with pytest.raises(RecordError, match=r"list_description_inshop.json: not JSON"):
        read(inshop)
    (inshop / "Anno/list_description_inshop.json").unlink()
    partition(inshop, "nonsense")
    with pytest.raises(RecordError, match=r"list_eval_partition.txt: no line of it can be used"):
        read(inshop)
