"""What tests share: a tiny model with a tokenizer of its own, and drawn views."""

from __future__ import annotations

import itertools
import os
import signal

# One thread keeps sums in one order and leaves the cores to other tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shell that runs the tests in the background lets them ignore interrupts, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tokenizer():
    """A BPE of 400 merges over a few sentences."""
    from procir.model.tokenizers import train_tokenizer

    texts = [
        "Make it navy with a round neckline and a zipper at the back.",
        "A red cotton dress with short sleeves, a v-neck and a slit on the left side.",
        "[Image 1] Front view: the tee has a pocket on the wearer's left chest.",
    ]
    return train_tokenizer(texts, 400)


@pytest.fixture(scope="session")
def tiny(tokenizer):
    """A two-turn tiny model with random weights; tests must not train it."""
    from procir.model.embedder import ProCIR
    from procir.model.pixels import PixelSettings
    from procir.model.reader import EmbedderSettings

    settings = EmbedderSettings(pixels=PixelSettings(min_pixels=64 * 64, max_pixels=64 * 96))
    return ProCIR.from_shape("tiny", tokenizer, settings, seed=1)


@pytest.fixture
def random_views():
    """A function that makes views of given token grids, noise from a seed."""
    from procir.model.pixels import ViewPixels

    def make(seed: int, *grids: tuple[int, int]) -> tuple[ViewPixels, ...]:
        rng = np.random.default_rng(seed)
        return tuple(
            ViewPixels(rng.integers(0, 256, (rows * 32, columns * 32, 3), dtype=np.uint8), (rows, columns))
            for rows, columns in grids
        )

    return make


@pytest.fixture(scope="session")
def little_split(tmp_path_factory):
    """Nine noise products of two views, a chain of eight triplets, and captions."""
    from PIL import Image

    from procir.types import Caption, Product, ProductKey, Split, Triplet, View

    root = tmp_path_factory.mktemp("little")
    rng = np.random.default_rng(0)
    keys = [ProductKey("noise", f"p{i}") for i in range(9)]
    products = {}
    for key in keys:
        views = []
        for name in ("front", "back"):
            path = root / f"{key.product_id}_{name}.png"
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
            views.append(View(path, name))
        products[key] = Product(key, tuple(views))
    captions = {
        key: Caption(key, f"A long caption of product {i}, with words.", f"Product {i}.") for i, key in enumerate(keys)
    }
    triplets = tuple(
        Triplet(a, b, f"Make it number {i}.", f"Make it, in many more words, number {i}.")
        for i, (a, b) in enumerate(itertools.pairwise(keys))
    )
    return Split("train", products, captions, triplets)
