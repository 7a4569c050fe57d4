"""Where a model's views come from: their files, or a cache on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from procir.model.pixels import PixelStore, require_view
from procir.model.reader import Reader
from procir.model.view_cache import ViewCache


@contextmanager
def kept_views(model: Reader, folder: Path | None) -> Iterator[Callable[[Path], object]]:
    """Let the model take its views from a cache in `folder` while this lasts, or without one from their files.

    Gives a function that makes sure of a file's view before it is needed: it is decoded, and kept if there is a cache;
    ImageError names a file that has none.
    """
    pixels = model.settings.pixels
    if folder is None:
        yield partial(require_view, settings=pixels)
        return
    store = model.store
    with ViewCache(folder, pixels) as cache:
        model.store = PixelStore(pixels, capacity=store.capacity, read=cache.view)
        try:
            yield cache.ensure
        finally:
            model.store = store
