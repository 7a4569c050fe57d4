"""Image files: what decodes to upright RGB on white, and what is refused before it can harm."""

from __future__ import annotations

import base64
import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from procir.errors import ImageError
from procir.images import ImageLimits, image_size, load_image, load_reduced, thumbnail, to_data_url

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    image = load_image(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def png(width: int, height: int, mode_and_depth: tuple[int, int] = (2, 8)) -> bytes:
    """A PNG header and one short, wrong data chunk."""
    colour, depth = mode_and_depth

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_give_the_pixels_from_bytes_and_files(tmp_path: Path, kind: str, options: dict) -> None:
    content = encode(NOISE, kind, **options)
    assert np.array_equal(pixels(content), np.asarray(NOISE))
    path = tmp_path / "wrong ending.txt"
    path.write_bytes(content)
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(NOISE))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_give_about_the_colour(kind: str) -> None:
    plain = Image.new("RGB", (16, 16), (200, 30, 60))
    assert np.abs(pixels(encode(plain, kind, quality=95)).astype(int) - (200, 30, 60)).max() <= 4


def test_progressive_and_multi_picture_jpegs_are_read() -> None:
    plain = Image.new("RGB", (16, 16), (200, 30, 60))
    first = pixels(encode(plain, "JPEG", progressive=True))
    several = encode(plain, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    assert np.abs(first.astype(int) - pixels(several)).max() <= 2


def test_transparency_is_laid_on_white() -> None:
    red = (255, 0, 0)
    half = Image.new("RGBA", (1, 1), (*red, 51))
    assert pixels(encode(half, "PNG"))[0, 0].tolist() == [255, 204, 204]
    assert pixels(encode(half, "WEBP", lossless=True))[0, 0].tolist() == [255, 204, 204]
    assert pixels(encode(Image.new("LA", (1, 1), (0, 51)), "PNG"))[0, 0].tolist() == [204, 204, 204]
    two = Image.new("RGB", (2, 1), red)
    two.putpixel((1, 0), (0, 0, 255))
    assert pixels(encode(two, "PNG", transparency=(255, 0, 0)))[0].tolist() == [[255, 255, 255], [0, 0, 255]]
    grey = Image.fromarray(np.array([[7, 9]], dtype=np.uint8))
    assert pixels(encode(grey, "PNG", transparency=7))[0].tolist() == [[255] * 3, [9] * 3]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_transparency_are_laid_on_white(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels(encode(image, kind))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert pixels(encode(image, kind, transparency=0))[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    if kind == "PNG":
        half = pixels(encode(image, kind, transparency=bytes([255, 51])))[0].tolist()
        assert half == [[10, 20, 30], [244, 224, 214]]


def test_other_colour_modes_become_rgb() -> None:
    assert pixels(encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"))[0, 0].tolist() == [255, 0, 0]
    ink = pixels(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))[0, 0].astype(int)
    assert np.abs(ink - (255, 0, 0)).max() <= 4
    assert pixels(encode(Image.new("1", (1, 1), 1), "PNG"))[0, 0].tolist() == [255] * 3
    assert pixels(encode(Image.new("L", (1, 1), 77), "PNG"))[0, 0].tolist() == [77] * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_clipped(kind: str) -> None:
    samples = np.array([[0, 257, 300, 32768, 65535]], dtype=np.uint16)
    assert pixels(encode(Image.fromarray(samples), kind))[0, :, 0].tolist() == [0, 1, 1, 128, 255]


@pytest.mark.parametrize("sample", [np.int32(70000), np.float32(0.5)])
def test_samples_of_32_bits_are_refused(sample) -> None:
    with pytest.raises(ImageError, match="32 bits"):
        load_image(encode(Image.fromarray(np.full((2, 2), sample)), "TIFF"))


# Where the top-left pixel of the stored image belongs, by EXIF orientation (row, column of a 2 x 3 or 3 x 2 image).
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [
        (1, (2, 3), (0, 0)),
        (2, (2, 3), (0, 2)),
        (3, (2, 3), (1, 2)),
        (4, (2, 3), (1, 0)),
        (5, (3, 2), (0, 0)),
        (6, (3, 2), (0, 1)),
        (7, (3, 2), (2, 1)),
        (8, (3, 2), (2, 0)),
    ],
)
def test_exif_orientation_is_applied_once(
    kind: str, orientation: int, shape: tuple[int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    stored = Image.new("RGB", (3, 2), "black")
    stored.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    (tmp_path / "stored").write_bytes(encode(stored, kind, exif=exif, **options))
    assert image_size(tmp_path / "stored") == (shape[1], shape[0])
    assert image_size((tmp_path / "stored").read_bytes()) == (shape[1], shape[0])
    image = load_image(tmp_path / "stored")
    shown = np.asarray(image)[:, :, 0]
    assert shown.shape == shape
    assert list(zip(*np.nonzero(shown), strict=True)) == [corner]
    assert image.info == {}
    assert dict(image.getexif()) == {}


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_unreadable_exif_states_no_orientation(exif: bytes) -> None:
    content = encode(NOISE, "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert load_image(content).size == NOISE.size


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(first, kind, save_all=True, append_images=[second], **options)
    assert pixels(content)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {})]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, options: dict, share: float) -> None:
    content = encode(NOISE, kind, **options)
    path = tmp_path / "cut.bin"
    path.write_bytes(content[: int(len(content) * share)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(ImageError, match=r"cut\.bin: .*(damaged|empty|not JPEG).*; "):
            load_image(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"P6 1 1 255 abc",
        b"version https://git-lfs.github.com/spec/v1",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"BM" + b"\0" * 40,
        b"RIFF\0\0\0\0WEBPVP8 ",
        png(0, 5),
    ],
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError, match=f"^image of {len(content)} bytes: .*; "):
        load_image(content)


def test_formats_outside_the_list_are_refused_though_pillow_reads_them() -> None:
    for kind in ("PPM", "TGA", "ICO", "PCX", "EPS", "PDF", "JPEG2000"):
        content = encode(NOISE, kind)
        with pytest.raises(ImageError, match="convert the image"):
            load_image(content)


@pytest.mark.parametrize("filter_", ["error", "ignore", "always"])
@pytest.mark.parametrize(("width", "height"), [(12_000, 12_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_pixel_bombs_are_refused_by_their_header_without_a_warning(filter_: str, width: int, height: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(filter_)
        with pytest.raises(ImageError, match=f"{width} x {height} pixels, over the limit of 64000000; scale it down"):
            load_image(png(width, height))
    assert caught == []


def test_sizes_come_from_the_header_within_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "noise.jpg"
    path.write_bytes(encode(NOISE, "JPEG")[:-20])
    assert image_size(path) == (32, 24)
    with pytest.raises(ImageError, match="truncated"):
        load_image(path)
    for limits, said in [
        (ImageLimits(max_bytes=100), "bytes, over the limit of 100"),
        (ImageLimits(max_pixels=24 * 32 - 1), "32 x 24 pixels, over the limit"),
    ]:
        with pytest.raises(ImageError, match=said):
            image_size(path, limits)
        with pytest.raises(ImageError, match=said):
            image_size(path.read_bytes(), limits)
    path.write_bytes(png(60_000, 60_000))
    with pytest.raises(ImageError, match=r"noise\.jpg: 60000 x 60000 pixels, over the limit"):
        image_size(path)
    path.write_bytes(b"<svg/>")
    with pytest.raises(ImageError, match=r"noise\.jpg: not JPEG"):
        image_size(path)
    with pytest.raises(ImageError, match="cannot be read"):
        image_size(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="not a file"):
        image_size(tmp_path)


def test_limits_are_inclusive() -> None:
    content = encode(NOISE, "PNG")
    exact = ImageLimits(max_bytes=len(content), max_pixels=24 * 32, min_side=24)
    assert load_image(content, exact).size == (32, 24)
    for limits, said in [
        (ImageLimits(max_bytes=len(content) - 1), "bytes, over the limit"),
        (ImageLimits(max_pixels=24 * 32 - 1), "32 x 24 pixels, over the limit"),
        (ImageLimits(min_side=25), "a side under 25"),
    ]:
        with pytest.raises(ImageError, match=said):
            load_image(content, limits)


def test_a_raised_pixel_limit_is_obeyed_beyond_pillows_own() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="damaged"):  # decoding began, and met the short data
        load_image(png(30_000, 6_000, (0, 1)), ImageLimits(max_pixels=200_000_000))
    assert before == Image.MAX_IMAGE_PIXELS
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(50_000_001)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(ImageError, match=r"large\.jpg: 50000001 bytes, over the limit of 50000000"):
        load_image(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "empty.jpg").touch()
    for name, said in [
        ("pipe.jpg", "not a file"),
        (".", "not a file"),
        ("gone.jpg", "cannot be read"),
        ("loop.jpg", "cannot be read"),
        ("empty.jpg", "empty"),
        ("a" * 300, "cannot be read"),
    ]:
        with pytest.raises(ImageError, match=said):
            load_image(tmp_path / name)


def test_damaged_bytes_raise_nothing_but_image_errors() -> None:
    rng = np.random.default_rng(7)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        content = encode(NOISE, kind)
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), 4):
                damaged[place] = rng.integers(0, 256)
            try:
                image = load_image(bytes(damaged), ImageLimits(max_pixels=1_000_000))
            except ImageError as error:
                assert "; " in str(error)
            else:
                assert image.mode == "RGB"


def test_threads_give_the_same_as_one(tmp_path: Path) -> None:
    content = [encode(NOISE, "PNG"), encode(NOISE, "JPEG"), png(12_000, 12_000), b"none"]

    def outcome(number: int) -> bytes | str:
        try:
            return load_image(content[number % 4]).tobytes()
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, range(64))) == [outcome(number) for number in range(4)] * 16


def photo(width: int, height: int) -> Image.Image:
    """Large patches of colour, of which no two corners are alike."""
    colours = np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("needed", "scale"), [(100, 8), (101, 4), (201, 2), (401, 1), (5000, 1)])
def test_reduced_jpegs_are_upright_and_no_smaller_than_needed(orientation: int, needed: int, scale: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(photo(800, 1000), "JPEG", exif=exif)
    asked = []

    def least(width: int, height: int) -> tuple[int, int]:
        asked.append((width, height))
        return needed * width // 800, needed * height // 800

    image, whole = load_reduced(content, least)
    full = load_image(content)
    assert asked == [whole] == [full.size]
    assert image.size == (full.width // scale, full.height // scale)
    small = np.asarray(full.resize(image.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(small - np.asarray(image)).max() <= (0 if scale == 1 else 6)
    assert (image.mode, image.info) == ("RGB", {})


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_not_reduced(kind: str) -> None:
    content = encode(photo(160, 80), kind)
    image, whole = load_reduced(content, lambda *_: (10, 5))
    assert whole == image.size == (160, 80)
    assert np.array_equal(np.asarray(image), pixels(content))


def test_reduced_jpegs_of_other_modes_and_broken_ones(tmp_path: Path) -> None:
    for mode in ("L", "CMYK"):
        image, _ = load_reduced(encode(photo(160, 80).convert(mode), "JPEG"), lambda *_: (20, 10))
        assert (image.mode, image.size) == ("RGB", (20, 10))
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(photo(160, 80), "JPEG")[:1200])
    with pytest.raises(ImageError, match=r"cut\.jpg: truncated or damaged"):
        load_reduced(path, lambda *_: (20, 10))
    with pytest.raises(ImageError, match=r"^mine: truncated or damaged"):
        load_image(path.read_bytes(), name="mine")


def test_thumbnails_keep_proportions_and_never_enlarge() -> None:
    assert thumbnail(Image.new("RGB", (400, 100)), 40).size == (40, 10)
    assert thumbnail(Image.new("RGB", (1000, 2)), 40).size == (40, 1)
    small = thumbnail(NOISE, 1000)
    assert small is not NOISE
    assert np.array_equal(np.asarray(small), np.asarray(NOISE))
    assert NOISE.size == (32, 24)


def test_data_url_holds_a_jpeg_of_the_image() -> None:
    url = to_data_url(Image.new("RGBA", (20, 10), (10, 200, 30, 255)))
    head, data = url.split(",")
    assert head == "data:image/jpeg;base64"
    content = base64.b64decode(data)
    assert content.startswith(b"\xff\xd8\xff")
    assert np.abs(pixels(content).astype(int) - (10, 200, 30)).max() <= 4
    assert len(to_data_url(NOISE, quality=30)) < len(to_data_url(NOISE, quality=95))
