"""The only place that opens image files: limits, decoding to upright RGB, thumbnails, data URLs.

Pillow's global settings stay as they are: everything here is local to the call, and safe in threads.
"""

from __future__ import annotations

import base64
import io
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from procir.errors import ImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Endings, in lower case, of the files that `load_image` may be given; their content decides."""

_Stream = io.BytesIO | io.BufferedReader

_DECODERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"RIFF....WEBP", WebPImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\x00", TiffImageFile),
    (b"MM\x00*", TiffImageFile),
)
"""Decoders by the first bytes of a file; a dot stands for any byte."""

_UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by EXIF orientation; 1 is upright."""

_HEAD = max(len(magic) for magic, _ in _DECODERS)
_LANDSCAPE_TO_PORTRAIT = 5
"""From this EXIF orientation on, width and height change places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """Bounds that are checked before memory is spent: file size, pixels in the header, shorter side."""

    max_bytes: int = 50_000_000
    max_pixels: int = 64_000_000
    min_side: int = 1


def load_image(source: Path | bytes, limits: ImageLimits = ImageLimits(), *, name: str | None = None) -> Image.Image:
    """The image as upright 8-bit RGB, wholly decoded, on white where it is transparent; an animation's first frame.

    JPEG, PNG, WebP, GIF, BMP and TIFF are read, by content; errors call it `name`. Raises ImageError for other formats,
    truncated or damaged files, 32-bit samples, and files or images over the limits. Colour profiles are not applied.
    """
    image, name = _opened(source, name, limits)
    return _decoded(image, name)


def load_reduced(
    source: Path | bytes,
    needed: Callable[[int, int], tuple[int, int]],
    limits: ImageLimits = ImageLimits(),
    *,
    name: str | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """The image, decoded at a smaller scale where that suffices, and its width and height at full scale.

    `needed` tells from that width and height which ones suffice. A JPEG is decoded at the smallest of 1/8, 1/4, 1/2
    and 1 that leaves both; other formats as by `load_image`, which also says what is raised.
    """
    image, name = _opened(source, name, limits)
    turned = _stored_sideways(image)
    whole = image.size[::-1] if turned else image.size
    least = needed(*whole)
    if isinstance(image, JpegImageFile):
        image.draft(None, least[::-1] if turned else least)
    return _decoded(image, name), whole


def read_image(path: Path, limits: ImageLimits = ImageLimits()) -> bytes:
    """The content of an image file as it is; raises ImageError if it cannot be read, or is over the limit of bytes."""
    return _read(path, str(path), limits)


def _opened(source: Path | bytes, name: str | None, limits: ImageLimits) -> tuple[ImageFile.ImageFile, str]:
    name = name or (str(source) if isinstance(source, Path) else f"image of {len(source)} bytes")
    return _header(io.BytesIO(_read(source, name, limits)), name, limits), name


def _decoded(image: ImageFile.ImageFile, name: str) -> Image.Image:
    try:
        image.load()
        return _plain(image)
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged ({error}); save the image again or fetch it anew") from error


def image_format(content: bytes, name: str) -> str:
    """JPEG, PNG, WEBP, GIF, BMP or TIFF, by a file's first bytes; raises ImageError, with `name`, for others."""
    return str(_decoder(content[:_HEAD], name).format)


def image_size(source: Path | bytes, limits: ImageLimits = ImageLimits()) -> tuple[int, int]:
    """Width and height that `load_image` would give, from the file's header.

    A PNG without an orientation before its pixels is read whole, since one may follow them. Raises ImageError as
    `load_image` does, except for damage behind the header.
    """
    if isinstance(source, bytes):
        name = f"image of {len(source)} bytes"
        _check_bytes(len(source), name, limits)
        return _upright_size(io.BytesIO(source), name, limits)
    name = str(source)
    try:
        _check_file(source, name, limits)
        with source.open("rb") as file:
            return _upright_size(file, name, limits)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from error


def _upright_size(stream: _Stream, name: str, limits: ImageLimits) -> tuple[int, int]:
    image = _header(stream, name, limits)
    return image.size[::-1] if _stored_sideways(image) else image.size


