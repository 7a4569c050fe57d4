"""Mining candidates, against the bare matrix products of the same blocks.

Three paths of 1024 numbers a product, first in groups of unequal sizes as a catalogue has them, then as one group.
The embeddings are rows around centers, as those of models are, and lie in memory-mapped files. After each block of
mining come its bare products, so that both see the same machine; they go into one buffer and are thrown away, and the
groups lie ready for them in memory. Some candidates are checked against every product computed in float64.
`python -m benchmarks.candidates [--products 10000]` prints what it measured, and as its last line one JSON object with
the claim.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from procir.construct.candidates import COLUMNS, ROWS, SAMPLE, TOP, mine
from procir.types import ProductKey

DIM = 1024
PATHS = ("visual", "long caption", "short caption")
GROUPS = 30
TARGET = 1.5
CHECKED = 50


def embeddings(folder: Path, products: int) -> dict[str, np.ndarray]:
    """A memory-mapped matrix of unit rows for each path: a common direction, one of 500 centers, and noise."""
    paths = {}
    for seed, name in enumerate(PATHS):
        rng = np.random.default_rng(seed)
        common, centers = rng.standard_normal(DIM), rng.standard_normal((500, DIM))
        file = folder / f"{seed}.npy"
        matrix = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(products, DIM))
        for start in range(0, products, COLUMNS):
            count = min(COLUMNS, products - start)
            rows = 1.5 * common + centers[rng.integers(500, size=count)] + rng.standard_normal((count, DIM))
            matrix[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        matrix.flush()
        paths[name] = np.load(file, mmap_mode="r")
    return paths


def unequal(products: int) -> list[int]:
    """The group of each product; the largest of the groups has about a fifth of all."""
    rng = np.random.default_rng(9)
    shares = 1 / np.arange(1, GROUPS + 1)
    return rng.choice(GROUPS, size=products, p=shares / shares.sum()).tolist()


class Bare:
    """The products of the blocks that mining goes through, in its order, block by block in turn with it."""

    def __init__(self, groups: Sequence[int], paths: Mapping[str, np.ndarray]) -> None:
        members = np.array(groups)
        self.piles = [[matrix[members == group] for matrix in paths.values()] for group in dict.fromkeys(groups)]
        self.blocks = [(pile, start) for pile in self.piles for start in range(0, len(pile[0]), ROWS)]
        self.buffer = np.empty(ROWS * COLUMNS, np.float32)
        self.done, self.seconds = 0, 0.0

    def next(self, *_: int) -> None:
        """The products of the block that mining has just left."""
        begun = time.perf_counter()
        pile, start = self.blocks[self.done]
        for matrix in pile:
            left = matrix[start : start + ROWS]
            for first in range(0, len(matrix), COLUMNS):
                right = matrix[first : first + COLUMNS]
                out = self.buffer[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=out)
        self.done += 1
        self.seconds += time.perf_counter() - begun


def check(keys: Sequence[ProductKey], groups: Sequence[int], paths: Mapping[str, np.ndarray], seed: int) -> None:
    """Of some products, whether their whole union is what a look at every product gives."""
    mined = mine(keys, groups, paths, sample=len(PATHS) * TOP, seed=seed)
    members = np.array(groups)
    for number in np.random.default_rng(5).choice(len(keys), CHECKED, replace=False).tolist():
        others = np.flatnonzero(members == members[number])
        others = others[others != number]
        union: set[int] = set()
        for matrix in paths.values():
            scores = (matrix[others].astype(np.float64) * matrix[number]).sum(axis=1)
            union |= set(others[np.argsort(-scores, kind="stable")[:TOP]].tolist())
        assert {keys[other] for other in union} == set(mined[keys[number]]), keys[number]


def measure(name: str, groups: Sequence[int], paths: Mapping[str, np.ndarray], rounds: int) -> list[float]:
    """Ratios of mining to the bare products, round by round, in turn."""
    keys = [ProductKey("shop", f"{number:06}") for number in range(len(groups))]
    members = np.array(groups)
    sizes = np.unique(members, return_counts=True)[1]
    check(keys, groups, paths, seed=1)
    ratios = []
    for _ in range(rounds):
        products = Bare(groups, paths)
        begun = time.perf_counter()
        mine(keys, groups, paths, seed=1, progress=products.next)
        mining = time.perf_counter() - begun - products.seconds
        assert products.done == len(products.blocks)
        ratios.append(mining / products.seconds)
        print(f"{name}: {len(sizes)} groups from {sizes.min()} to {sizes.max()}, products {products.seconds:.1f} s, "
              f"mining {mining:.1f} s, ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=57_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = embeddings(Path(folder), arguments.products)
        ratios = measure("unequal groups", unequal(arguments.products), paths, arguments.rounds)
        ratios += measure("one group", [0] * arguments.products, paths, arguments.rounds)
    print(f"{os.cpu_count()} cores, {arguments.products} products, {len(PATHS)} paths of {DIM}, the nearest {TOP}, "
          f"{SAMPLE} drawn; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, "
          "the groups of the bare run and pages of mapped files included")  # fmt: skip
    claim = "mining candidates takes at most 1.5 times the time of its bare matrix products"
    worst = max(ratios)
    print(f"mining / bare products from {min(ratios):.3f} to {worst:.3f}")
    value = round(statistics.median(ratios), 3)
    print(json.dumps({"claim": claim, "value": value, "target": TARGET, "holds": worst <= TARGET}))
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
