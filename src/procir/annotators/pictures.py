"""Picture files as annotators get them: upright, of bounded size, as JPEG, PNG or WebP."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from procir.annotators.request import Picture
from procir.errors import ImageError
from procir.images import image_size, is_plain, load_image, thumbnail, to_jpeg

_QUALITY = 90
_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"RIFF", "image/webp"))


def file_picture(path: Path, digest: str, side: int) -> Picture:
    """A picture file, at most `side` pixels long; `digest` is the hash of its content. Opens nothing yet."""
    return Picture(digest=digest, load=partial(encoded, path, side), size=partial(encoded_size, path, side))


def encoded(path: Path, side: int) -> bytes:
    """The bytes to send: the file's own if they will do, else a JPEG of at most `side` pixels. Raises ImageError."""
    image_size(path)  # checks the file against the limits before it is read
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if is_plain(content, side):
        return content
    return to_jpeg(thumbnail(load_image(path), side), _QUALITY)


def encoded_size(path: Path, side: int) -> tuple[int, int]:
    """Width and height that `encoded` would give, from the file's header. Raises ImageError."""
    width, height = image_size(path)
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def media_type(content: bytes) -> str:
    """The media type of JPEG, PNG or WebP bytes. Raises ImageError for others."""
    for magic, name in _TYPES:
        if content.startswith(magic):
            return name
    raise ImageError(f"image of {len(content)} bytes: not JPEG, PNG or WebP; load it with procir.annotators.pictures")
