"""Encoding a catalogue to disk: memory that does not grow with it.

Draws a catalogue and encodes it piece by piece. Memory rises while the allocator meets batches of new shapes, and must
then stay: the second half of the catalogue may take little more than the first. `python -m benchmarks.encode` prints
what it measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.catalog.released import read_split
from procir.model.embedder import ProCIR
from procir.model.encoding import encode_to, one_by_one
from procir.model.pixels import PixelSettings
from procir.model.prefix import fingerprint
from procir.recipes import tiny

PRODUCTS = 3000
PIECE = 100
SIDE = 256
CACHE_MIB = 64
TARGET = 1.1


def resident() -> float:
    """MiB of memory that this process holds now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> int:
    held: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        config = AtelierConfig(train_products=19, val_products=PRODUCTS, size=SIDE, seed=5)
        draw_catalogue(root / "data", config, os.cpu_count() or 1)
        products = list(read_split(root / "data", "val")[0].products.values())
        start = tiny.starter_model()
        settings = replace(start.settings, pixels=PixelSettings(min_pixels=SIDE * SIDE, max_pixels=SIDE * SIDE))
        model = ProCIR(start.network, start.tokenizer, settings, cache_bytes=CACHE_MIB << 20)
        before = resident()
        begun = time.perf_counter()
        encode_to(
            root / "encoded", products, [str(product.key) for product in products], one_by_one(model.encode_products),
            dim=model.dim, fingerprint=fingerprint(model), piece=PIECE,
            progress=lambda *_: held.append(resident()),
        )  # fmt: skip
        seconds = time.perf_counter() - begun
    half = len(held) // 2
    first, second = max(held[:half]), max(held[half:])
    views = sum(len(product.views) for product in products)
    print(f"{os.cpu_count()} cores, tiny shape, {len(products)} products, {views} views of {SIDE} x {SIDE}, "
          f"{CACHE_MIB} MiB of decoded views kept")  # fmt: skip
    decoded = views * 3 * SIDE**2 / 2**20
    print(f"{len(products) / seconds:.0f} products a second; {before:.0f} MiB before, at most {first:.0f} in the first "
          f"half and {second:.0f} in the second; all views decoded are {decoded:.0f} MiB")  # fmt: skip
    claim = "encoding the second half of a catalogue takes at most a tenth more memory than the first"
    value = second / first
    print(json.dumps({"claim": claim, "value": round(value, 3), "target": TARGET, "holds": value <= TARGET}))
    return 0 if value <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
