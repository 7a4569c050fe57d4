"""Statistics of a data set: every number against one counted by hand, and the paper's beside the paper's datasets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from procir.construct import paper
from procir.construct.plots import views_picture, words_picture
from procir.construct.statistics import Histogram, Statistics, collect, combination
from procir.construct.tables import markdown, write_statistics
from procir.errors import DataError
from procir.types import Caption, Product, ProductKey, Split, Triplet, View


def key(name):
    dataset, product_id = name.split("/")
    return ProductKey(dataset, product_id)


def split(name, products, captions=(), triplets=()):
    """Products as name and views; captions as (product, long words, short words, image words)."""
    made = {key(product): Product(key(product), (View(Path("x.jpg")),) * views) for product, views in products.items()}
    texts = {
        key(product): Caption(key(product), words(long), words(short), tuple(map(words, images)))
        for product, long, short, images in captions
    }
    return Split(name, made, texts, tuple(triplets))


def words(count):
    return "  word\n" * count


@pytest.fixture(scope="module")
def small():
    triplets = [
        Triplet(key("a/1"), key("a/2"), words(4), words(9), ("front", "back")),
        Triplet(key("a/1"), key("a/3"), words(6), None, ("Back view", "FRONT ")),
        Triplet(key("b/1"), key("b/2"), words(5), words(10), ("left side",)),
    ]
    train = split(
        "train",
        {"a/1": 2, "a/2": 3, "a/3": 3, "a/4": 5, "b/1": 2, "b/2": 1},
        [("a/1", 20, 4, (7, 9)), ("a/2", 21, 5, (8,)), ("b/1", 30, 6, ())],
        triplets,
    )
    val = split("val", {"a/9": 4, "a/8": 4}, [], [Triplet(key("a/8"), key("a/9"), words(7))])
    return collect(iter([train, val]), {"b": (40, 2), "a": (160, 8)})


def test_triplets_and_products_by_dataset_and_split(small):
    rows = [(row.dataset, row.split, row.triplets, row.products, row.catalogue) for row in small.splits]
    assert rows == [("a", "train", 2, 3, 4), ("a", "val", 1, 2, 2), ("b", "train", 1, 2, 2)]
    assert small.triplets == 4


def test_verification_counts(small):
    rows = [(row.dataset, row.checked, row.errors, row.retained, row.error_rate) for row in small.verification]
    assert rows == [("a", 160, 8, 152, 0.05), ("b", 40, 2, 38, 0.05)]
    (row,) = collect([], {"a": (0, 0)}).verification
    assert row.error_rate is None


@pytest.mark.parametrize("counts", [(3, 4), (3, -1)])
def test_impossible_verification_counts(counts):
    with pytest.raises(DataError, match=r"a: -?\d errors in 3 checked products; count each product once"):
        collect([], {"a": counts})


def test_words_of_every_kind(small):
    found = {
        dataset: {kind: h.counts for kind, h in kinds.items() if h.counts} for dataset, kinds in small.words.items()
    }
    assert found == {
        "a": {
            "short caption": ((4, 1), (5, 1)),
            "long caption": ((20, 1), (21, 1)),
            "image caption": ((7, 1), (8, 1), (9, 1)),
            "short modification text": ((4, 1), (6, 1), (7, 1)),
            "long modification text": ((9, 1),),
        },
        "b": {
            "short caption": ((6, 1),),
            "long caption": ((30, 1),),
            "short modification text": ((5, 1),),
            "long modification text": ((10, 1),),
        },
    }
    assert small.words_of("short modification text").counts == ((4, 1), (5, 1), (6, 1), (7, 1))
    assert small.words["a"]["image caption"].mean == 8
    assert small.words["b"]["image caption"].mean is None


def test_views_of_products_and_of_triplets(small):
    assert {dataset: histogram.counts for dataset, histogram in small.views.items()} == {
        "a": ((2, 1), (3, 2), (4, 2), (5, 1)),
        "b": ((1, 1), (2, 1)),
    }
    assert list(small.combinations.items()) == [("back + front", 2), ("not stated", 1), ("side", 1)]
    assert small.share_of_several_views() == 2 / 3
    assert collect([]).share_of_several_views() is None


@pytest.mark.parametrize(
    ("names", "spelled"),
    [
        (("front", "back", "front"), "back + front"),
        (("Detail shot", "additional", "back"), "back + detail"),
        (("right side view", "Front_View"), "front + side"),
        (("Hem ",), "hem"),
        ((), "not stated"),
    ],
)
def test_combinations_have_one_spelling(names, spelled):
    assert combination(names) == spelled


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30))
@settings(derandomize=True, deadline=None, max_examples=80)
def test_histograms_tell_mean_and_median(numbers):
    histogram = Histogram.of({number: numbers.count(number) for number in numbers})
    assert (histogram.total, histogram.median) == (len(numbers), median(numbers))
    assert histogram.mean == pytest.approx(mean(numbers))
    assert (Histogram().mean, Histogram().median) == (None, None)


def test_splits_of_one_name_are_refused():
    with pytest.raises(DataError, match="two splits are named 'train'"):
        collect([split("train", {}), split("train", {})])


def test_json_holds_all_numbers(small):
    content = json.loads(json.dumps(small.to_json()))
    assert content["splits"][0] == {"dataset": "a", "split": "train", "triplets": 2, "products": 3, "catalogue": 4}
    assert content["verification"][1] == {
        "dataset": "b", "checked": 40, "errors": 2, "retained": 38, "error_rate": 0.05,
    }  # fmt: skip
    assert content["words"]["a"]["short caption"] == {
        "total": 2, "mean": 4.5, "median": 4.5, "counts": {"4": 1, "5": 1},
    }  # fmt: skip
    assert content["view_combinations"] == {"back + front": 2, "not stated": 1, "side": 1}
    assert content["views_per_product"]["b"]["counts"] == {"1": 1, "2": 1}


def test_tables_of_a_catalogue_of_ones_own(small):
    told = markdown(small)
    assert "paper" not in told
    assert "| dataset | split | triplets | products in triplets | products |\n| --- | --- | --: | --: | --: |\n" in told
    assert "| a | train | 2 | 3 | 4 |\n| a | val | 1 | 2 | 2 |\n| b | train | 1 | 2 | 2 |\n" in told
    assert "| all | train | 3 | 5 | 6 |\n| all | val | 1 | 2 | 2 |\n| all | all | 4 | 7 | 8 |\n" in told
    assert "| a | 160 | 8 | 152 | 5.00% |\n| b | 40 | 2 | 38 | 5.00% |\n| all | 200 | 10 | 190 | 5.00% |\n" in told
    assert "| a | 8.0 | 20.5 | 4.5 |\n| b | – | 30.0 | 6.0 |\n" in told
    assert (
        "| back + front | 2 | 50.0% |\n| not stated | 1 | 25.0% |\n| side | 1 | 25.0% |\n| all | 4 | 100.0% |" in told
    )
    assert "Of those that state their views, 66.67% name at least two." in told
    assert "| dataset | 1 view | 2 views | 3 views | 4 views | 5 views | mean |" in told
    assert "| b | 1 | 1 | 0 | 0 | 0 | 1.50 |" in told
    assert "| long modification text | 2 | 9.5 | 9.5 |" in told


def papers(change=0):
    """Statistics that are those of the paper, as far as it tells them; `change` moves some of them."""
    splits = []
    for name in ("train", "val"):
        splits.append(split(name, {f"{dataset}/1": 2 for dataset, part in paper.SPLITS if part == name}))
    found = collect(
        splits, {name: (checked, errors + change) for name, (checked, errors) in paper.VERIFICATION.items()}
    )
    combinations = {**paper.COMBINATIONS, "front": 100, "back": 95, "detail + front": 1500}
    return Statistics(
        splits=found.splits,
        verification=found.verification,
        words=found.words,
        combinations=combinations,
        views=found.views,
    )


def test_the_papers_numbers_stand_beside_those_of_its_datasets():
    told = markdown(papers(change=1))
    assert "| deepfashion | train | 0 | 16,399 | 0 | 8,856 | 1 |" in told
    assert "| fashiongen_val | val | 0 | 9,031 | 0 | 5,292 | 1 |" in told
    assert "| all | train | 0 | 188,015 | 0 | 108,428 | 3 |" in told
    assert "| all | all | 0 | 220,733 | 0 | 127,231 | 6 |" in told
    assert "| f200k | 77,106 | 3,608 | 73,498 | 4.68% | 4.68% |" in told
    assert "| all | 144,379 | 6,311 | 138,068 | 4.37% | 4.37% |" in told
    assert "| fashiongen_train | – | 115 | – | 222 | – | 40 |" in told
    assert "| long caption | 0 | – | – | 222 |" in told


def test_combinations_below_the_floor_are_counted_together(small):
    triplets = [Triplet(key("f200k/1"), key("f200k/2"), "x", None, ("front", "back"))] * 1999
    triplets += [Triplet(key("f200k/1"), key("f200k/2"), "x", None, (name,)) for name in ("hem", "front", "front")]
    told = markdown(collect([split("val", {"f200k/1": 2, "f200k/2": 2}, [], triplets)]))
    assert "| back + front | 1,999 | 99.9% | 81.6% |\n| other (2 kinds) | 3 | 0.1% | 0.8% |\n| all | 2,002 |" in told
    assert "99.85% name at least two (paper: 99.83%)." in told


def test_names_of_a_catalogue_are_no_markup():
    told = markdown(collect([split("val", {"<b>*x|y`&/1": 2})]))
    assert "| &lt;b>\\*x\\|y\\`&amp; | val | 0 | 0 | 1 |" in told


def test_an_empty_data_set_has_tables_but_no_pictures(tmp_path):
    nothing = collect([split("val", {})])
    assert "| all | val | 0 | 0 | 0 |" not in markdown(nothing)
    with pytest.raises(DataError, match="no product, hence no picture of views"):
        views_picture(nothing)
    with pytest.raises(DataError, match="no text, hence no picture of lengths"):
        words_picture(collect([split("val", {"a/1": 2})]))
    write_statistics(tmp_path / "out", nothing)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"statistics.json", "statistics.md"}


def has(png, colour):
    """Whether a PNG shows a colour, given as RGB."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return bool((pixels == colour).all(axis=2).any())


