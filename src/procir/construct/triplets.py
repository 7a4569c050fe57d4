"""Stage 3: for every source the best targets among near candidates, and the texts that lead there (section 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from procir.annotators.request import Request
from procir.annotators.run import Annotator
from procir.construct.candidates import Grouping, group_products, mine
from procir.construct.material import Captioned
from procir.construct.prompts.schemas import TripletAnswer
from procir.construct.questions import TRIPLETS, triplet_question
from procir.construct.work import Work
from procir.model.encoding import encode_to, one_by_one
from procir.protocols import Embedder
from procir.types import ProductKey, Triplet

PATHS = ("visual", "long", "short")
"""What makes products neighbors: their views, their long and their short captions."""


def mine_candidates(
    work: Work, embedder: Embedder, fingerprint: str, captioned: Captioned, folder: Path, *, seed: int
) -> tuple[dict[ProductKey, tuple[ProductKey, ...]], Grouping]:
    """Candidates of the products of one split; their embeddings are kept in `folder`, resumable."""
    grouping = group_products(captioned.product(key) for key in captioned.keys)
    paths = {name: _embeddings(work, name, embedder, fingerprint, captioned, folder) for name in PATHS}
    work.progress("candidates", 0, 0, len(grouping.keys))
    found = mine(
        grouping.keys, grouping.groups, paths, seed=seed,
        progress=lambda done, total: work.progress("candidates", done, 0, total),
    )  # fmt: skip
    return found, grouping


def _embeddings(
    work: Work, name: str, embedder: Embedder, fingerprint: str, captioned: Captioned, folder: Path
) -> Float[np.ndarray, "products dim"]:
    items: Sequence[Any] = captioned.keys
    content = sha256(fingerprint.encode())
    if name == "visual":
        for described in captioned.described(items, work.skip("embeddings")):
            content.update(described.panorama.picture.digest.encode())
    else:
        for caption in captioned.captions(items):
            content.update(getattr(caption, name).encode())

    def encode(keys: Sequence[ProductKey]) -> Float[np.ndarray, "keys dim"]:
        if name == "visual":
            return embedder.encode_products([captioned.product(key) for key in keys])
        return embedder.encode_captions([getattr(caption, name) for caption in captioned.captions(keys)])

    def report(done: int, total: int) -> None:
        work.progress(f"{name} embeddings", done, 0, total)

    found = encode_to(
        folder / f"{name}-{content.hexdigest()[:12]}", items, [str(key) for key in items], one_by_one(encode),
        dim=embedder.dim, fingerprint=fingerprint, piece=256, progress=report,
    )  # fmt: skip
    return found.vectors


async def make_triplets(
    work: Work, annotator: Annotator, captioned: Captioned, candidates: Mapping[ProductKey, Sequence[ProductKey]]
) -> tuple[Triplet, ...]:
    """Ask for targets and texts of every source that has candidates; triplets sorted by source and target."""
    named = {str(key): key for key in captioned.keys}
    triplets: list[Triplet] = []
    total = sum(map(bool, candidates.values()))
    questions = triplet_questions(work, captioned, candidates)
    async with aclosing(work.outcomes(TRIPLETS, annotator, questions, total)) as outcomes:
        async for outcome in outcomes:
            if outcome.answer is None:
                work.failures.append(outcome.failure)
                continue
            source = named[outcome.request.item]
            triplets += _chosen(source, candidates[source], outcome.answer)
    return tuple(sorted(triplets, key=lambda triplet: (triplet.source, triplet.target)))


def triplet_questions(
    work: Work, captioned: Captioned, candidates: Mapping[ProductKey, Sequence[ProductKey]]
) -> Iterator[Request[TripletAnswer]]:
    """One question a source with candidates, in key order."""
    for source in captioned.keys:
        others = candidates[source]
        if others:
            found = list(captioned.described([source, *others], work.skip(TRIPLETS)))
            if len(found) == 1 + len(others):
                yield triplet_question(found[0], found[1:], work.domain)


def _chosen(source: ProductKey, candidates: Sequence[ProductKey], answer: TripletAnswer) -> Iterator[Triplet]:
    for selection in answer.selections:
        yield Triplet(
            source=source,
            target=candidates[selection.target_id - 1],
            short=selection.modification_text_short,
            long=selection.modification_text_long,
            views_involved=selection.views_involved,
        )
