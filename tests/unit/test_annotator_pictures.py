"""Picture files as they are sent."""

import io

import numpy as np
import pytest
from PIL import Image

from procir.annotators.pictures import encoded, encoded_size, file_picture, media_type
from procir.errors import ImageError
from procir.images import load_image


def save(path, size=(60, 40), orientation=None, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "jpeg"), ("a.png", "png"), ("a.webp", "webp")])
def test_files_that_will_do_are_sent_as_they_are(tmp_path, name, kind):
    path = save(tmp_path / name)
    assert encoded(path, 60) == path.read_bytes()
    assert media_type(encoded(path, 60)) == f"image/{kind}"
    assert encoded_size(path, 60) == (60, 40)


def test_large_files_become_smaller(tmp_path):
    path = save(tmp_path / "a.png", (300, 200))
    content = encoded(path, 75)
    assert media_type(content) == "image/jpeg"
    assert load_image(content).size == encoded_size(path, 75) == (75, 50)


def test_files_that_lie_on_their_side_are_turned(tmp_path):
    path = save(tmp_path / "a.jpg", orientation=6, quality=95)
    content = encoded(path, 100)
    assert content != path.read_bytes()
    sent = Image.open(io.BytesIO(content))
    assert sent.size == encoded_size(path, 100) == (40, 60)
    assert sent.getexif().get(274, 1) == 1


def test_other_formats_become_jpeg(tmp_path):
    path = save(tmp_path / "a.bmp")
    content = encoded(path, 100)
    assert (media_type(content), load_image(content).size) == ("image/jpeg", (60, 40))


def test_a_picture_opens_nothing_before_it_must(tmp_path):
    picture = file_picture(tmp_path / "later.png", "digest", 30)
    assert picture.digest == "digest"
    with pytest.raises(ImageError, match=r"later\.png: cannot be read"):
        picture.load()
    save(tmp_path / "later.png")
    assert load_image(picture.load()).size == picture.size() == (30, 20)


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("no picture")
    with pytest.raises(ImageError, match=r"a\.jpg: not JPEG"):
        encoded(path, 100)
    with pytest.raises(ImageError, match="image of 3 bytes: not JPEG, PNG or WebP"):
        media_type(b"GIF")
