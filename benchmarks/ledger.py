"""The ledger at the size of the paper's data: writing 144,000 outcomes, and finding what is left of them.

Every product goes through the real ledger as an annotator's call does: a note, the body of the answer (3 KB), what it
used, and its outcome, while 64 tasks write at once. Then a second start opens the ledger and decides, product by
product, what is left to ask. The reference in the same run reads all keys with plain SQLite, and must find the same.
`python -m benchmarks.ledger` prints what it measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from procir.annotators.ledger import Call, Decision, Ledger, Spent

PRODUCTS = 144_000
LEFT = 100
"""One in so many products has no outcome yet."""

TASKS = 64
TARGET_SECONDS = 10.0
TARGET_MIB = 1024
CHUNK = 256


def key(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def words(rng: random.Random, count: int) -> str:
    return " ".join(
        rng.choice(("red", "cotton", "sleeve", "collar", "left", "zip")) + str(rng.random())[2:6] for _ in range(count)
    )


async def pay(ledger: Ledger, number: int) -> None:
    """One product, as an annotator writes it down."""
    rng = random.Random(number)
    call = Call(key=key(number), stage="caption", item=f"fashion/{number}", model="kimi-k2.5")
    answer = json.dumps({"long_caption": words(rng, 160), "short_caption": words(rng, 40)})
    body = json.dumps({"id": str(number), "choices": [{"message": {"content": answer}}], "usage": {"total": 3000}})
    await ledger.receive(await ledger.begin(call, 1), call, body.encode(), 12.5)
    ledger.spend(
        call.key,
        Spent(model="kimi-k2.5", text=answer, input=2000, output=1000, cached=0, thinking=500, dollars=0.004),
    )
    await ledger.decide(call, Decision(answer=answer, reason=None, round=0))


async def write(path: Path) -> None:
    remaining = (number for number in range(PRODUCTS) if number % LEFT)

    async def worker(ledger: Ledger) -> None:
        for number in remaining:
            await pay(ledger, number)

    with Ledger.open(path) as ledger:
        await asyncio.gather(*(worker(ledger) for _ in range(TASKS)))


def left(path: Path) -> Iterator[int]:
    """The products without an outcome, found as a run finds them."""
    with Ledger.open(path) as ledger:
        for first in range(0, PRODUCTS, CHUNK):
            keys = {key(number): number for number in range(first, min(first + CHUNK, PRODUCTS))}
            known = ledger.known(keys)
            yield from (number for name, number in keys.items() if name not in known)


def reference(path: Path) -> list[int]:
    """The same by one query over all keys."""
    connection = sqlite3.connect(path)
    known = {name.hex() for (name,) in connection.execute("SELECT key FROM outcomes")}
    connection.close()
    return [number for number in range(PRODUCTS) if key(number) not in known]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        begun = time.perf_counter()
        asyncio.run(write(path))
        written = time.perf_counter() - begun
        size = path.stat().st_size / 2**20
        begun = time.perf_counter()
        found = list(left(path))
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun = time.perf_counter()
        expected = reference(path)
        plain = time.perf_counter() - begun
    assert found == expected == list(range(0, PRODUCTS, LEFT))
    print(f"{os.cpu_count()} cores, {PRODUCTS} products, one in {LEFT} left, {TASKS} tasks write at once")
    print(f"written in {written:.0f} s ({PRODUCTS / written:.0f} products a second), {size:.0f} MiB on disk")
    print(f"what is left found in {seconds:.1f} s (plain SQLite {plain:.1f} s); at most {peak:.0f} MiB of memory")
    claim = "a resumed run of 144,000 products knows what is left within 10 s, and memory stays under 1 GiB all along"
    holds = seconds < TARGET_SECONDS and peak < TARGET_MIB
    print(json.dumps(
        {"claim": claim, "value": round(seconds, 1), "target": TARGET_SECONDS, "peak_mib": round(peak), "holds": holds}
    ))  # fmt: skip
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
