"""Imports: what becomes of offers, of bad photos, of earlier imports, and of killed ones."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from catalogues import contents, encoded, noise, place
from procir.catalog.checking import check_catalogue
from procir.catalog.choosing import ViewRules
from procir.catalog.findings import Findings
from procir.catalog.import_report import SharedPhotos
from procir.catalog.importing import import_products
from procir.catalog.offers import Details, FilePhoto, Offer
from procir.catalog.products import read_products
from procir.catalog.sources.folder import folder_offers
from procir.errors import ConfigError, DataError, DuplicateProductError, ImageError, MissingDataError, RecordError
from procir.types import ProductKey

WORKER = Path(__file__).parents[1] / "import_worker.py"
ABOUT = {"source": "folder", "place": "shop"}


@pytest.fixture
def shop(tmp_path):
    root = tmp_path / "shop"
    place(root, "a/1_front.jpg", "a/2_back.png", "WOMEN/b/10.webp", "WOMEN/b/2.jpg", "c/only.jpg")
    return root


def folder(root: Path):
    return partial(folder_offers, root, "shop")


def run(source, out: Path, *, workers: int = 1, **rules):
    return import_products(source, out, ViewRules(**rules), about=ABOUT, workers=workers)


def rows(out: Path) -> dict[str, dict]:
    lines = (out / "products.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["product_id"]: row for row in map(json.loads, lines)}


def files(row: dict) -> list[str]:
    return [view["file"] for view in row["views"]]


@dataclass(frozen=True)
class HeldPhoto:
    """A photo whose content the test knows; a marker file tells how often it was read."""

    name: str
    content: bytes
    marker: Path | None = None

    def read(self) -> bytes:
        if self.marker:
            with self.marker.open("a", encoding="utf-8") as file:
                file.write(f"{self.name}\n")
        return self.content


def held(name: str, *, of: str | None = None, quality: int | None = None, size=(192, 160)) -> HeldPhoto:
    image = noise(of or name, size)
    if quality is None:
        return HeldPhoto(name, encoded(image, "PNG"))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return HeldPhoto(name, buffer.getvalue())


def offer(product_id: str, *photos, **more) -> Offer:
    return Offer(key=ProductKey("shop", product_id), photos=photos, where=f"test:{product_id}", **more)


def offers(*given: Offer):
    return lambda findings: iter(given)


def test_an_import_keeps_bytes_and_says_what_is_known(shop, tmp_path):
    out = tmp_path / "out"
    report = run(folder(shop), out)
    assert (report.offered, report.kept, report.photos_offered, report.views) == (3, 3, 5, 5)
    assert report.views_per_product == {1: 1, 2: 2}
    assert report.view_types == {"front": 1, "back": 1, "unknown": 3}
    assert files(rows(out)["a"]) == ["01_front.jpg", "02_back.png"]
    assert rows(out)["a"]["views"][1] == {
        "file": "02_back.png", "view": "back", "confidence": 0.9, "known_by": "file name",
    }  # fmt: skip
    assert files(rows(out)["WOMEN/b"]) == ["01.jpg", "02.webp"]  # 2 before 10
    copy = out / "images" / "shop" / "WOMEN" / "b" / "01.jpg"
    assert copy.read_bytes() == (shop / "WOMEN" / "b" / "2.jpg").read_bytes()
    stock, load = read_products(out)
    assert list(map(str, stock.products)) == ["shop/WOMEN/b", "shop/a", "shop/c"]
    assert (load.products, load.views) == (3, 5)
    assert [view.name for view in stock.products[ProductKey("shop", "a")].views] == ["front", "back"]
    assert check_catalogue(out).views == 5
    assert json.loads((out / "import.json").read_text(encoding="utf-8"))["folder-shop"]["kept"] == 3
    page = (out / "import.md").read_text(encoding="utf-8")
    assert "3 of 3 products kept, with 5 of 5 photos" in page
    assert "| order | natural |" in page


def test_a_manifest_names_what_folders_name(shop, tmp_path):
    out = tmp_path / "out"
    run(folder(shop), out)
    listed, _ = read_products(out)
    (out / "products.jsonl").unlink()
    walked, _ = read_products(out)
    assert dict(listed.products) == dict(walked.products)


def test_details_are_kept(tmp_path):
    details = Details(
        title=" Dress ", category="dress", gender="women", colour="navy", price="9 EUR", url="https://x.example/1",
        description="With pockets.", creator="A. Maker", licence="CC-BY 3.0",
    )  # fmt: skip
    run(offers(offer("a", held("1.png"), details=details, split="val")), tmp_path / "out")
    row = rows(tmp_path / "out")["a"]
    assert {name: row[name] for name in row if name not in ("dataset", "product_id", "views")} == {
        "title": "Dress", "category": "dress", "gender": "women", "colour": "navy", "price": "9 EUR",
        "url": "https://x.example/1", "description": "With pockets.", "creator": "A. Maker", "licence": "CC-BY 3.0",
        "split": "val",
    }  # fmt: skip
    stock, _ = read_products(tmp_path / "out")
    assert stock.native == {ProductKey("shop", "a"): "val"}
    assert stock.products[ProductKey("shop", "a")].category == "dress"


def test_what_cannot_be_used_is_counted(tmp_path):
    good = held("good.png")
    report = run(
        offers(
            offer("none"),
            offer("text", HeldPhoto("a.jpg", b"<html>not found</html>")),
            offer("cut", HeldPhoto("a.jpg", encoded(noise("x"))[:500]), good),
            offer("gone", FilePhoto(tmp_path / "gone.jpg")),
            offer("twice", good, replace(good, name="again.png")),
            offer("small", held("small.png", size=(20, 90)), held("large.png", size=(90, 90))),
        ),
        tmp_path / "out",
        smallest_side=30,
    )
    assert (report.offered, report.kept) == (6, 3)
    assert report.skipped == {
        "products without a photo": 1,
        "photos that cannot be read": 3,
        "products none of whose photos can be used": 2,
        "photos that are another of the product, byte for byte": 1,
        "photos with a side under 30 pixels": 1,
    }
    assert "test:none (shop/none)" in report.examples["products without a photo"]
    assert "not JPEG, PNG" in str(report.examples["photos that cannot be read"])
    assert report.shared_photos == 2
    assert report.shared_examples == ("shop/cut/01.png = shop/twice/01.png",)


def test_other_formats_become_png_without_loss(tmp_path):
    image = noise("x")
    run(offers(offer("a", HeldPhoto("x.bmp", encoded(image, "BMP")))), tmp_path / "out")
    with Image.open(tmp_path / "out/images/shop/a/01.png") as written:
        assert written.convert("RGB").tobytes() == image.tobytes()


def test_photos_that_look_alike_are_dropped(tmp_path):
    photos = [held("1.png"), held("2.jpg", of="1.png", quality=70), held("3.png", of="1.png", size=(96, 80)),
              held("4.png")]  # fmt: skip
    report = run(offers(offer("a", *photos)), tmp_path / "one")
    assert report.skipped == {"photos that look like another of the product": 2}
    assert report.views == 2
    assert run(offers(offer("a", *photos)), tmp_path / "two", keep_alike=True).views == 4


def test_products_with_too_few_views_are_left_out(shop, tmp_path):
    report = run(folder(shop), tmp_path / "out", least=2)
    assert report.kept == 2
    assert report.skipped == {"products with fewer than 2 views": 1}
    assert not (tmp_path / "out/images/shop/c").exists()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([offer("a", held("1.png")), offer("a", held("2.png"))], DuplicateProductError, "test:a .shop/a, first in tes"),
        ([offer("../a", held("1.png"))], RecordError, "1 ids that cannot be the names of folders"),
        ([offer("/etc/a", held("1.png"))], RecordError, "cannot be the names of folders"),
        ([offer("a/.hidden", held("1.png"))], RecordError, "cannot be the names of folders"),
        ([offer("a\nb", held("1.png"))], RecordError, "cannot be the names of folders"),
        ([offer("x" * 201, held("1.png"))], RecordError, "cannot be the names of folders"),
        ([offer("a", held("1.png"), split="test")], RecordError, "splits that are not train or val"),
        ([], MissingDataError, "shop: offers no product that can be kept"),
        ([offer("a")], MissingDataError, "products without a photo"),
    ],
)
def test_what_is_refused(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        run(offers(*given), tmp_path / "out")
    assert not (tmp_path / "out" / "products.jsonl").exists()


def test_rules_are_checked():
    with pytest.raises(ConfigError, match="at least 3 and at most 2 views"):
        ViewRules(least=3, most=2)
    with pytest.raises(ConfigError, match="smallest_side is 0"):
        ViewRules(smallest_side=0)


def test_an_import_is_brought_up_to_date(tmp_path):
    marker, out = tmp_path / "reads", tmp_path / "out"
    one, two, three = (replace(held(f"{name}.png"), marker=marker) for name in ("1", "2", "3"))

    def read() -> list[str]:
        names = marker.read_text(encoding="utf-8").split()
        marker.unlink()
        return names

    run(offers(offer("a", one), offer("b/c", two)), out)
    assert read() == ["1.png", "2.png"]
    before = contents(out)
    run(offers(offer("a", one), offer("b/c", two)), out)
    assert not marker.exists()
    assert contents(out) == before
    report = run(offers(offer("a", three), offer("d", two)), out)
    assert read() == ["3.png", "2.png"]
    assert (report.offered, report.kept) == (2, 2)
    assert sorted(path.name for path in (out / "images/shop").iterdir()) == ["a", "d"]
    fresh = tmp_path / "fresh"
    run(offers(offer("a", three), offer("d", two)), fresh)
    assert contents(out) == contents(fresh)


def test_what_has_failed_or_vanished_is_taken_anew(shop, tmp_path):
    out = tmp_path / "out"
    whole = (shop / "c/only.jpg").read_bytes()
    (shop / "c/only.jpg").write_bytes(b"no photo")
    assert run(folder(shop), out).kept == 2
    (shop / "c/only.jpg").write_bytes(whole)
    (out / "images/shop/a/01_front.jpg").unlink()
    assert run(folder(shop), out).kept == 3
    assert check_catalogue(out).views == 5


def test_another_import_is_refused(shop, tmp_path):
    out = tmp_path / "out"
    run(folder(shop), out)
    with pytest.raises(ConfigError, match="follows other rules"):
        run(folder(shop), out, least=2)
    shutil.rmtree(out / "imports")
    with pytest.raises(ConfigError, match="holds images, but no import of them"):
        run(folder(shop), out)


def test_several_sources_share_a_catalogue(shop, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    place(other, "z/1.jpg", "a/1.jpg")
    run(folder(shop), out)
    about = {"source": "folder", "place": str(other)}
    with pytest.raises(DuplicateProductError, match=r"shop/a, first in the import folder-shop"):
        import_products(folder(other), out, ViewRules(), about=about)
    second = partial(folder_offers, other, "other")
    assert import_products(second, out, ViewRules(), about=about).kept == 2
    stock, _ = read_products(out)
    assert list(map(str, stock.products)) == ["other/a", "other/z", "shop/WOMEN/b", "shop/a", "shop/c"]
    assert list(json.loads((out / "import.json").read_text(encoding="utf-8"))) == ["folder-other", "folder-shop"]
    assert (out / "import.md").read_text(encoding="utf-8").count("# Import of") == 2
    shutil.rmtree(shop / "a")
    assert run(folder(shop), out).kept == 2
    assert len(read_products(out)[0].products) == 4
    assert check_catalogue(out).views == 5


def test_a_damaged_record_is_refused(shop, tmp_path):
    out = tmp_path / "out"
    run(folder(shop), out)
    record = out / "imports/folder-shop.jsonl"
    record.write_bytes(record.read_bytes().replace(b'"offer"', b'"offer', 1))
    with pytest.raises(RecordError, match="damaged"):
        run(folder(shop), out)


def test_a_line_cut_short_is_taken_anew(shop, tmp_path):
    out = tmp_path / "out"
    run(folder(shop), out)
    before = contents(out)
    record = out / "imports/folder-shop.jsonl"
    record.write_bytes(record.read_bytes()[:-40])
    run(folder(shop), out)
    assert contents(out) == before


def test_processes_give_what_one_gives(shop, tmp_path):
    run(folder(shop), tmp_path / "one")
    run(folder(shop), tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_killed_imports_go_on(tmp_path):
    """A process is killed as soon as it has done some products; at the end nothing tells of it."""
    shop, out = tmp_path / "shop", tmp_path / "out"
    place(shop, *(f"p{number:03}/{view}.jpg" for number in range(60) for view in (1, 2)))
    lines = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, str(WORKER), str(shop), str(out)], env=os.environ)
        record = out / "imports/folder-shop.jsonl"
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if record.exists() and record.read_bytes().count(b"\n") > lines + 8:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = record.read_bytes().count(b"\n")
    assert lines > 8
    assert not (out / "products.jsonl").exists()
    run(folder(shop), out)
    run(folder(shop), tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_check_finds_what_is_wrong(shop, tmp_path):
    out = tmp_path / "out"
    place(shop, "d/1.jpg", "e/1.jpg", "f/1.jpg")
    run(folder(shop), out)
    images = out / "images/shop"
    (images / "a/01_front.jpg").unlink()
    (images / "c/01.jpg").write_bytes(encoded(noise("another")))
    (images / "d/01.jpg").write_bytes((images / "d/01.jpg").read_bytes()[:400])
    (tmp_path / "outside.jpg").write_bytes(encoded(noise("outside")))
    (images / "e/01.jpg").unlink()
    (images / "e/01.jpg").symlink_to(tmp_path / "outside.jpg")
    (images / "f/99.jpg").write_bytes((images / "f/01.jpg").read_bytes())
    report = check_catalogue(out, workers=2)
    assert report.faults.counts == {
        "views that cannot be read": 2,
        "views that have changed since their import": 1,
        "links that lead outside the images": 1,
    }
    assert report.notes.counts == {"photos in the folders that are no views": 1}
    assert (report.products, report.views) == (6, 5)


def test_a_check_finds_photos_of_several_products(tmp_path):
    root = tmp_path / "root"
    place(root, "images/shop/a/1.jpg", "images/shop/b/1.jpg")
    same = (root / "images/shop/a/1.jpg").read_bytes()
    for name in ("a/2.jpg", "b/2.jpg"):
        (root / "images/shop" / name).write_bytes(same)
    report = check_catalogue(root)
    assert report.notes.counts == {
        "views that are another of the product, byte for byte": 1,
        "photos that are in several products, byte for byte": 2,
    }
    assert not report.faults


def test_shared_photos_are_grouped():
    photos = SharedPhotos()
    assert list(photos.groups()) == []
    for digest, name in ((b"a" * 16, "1"), (b"\0" * 16, "2"), (b"a" * 16, "3"), (b"b" * 16, "4"), (b"\0" * 16, "5")):
        photos.add(digest, name)
    assert sorted(photos.groups()) == [["1", "3"], ["2", "5"]]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ("front.jpg", "no list of objects"),
        ([], "0 views"),
        ([{"view": "front"}], "no list of objects"),
        ([{"file": "../../etc/passwd.jpg"}], "no plain name of an image file"),
        ([{"file": "a\\b.jpg"}], "no plain name"),
        ([{"file": "notes.txt"}], "no plain name"),
        ([{"file": ".jpg"}], "no plain name"),
        ([{"file": 3}], "no plain name"),
        ([{"file": "1.jpg"}, {"file": "1.jpg"}], "or one twice"),
        ([{"file": f"{number}.jpg"} for number in range(6)], "6 views"),
        ([{"file": "1.jpg", "view": "top"}], "a photo shows 'top'"),
        ([{"file": "1.jpg", "view": ["front"]}], "no list of objects"),
    ],
)
def test_views_of_a_manifest_are_checked(tmp_path, views, message):
    (tmp_path / "images").mkdir()
    row = {"dataset": "shop", "product_id": "a", "views": views}
    (tmp_path / "products.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        read_products(tmp_path)


def test_links_out_of_a_folder_are_refused(shop, tmp_path):
    place(tmp_path, "outside/secret.jpg")
    (shop / "a/3.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    with pytest.raises(DataError, match="a link that leads outside"):
        run(folder(shop), tmp_path / "out")
    (shop / "a/3.jpg").unlink()
    (shop / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="a link that leads outside"):
        run(folder(shop), tmp_path / "out")
    (shop / "linked").unlink()
    (shop / "loop").symlink_to(shop)
    assert run(folder(shop), tmp_path / "out").skipped == {"links to folders, which are not followed": 1}


def test_a_folder_tells_what_it_leaves_out(shop):
    place(shop, "loose.jpg", ".hidden/1.jpg")
    (shop / "empty").mkdir()
    (shop / "a/notes.txt").write_text("x", encoding="utf-8")
    findings = Findings()
    assert [found.key.product_id for found in folder_offers(shop, "shop", findings)] == ["WOMEN/b", "a", "c"]
    assert findings.counts == {
        "photos outside the products' folders": 1, "files of other kinds": 1, "products without a photo": 1,
    }  # fmt: skip
    with pytest.raises(MissingDataError, match="no such folder"):
        list(folder_offers(shop / "none", "shop", findings))


def test_the_command(shop, tmp_path, capsys):
    from procir.cli import main

    out = tmp_path / "out"
    assert main(["catalog", "import", "folder", str(shop), "--out", str(out), "--workers", "1"]) == 0
    assert "3 of 3 products, 5 of 5 photos" in capsys.readouterr().out
    assert main(["catalog", "check", str(out), "--workers", "1"]) == 0
    assert "5 views" in capsys.readouterr().out
    (out / "images/shop/a/01_front.jpg").unlink()
    assert main(["catalog", "check", str(out), "--workers", "1"]) == 1
    assert "1 views that cannot be read" in capsys.readouterr().err


def test_unreadable_views_are_an_error(shop, tmp_path):
    from procir.recipes.catalog import check_catalog

    (shop / "a/1_front.jpg").write_bytes(b"x")
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    shop.rename(root / "images/shop")
    with pytest.raises(ImageError, match="views that cannot be read"):
        check_catalog(root, 1)
