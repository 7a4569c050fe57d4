"""Imports a folder slowly, so that it can be killed meanwhile: `python import_worker.py FOLDER OUT`."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from procir.catalog.choosing import ViewRules
from procir.catalog.importing import import_products
from procir.catalog.sources.folder import folder_offers

if __name__ == "__main__":
    shop, out = map(Path, sys.argv[1:])
    import_products(
        partial(folder_offers, shop, "shop"), out, ViewRules(), about={"source": "folder", "place": "shop"},
        progress=lambda *_: time.sleep(0.1),
    )  # fmt: skip
