"""Embeddings on disk: whole, in order, resumed, and never mixed."""

import numpy as np
import pytest

from procir.errors import DataError, ImageError, MissingDataError, RecordError
from procir.model.encoding import encode_to, one_by_one, read_encoded
from procir.model.prefix import fingerprint

ITEMS = list(range(10))
IDS = [f"item {number}" for number in ITEMS]


def rows(numbers):
    return np.array([[number, number + 0.5, -number] for number in numbers], np.float32).reshape(-1, 3)


def run(folder, encode=rows, **changes):
    told = []
    settings = {"dim": 3, "fingerprint": "m", "piece": 4, "progress": lambda *step: told.append(step)} | changes
    items, ids = settings.pop("items", ITEMS), settings.pop("ids", IDS)
    return encode_to(folder, items, ids, one_by_one(encode), **settings), told


def test_rows_stand_in_the_order_of_the_items(tmp_path):
    found, told = run(tmp_path / "deep" / "out")
    assert found.ids == IDS
    assert isinstance(found.vectors, np.memmap)
    np.testing.assert_array_equal(found.vectors, rows(ITEMS))
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]
    again = read_encoded(tmp_path / "deep" / "out")
    np.testing.assert_array_equal(again.vectors, rows(ITEMS))


def test_an_interrupted_encoding_goes_on(tmp_path):
    asked = []

    def failing(numbers):
        asked.append(numbers)
        if 4 in numbers and len(asked) == 2:
            raise ImageError("item 4 is broken")
        return rows(numbers)

    with pytest.raises(ImageError, match="item 4 is broken"):
        run(tmp_path, failing)
    with pytest.raises(DataError, match="only 4 of 10 items are encoded: run the encoding again"):
        read_encoded(tmp_path)
    found, told = run(tmp_path, failing)
    np.testing.assert_array_equal(found.vectors, rows(ITEMS))
    assert asked == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [8, 9]]
    assert told[0] == (4, 10)
    _, told = run(tmp_path, failing)
    assert told == []
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fingerprint": "other"}, "model"),
        ({"ids": IDS[::-1]}, "ids"),
        ({"items": ITEMS[:9], "ids": IDS[:9]}, "ids, items"),
        ({"half": True}, "dtype"),
    ],
)
def test_encodings_are_never_mixed(tmp_path, changes, named):
    run(tmp_path)
    with pytest.raises(DataError, match=f"holds an encoding that differs in {named}: choose another folder"):
        run(tmp_path, **changes)


def test_an_encoding_stopped_before_its_first_note_begins_anew(tmp_path):
    run(tmp_path)
    (tmp_path / "encoding.json").unlink()
    (tmp_path / ".0123.tmp").touch()
    found, told = run(tmp_path)
    assert told[0] == (0, 10)
    np.testing.assert_array_equal(found.vectors, rows(ITEMS))


def test_half_precision_and_nothing_at_all(tmp_path):
    found, _ = run(tmp_path / "half", half=True)
    assert found.vectors.dtype == np.float16
    np.testing.assert_array_equal(found.vectors, rows(ITEMS).astype(np.float16))
    found, told = run(tmp_path / "none", items=[], ids=[])
    assert found.vectors.shape == (0, 3)
    assert found.ids == []
    assert told == []


def test_folders_that_do_not_hold_an_encoding(tmp_path):
    with pytest.raises(MissingDataError, match="encode a catalogue into it first"):
        read_encoded(tmp_path)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds other files: choose an empty folder"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("encoding.json", "{", RecordError, "encoding.json:1: not what an encoding writes"),
        ("embeddings.npy", "x", DataError, "embeddings.npy: cannot be read"),
        ("ids.jsonl", '{"id": "only one"}\n', DataError, "1 ids and embeddings of shape .10, 3. do not belong"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, error, message):
    run(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_encoded(tmp_path)


def test_products_of_a_model(tiny, little_split, tmp_path):
    products = list(little_split.products.values())
    found = encode_to(
        tmp_path, products, [str(product.key) for product in products], one_by_one(tiny.encode_products),
        dim=tiny.dim, fingerprint=fingerprint(tiny),
    )  # fmt: skip
    np.testing.assert_allclose(found.vectors, tiny.encode_products(products), atol=1e-5)