def _stored_sideways(image: ImageFile.ImageFile) -> bool:
    # Pillow gives the size of a TIFF as it is upright, of others as it is stored.
    return not isinstance(image, TiffImageFile) and _orientation(image) >= _LANDSCAPE_TO_PORTRAIT


def is_plain(content: bytes, side: int, limits: ImageLimits = ImageLimits()) -> bool:
    """Whether an image is a JPEG, PNG or WebP, upright, and of at most `side` pixels, as its header says.

    Raises ImageError as `load_image` does, except for damage behind the header.
    """
    name = f"image of {len(content)} bytes"
    _check_bytes(len(content), name, limits)
    image = _header(io.BytesIO(content), name, limits)
    known = isinstance(image, JpegImageFile | PngImageFile | WebPImageFile)
    return known and max(image.size) <= side and _orientation(image) == 1


def as_rgb(image: Image.Image) -> Image.Image:
    """A decoded image as `load_image` gives it: upright 8-bit RGB, on white where it is transparent.

    Raises ImageError for 32-bit samples and for images over the limits.
    """
    _check_size(image, "image", ImageLimits())
    try:
        return _plain(image)
    except OSError as error:
        raise ImageError(f"image: truncated or damaged ({error}); save it again or fetch it anew") from error


def _plain(image: Image.Image) -> Image.Image:
    upright = _upright(_rgb(image), image)
    upright.info = {}  # an orientation left in the metadata would be applied a second time
    return upright


def _read(source: Path | bytes, name: str, limits: ImageLimits) -> bytes:
    if isinstance(source, bytes):
        _check_bytes(len(source), name, limits)
        return source
    try:
        _check_file(source, name, limits)
        with source.open("rb") as file:
            content = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from error
    _check_bytes(len(content), name, limits)
    return content


def _check_file(path: Path, name: str, limits: ImageLimits) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name}: not a file; pass an image file")
    _check_bytes(status.st_size, name, limits)


def _check_bytes(count: int, name: str, limits: ImageLimits) -> None:
    if count == 0:
        raise ImageError(f"{name}: empty; fetch the image anew")
    if count > limits.max_bytes:
        raise ImageError(f"{name}: {count} bytes, over the limit of {limits.max_bytes}; save the image smaller")


def _header(stream: _Stream, name: str, limits: ImageLimits) -> ImageFile.ImageFile:
    decoder = _decoder(stream.read(_HEAD), name)
    stream.seek(0)
    try:
        image = decoder(stream)
    except Exception as error:
        raise ImageError(f"{name}: the header is damaged ({error}); save the image again") from error
    _check_size(image, name, limits)
    return image


def _decoder(content: bytes, name: str) -> type[ImageFile.ImageFile]:
    for magic, decoder in _DECODERS:
        head = content[: len(magic)]
        if len(head) == len(magic) and all(want in (b"."[0], have) for want, have in zip(magic, head, strict=True)):
            return decoder
    raise ImageError(f"{name}: not JPEG, PNG, WebP, GIF, BMP or TIFF; convert the image to one of these")


def _check_size(image: Image.Image, name: str, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(f"{name}: {width} x {height} pixels, over the limit of {limits.max_pixels}; scale it down")
    if min(width, height) < limits.min_side:
        raise ImageError(f"{name}: {width} x {height} pixels, a side under {limits.min_side}; use a larger image")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _grey_from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError("samples of 32 bits, whose range is not known")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _grey_from_16_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion from 16 bits clips every value over 255 to white.
    samples = np.asarray(image).astype(np.uint32)
    grey = (samples * 255 + 32767) // 65535
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(original))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - an EXIF block that cannot be read states no orientation
        return 1
    return found if found in _UPRIGHT else 1


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """A copy whose longer side has at most `side` pixels; proportions stay, small images are not enlarged."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def to_data_url(image: Image.Image, quality: int = 85) -> str:
    """The image as a JPEG in a data: URL, for pages that must stand alone; `quality` is 1 to 95."""
    return "data:image/jpeg;base64," + base64.b64encode(to_jpeg(image, quality)).decode("ascii")


def to_png(image: Image.Image, compression: int = 6) -> bytes:
    """The image as a PNG file; `compression` is zlib's, from 0 to 9."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()


def to_jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file; `quality` is 1 to 95."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
