"""Record files: what is read, what is refused with its place, atomic writes, and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.errors import DataError, MissingDataError, RecordError
from procir.records import (
    clear_unfinished,
    content_hash,
    data_hash,
    identifier,
    optional_text,
    read_jsonl,
    replacing,
    replacing_folder,
    text,
    texts,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from procir.types import Caption, Product, ProductKey, Split, Triplet, View

PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(
    st.dictionaries(PLAIN_TEXT, PLAIN_TEXT | st.integers() | st.none() | st.lists(PLAIN_TEXT, max_size=3), max_size=4),
    max_size=5,
)


@given(ROWS)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_rows_come_back_with_their_line_numbers(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    assert write_jsonl(path, rows) == len(rows)
    assert list(read_jsonl(path)) == list(enumerate(rows, start=1))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_blank_lines_and_crlf_are_read(tmp_path: Path, bom: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(bom + '{"text": "ärmel"}\r\n\r\n  \n{"text": "\u2028"}'.encode())
    assert list(read_jsonl(path)) == [(1, {"text": "ärmel"}), (4, {"text": "\u2028"})]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a": 1', "not a JSON object"),
        (b"{'a': 1}", "not a JSON object"),
        (b"[1, 2]", "a JSON list, not an object"),
        (b'"text"', "a JSON str, not an object"),
        (b"null", "not an object"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is given twice"),
        (b'{"a": "\xe4"}', "UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "not a JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not a JSON object"),
        (b'\xef\xbb\xbf{"a": 1}', "not a JSON object"),
    ],
)
def test_bad_lines_are_refused_with_file_and_line(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"fine": 1}\n\n' + line + b"\n")
    rows = read_jsonl(path)
    assert next(rows) == (1, {"fine": 1})
    with pytest.raises(RecordError) as caught:
        next(rows)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError, match="cannot be opened"):
        list(read_jsonl(tmp_path / name))


def test_fields_are_returned_as_they_are() -> None:
    row = {"a": " x ", "n": 7, "list": ["x", "y"], "null": None, "blank": " "}
    assert text(row, "a", "f:1") == " x "
    assert (identifier(row, "n", "f:1"), identifier(row, "a", "f:1")) == ("7", " x ")
    assert texts(row, "list", "f:1") == ("x", "y")
    assert texts(row, "null", "f:1") == texts(row, "absent", "f:1") == ()
    assert [optional_text(row, name, "f:1") for name in ("a", "null", "absent", "blank")] == [" x ", None, None, None]


@pytest.mark.parametrize(
    ("read", "row", "said"),
    [
        (text, {"b": "x", "c": 1}, "field 'a' is missing (the line has b, c)"),
        (text, {"a": None}, "field 'a' is missing"),
        (text, {"a": 3}, "field 'a' is a number, not a text"),
        (text, {"a": ["x"]}, "field 'a' is a list, not a text"),
        (text, {"a": " \n"}, "field 'a' is blank"),
        (text, {"a": "x\ud800"}, "surrogate"),
        (optional_text, {"a": False}, "field 'a' is true or false, not a text"),
        (identifier, {"a": True}, "true or false"),
        (identifier, {"a": 1.5}, "a number, not a text"),
        (identifier, {"a": ""}, "blank"),
        (texts, {"a": "x"}, "field 'a' is a text, not a list of texts"),
        (texts, {"a": ["x", None]}, "field 'a' is null, not a text"),
    ],
)
def test_bad_fields_are_refused_with_place_and_name(read, row: dict, said: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(row, "a", "file.jsonl:9")
    assert str(caught.value).startswith("file.jsonl:9: ")
    assert said in str(caught.value)


def test_writing_makes_folders_and_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    write_text(path, "first\r\nä")
    assert path.read_bytes() == "first\r\nä".encode()
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    write_json(path, {"b": [1, "é"], "a": None})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1, "é"], "a": None}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")

    def rows():
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, rows())
    with pytest.raises(DataError, match=r"a\.jsonl:2: cannot be written as JSON"):
        write_jsonl(path, [{"a": 1}, {"a": float("nan")}])
    with pytest.raises(DataError, match="cannot be written as JSON"):
        write_json(path, {"a": {1, 2}})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_readers_see_the_old_content_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_content_hash_is_the_hash_of_digests_in_order(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    expected = hashlib.sha256(hashlib.sha256(b"abc").digest() + hashlib.sha256(b"d").digest()).hexdigest()
    assert content_hash(file, b"d") == content_hash(b"abc", b"d") == expected
    assert content_hash(b"a", b"bc") != content_hash(b"ab", b"c")
    assert content_hash(b"a", b"b") != content_hash(b"b", b"a")
    assert content_hash() != content_hash(b"")
    with pytest.raises(MissingDataError, match="gone"):
        content_hash(tmp_path / "gone")


def small_split(folder: Path) -> Split:
    products, captions = {}, {}
    for number in range(3):
        key = ProductKey("d", f"p{number}")
        views = []
        for view in ("front", "back"):
            path = folder / key.product_id / f"{view}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{number} {view}".encode())
            views.append(View(path, view))
        products[key] = Product(key, tuple(views), "tees", "women")
        captions[key] = Caption(key, f"long {number}", f"short {number}", ("f", "b"))
    keys = sorted(products)
    triplets = (Triplet(keys[0], keys[1], "red"), Triplet(keys[1], keys[2], "blue", "all blue", ("front",), (keys[2],)))
    return Split("val", products, captions, triplets)


def test_data_hash_ignores_place_and_dict_order(tmp_path: Path) -> None:
    split = small_split(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = small_split(tmp_path / "there")
    turned = replace(
        moved,
        products=dict(reversed(moved.products.items())),
        captions=dict(reversed(moved.captions.items())),
    )
    assert data_hash(split) == data_hash(turned)


def changes(split: Split) -> list[Split]:
    key = ProductKey("d", "p0")
    product, caption, triplet = split.products[key], split.captions[key], split.triplets[0]
    front, back = product.views
    products = [
        replace(product, views=(back, front)),
        replace(product, views=(front,)),
        replace(product, views=(front, replace(back, name=None))),
        replace(product, category="pants"),
        replace(product, gender=None),
    ]
    captions = [
        replace(caption, long="other"),
        replace(caption, short="other"),
        replace(caption, images=("b", "f")),
        replace(caption, images=()),
    ]
    triplets = [
        replace(triplet, source=triplet.target, target=triplet.source),
        replace(triplet, short="other"),
        replace(triplet, long="other"),
        replace(triplet, views_involved=("back",)),
        replace(triplet, satisfying=(triplet.target,)),
    ]
    return [
        *(replace(split, products={**split.products, key: changed}) for changed in products),
        *(replace(split, captions={**split.captions, key: changed}) for changed in captions),
        *(replace(split, triplets=(changed, *split.triplets[1:])) for changed in triplets),
        replace(split, triplets=split.triplets[::-1]),
        replace(split, captions={}),
    ]


def test_data_hash_sees_every_change(tmp_path: Path) -> None:
    split = small_split(tmp_path)
    hashes = [data_hash(changed) for changed in (split, *changes(split))]
    assert len(set(hashes)) == len(hashes)
    (tmp_path / "p0" / "front.png").write_bytes(b"repainted")
    assert data_hash(split) not in hashes
    (tmp_path / "p0" / "front.png").unlink()
    with pytest.raises(MissingDataError, match=r"front\.png"):
        data_hash(split)


def test_what_a_killed_replacement_left_is_cleared(tmp_path: Path) -> None:
    """The folder that was moved away comes back if nothing took its place; other names stay."""
    for name in (".mine-ab12cd_4", ".mine-ab12cd_4-before", ".mine-else", ".other-ab12cd_4"):
        (tmp_path / name).mkdir()
    (tmp_path / ".mine-ab12cd_4-before" / "weights").write_text("old")
    clear_unfinished(tmp_path / "mine")
    assert (tmp_path / "mine" / "weights").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine-else", ".other-ab12cd_4", "mine"]
    (tmp_path / ".mine-ab12cd_4-before").mkdir()
    clear_unfinished(tmp_path / "mine")
    assert (tmp_path / "mine" / "weights").read_text() == "old"
    assert not (tmp_path / ".mine-ab12cd_4-before").exists()


@pytest.mark.parametrize("durable", [False, True])
def test_a_replaced_folder_is_whole(tmp_path: Path, durable: bool) -> None:
    with replacing_folder(tmp_path / "mine", durable=durable) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "deep" / "file").read_text() == "new"
