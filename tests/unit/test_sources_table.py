"""Tables of products: columns, encodings, separators, and what must not be read."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogues import place
from procir.catalog.choosing import ViewRules
from procir.catalog.findings import Findings
from procir.catalog.importing import import_products
from procir.catalog.offers import Details, FilePhoto
from procir.catalog.products import read_products
from procir.catalog.sources.columns import map_columns
from procir.catalog.sources.places import Places, split_names
from procir.catalog.sources.rows import find_encoding, find_separator
from procir.catalog.sources.table import Table, table_offers
from procir.errors import ConfigError, DuplicateProductError, MissingDataError, ProcirError, RecordError


def offers(path: Path, findings: Findings | None = None, **more):
    table = Table(path=path, dataset="shop", images=more.pop("images", path.parent), **more)
    return list(table_offers(table, Findings() if findings is None else findings))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def photos(offer) -> list[str]:
    return [photo.path.as_posix().rpartition("/photos/")[2] for photo in offer.photos]


SHOP = (
    "SKU;Product Name;Image 1;Image 2;Farbe;Kategorie;Preis\r\n"
    "A-1;Kleid »Zoë«;photos/a1.jpg;photos/a2.jpg;dunkelblau;Kleider;39,90 €\r\n"
    "A-2;Größe L;photos/b1.jpg;;grün;Röcke;25 €\r\n"
)
COLUMNS = {"colour": "Farbe", "category": "Kategorie", "price": "Preis"}


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("cp1252", b"")],
)
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_encodings_and_separators(tmp_path, encoding, mark, separator):
    path = write(tmp_path / "t.csv", mark + SHOP.replace(";", separator).encode(encoding))
    first, second = offers(path, columns=COLUMNS)
    assert first.key.product_id == "A-1"
    assert photos(first) == ["a1.jpg", "a2.jpg"]
    assert first.details == Details(title="Kleid »Zoë«", colour="dunkelblau", category="Kleider", price="39,90 €")
    assert (second.details.title, second.details.colour) == ("Größe L", "grün")
    assert first.where == f"{path}:2"


def test_an_encoding_that_is_named(tmp_path):
    path = write(tmp_path / "t.csv", "id,image,title\n1,a.jpg,Ğömlek\n".encode("cp1254"))
    assert offers(path, encoding="cp1254")[0].details.title == "Ğömlek"
    with pytest.raises(RecordError, match="cannot be read as utf-8"):
        offers(path, encoding="utf-8")
    with pytest.raises(RecordError, match="cannot be read as klingon"):
        offers(path, encoding="klingon")


def test_quoted_cells_keep_separators_and_lines(tmp_path):
    path = write(tmp_path / "t.csv", 'id,image,description\n1,"a.jpg, b.jpg","Long, and\nof two lines"\n2,c.jpg,x\n')
    first, second = offers(path)
    assert [photo.name for photo in first.photos] == ["a.jpg", "b.jpg"]
    assert first.details.description == "Long, and\nof two lines"
    assert second.where == f"{path}:4"


def test_rows_of_one_id_are_one_product(tmp_path):
    path = write(
        tmp_path / "t.csv",
        "id,image,view,caption,title\n1,a.jpg,front,,Dress\n1,b.jpg,,seen from behind,\n2,c.jpg,,,Skirt\n",
    )
    first, second = offers(path)
    assert [photo.name for photo in first.photos] == ["a.jpg", "b.jpg"]
    assert first.details.title == "Dress"
    assert first.views["a.jpg"] == "front"
    assert first.captions["b.jpg"] == "seen from behind"
    assert second.key.product_id == "2"


def test_rows_that_contradict_each_other(tmp_path):
    path = write(tmp_path / "t.csv", "id,image,title\n1,a.jpg,Dress\n1,b.jpg,Skirt\n")
    with pytest.raises(RecordError, match=r"title is 'Skirt', but 'Dress' in .*:2, of one id"):
        offers(path)


def test_one_id_in_two_places_is_refused(tmp_path):
    place(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    path = write(tmp_path / "t.csv", "id,image\n1,a.jpg\n2,b.jpg\n1,c.jpg\n")
    table = Table(path=path, dataset="shop", images=tmp_path)
    with pytest.raises(DuplicateProductError, match=r"t.csv:4 .shop/1, first in .*t.csv:2"):
        import_products(
            lambda findings: table_offers(table, findings), tmp_path / "out", ViewRules(),
            about={"source": "table", "place": "t.csv"},
        )  # fmt: skip


def test_json_lines(tmp_path):
    rows = [
        {"id": 7, "images": ["a.jpg", "b.jpg"], "price": 9.5, "dataset": "other", "split": "val"},
        {"id": "8", "image": "c.jpg", "gender": "women"},
    ]
    path = write(tmp_path / "t.jsonl", codecs.BOM_UTF8 + "\n".join(map(json.dumps, rows)).encode())
    first, second = offers(path)
    assert (str(first.key), first.details.price, first.split) == ("other/7", "9.5", "val")
    assert [photo.name for photo in first.photos] == ["a.jpg", "b.jpg"]
    assert (str(second.key), second.details.gender) == ("shop/8", "women")


def test_rows_without_images_or_ids_are_counted(tmp_path):
    place(tmp_path, "a.jpg")
    path = write(tmp_path / "t.csv", "id,image\n1,a.jpg\n2,\n,a.jpg\n\n3\n")
    findings = Findings()
    assert [len(offer.photos) for offer in offers(path, findings)] == [1, 0, 0]
    assert findings.counts == {"rows without an id": 1}
    assert findings.names["rows without an id"] == [f"{path}:4"]


def test_photos_are_found_by_their_id(tmp_path):
    place(tmp_path, "images/12.jpg", "images/13/b.png", "images/13/a.png")
    path = write(
        tmp_path / "styles.csv",
        "id,gender,articleType,baseColour,productDisplayName\n12,Men,Shirts,Navy,A\n13,,,,\n14,,,,\n",
    )
    one, two, three = offers(path, images=tmp_path / "images")
    assert [photo.name for photo in one.photos] == ["12.jpg"]
    assert one.details == Details(gender="Men", category="Shirts", colour="Navy", title="A")
    assert [photo.name for photo in two.photos] == ["a.png", "b.png"]
    assert three.photos == ()


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd.jpg", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "C:x.jpg", "\\\\host\\share\\x.jpg", "..\\x.jpg",
     "file:///etc/passwd.jpg", "ftp://host/x.jpg", "data:image/png;base64,xx", "a\x01.jpg"],
)  # fmt: skip
def test_paths_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(RecordError, match=r"t\.csv:2: .*(is not below|characters)"):
        Places(tmp_path).photo(name, "t.csv:2")


def test_links_out_of_the_folder_are_refused(tmp_path):
    place(tmp_path, "outside/secret.jpg", "shop/a.jpg")
    (tmp_path / "shop/link.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (tmp_path / "shop/folder").symlink_to(tmp_path / "outside")
    places = Places(tmp_path / "shop")
    assert places.photo("./a.jpg", "x:1") == FilePhoto(tmp_path / "shop/a.jpg")
    for name in ("link.jpg", "folder/secret.jpg"):
        with pytest.raises(RecordError, match=r"leads outside .* by a link"):
            places.photo(name, "x:1")
    (tmp_path / "shop/12").symlink_to(tmp_path / "outside")
    assert places.of_product("12") == []


def test_remote_photos_are_refused(tmp_path):
    path = write(tmp_path / "t.csv", "id,image_link\n1,https://cdn.shop.example/a.jpg\n")
    with pytest.raises(ConfigError, match=r"t.csv:2: .* allow this host \(--allow-host cdn.shop.example\)"):
        offers(path)
    assert offers(path, hosts=("cdn.shop.example",))[0].photos[0].name == "a.jpg"
    write(path, "id,image_link\n1,https://user:key@cdn.shop.example/a.jpg\n")
    with pytest.raises(RecordError, match="no plain http or https address"):
        offers(path, hosts=("cdn.shop.example",))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", RecordError, "t.csv:1: no header"),
        (b"id,image,image\n1,a.jpg,b.jpg\n", RecordError, "column 'image' is there twice"),
        (b"id,image\n1,a.jpg,b.jpg\n", RecordError, "t.csv:2: 3 cells below 2 columns"),
        (b'id,image\n1,"a.jpg\n', RecordError, "cannot be read as utf-8"),
    ],
)
def test_tables_that_are_none(tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        offers(write(tmp_path / "t.csv", content))


def test_files_that_are_not_there(tmp_path):
    for name in ("t.csv", "t.jsonl"):
        with pytest.raises(MissingDataError, match="cannot be opened"):
            offers(tmp_path / name)


def test_columns(tmp_path):
    assert map_columns(["Image_10", "image 2", "photo", "ID", "Title"], {})["image"] == ["Image_10", "image 2", "photo"]
    assert map_columns(["Name", "title"], {})["title"] == ["title"]
    assert map_columns(["a", "b"], {"image": "b, a"})["image"] == ["b", "a"]
    path = write(tmp_path / "t.csv", "id,image\n1,a.jpg\n")
    with pytest.raises(ConfigError, match="no column 'imag' for image; there are 'image'"):
        offers(path, columns={"image": "imag"})
    with pytest.raises(ConfigError, match="'size' is no field of a product"):
        offers(path, columns={"size": "image"})


def test_separators():
    assert find_separator("id,title;x,image\n") == ","
    assert find_separator("id;image;title, and more\n") == ";"
    assert find_separator("alone\n") == ","


def test_names_in_a_cell():
    assert split_names("a.jpg|b.jpg; c.jpg\nd.jpg") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert split_names("a.jpg, b.PNG") == ["a.jpg", "b.PNG"]
    assert split_names("red, or blue.jpg") == ["red, or blue.jpg"]


def test_encodings_of_broken_files(tmp_path):
    assert find_encoding(write(tmp_path / "a", b"plain")) == "utf-8"
    assert find_encoding(write(tmp_path / "b", "é".encode() * 200_000)) == "utf-8"


_TEXT = st.text(max_size=12)
_CELL = st.one_of(
    _TEXT, st.sampled_from(["../x.jpg", "/etc/hosts", "a.jpg", "a.jpg|..\\b.jpg", "http://h/x.jpg", "link/x.jpg", "."])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(_CELL, _CELL, _CELL), max_size=4), noise=st.binary(max_size=6), at=st.integers(0, 40))
def test_any_table_is_imported_or_refused(tmp_path, rows, noise, at):
    """Whatever a table says, what it offers lies below its folder, or a ProcirError says why not."""
    root = tmp_path / "root"
    if not root.exists():
        place(root, "a.jpg")
        place(tmp_path, "outside/x.jpg")
        (root / "link").symlink_to(tmp_path / "outside")
    content = "id,image,title\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    data = content.encode("utf-8", "replace")
    path = write(root / "t.csv", data[:at] + noise + data[at:])
    try:
        found = offers(path)
    except ProcirError:
        return
    for photo in (photo for offer in found for photo in offer.photos):
        assert isinstance(photo, FilePhoto)
        assert os.path.realpath(photo.path).startswith(f"{root.resolve()}{os.sep}") or photo.path == root


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _CELL),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["file", "view"]), inner)),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.fixed_dictionaries({}, optional=dict.fromkeys(("dataset", "product_id", "views", "split"), _JSON)))
def test_any_manifest_is_read_or_refused(tmp_path, row):
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "products.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    try:
        stock, _ = read_products(tmp_path)
    except ProcirError:
        return
    for product in stock.products.values():
        for view in product.views:
            assert os.path.normpath(view.path).startswith(f"{tmp_path}{os.sep}images{os.sep}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["id", "image", "title", "view"]), _JSON), max_size=3))
def test_any_json_lines_are_imported_or_refused(tmp_path, rows):
    path = write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    try:
        found = offers(path)
    except ProcirError:
        return
    for photo in (photo for offer in found for photo in offer.photos):
        assert os.path.realpath(photo.path).startswith(str(tmp_path.resolve()))