def test_pictures_show_bars_and_medians(small, tmp_path):
    write_statistics(tmp_path, small)
    assert {path.name for path in tmp_path.iterdir()} == {"statistics.json", "statistics.md", "views.png", "words.png"}
    assert (tmp_path / "statistics.md").read_text().startswith("# Statistics\n\n## Triplets and products\n\n| dataset")
    assert (tmp_path / "statistics.md").read_text().endswith("|\n\n![views](views.png)\n\n![words](words.png)\n")
    bar, mark = (0x7F, 0xAE, 0x97), (0xB3, 0x66, 0x1B)
    views, words_ = (tmp_path / "views.png").read_bytes(), (tmp_path / "words.png").read_bytes()
    assert (has(views, bar), has(views, mark)) == (True, False)
    assert (has(words_, bar), has(words_, mark)) == (True, True)
    assert words_picture(small) == words_


def test_one_long_text_does_not_flatten_the_picture():
    """2,000 texts of about ten words and one of ten thousand: the bars stay as wide as without it."""
    usual = [Triplet(key("a/1"), key("a/2"), words(8 + number % 5)) for number in range(2000)]
    odd = [*usual, Triplet(key("a/1"), key("a/2"), words(10_000))]
    products = {"a/1": 2, "a/2": 2}
    one, other = (words_picture(collect([split("val", products, [], found)])) for found in (usual, odd))

    def width(png):
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        return (pixels == (0x7F, 0xAE, 0x97)).all(axis=2).sum()

    assert width(other) > 0.9 * width(one) > 0
