"""The published shapes: their sizes, and that the reader takes what sets the larger ones apart."""

import numpy as np
import pytest
import torch
from transformers import Qwen3_5ForConditionalGeneration

from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.model.shapes import configuration
from procir.types import Query

BILLIONS = {"0.8b": 0.8, "2b": 2.0, "4b": 4.0, "9b": 9.0}


def on_meta(shape, tokenizer):
    """The whole network, without memory for its weights."""
    with torch.device("meta"):
        return Qwen3_5ForConditionalGeneration(configuration(shape, tokenizer))


def count(module):
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize("shape", BILLIONS)
def test_the_language_model_has_what_its_name_says(tokenizer, shape):
    """Embeddings included, the vision tower left out: within 7 % of the name."""
    network = on_meta(shape, tokenizer)
    size = count(network) - count(network.model.visual)
    assert size == pytest.approx(BILLIONS[shape] * 1e9, rel=0.07)
    tied = network.lm_head.weight is network.get_input_embeddings().weight
    assert tied == network.config.tie_word_embeddings == (shape != "9b")


def test_sizes_that_others_give(tokenizer):
    """2.213 B of Qwen3.5-2B in use, 8.95 B of Qwen3.5-9B without its tower, 4.5 B of Qwen3.5-4B."""
    two, four, nine = (on_meta(shape, tokenizer) for shape in ("2b", "4b", "9b"))
    assert round(count(two) / 1e9, 3) == 2.213
    assert round(count(four) / 1e9, 1) == 4.5
    assert round((count(nine) - count(nine.model.visual)) / 1e9, 2) == 8.95


@pytest.mark.parametrize("shape", BILLIONS)
def test_every_fourth_layer_is_full_attention(tokenizer, shape):
    kinds = configuration(shape, tokenizer).text_config.layer_types
    assert [kind == "full_attention" for kind in kinds] == [number % 4 == 3 for number in range(len(kinds))]


def cut(shape, tokenizer, **options):
    """The first four layers, narrow, with the heads of the shape."""
    config = configuration(shape, tokenizer)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 64, 96, 4
    text.layer_types = text.layer_types[:4]
    text.vocab_size = 512
    vision.depth, vision.hidden_size, vision.intermediate_size, vision.out_hidden_size = 1, 64, 96, 64
    torch.manual_seed(0)
    network = Qwen3_5ForConditionalGeneration(config).eval()
    settings = EmbedderSettings(pixels=PixelSettings(min_pixels=32 * 32, max_pixels=64 * 64))
    return ProCIR(network, tokenizer, settings, **options)


@pytest.mark.parametrize("shape", ["2b", "4b"])
def test_packed_is_padded_with_the_heads_of_a_shape(tokenizer, little_split, shape):
    """4b and 9b have two value heads a key head, and four query heads a key head."""
    products = list(little_split.products.values())[:3]
    queries = [Query(product, "Make it navy with a zipper.") for product in products]
    packed, padded = (cut(shape, tokenizer, packed=flag).encode_queries(queries) for flag in (True, False))
    assert np.abs(packed - padded).max() < 1e-5
    model = cut(shape, tokenizer)
    documents, asked = model.encode_turns(products, [["Make it navy with a zipper."]] * 3)
    assert np.abs(asked - padded).max() < 1e-5
    assert documents.shape == (3, 64)


def test_unknown_shapes_are_named(tokenizer):
    with pytest.raises(ConfigError, match=r"unknown shape '3b': choose one of tiny, 0\.8b, 2b, 4b, 9b"):
        configuration("3b", tokenizer)
