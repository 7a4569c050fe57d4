"""What tests of imports share: photos of noise, and the files of a folder."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image


def noise(name: str, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture of soft noise that its name decides."""
    rng = np.random.default_rng(crc32(name.encode()))
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def place(root: Path, *names: str) -> None:
    """Put photos of noise below a folder, in the formats that their endings say."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(name).save(path)


def contents(root: Path, *skip: str) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in skip)
    return {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
