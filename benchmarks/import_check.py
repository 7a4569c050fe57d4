"""Checking a catalogue against decoding alone, and reading the lines of a large one.

Makes JPEGs of 256 x 256, then in turn, on the same cores and in processes started anew, decodes them and nothing else,
and checks them: every file read, decoded, hashed, compared with its import and counted. The rates are medians of
several rounds. `python -m benchmarks.import_check` prints what it measured, and as its last line one JSON object with
both claims.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from procir.catalog.checking import check_catalogue
from procir.catalog.choosing import ViewRules
from procir.catalog.importing import import_products
from procir.catalog.processes import in_processes
from procir.catalog.products import read_products
from procir.catalog.sources.folder import folder_offers
from procir.images import load_image
from procir.pieces import pieces

SIDE, VIEWS = 256, 4
ROUNDS = 5
TARGET = 0.8
PRODUCTS, SECONDS, MEGABYTES = 144_000, 3.0, 500.0


def jpeg(rng: np.random.Generator) -> bytes:
    """A picture with edges and texture, of about 15 kB."""
    soft = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((SIDE, SIDE), 3)
    grain = rng.normal(0, 6, (SIDE, SIDE, 1))
    pixels = np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def make_shop(root: Path, products: int) -> int:
    """A folder of products; returns the bytes of a photo, on average."""
    rng = np.random.default_rng(0)
    total = 0
    for number in range(products):
        folder = root / f"p{number:05}"
        folder.mkdir(parents=True)
        for view in range(VIEWS):
            content = jpeg(rng)
            total += len(content)
            (folder / f"{view}.jpg").write_bytes(content)
    return total // (products * VIEWS)


def decode_all(paths: list[Path]) -> int:
    """Decode photos; their number."""
    return len([load_image(path).size for path in paths])


def rate(work: partial[object], photos: int) -> float:
    """Photos a second."""
    begun = time.perf_counter()
    work()
    return photos / (time.perf_counter() - begun)


def decode_alone(paths: list[Path], workers: int) -> int:
    return sum(in_processes(decode_all, pieces(paths, 16 * VIEWS), workers))


def check_share(products: int, workers: int) -> float:
    """The rate of a check as a share of that of decoding alone."""
    with tempfile.TemporaryDirectory() as folder:
        shop, out = Path(folder, "shop"), Path(folder, "out")
        size = make_shop(shop, products)
        begun = time.perf_counter()
        import_products(
            partial(folder_offers, shop, "shop"), out, ViewRules(), about={"source": "folder", "place": "shop"},
            workers=workers,
        )  # fmt: skip
        photos = products * VIEWS
        print(f"{workers} processes, {photos} JPEGs of {SIDE} x {SIDE}, {size / 1000:.1f} kB each")
        print(f"import, looks compared and files copied: {photos / (time.perf_counter() - begun):.0f} photos a second")
        paths = sorted((out / "images").rglob("*.jpg"))
        works = (partial(decode_alone, paths, workers), partial(check_catalogue, out, workers=workers))
        rates = [[rate(work, photos) for work in works] for _ in range(ROUNDS)]
    decode, check = (statistics.median(column) for column in zip(*rates, strict=True))
    share = statistics.median(check / decode for decode, check in rates)
    print(
        f"decoding alone {decode:.0f}, check {check:.0f} photos a second; {share:.0%} in the median of {ROUNDS} rounds"
    )
    return share


def write_lines(root: Path) -> None:
    """The lines of an import of 144,000 products with three to five views."""
    (root / "images").mkdir()
    names = ("front", "back", "side", "full", "detail")
    with (root / "products.jsonl").open("w", encoding="utf-8") as file:
        for number in range(PRODUCTS):
            views = [
                {"file": f"{place:02}_{name}.jpg", "view": name, "confidence": 0.9, "known_by": "file name"}
                for place, name in enumerate(names[: 3 + number % 3], start=1)
            ]
            row = {
                "dataset": "shop", "product_id": f"WOMEN/Dresses/id_{number:08}/01", "category": "dress",
                "gender": "women", "title": "A dress with long sleeves", "colour": "navy", "price": "39.90 EUR",
                "url": f"https://shop.example/{number}", "views": views,
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")


def load_lines(root: Path) -> int:
    """In a process of its own: the seconds of a load, and the most memory that the process ever had."""
    begun = time.perf_counter()
    stock, report = read_products(root)
    seconds = time.perf_counter() - begun
    peak = int(Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "megabytes": peak, "products": len(stock.products), "views": report.views}))
    return 0


def measure_load() -> dict[str, float]:
    """The median load of three."""
    with tempfile.TemporaryDirectory() as folder:
        write_lines(Path(folder))
        command = [sys.executable, "-m", "benchmarks.import_check", "--load", folder]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
        ]
    found = sorted(runs, key=lambda run: run["seconds"])[1]
    print(f"{found['products']:,} products, {found['views']:,} views: {found['seconds']:.2f} s, at most "
          f"{found['megabytes']:.0f} MiB of memory")  # fmt: skip
    return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=Path)
    parser.add_argument("--products", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.load:
        return load_lines(arguments.load)
    share = check_share(arguments.products, arguments.workers)
    load = measure_load()
    holds = share >= TARGET and load["seconds"] < SECONDS and load["megabytes"] < MEGABYTES
    claim = "a check reaches 80% of decoding alone; the lines of 144,000 products load in 3 s and 500 MB"
    print(
        json.dumps(
            {
                "claim": claim,
                "value": round(share, 3),
                "target": TARGET,
                "seconds": round(load["seconds"], 2),
                "megabytes": round(load["megabytes"]),
                "holds": holds,
            }
        )
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
