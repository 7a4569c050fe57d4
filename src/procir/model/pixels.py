"""Views as the vision tower takes them: decoded once, resized by Qwen's rule, kept as bytes."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from procir.errors import ConfigError, ImageError, MissingDataError
from procir.images import image_size, load_image, load_reduced
from procir.types import MAX_VIEWS, Product, View

MEAN = STD = 0.5
"""Qwen3.5 normalises every channel of pixels in [0, 1] to [-1, 1]."""

_MAX_ASPECT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSettings:
    """How a view is resized: area bounds in pixels, and the tower's patch and merge sizes (section 5.1)."""

    min_pixels: int = 128 * 128
    """Least area of a view; smaller ones are enlarged."""
    max_pixels: int = 512 * 512
    """Largest area of a view; larger ones are scaled down."""
    patch: int = 16
    """Side of a vision patch in pixels."""
    merge: int = 2
    """Patches a side of one token, so that a token shows patch * merge pixels each way."""
    reduced_jpeg: bool = False
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that leaves no less than the view's: faster, and close to
    the published pixels, not equal."""

    def __post_init__(self) -> None:
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ConfigError(f"0 < min_pixels <= max_pixels must hold, not {self.min_pixels} and {self.max_pixels}")
        if self.max_pixels < (self.patch * self.merge) ** 2:
            raise ConfigError(f"max_pixels {self.max_pixels} is less than one token of {self.patch * self.merge} px")


@dataclass(frozen=True, eq=False)
class ViewPixels:
    """One resized view: RGB bytes whose sides are whole tokens, and its grid in tokens (rows, columns)."""

    pixels: UInt8[np.ndarray, "height width 3"]
    token_grid: tuple[int, int]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of size and bytes: views of equal digest are the same picture."""
        found = sha256(repr(self.token_grid).encode())
        found.update(np.ascontiguousarray(self.pixels).data)
        return found.digest()


def fit(height: int, width: int, settings: PixelSettings) -> tuple[int, int]:
    """Height and width that a view is resized to: whole tokens, area within bounds, aspect kept as nearly as possible.

    The rule of Qwen2-VL's image processor, so that published checkpoints see the pixels they were trained on.
    """
    factor = settings.patch * settings.merge
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise ImageError(f"a view of {width} x {height} px is more than {_MAX_ASPECT} times longer than wide: crop it")
    rounded = round(height / factor) * factor, round(width / factor) * factor
    area = rounded[0] * rounded[1]
    if area > settings.max_pixels:
        scale = math.sqrt(height * width / settings.max_pixels)
        return tuple(max(factor, math.floor(side / scale / factor) * factor) for side in (height, width))  # type: ignore[return-value]
    if area < settings.min_pixels:
        scale = math.sqrt(settings.min_pixels / (height * width))
        return tuple(math.ceil(side * scale / factor) * factor for side in (height, width))  # type: ignore[return-value]
    return rounded


def resize(image: Image.Image, settings: PixelSettings) -> ViewPixels:
    """A decoded RGB image as the vision tower takes it."""
    return _resized(image, fit(image.height, image.width, settings), settings)


def _resized(image: Image.Image, fitted: tuple[int, int], settings: PixelSettings) -> ViewPixels:
    height, width = fitted
    factor = settings.patch * settings.merge
    resized = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
    return ViewPixels(np.asarray(resized, dtype=np.uint8), (height // factor, width // factor))


def read_view(path: Path, settings: PixelSettings, content: bytes | None = None) -> ViewPixels:
    """A file's view; its content is read unless given. Raises ImageError naming the file."""
    return _resized(*_loaded(path if content is None else content, path, settings), settings)


def require_view(path: Path, settings: PixelSettings) -> None:
    """Raise ImageError, naming the file, if it has no view: it cannot be decoded, or is far longer than wide."""
    _loaded(path, path, settings)


def _loaded(source: Path | bytes, path: Path, settings: PixelSettings) -> tuple[Image.Image, tuple[int, int]]:
    """The decoded image and the height and width of its view."""
    if not settings.reduced_jpeg:
        image = load_image(source, name=str(path))
        return image, _fit_file(path, image.size, settings)
    image, size = load_reduced(source, lambda *size: _fit_file(path, size, settings)[::-1], name=str(path))
    return image, _fit_file(path, size, settings)  # of the whole, for the size of a reduced image is rounded


def _fit_file(path: Path, size: tuple[int, int], settings: PixelSettings) -> tuple[int, int]:
    """What `fit` gives for a file's width and height; its error names the file."""
    try:
        return fit(size[1], size[0], settings)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def outline(path: Path, settings: PixelSettings) -> ViewPixels:
    """A black view of the size that a file's view will have, by its header; it takes no memory.

    Raises ImageError as `procir.images.image_size` does.
    """
    fitted = _fit_file(path, image_size(path), settings)
    factor = settings.patch * settings.merge
    return ViewPixels(np.broadcast_to(np.uint8(0), (*fitted, 3)), (fitted[0] // factor, fitted[1] // factor))


class PixelStore:
    """Resized views by path, decoded in parallel threads and kept in memory up to `capacity` bytes.

    The least recently used views go first. A view is decoded once, however many products, steps or threads ask
    for it, as long as it stays within the capacity. `read` gives the view of a file (see
    `procir.model.view_cache.ViewCache.view`); without it files are decoded. There are as many threads as cores
    unless `threads` says otherwise.
    """

    def __init__(
        self,
        settings: PixelSettings,
        *,
        capacity: int = 1 << 30,
        threads: int | None = None,
        read: Callable[[Path], ViewPixels] | None = None,
    ) -> None:
        self.settings = settings
        self.capacity = capacity
        self._read = read or partial(read_view, settings=settings)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), thread_name_prefix="pixels")
        self._kept: OrderedDict[Path, ViewPixels] = OrderedDict()
        self._coming: dict[Path, Future[ViewPixels]] = {}
        self._size = 0
        self._lock = Lock()

    def products(self, products: Sequence[Product]) -> list[tuple[ViewPixels, ...]]:
        """The first five views of each product; raises MissingDataError for a product without views."""
        for product in products:
            if not product.views:
                raise MissingDataError(f"product {product.key} has no views: it cannot be encoded")
        return self.views([product.views[:MAX_VIEWS] for product in products])

    def views(self, groups: Sequence[Sequence[View]]) -> list[tuple[ViewPixels, ...]]:
        """The views of each group, in order."""
        paths = [[view.path for view in group] for group in groups]
        asked = {path: self._ask(path) for group in paths for path in group}
        loaded = {path: view.result() if isinstance(view, Future) else view for path, view in asked.items()}
        return [tuple(loaded[path] for path in group) for group in paths]

    def _ask(self, path: Path) -> ViewPixels | Future[ViewPixels]:
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
            if path not in self._coming:
                self._coming[path] = self._pool.submit(self._load, path)
            return self._coming[path]

    def _load(self, path: Path) -> ViewPixels:
        try:
            view = self._read(path)
            assert view.digest  # computed here, in a thread of its own
        except BaseException:
            with self._lock:
                del self._coming[path]
            raise
        with self._lock:
            del self._coming[path]
            self._keep(path, view)
        return view

    def _keep(self, path: Path, view: ViewPixels) -> None:
        if view.pixels.nbytes > self.capacity:
            return
        self._kept[path] = view
        self._size += view.pixels.nbytes
        while self._size > self.capacity:
            self._size -= self._kept.popitem(last=False)[1].pixels.nbytes
