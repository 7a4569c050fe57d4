"""Single decisions of a construction: the verdict on a product, the batches of the check, the split of a product."""

from pathlib import Path

import pytest

from procir.catalog.products import Stock
from procir.catalog.splits import is_validation
from procir.construct.construction import split_of
from procir.construct.prompts.schemas import CaptionAnalysis, ProductAnalysis
from procir.construct.verify import judge, plan
from procir.records import read_jsonl
from procir.types import Product, ProductKey, View

KEYS = [ProductKey("shop", f"p{number:02}") for number in range(13)]
ALONE = {key: f"question {key.product_id}" for key in KEYS}


def analysis(**wrong):
    names = ("image_caption_1", "image_caption_2", "image_caption_3", "long_caption", "short_caption")
    found = tuple(
        CaptionAnalysis(caption_name=name, bounding_boxes=(), reasoning="", has_error=wrong.get(name, False))
        for name in names
    )
    return ProductAnalysis(product_index=1, product_id="shop/p00", caption_analyses=found)


PRODUCT = Product(KEYS[0], (View(Path("1"), "front"), View(Path("2"), "side"), View(Path("3"))))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("image_caption_1", True),
        ("image_caption_2", False),
        ("image_caption_3", True),
        ("long_caption", True),
        ("short_caption", True),
    ],
)
def test_one_wrong_caption_is_enough_but_not_that_of_a_side_view(name, counts):
    found = analysis(**{name: True})
    verdict = judge(PRODUCT, found)
    assert (verdict.key, verdict.has_error, verdict.analyses) == (KEYS[0], counts, found.caption_analyses)


def test_without_a_wrong_caption_there_is_no_error():
    assert not judge(PRODUCT, analysis()).has_error
    assert judge(PRODUCT, analysis(image_caption_2=True, long_caption=True)).has_error


def test_batches_have_five_products_and_the_rest(tmp_path):
    batches = plan(tmp_path / "b.jsonl", ALONE, {})
    assert batches == (tuple(KEYS[:5]), tuple(KEYS[5:10]), tuple(KEYS[10:]))
    found = [row["questions"] for _, row in read_jsonl(tmp_path / "b.jsonl")]
    assert found == [[ALONE[key] for key in batch] for batch in batches]


def test_batches_stay_as_they_were(tmp_path):
    path = tmp_path / "b.jsonl"
    first = {key: ALONE[key] for key in KEYS[2:9]}
    assert plan(path, first, {}) == (tuple(KEYS[2:7]), tuple(KEYS[7:9]))
    grown = (tuple(KEYS[2:7]), tuple(KEYS[7:9]), (*KEYS[:2], *KEYS[9:12]), (KEYS[12],))
    assert plan(path, ALONE, {}) == grown
    assert plan(path, ALONE, {}) == grown
    # What is decided, as a part of a batch that is gone, needs none.
    assert plan(tmp_path / "other.jsonl", ALONE, dict.fromkeys(KEYS[1:])) == ((KEYS[0],),)


def test_a_batch_ends_with_one_of_its_products(tmp_path):
    path = tmp_path / "b.jsonl"
    plan(path, ALONE, {})
    changed = ALONE | {KEYS[3]: "another question"}
    del changed[KEYS[11]]
    decided = dict.fromkeys((*KEYS[:3], KEYS[4]))
    assert plan(path, changed, decided) == (tuple(KEYS[5:10]), (KEYS[3], KEYS[10], KEYS[12]))


def test_a_product_keeps_its_own_split_and_others_go_by_their_hash():
    own = {KEYS[0]: "val", KEYS[1]: "train"}
    stock = Stock(products={}, native=own)
    for share in (0.0, 0.3, 1.0):
        assert [split_of(key, stock, share) for key in KEYS[:2]] == ["val", "train"]
        expected = ["val" if is_validation(key, share) else "train" for key in KEYS[2:]]
        assert [split_of(key, stock, share) for key in KEYS[2:]] == expected
    assert {split_of(key, stock, 0.0) for key in KEYS[2:]} == {"train"}
    assert {split_of(key, stock, 1.0) for key in KEYS[2:]} == {"val"}
