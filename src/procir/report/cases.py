"""Which queries a report shows, and what it says of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from procir.types import ProductKey, Triplet

CASES = 12
"""How many case sheets a report has, where the split has that many queries."""


@runtime_checkable
class Outcome(Protocol):
    """What became of a composed query, as an evaluation tells it: the target's rank and the best products."""

    @property
    def triplet(self) -> Triplet:
        """What was asked for, and meant."""
        ...

    @property
    def rank(self) -> int:
        """Rank of the target, from 1."""
        ...

    @property
    def gallery_size(self) -> int:
        """How many products were ranked."""
        ...

    @property
    def top(self) -> tuple[tuple[ProductKey, float], ...]:
        """The best products with their scores, best first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One query and its best products with their scores, best first.

    `text` is None where similar products are asked for, `target` and `rank` where nobody knows what was meant.
    """

    source: ProductKey
    top: tuple[tuple[ProductKey, float], ...]
    gallery_size: int
    text: str | None = None
    target: ProductKey | None = None
    rank: int | None = None
    satisfying: tuple[ProductKey, ...] = ()

    def mark(self, key: ProductKey) -> str:
        """What a product is to this query: target, satisfies, source, or nothing."""
        if key == self.target:
            return "target"
        if key == self.source:
            return "source"
        return "satisfies" if key in self.satisfying else ""

    def satisfied(self) -> int:
        """How many of the products shown meet the request, the target included."""
        return sum(self.mark(key) in ("target", "satisfies") for key, _ in self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sheets of a report, and the rule by which they were chosen, in words."""

    sheets: tuple[Sheet, ...]
    rule: str


def choose(outcomes: Sequence[Outcome], *, seed: int, count: int = CASES, k: int = 10) -> Choice:
    """Draws queries at random, equally many with the target first, at ranks 2 to k, and beyond k.

    Where one of these bands is too small the others fill up, so that `count` sheets appear if there are as
    many queries. The same outcomes and seed give the same sheets in the same order.
    """
    draw = random.Random(seed)
    bands = (
        [outcome for outcome in outcomes if outcome.rank == 1],
        [outcome for outcome in outcomes if 1 < outcome.rank <= k],
        [outcome for outcome in outcomes if outcome.rank > k],
    )
    shares = _shares([len(band) for band in bands], count)
    drawn = [outcome for band, share in zip(bands, shares, strict=True) for outcome in draw.sample(band, share)]
    draw.shuffle(drawn)
    names = ("with the target first", f"with the target at ranks 2 to {k}", f"with the target beyond rank {k}")
    parts = [
        f"{share} of the {len(band):,} {name}" for share, band, name in zip(shares, bands, names, strict=True) if band
    ]
    rule = f"Drawn at random with seed {seed} from {len(outcomes):,} queries: {_listed(parts)}."
    return Choice(sheets=tuple(_sheet(outcome) for outcome in drawn), rule=rule)


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """How many to take from each band: one at a time, from the band that has given least."""
    shares = [0] * len(sizes)
    for _ in range(min(count, sum(sizes))):
        open_bands = [band for band, size in enumerate(sizes) if shares[band] < size]
        shares[min(open_bands, key=lambda band: shares[band])] += 1
    return shares


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _sheet(outcome: Outcome) -> Sheet:
    return Sheet(
        source=outcome.triplet.source,
        text=outcome.triplet.short,
        target=outcome.triplet.target,
        rank=outcome.rank,
        gallery_size=outcome.gallery_size,
        top=outcome.top,
        satisfying=outcome.triplet.satisfying,
    )
