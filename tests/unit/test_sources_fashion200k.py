"""Fashion200K in its released layout."""

import tracemalloc

import pytest
from PIL import Image

from procir.catalog.findings import Findings
from procir.catalog.sources.fashion200k import fashion200k_offers
from procir.errors import DataError, MissingDataError, RecordError

DRESS = "women/dresses/casual_and_day_dresses/54686996"
JACKET = "women/jackets/blazers_and_suit_jackets/90456812"


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "navy").save(path)


def label(root, name, *lines):
    path = root / "labels" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def f200k(tmp_path):
    for number in (0, 1, 2, 10):
        photo(tmp_path / f"{DRESS}/54686996_{number}.jpeg")
    for number in (0, 1):
        photo(tmp_path / f"{JACKET}/90456812_{number}.jpeg")
    photo(tmp_path / "women/tops/blouses/7/7_0.jpeg")
    label(
        tmp_path,
        "dress_train_detect_all.txt",
        f"{DRESS}/54686996_0.jpeg\t0.87\tblack sleeveless dress",
        f"{DRESS}/54686996_1.jpeg\t-1.5\tblack sleeveless dress",
    )
    label(tmp_path, "jacket_test_detect_all.txt", f"{JACKET}/90456812_1.jpeg\t0.5\twool blazer ")
    return tmp_path


def read(root, **options):
    findings = Findings()
    return list(fashion200k_offers(root, findings, **options)), findings


def test_folders_are_products(f200k):
    offers, findings = read(f200k)
    assert [str(offer.key) for offer in offers] == ["f200k/54686996", "f200k/90456812"]
    dress, jacket = offers
    # Photos that no label names are kept; as text, 10 comes before 2.
    assert [photo.name for photo in dress.photos] == [f"54686996_{n}.jpeg" for n in (0, 1, 10, 2)]
    assert [offer.split for offer in offers] == ["train", "val"]
    assert (dress.details.category, dress.details.gender) == ("dresses", "women")
    assert (dress.details.title, dress.details.description) == ("black sleeveless dress", "black sleeveless dress")
    assert jacket.details.title == "wool blazer"
    assert dress.where == str(f200k / DRESS)
    assert findings.counts == {"products that no label file names": 1, "products with fewer than 2 photos": 1}
    assert read(f200k)[0] == offers


def test_captions_that_differ_are_joined(f200k):
    label(
        f200k,
        "dress_test_detect_all.txt",
        f"{DRESS}/54686996_1.jpeg\t0.1\tsecond line of one photo",
        f"{DRESS}/54686996_2.jpeg\t0.1\tlong dress",
    )
    offers, findings = read(f200k)
    assert offers[0].split == "val"
    assert offers[0].details.title == "black sleeveless dress"
    assert offers[0].details.description == "black sleeveless dress; second line of one photo; long dress"
    assert findings.counts["products in both splits, which are taken as val"] == 1


def test_what_does_not_belong_is_counted(f200k):
    photo(f200k / f"{DRESS}/1_0.jpeg")
    photo(f200k / "women/dresses/54686996_0.jpeg")
    photo(f200k / "women/skirts/mini_skirts/90456812/90456812_0.jpeg")
    photo(f200k / "women/skirts/mini_skirts/90456812/90456812_1.jpeg")
    (f200k / "women/skirts/mini_skirts/5").mkdir()
    (f200k / DRESS / "notes.txt").write_text("x")
    path = label(
        f200k,
        "top_train_detect_all.txt",
        "women/tops/blouses/7/7_0.jpeg\t0.5\tblouse",
        "women/tops/blouses/7/7_1.jpeg\t0.5\tblouse",
        "women/tops/blouses/8/8_0.jpeg\t0.5\tblouse",
        "women/tops/blouses/9/9_0.jpeg\t0.5",
        "../../../../etc/passwd\t0.5\tblouse",
        "/women/tops/blouses/7_0.jpeg\t0.5\tblouse",
    )
    path.write_bytes(path.read_bytes() + b"women/tops/blouses/7/7_2.jpeg\t0.5\t\xff\n")
    offers, findings = read(f200k)
    assert [str(offer.key) for offer in offers] == ["f200k/54686996", "f200k/90456812"]
    assert findings.counts == {
        "lines that cannot be used": 4,
        "photos outside the products' folders": 1,
        "files of other kinds": 1,
        "photos that are not named ID_N": 1,
        "products that no label file names": 2,
        "products without a photo": 1,
        "second folders of one id": 1,
        "products with fewer than 2 photos": 1,
        "photos that label files name and the folder lacks": 2,
    }
    assert findings.names["second folders of one id"] == [f"women/skirts/mini_skirts/90456812 (first in {JACKET})"]
    assert findings.names["lines that cannot be used"] == [
        f"{path}:7 (not UTF-8)" if number == 7 else f"{path}:{number}" for number in (4, 5, 6, 7)
    ]


def test_refusals(f200k, tmp_path):
    with pytest.raises(MissingDataError, match="women: no such folder"):
        read(tmp_path / "elsewhere")
    (f200k / "women/tops/more").symlink_to("/etc")
    with pytest.raises(DataError, match="more: a link that leads outside"):
        read(f200k)
    (f200k / "women/tops/more").unlink()
    (f200k / "women/tops/more").symlink_to(f200k / "women/dresses")
    assert read(f200k)[1].counts["links to folders, which are not followed"] == 1
    label(f200k, "pants_train_detect_all.txt", "nonsense")
    with pytest.raises(RecordError, match=r"pants_train_detect_all.txt: no line of it can be used"):
        read(f200k)


def test_listing_holds_one_folder_of_products_at_a_time(tmp_path):
    for item in range(1000):
        for number in range(2):
            path = tmp_path / f"women/tops/{item % 10}/{item}/{item}_{number}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    findings = Findings()
    tracemalloc.start()
    count = sum(1 for _ in fashion200k_offers(tmp_path, findings))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000
    assert peak < 1000 * 600
