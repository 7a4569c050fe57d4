"""Stitched pictures: where the views stand, what names them, and that nothing is opened before it is needed."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from procir.annotators.ledger import Seen
from procir.construct.panorama import _boxes, _lay_out, panorama
from procir.errors import ImageError

COLORS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def save(path, size, color, **options):
    Image.new("RGB", size, color).save(path, **options)
    return path


@pytest.fixture
def views(tmp_path):
    sizes = ((100, 200), (300, 200), (50, 50))
    return [save(tmp_path / f"{i}.png", size, COLORS[i]) for i, size in enumerate(sizes)]


def seen(*digests):
    """What a ledger knows of files whose headers it has not read."""
    return [Seen(digest, None) for digest in digests]


def shown(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.load())).convert("RGB")).astype(int)


def test_views_stand_side_by_side_at_one_height(views):
    made = panorama(views, seen("a", "b", "c"))
    pixels = shown(made.picture)
    assert pixels.shape == (200, 600, 3)
    assert made.boxes == ((0, 0, 167, 1000), (167, 0, 667, 1000), (667, 0, 1000, 1000))
    for (left, _, right, _), color in zip(made.boxes, COLORS, strict=True):
        middle = (left + right) * 600 // 2000
        np.testing.assert_allclose(pixels[100, middle], color, atol=3)
        np.testing.assert_allclose(pixels[100, left * 600 // 1000 + 9], color, atol=3)
        np.testing.assert_allclose(pixels[100, right * 600 // 1000 - 9], color, atol=3)


def test_height_and_width_are_bounded(views):
    assert shown(panorama(views, seen("a", "b", "c"), height=80).picture).shape == (80, 240, 3)
    made = panorama(views, seen("a", "b", "c"), width=150)
    assert shown(made.picture).shape == (50, 150, 3)
    assert made.boxes == ((0, 0, 167, 1000), (167, 0, 667, 1000), (667, 0, 1000, 1000))


def test_a_photo_that_lies_on_its_side_is_turned_first(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255  # the left half of the file is the upper half of the photo
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    plain = save(tmp_path / "plain.png", (40, 80), (0, 0, 0))
    made = panorama([tmp_path / "turned.jpg", plain], seen("a", "b"))
    pixels = shown(made.picture)
    assert pixels.shape == (80, 80, 3)
    assert made.boxes == ((0, 0, 500, 1000), (500, 0, 1000, 1000))
    assert pixels[5:35, 5:35].min() > 250
    assert pixels[45:75, 5:35].max() < 5


def test_the_name_depends_on_the_files_their_order_and_the_size_alone(views):
    names = {
        panorama(order, digests, **size).picture.digest
        for order, digests, size in (
            (views, seen("a", "b", "c"), {}),
            (views, seen("a", "b", "d"), {}),
            (views[::-1], seen("c", "b", "a"), {}),
            (views[:2], seen("a", "b"), {}),
            (views, seen("a", "b", "c"), {"height": 100}),
        )
    }
    assert len(names) == 5
    assert panorama(views, seen("a", "b", "c"), height=300).picture.digest in names  # no view is enlarged


def test_known_sizes_spare_the_headers(views, tmp_path):
    known = [Seen(digest, size) for digest, size in zip("abc", ((100, 200), (300, 200), (50, 50)), strict=True)]
    gone = [tmp_path / "gone" / view.name for view in views]
    assert panorama(gone, known).picture.digest == panorama(views, seen("a", "b", "c")).picture.digest
    assert panorama(gone, known).boxes == panorama(views, known).boxes


def test_pictures_are_decoded_only_when_they_are_loaded(views):
    content = views[0].read_bytes()
    Image.new("RGB", (100, 200)).save(views[0], "JPEG")
    views[0].write_bytes(views[0].read_bytes()[:-20])
    made = panorama(views, seen("cut", "b", "c"))
    with pytest.raises(ImageError, match=r"0\.png: truncated or damaged"):
        made.picture.load()
    views[0].write_bytes(content)
    assert shown(made.picture).shape == (200, 600, 3)
    with pytest.raises(ImageError, match=r"missing\.png: cannot be read"):
        panorama([views[0].parent / "missing.png"], seen("a"))


def test_a_picture_is_stitched_once(views, monkeypatch):
    made = panorama(views, seen("once", "b", "c")).picture
    content = made.load()
    monkeypatch.setattr("procir.construct.panorama.load_image", None)
    assert panorama(views, seen("once", "b", "c")).picture.load() == content


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=5),
    height=st.integers(1, 2000),
    width=st.integers(5, 6000),
)
@settings(derandomize=True, deadline=None, max_examples=1000)
def test_every_view_has_its_place_within_the_bounds(sizes, height, width):
    common, widths = _lay_out(sizes, height, width)
    assert 1 <= common <= height
    assert min(widths) >= 1
    assert sum(widths) <= width + widths.count(1) or common == 1
    assert common <= max(down for _, down in sizes)
    boxes = _boxes(widths)
    assert boxes[0][0] == 0
    assert boxes[-1][2] == 1000
    assert all(left < right and (top, bottom) == (0, 1000) for left, top, right, bottom in boxes)
