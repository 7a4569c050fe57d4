"""Weights in int8: nearly the same embeddings in less memory."""

import sys

import numpy as np
import pytest

from procir.errors import ConfigError
from procir.model import quantization
from procir.model.embedder import ProCIR
from procir.model.prefix import fingerprint
from procir.types import Query


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "model"
    tiny.save_pretrained(path)
    return path


def size(model):
    layers = model.network.model.language_model.layers
    return sum(part.nbytes for weight in layers.parameters() for part in quantization.parts(weight))


def test_int8_weights_cost_little_and_save_memory(tiny, folder, little_split):
    narrow = ProCIR.from_pretrained(folder, int8=True)
    products = list(little_split.products.values())
    queries = [Query(product, "Make it navy with a zipper") for product in products]
    for exact, found in (
        (tiny.encode_products(products), narrow.encode_products(products)),
        (tiny.encode_queries(queries), narrow.encode_queries(queries)),
        (tiny.encode_turns(products, [["red"]] * 9)[1], narrow.encode_turns(products, [["red"]] * 9)[1]),
    ):
        assert (exact * found).sum(axis=1).min() > 0.999
        assert not np.array_equal(exact, found)
    assert size(narrow) < 0.3 * size(tiny)


def test_int8_weights_are_another_model(tiny, folder):
    narrow, again = (ProCIR.from_pretrained(folder, int8=True) for _ in range(2))
    assert fingerprint(narrow) == fingerprint(again) != fingerprint(tiny)


def test_int8_weights_are_not_for_saving(folder, tmp_path):
    narrow = ProCIR.from_pretrained(folder, int8=True)
    with pytest.raises(ConfigError, match="save the model that they were made from"):
        narrow.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_without_torchao(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ConfigError, match=r"int8 weights need torchao: pip install 'procir\[int8\]'"):
        ProCIR.from_pretrained(folder, int8=True)
