"""Stage 3: for every source the best targets among near candidates, and the texts that lead there (section 3.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from procir.annotators.ledger import Decision, PaidAnswers
from procir.annotators.request import Request
from procir.annotators.run import Annotator
from procir.construct.candidates import Grouping, group_products, mine
from procir.construct.material import CHUNK, Captioned
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
) -> StoredTriplets:
    """Ask for targets and texts of every source that has candidates; triplets sorted by source and target."""
    named = {str(key): key for key in captioned.keys}
    answered: dict[ProductKey, tuple[str, int]] = {}
    total = sum(map(bool, candidates.values()))
    questions = triplet_questions(work, captioned, candidates)
    async with aclosing(work.outcomes(TRIPLETS, annotator, questions, total)) as outcomes:
        async for outcome in outcomes:
            if outcome.answer is None:
                work.failures.append(outcome.failure)
            elif outcome.answer.selections:
                answered[named[outcome.request.item]] = outcome.key, len(outcome.answer.selections)
    return StoredTriplets(work.ledger, candidates, answered)


class StoredTriplets(Sequence[Triplet]):
    """Triplets sorted by source and target, in the ledger but for a few: it must stay open."""

    def __init__(
        self,
        ledger: PaidAnswers,
        candidates: Mapping[ProductKey, Sequence[ProductKey]],
        answered: Mapping[ProductKey, tuple[str, int]],
    ) -> None:
        """`answered` has the key of the question about each source, and how many triplets its answer gives."""
        sources = sorted(answered)
        self._ends = list(accumulate(answered[source][1] for source in sources))

        @lru_cache(maxsize=4)
        def page(number: int) -> tuple[tuple[Triplet, ...], ...]:
            part = sources[number * CHUNK : (number + 1) * CHUNK]
            known = ledger.known(answered[source][0] for source in part)
            return tuple(_chosen(source, candidates[source], known[answered[source][0]]) for source in part)

        self._page = page

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Triplet: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Triplet, ...]: ...

    def __getitem__(self, index: int | slice) -> Triplet | tuple[Triplet, ...]:
        places = range(len(self))[index]
        return self._at(places) if isinstance(places, int) else tuple(map(self._at, places))

    def _at(self, place: int) -> Triplet:
        number = bisect_right(self._ends, place)
        own = self._page(number // CHUNK)[number % CHUNK]
        return own[place - self._ends[number] + len(own)]


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


def _chosen(source: ProductKey, candidates: Sequence[ProductKey], decision: Decision) -> tuple[Triplet, ...]:
    assert decision.answer is not None, source
    selections = TripletAnswer.model_validate_json(decision.answer).selections
    triplets = (
        Triplet(
            source=source,
            target=candidates[selection.target_id - 1],
            short=selection.modification_text_short,
            long=selection.modification_text_long,
            views_involved=selection.views_involved,
        )
        for selection in selections
    )
    return tuple(sorted(triplets, key=lambda triplet: triplet.target))
