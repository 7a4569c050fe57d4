"""A whole construction at the size of the paper's data, and what a resumed one has to do before it asks anything.

A catalogue of 144,000 products with 531,000 photos goes through the three stages with the real ledger; answers of usual
length come from this process, and are noted, received, paid and decided as those of an endpoint are. One product in a
hundred gets no caption. Then fresh processes open the ledger and decide what is left of stage 1, and after that the
whole construction is resumed. A thread watches the memory; pages of mapped files are counted apart, for the system
takes them back as it likes. The reference in the same run reads all keys with plain SQLite, and must find as many.
`python -m benchmarks.ledger [--products 144000]` prints what it measured, and as its last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from procir.annotators import loop
from procir.annotators.filing import Filing
from procir.annotators.ledger import Call, Decision, Ledger, Spent
from procir.annotators.request import OPEN, Request
from procir.annotators.run import Outcome, annotate, decided
from procir.annotators.settings import AnnotatorSettings
from procir.catalog.products import Stock, read_products
from procir.construct.caption import caption_questions
from procir.construct.construction import STAGES, Construction, construct
from procir.construct.domain import read_domain
from procir.construct.questions import CAPTION, TRIPLETS, VERIFY
from procir.construct.work import Work
from procir.errors import UnansweredError
from procir.recipes.choices import ConstructChoice
from procir.recipes.construct import write_data_set
from procir.types import Product, Query

PRODUCTS = 144_000
LEFT = 100
"""One in so many products gets no answer in the first run."""

STARTS = 3
"""Fresh processes that find what is left, one after the other; their median counts."""

FILES = 1000
"""Different photos; every view is a link to one of them."""

GROUPS = 60
DIM = 256
SIDE = 1024
TARGET_SECONDS = 10.0
TARGET_MIB = 1024

SETTINGS = AnnotatorSettings(
    provider="openai", model="instant", base_url="http://127.0.0.1:1/v1", key_variable="NONE", max_tokens=4096
)
_RNG = random.Random(0)
WORDS = [
    _RNG.choice(("red", "cotton", "sleeve", "collar", "left", "zip")) + str(_RNG.random())[2:5] for _ in range(999)
]


def text(seed: int, count: int) -> str:
    start = seed % (len(WORDS) - count)
    return f"{seed % 9973} " + " ".join(WORDS[start : start + count])


class Instant(Filing):
    """Answers at once, with texts of usual length, and writes everything down as for an endpoint."""

    def __init__(self, ledger: Ledger, *, patchy: bool) -> None:
        super().__init__(SETTINGS, ledger)
        self.patchy = patchy
        self.in_flight = 64
        self.asked = 0

    def stop(self) -> None:
        """Nothing is under way elsewhere."""

    def outcomes(self, requests: Iterable[Request[Any]], **more: Any) -> AsyncGenerator[Outcome[Any], None]:
        """As of any annotator."""
        return annotate(self, requests, **more)

    async def answer(self, request: Request[Any], round: int = 0) -> Any:
        """The answer, paid for."""
        seed = int(sha256(request.item.encode()).hexdigest()[:8], 16)
        if self.patchy and request.stage == CAPTION and seed % LEFT == 0:
            raise UnansweredError("no answer this time")
        self.asked += 1
        told = ANSWERS[request.stage](request, seed)
        request.check(request.schema.model_validate(told))
        answer = request.schema.model_validate(told)
        kept = answer.model_dump_json(by_alias=True)
        call = Call(key=self.key(request), stage=request.stage, item=request.item, model=SETTINGS.model)
        body = json.dumps({"choices": [{"message": {"content": kept}}], "usage": {"total": 3000}})
        ledger = self.ledger
        await ledger.receive(await ledger.begin(call, 1), call, body.encode(), 12.5)
        ledger.spend(
            call.key, Spent(model="instant", text=kept, input=2000, output=1000, cached=0, thinking=500, dollars=0.004)
        )
        await self.decide(request, Decision(answer=kept, reason=None, round=round))
        return answer


def captions(request: Request[Any], seed: int) -> dict[str, Any]:
    labels = [part for part in request.parts if isinstance(part, str) and part.startswith("[Image")]
    images = [f"{label} {text(seed + number, 115)}" for number, label in enumerate(labels)]
    return {
        "is_clothing": True, "image_captions": images, "long_caption": text(seed, 220), "short_caption": text(seed, 39)
    }  # fmt: skip


def analyses(request: Request[Any], seed: int) -> dict[str, Any]:
    products = []
    for part in request.parts:
        if isinstance(part, str):
            asked = json.loads(part.removeprefix(OPEN).rpartition("<")[0])
            names = [*(view["name"] for view in asked["views"]), "long_caption", "short_caption"]
            bad = int(sha256(asked["product_id"].encode()).hexdigest()[:6], 16) % 25 == 0
            box = {"element": "chest pocket", "bbox": [1, 2, 300, 400], "position_in_image": "left"}
            found = [
                {"caption_name": name, "bounding_boxes": [box], "reasoning": text(seed, 30), "has_error": bad}
                for name in names
            ]
            own = {"product_index": asked["product_index"], "product_id": asked["product_id"]}
            products.append({**own, "caption_analyses": found})
    return {"products": products}


def selections(request: Request[Any], seed: int) -> dict[str, Any]:
    count = sum(isinstance(part, str) and part.startswith("[Product") for part in request.parts)
    chosen = sorted({seed % count, (seed // 7) % count})
    return {
        "selections": [
            {
                "target_id": place + 1, "same_category_check": "same", "views_involved": ["front", "back"],
                "difficulty_reasoning": text(seed, 20), "modification_text_long": text(seed + place, 84),
                "modification_text_short": text(seed + place, 23),
            }
            for place in chosen
        ]
    }  # fmt: skip


ANSWERS = {CAPTION: captions, VERIFY: analyses, TRIPLETS: selections}


class Noise:
    """An embedder that knows nothing: unit rows drawn by name."""

    dim = DIM

    def encode_products(self, products: Sequence[Product]) -> np.ndarray:
        """Rows of products."""
        return self._rows([str(product.key) for product in products])

    def encode_queries(self, queries: Sequence[Query]) -> np.ndarray:
        """Rows of queries."""
        return self._rows([query.text for query in queries])

    def encode_captions(self, texts: Sequence[str]) -> np.ndarray:
        """Rows of texts."""
        return self._rows(texts)

    def _rows(self, names: Sequence[str]) -> np.ndarray:
        seeds = [int(sha256(name.encode()).hexdigest()[:8], 16) for name in names]
        rows = np.stack([np.random.default_rng(seed).standard_normal(DIM, np.float32) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_catalogue(root: Path, products: int) -> int:
    """A folder a product with two to five views; the number of views."""
    photos = root / "photos"
    photos.mkdir()
    for number in range(FILES):
        color = (number % 256, number // 4 % 256, 99)
        Image.new("RGB", (48, 64), color).save(photos / f"{number}.jpg")
    views = 0
    with (root / "products.jsonl").open("w") as lines:
        for number in range(products):
            name = f"p{number:06}"
            folder = root / "images" / "shop" / name
            folder.mkdir(parents=True)
            for side in ("front", "back", "side", "full", "detail")[: (4, 4, 3, 5, 4, 2)[number % 6]]:
                os.link(photos / f"{views % FILES}.jpg", folder / f"{name}_{side}.jpg")
                views += 1
            row = {"dataset": "shop", "product_id": name, "category": f"c{number % GROUPS}", "gender": "women"}
            lines.write(json.dumps(row) + "\n")
    return views


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """The largest memory while the block runs, in MiB: of this process alone, and with mapped files."""
    peak, ended = {"RssAnon": 0.0, "VmRSS": 0.0}, threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            lines = Path("/proc/self/status").read_text().splitlines()
            found = {
                name: float(rest.split()[0])
                for name, _, rest in (line.partition(":") for line in lines)
                if name in peak
            }
            peak.update({name: max(peak[name], value / 1024) for name, value in found.items()})

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def run(root: Path, out: Path, stock: Stock, *, patchy: bool) -> tuple[int, dict[str, float]]:
    """The whole construction, written to the disk; how many answers were paid, and the seconds of each part."""
    marks: dict[str, float] = {}

    def progress(stage: str, *_: int) -> None:
        marks.setdefault(stage, time.perf_counter())

    with Ledger.open(out / "ledger.sqlite") as ledger:
        work = Work(ledger=ledger, domain=read_domain("fashion"), progress=progress)
        instant = Instant(ledger, patchy=patchy)

        async def stages() -> Construction:
            return await construct(
                work, dict.fromkeys(STAGES, instant), stock, lambda: (Noise(), "noise"), out, picture_side=SIDE,
                validation_share=0.15, seed=0,
            )  # fmt: skip

        begun = time.perf_counter()
        made = loop.run(stages())
        marks["writing"] = time.perf_counter()
        write_data_set(out, ConstructChoice(catalogue=root), stock, made)
    ends = [*list(marks.values())[1:], time.perf_counter()]
    first = next(iter(marks))
    marks[first] = begun
    return instant.asked, {name: end - start for (name, start), end in zip(marks.items(), ends, strict=True)}


async def left(ledger_path: Path, stock: Stock) -> int:
    """How many questions of stage 1 are left, found as a run finds them."""
    with Ledger.open(ledger_path) as ledger:
        work = Work(ledger=ledger, domain=read_domain("fashion"))
        questions = decided(Filing(SETTINGS, ledger), caption_questions(work, stock.products, SIDE))
        return sum(decision is None for _, _, decision in questions)


def started(root: Path, out: Path) -> tuple[int, float]:
    """What a fresh process, as a resumed run is one, finds to be left, and the seconds that it takes for it."""
    command = [sys.executable, "-m", "benchmarks.ledger", "--left", str(root), str(out)]
    count, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(count), float(seconds)


def print_left(root: Path, out: Path) -> int:
    stock, _ = read_products(root)
    begun = time.perf_counter()
    found = loop.run(left(out / "ledger.sqlite", stock))
    print(found, time.perf_counter() - begun)
    return 0


def reference(path: Path, products: int) -> int:
    """The same by one query over all keys."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT count(*) FROM outcomes WHERE stage = 'caption'").fetchone()[0]
    connection.close()
    return products - found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=PRODUCTS)
    parser.add_argument("--left", type=Path, nargs=2, metavar=("ROOT", "OUT"), help="what the benchmark starts itself")
    options = parser.parse_args()
    if options.left:
        return print_left(*options.left)
    products = options.products
    with tempfile.TemporaryDirectory() as folder, watched() as peak:
        root, out = Path(folder) / "catalogue", Path(folder) / "out"
        root.mkdir()
        out.mkdir()
        views = make_catalogue(root, products)
        begun = time.perf_counter()
        stock, _ = read_products(root)
        read = time.perf_counter() - begun
        print(f"{os.cpu_count()} cores, {products} products, {views} views; the catalogue is read in {read:.1f} s")
        paid, parts = run(root, out, stock, patchy=True)
        print(f"constructed: {paid} answers; {said(parts)}; {peak['RssAnon']:.0f} MiB ({peak['VmRSS']:.0f} mapped)")
        starts = [started(root, out) for _ in range(STARTS)]
        found, seconds = starts[0][0], statistics.median(seconds for _, seconds in starts)
        assert {found} == {own for own, _ in starts} == {reference(out / "ledger.sqlite", products)} and found > 0
        told = ", ".join(f"{seconds:.1f}" for _, seconds in starts)
        print(f"what is left of stage 1 ({found}) is found in {told} s by fresh processes", flush=True)
        again, parts = run(root, out, stock, patchy=False)
        print(f"resumed: {again} answers; {said(parts)}; {peak['RssAnon']:.0f} MiB ({peak['VmRSS']:.0f} mapped)")
    claim = f"a resumed run of {products:,} products knows what is left in 10 s, and a whole run takes less than 1 GiB"
    holds = seconds < TARGET_SECONDS and peak["RssAnon"] < TARGET_MIB
    found = {"value": round(seconds, 1), "target": TARGET_SECONDS, "peak_mib": round(peak["RssAnon"])}
    print(json.dumps({"claim": claim, **found, "holds": holds}))
    return 0 if holds else 1


def said(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in parts.items())


if __name__ == "__main__":
    sys.exit(main())
