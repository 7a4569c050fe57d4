"""How fast the atelier draws: views a second on one core, beside the JPEG encoding of the same pictures.

`python -m benchmarks.atelier` prints what it measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import io
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from PIL import Image

from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import GROUPS, VIEW_NAMES, Garment, attributes

TARGET = 60
SIZE = 256
ROUNDS = 5
GARMENTS = 38
LEAK_VIEWS = 2000
LEAK_LIMIT_MB = 40.0


def sample(count: int, seed: int) -> list[tuple[Garment, str]]:
    """Views of garments whose values are drawn uniformly, in every group in turn, in random order."""
    rng = random.Random(seed)
    views = []
    for number in range(count):
        group = GROUPS[number % len(GROUPS)]
        values = {attribute.name: rng.choice(attribute.values) for attribute in attributes(group)}
        garment = Garment(group, values, VIEW_NAMES, rng.randrange(1 << 30))
        views += [(garment, view) for view in VIEW_NAMES]
    return views


def encode(pictures: Sequence[Image.Image]) -> None:
    for picture in pictures:
        picture.save(io.BytesIO(), "JPEG", quality=90)


def timed(work: Callable[[], object]) -> float:
    """Processor seconds that a piece of work takes; other processes on the machine do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(views: Sequence[tuple[Garment, str]]) -> tuple[float, float]:
    """Seconds for drawing the views and for encoding what was drawn."""
    pictures: list[Image.Image] = []
    drawing = timed(lambda: pictures.extend(draw(garment, view, SIZE) for garment, view in views))
    return drawing, timed(lambda: encode(pictures))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_growth() -> float:
    """Growth of the peak in MiB over many draws, after as many kinds of views have filled the caches."""
    views = sample(LEAK_VIEWS // len(VIEW_NAMES), seed=2)
    for garment, view in views:
        draw(garment, view, SIZE)
    before = peak_mb()
    for garment, view in views:
        draw(garment, view, SIZE)
    return peak_mb() - before


def main() -> int:
    views = sample(GARMENTS, seed=1)
    measure(views)
    rounds = [measure(views) for _ in range(ROUNDS)]
    speeds = [len(views) / drawing for drawing, _ in rounds]
    ratios = [drawing / encoding for drawing, encoding in rounds]
    growth = memory_growth()
    speed = statistics.median(speeds)
    print(f"{len(views)} views of {SIZE} x {SIZE}, {ROUNDS} rounds, one process, processor time")
    print(f"drawing: {speed:.0f} views a second (from {min(speeds):.0f} to {max(speeds):.0f})")
    print(f"drawing / JPEG encoding: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"peak memory: {peak_mb():.0f} MiB, grew by {growth:.1f} MiB over {LEAK_VIEWS} draws")
    holds = min(speeds) >= TARGET and growth <= LEAK_LIMIT_MB
    claim = "the atelier draws at least 60 views of 256 x 256 a second on one core"
    print(json.dumps({"claim": claim, "value": round(speed, 1), "target": TARGET, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
