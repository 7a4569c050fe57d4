"""A checkpoint of procir, loaded by sentence-transformers, gives the same embeddings."""

import numpy as np
import pytest
from PIL import Image
from sentence_transformers import SentenceTransformer

from procir.errors import DataError, ImageError
from procir.types import Query

TEXT = "Make it navy with a zipper"


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("sentence") / "model"
    tiny.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)


@pytest.fixture(scope="module")
def products(little_split):
    return list(little_split.products.values())[:3]


def paths(product):
    return [str(view.path) for view in product.views]


def test_products_queries_and_captions_are_the_same(tiny, theirs, products):
    shown = [{"image": paths(product)} for product in products]
    np.testing.assert_allclose(theirs.encode(shown), tiny.encode_products(products), atol=1e-5)
    asked = [{"image": paths(product), "text": TEXT} for product in products]
    queries = tiny.encode_queries([Query(product, TEXT) for product in products])
    np.testing.assert_allclose(theirs.encode(asked), queries, atol=1e-5)
    np.testing.assert_allclose(theirs.encode([TEXT, "red"]), tiny.encode_captions([TEXT, "red"]), atol=1e-5)
    assert theirs.get_embedding_dimension() == tiny.dim


def test_mixed_batches_keep_their_order(tiny, theirs, products):
    mixed = [TEXT, {"image": paths(products[0])}, {"image": paths(products[1]), "text": TEXT}]
    found = theirs.encode(mixed)
    np.testing.assert_allclose(found[0], tiny.encode_captions([TEXT])[0], atol=1e-5)
    np.testing.assert_allclose(found[1], tiny.encode_products(products[:1])[0], atol=1e-5)
    np.testing.assert_allclose(found[2], tiny.encode_queries([Query(products[1], TEXT)])[0], atol=1e-5)
    assert theirs.similarity(found[:1], found[:1]).item() == pytest.approx(1, abs=1e-4)


def test_images_in_memory_are_as_those_on_disk(theirs, products):
    opened = [Image.open(path) for path in paths(products[0])]
    found, expected = theirs.encode([{"image": opened}]), theirs.encode([{"image": paths(products[0])}])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    white = Image.new("RGB", (64, 64), "white")
    np.testing.assert_allclose(theirs.encode([{"image": clear}]), theirs.encode([{"image": white}]), atol=1e-6)


def test_saved_there_and_loaded_again(theirs, products, tmp_path):
    theirs.save(str(tmp_path / "again"))
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu", trust_remote_code=True)
    shown = [{"image": paths(products[0])}]
    np.testing.assert_allclose(again.encode(shown), theirs.encode(shown), atol=1e-6)


@pytest.mark.parametrize(
    ("item", "settings", "error", "message"),
    [
        ({"image": []}, {}, DataError, "give a path, a PIL image, or a list"),
        ({"image": [3]}, {}, DataError, "give a path, a PIL image, or a list"),
        ({"image": "nowhere.jpg"}, {}, ImageError, r"nowhere.jpg: cannot be read"),
        ("a dress", {"prompt": "Find: "}, DataError, "procir has no prompts"),
    ],
)
def test_what_cannot_be_encoded(theirs, item, settings, error, message):
    with pytest.raises(error, match=message):
        theirs.encode([item], **settings)
