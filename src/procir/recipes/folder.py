"""The main job on a user's own photographs: one sub-folder a product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from procir.catalog.folder import read_folder
from procir.catalog.released import check_images
from procir.catalog.splits import split_products
from procir.errors import ConfigError, MissingDataError
from procir.evaluate.metrics import top_k
from procir.model.embedder import ENCODE_CHUNK, ProCIR
from procir.recipes import tiny
from procir.recipes.cards import save_trained
from procir.recipes.console import console, say, show_load, show_results, stage
from procir.recipes.runs import Clock, as_config, closing, evaluate_all, require_room, train_watched, write_outcome
from procir.report.cases import Sheet
from procir.report.page import FolderContent, write_report
from procir.train.config import TrainConfig, Variant
from procir.types import Product, ProductKey, Query, Split

SIMILAR_SHOWN = 24
"""Products for which the page shows similar ones."""

_TOP = 10
_FEWEST_TRIPLETS = 8


def run_folder(images: Path, out: Path, *, model: str | None = None, ask: Sequence[str] = (), seed: int = 0) -> None:
    """Encode a folder of products, show similar ones and refinements, and train where triplets are given.

    `ask` holds entries `ID=TEXT`. With `triplets.jsonl` beside the photographs the model is trained on the
    products of one part and evaluated on the rest (`results.json`, `report.html`); otherwise `report.html` shows
    the search alone.
    """
    split, report = read_folder(images)
    show_load(str(images), report)
    requests = [_request(entry, split) for entry in ask]
    check_images(split, workers=2)
    start = ProCIR.from_pretrained(model) if model else tiny.starter_model()
    require_room(start, split)
    start.require_room((Query(split.products[key], text) for key, text in requests), ())
    if not model:
        console.print("[yellow]The shipped checkpoint knows drawn garments only; name a better one with --model.")
    for stale in ("results.json", "log.jsonl", "report.html", "search.html"):
        (out / stale).unlink(missing_ok=True)
    clock = Clock()
    if split.triplets:
        _train_and_evaluate(start, model or "starter", split, out, clock, seed)
    page = out / ("search.html" if split.triplets else "report.html")
    products = [split.products[key] for key in sorted(split.products)]
    documents = _encode(start, products)
    clock.lap("encoding")
    sheets = _refinements(start, products, documents, requests) + _similar(products, documents, seed)
    facts = {"model": model or "starting checkpoint", "seconds": f"{sum(clock.seconds.values()):.1f}"}
    write_report(
        page,
        FolderContent(sheets=sheets, products=split.products, captions=split.captions, facts=facts, title=images.name),
    )
    if split.triplets:
        say(f"Similar products and refinements are in {page}")
    closing(out, "Ask for something:  procir demo --images FOLDER --ask PRODUCT='the same with long sleeves'")


def _request(entry: str, split: Split) -> tuple[ProductKey, str]:
    name, sign, text = entry.partition("=")
    if not sign or not text.strip():
        raise ConfigError(f"--ask {entry!r} is not of the form ID=TEXT, for example dress-12='the same in navy'")
    found = [key for key in split.products if name in (key.product_id, str(key))]
    if not found:
        near = get_close_matches(name, [key.product_id for key in split.products], n=3)
        raise ConfigError(f"--ask names the product {name!r}, which is not there; {_hint(near, split)}")
    return found[0], text.strip()


def _hint(near: Sequence[str], split: Split) -> str:
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"the first ones are {', '.join(key.product_id for key in sorted(split.products)[:3])}"


def _train_and_evaluate(model: ProCIR, start: str, split: Split, out: Path, clock: Clock, seed: int) -> None:
    training, validation, crossing = split_products(split)
    if crossing:
        console.print(f"[dim]{crossing} triplets join a training product to a validation product and are in neither")
    if not validation.triplets:
        raise MissingDataError("no triplet lies between validation products: add triplets, or leave triplets.jsonl out")
    config = _config(model, training, seed)
    if config:
        train_watched(model, training, validation, config, out)
        save_trained(model, "Product-level composed image retrieval", start, config, training, out)
    else:
        console.print(f"[yellow]{len(training.triplets)} training triplets are too few to train on; evaluating only")
    clock.lap("training")
    evaluation, rows = evaluate_all(model, validation)
    clock.lap("evaluation")
    results = write_outcome(
        out, validation, evaluation, rows,
        seed=seed, config=as_config(train=config), clock=clock, title="Your products",
    )  # fmt: skip
    show_results(results)


def _config(model: ProCIR, training: Split, seed: int) -> TrainConfig | None:
    """The demo's settings as far as the data carries them: no alignment where captions are missing."""
    if len(training.triplets) < _FEWEST_TRIPLETS:
        return None
    named = {key for triplet in training.triplets for key in (triplet.source, triplet.target)}
    variant = Variant(two_turns=model.settings.two_turns, alignment=named <= training.captions.keys())
    base = tiny.demo_training()
    size = min(base.batch_size, len(training.triplets))
    return replace(base, variant=variant, batch_size=size, seed=seed)


def _encode(model: ProCIR, products: Sequence[Product]) -> Float32[np.ndarray, "n dim"]:
    chunks = []
    with stage("Encoding") as advance:
        for start in range(0, len(products), ENCODE_CHUNK):
            chunks.append(model.encode_products(products[start : start + ENCODE_CHUNK]))
            advance(min(start + ENCODE_CHUNK, len(products)), len(products), "products")
    return np.concatenate(chunks)


def _refinements(
    model: ProCIR,
    products: Sequence[Product],
    documents: Float32[np.ndarray, "n dim"],
    requests: Sequence[tuple[ProductKey, str]],
) -> tuple[Sheet, ...]:
    by_key = {product.key: product for product in products}
    queries = model.encode_queries([Query(by_key[key], text) for key, text in requests])
    found = [_nearest(query, key, products, documents) for query, (key, _) in zip(queries, requests, strict=True)]
    return tuple(
        Sheet(source=key, text=text, top=top, gallery_size=len(products))
        for (key, text), top in zip(requests, found, strict=True)
    )


def _similar(products: Sequence[Product], documents: Float32[np.ndarray, "n dim"], seed: int) -> tuple[Sheet, ...]:
    order = np.random.default_rng(seed).permutation(len(products))[:SIMILAR_SHOWN]
    return tuple(
        Sheet(
            source=products[row].key,
            top=_nearest(documents[row], products[row].key, products, documents),
            gallery_size=len(products),
        )
        for row in sorted(order.tolist())
    )


def _nearest(
    query: Float32[np.ndarray, " dim"],
    source: ProductKey,
    products: Sequence[Product],
    documents: Float32[np.ndarray, "n dim"],
) -> tuple[tuple[ProductKey, float], ...]:
    """The best other products with their cosines."""
    rows, scores = top_k(query[None], documents, min(_TOP + 1, len(products)))
    pairs = [(products[row].key, float(score)) for row, score in zip(rows[0], scores[0], strict=True)]
    return tuple(pair for pair in pairs if pair[0] != source)[:_TOP]
