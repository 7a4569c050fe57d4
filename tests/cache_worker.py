"""Fills a cache of views until it is done or killed: `python cache_worker.py CACHE PHOTOS [BYTES]`.

With BYTES no file may grow beyond so many, as on a full disk.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from procir.errors import CacheError
from procir.model import view_cache
from procir.model.pixels import PixelSettings
from procir.model.view_cache import ViewCache

SETTINGS = PixelSettings(min_pixels=64 * 64, max_pixels=64 * 64)


def main(cache: Path, photos: Path, limit: str | None = None) -> None:
    """Every view is written by itself, so that there are as many chances to be killed while writing."""
    view_cache._PENDING_BYTES = 1
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    print("begins", flush=True)
    try:
        with ViewCache(cache, SETTINGS) as views:
            for path in sorted(photos.iterdir()):
                views.ensure(path)
    except CacheError as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
