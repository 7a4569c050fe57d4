"""Views on their way to the vision tower: Qwen's size rule, and a store that decodes once and forgets the oldest."""

import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from procir.errors import ConfigError, ImageError, MissingDataError
from procir.model import pixels
from procir.model.pixels import PixelSettings, PixelStore, fit, outline, read_view, require_view, resize
from procir.types import Product, ProductKey, View

TOKEN = PixelSettings(min_pixels=32 * 32, max_pixels=32 * 32)
"""Every square view becomes one token of 32 x 32 px: 3072 bytes."""


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was decoded, by its name."""
    counts = Counter()
    load = pixels.load_image

    def count(path, **options):
        counts[path.name] += 1
        return load(path, **options)

    monkeypatch.setattr(pixels, "load_image", count)
    return counts


@pytest.fixture
def photos(tmp_path):
    """Eight square photos, each of one grey: photo 3 is 30 all over."""
    paths = []
    for number in range(8):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (32, 32), (10 * number,) * 3).save(paths[-1])
    return paths


def product(*paths):
    return Product(ProductKey("shop", "dress-1"), tuple(View(path) for path in paths))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (512, 512, (512, 512)),  # the upper bound itself
        (300, 200, (288, 192)),  # 9.4 and 6.3 tokens: rounded
        (1024, 768, (576, 416)),  # sides over sqrt(3): 591 and 443 px, rounded down to whole tokens
        (64, 64, (128, 128)),  # doubled to the lower bound
        (1, 1, (128, 128)),
        (16, 2000, (32, 1440)),  # half a token rounds to none; scaled to 11 x 1431 px and rounded up
    ],
)
def test_sizes_computed_by_hand(height, width, expected):
    assert fit(height, width, PixelSettings()) == expected


@given(
    height=st.integers(1, 4000),
    width=st.integers(1, 4000),
    least=st.integers(1, 600),
    more=st.integers(0, 1500),
)
@settings(derandomize=True, deadline=None, max_examples=400)
def test_sizes_equal_qwens(height, width, least, more):
    assume(max(height, width) <= 200 * min(height, width))
    bounds = PixelSettings(min_pixels=least**2, max_pixels=(least + more + 32) ** 2)
    expected = smart_resize(height, width, factor=32, min_pixels=bounds.min_pixels, max_pixels=bounds.max_pixels)
    assert fit(height, width, bounds) == expected
    assert all(side > 0 and side % 32 == 0 for side in expected)


def test_resized_views_are_whole_tokens_and_keep_their_content():
    image = Image.new("RGB", (300, 200), (250, 0, 0))
    image.paste((0, 0, 250), (0, 100, 300, 200))
    view = resize(image, PixelSettings())
    assert view.token_grid == (6, 9)
    assert view.pixels.shape == (192, 288, 3)
    assert view.pixels[10, 10].tolist() == [250, 0, 0]
    assert view.pixels[-10, -10].tolist() == [0, 0, 250]


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (4020, 20)])
def test_a_view_too_long_is_named(tmp_path, size):
    path = tmp_path / "belt.png"
    Image.new("RGB", size).save(path)
    with pytest.raises(ImageError, match=rf"belt\.png: a view of {size[0]} x {size[1]} px is more than 200 times"):
        PixelStore(PixelSettings()).products([product(path)])


def test_outlines_and_checks_refuse_the_same(tmp_path):
    path = tmp_path / "belt.jpg"
    Image.new("RGB", (3000, 10)).save(path)
    for bounds in (PixelSettings(), PixelSettings(reduced_jpeg=True)):
        for refused in (outline, read_view, require_view):
            with pytest.raises(ImageError, match=r"belt\.jpg: a view of 3000 x 10 px is more than 200 times"):
                refused(path, bounds)


@pytest.mark.parametrize("size", [(1024, 1365), (1365, 1023), (2049, 1537), (2501, 833)])
def test_reduced_jpegs_give_nearly_the_same_view(tmp_path, size):
    noise = np.random.default_rng(2).integers(0, 256, (size[1] // 64, size[0] // 64, 3), dtype=np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    exact, near = (read_view(path, PixelSettings(reduced_jpeg=reduced)) for reduced in (False, True))
    assert near.token_grid == exact.token_grid == outline(path, PixelSettings()).token_grid
    difference = np.abs(near.pixels.astype(int) - exact.pixels)
    assert 0 < difference.mean() < 1.5
    assert difference.max() < 25


def test_small_jpegs_are_not_reduced(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.effect_noise((700, 700), 60).convert("RGB").save(path)
    exact, near = (read_view(path, PixelSettings(reduced_jpeg=reduced)) for reduced in (False, True))
    assert np.array_equal(near.pixels, exact.pixels)


def test_longest_view_that_is_read(tmp_path):
    path = tmp_path / "belt.png"
    Image.new("RGB", (200, 1)).save(path)
    (views,) = PixelStore(PixelSettings()).products([product(path)])
    assert views[0].token_grid == (1, math.ceil(200 * math.sqrt(16384 / 200) / 32))


def test_a_single_pixel_is_a_view(tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (7, 8, 9)).save(path)
    ((view,),) = PixelStore(PixelSettings()).products([product(path)])
    assert view.token_grid == (4, 4)
    assert np.unique(view.pixels.reshape(-1, 3), axis=0).tolist() == [[7, 8, 9]]


def test_a_file_is_decoded_once(photos, decoded):
    store = PixelStore(TOKEN)
    first = store.products([product(photos[0], photos[1]), product(photos[1], photos[1])])
    again = store.products([product(photos[1], photos[0])])
    assert decoded == {"0.png": 1, "1.png": 1}
    assert [len(views) for views in first] == [2, 2]
    assert again[0][0] is first[0][1] is first[1][0] is first[1][1]
    assert first[0][1].pixels[0, 0].tolist() == [10, 10, 10]


def test_the_least_recently_used_view_goes_first(photos, decoded):
    store = PixelStore(TOKEN, capacity=2 * 3072)
    for number in (0, 1, 0, 2):  # 1 has not been asked for as long as 0 when 2 needs the room
        store.products([product(photos[number])])
    store.products([product(photos[0], photos[2])])
    assert decoded == {"0.png": 1, "1.png": 1, "2.png": 1}
    store.products([product(photos[1])])
    assert decoded["1.png"] == 2


def test_a_view_larger_than_the_store_is_not_kept(photos, decoded):
    store = PixelStore(TOKEN, capacity=3071)
    for _ in range(2):
        ((view,),) = store.products([product(photos[4])])
        assert view.pixels[5, 5].tolist() == [40, 40, 40]
    assert decoded["4.png"] == 2


def test_threads_share_one_decoding(photos, monkeypatch):
    counts, opened, together = Counter(), threading.Event(), threading.Barrier(4, timeout=20)
    load = pixels.load_image

    def slow(path, **options):
        counts[path.name] += 1
        opened.wait(20)
        return load(path, **options)

    monkeypatch.setattr(pixels, "load_image", slow)
    store = PixelStore(TOKEN)

    def ask(_):
        together.wait()
        return store.products([product(*photos[:3])])

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, number) for number in range(4)]
        opened.set()
        greys = [[int(view.pixels[0, 0, 0]) for view in answer.result()[0]] for answer in answers]
    assert greys == [[0, 10, 20]] * 4
    assert counts == {"0.png": 1, "1.png": 1, "2.png": 1}


def test_many_threads_in_a_small_store(photos):
    store = PixelStore(TOKEN, capacity=3 * 3072, threads=3)

    def ask(seed):
        for numbers in np.random.default_rng(seed).integers(0, 8, (40, 3)).tolist():
            (views,) = store.products([product(*(photos[number] for number in numbers))])
            if [int(view.pixels[0, 0, 0]) for view in views] != [10 * number for number in numbers]:
                return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))


def test_a_broken_file_is_named_and_may_be_mended(photos):
    store = PixelStore(TOKEN)
    photos[5].write_bytes(b"\xff\xd8\xffnothing")
    with pytest.raises(ImageError, match=r"5\.png"):
        store.products([product(photos[0], photos[5])])
    Image.new("RGB", (32, 32), (9, 9, 9)).save(photos[5])
    ((_, mended),) = store.products([product(photos[0], photos[5])])
    assert mended.pixels[0, 0].tolist() == [9, 9, 9]


def test_a_product_without_views_is_named(photos):
    with pytest.raises(MissingDataError, match="product shop/dress-1 has no views"):
        PixelStore(TOKEN).products([product()])


def test_the_first_five_views_are_shown(photos, decoded):
    ((*views,),) = PixelStore(TOKEN).products([product(*photos[:7])])
    assert [int(view.pixels[0, 0, 0]) for view in views] == [0, 10, 20, 30, 40]
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png", "4.png"]


@pytest.mark.parametrize(
    "wrong", [{"min_pixels": 0}, {"min_pixels": 9, "max_pixels": 8}, {"min_pixels": 1, "max_pixels": 1023}]
)
def test_impossible_bounds(wrong):
    with pytest.raises(ConfigError, match="max_pixels"):
        PixelSettings(**wrong)
