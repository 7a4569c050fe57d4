"""Report contents for tests: a small catalogue of coloured images, evaluated by hash embeddings."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from embedders import HashEmbedder, unit
from procir.evaluate import protocol, results
from procir.report import cases, page
from procir.report.figures import Curve
from procir.types import Caption, Product, ProductKey, Query, Split, Triplet, View

EVIL = '<script>alert("1")</script>'
"""A text that must never become markup."""


class LeaningEmbedder(HashEmbedder):
    """Queries lean towards their targets, by an amount that depends on the source: hits and misses are mixed."""

    def __init__(self, split: Split, dim: int = 24) -> None:
        super().__init__(dim)
        self._targets = {(t.source, t.short): split.products[t.target] for t in split.triplets}

    def encode_queries(self, queries):  # type: ignore[no-untyped-def]
        return self._rows([self._lean(query) for query in queries])

    def _lean(self, query: Query):  # type: ignore[no-untyped-def]
        target = self._targets.get((query.source.key, query.text))
        lean = int(query.source.key.product_id[1:]) % 4 * 0.5
        return lean * self._document(target) + unit(query.text, self.dim) + 0.7 * self._document(query.source)


def toy_products(folder: Path, count: int) -> dict[ProductKey, Product]:
    """Products of two or three plain coloured views of 60 x 80 pixels."""
    products = {}
    for number in range(count):
        key = ProductKey("shop", f"p{number:02}")
        names = ("front", "back", "side")[: 2 + number % 2]
        views = tuple(View(folder / f"{key.product_id}-{name}.png", name) for name in names)
        for place, view in enumerate(views):
            Image.new("RGB", (60, 80), (5 * number, 80 * place, 200 - 4 * number)).save(view.path)
        products[key] = Product(key, views)
    return products


def toy_split(folder: Path, count: int = 40) -> Split:
    """A circle of triplets over `count` products; every third request has markup in its text."""
    products = toy_products(folder, count)
    keys = list(products)
    triplets = tuple(
        Triplet(
            key,
            keys[(at + 7) % count],
            f"in {at} shades {EVIL if at % 3 == 0 else ''}",
            satisfying=tuple(keys[(at + step) % count] for step in (7, 9, 11, 20)),
        )
        for at, key in enumerate(keys)
    )
    captions = {key: Caption(key, "long", f"{EVIL} {key.product_id}") for key in keys}
    return Split("val", products, captions, triplets)


def evaluation_content(folder: Path) -> page.ReportContent:
    """A whole evaluation report over 40 products."""
    split = toy_split(folder)
    embedder = LeaningEmbedder(split)
    evaluation = protocol.evaluate(embedder, split)
    rows = {"untrained": protocol.cir_row(HashEmbedder(24), split)}
    content = results.build_results(evaluation, rows, seed=1, data_hash="ab" * 32, config={"run": {"name": EVIL}})
    draw = random.Random(0)
    steps = tuple(range(1, 101))
    loss = Curve(label="composed", steps=steps, values=tuple(4 / step + draw.random() for step in steps))
    recall = Curve(label="R@10", steps=(0, 50, 100), values=(1.0, 30.0, 40.0))
    return page.ReportContent(
        results=content,
        choice=cases.choose(evaluation.queries, seed=1),
        products=split.products,
        captions=split.captions,
        losses=(loss,),
        recalls=(recall,),
    )


def folder_content(folder: Path) -> page.FolderContent:
    """Two free requests and one search for similar products, over six products without captions."""
    products = toy_products(folder, 6)
    keys = list(products)
    top = tuple((key, 0.9 - 0.1 * place) for place, key in enumerate(keys[1:]))
    return page.FolderContent(
        sheets=(
            cases.Sheet(source=keys[0], text=EVIL, gallery_size=6, top=top),
            cases.Sheet(source=keys[1], text="make it red", gallery_size=6, top=top),
            cases.Sheet(source=keys[2], gallery_size=6, top=top),
        ),
        products=products,
        facts={"time": "14 s"},
    )
