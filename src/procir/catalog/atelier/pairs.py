"""Which products make a triplet, and every product that meets a request (the true set)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from jaxtyping import Bool, Int

from procir.catalog.atelier.comparison import NEUTRAL, Change, columns, compare, possible, views_involved
from procir.catalog.atelier.garments import Garment, applies, visible
from procir.types import ProductKey

CHANGES = range(2, 6)
"""How many visible differences a triplet may have."""

NEIGHBORS = 20
"""How many of the nearest products are candidates (paper, section 3.4: top 20)."""

CANDIDATES = 10
"""How many of them are looked at for one source (paper, section 3.4)."""

RIVALS = 20
"""How many other products should show all that is asked for, so that the text alone does not tell the target."""

TARGETS = 2
"""Most targets of one source (paper, section 3.4)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two products and what differs between them; `satisfying` is the true set, target included."""

    source: ProductKey
    target: ProductKey
    changes: tuple[Change, ...]
    satisfying: tuple[ProductKey, ...]


class Sheets:
    """The garments of one group as arrays, for comparing all with all."""

    def __init__(self, garments: Sequence[Garment]) -> None:
        attributes = columns(garments[0].group)
        codes = [{value: code for code, value in enumerate(column.values)} for column in attributes]
        self._codes: Int[np.ndarray, "n attributes"] = np.array(
            [[code[g[c.name]] for c, code in zip(attributes, codes, strict=True)] for g in garments], dtype=np.int16
        )
        self._neutral: Bool[np.ndarray, "n attributes"] = np.array(
            [[garment[column.name] in NEUTRAL for column in attributes] for garment in garments]
        )
        self._possible: Bool[np.ndarray, "n attributes"] = np.array(
            [[possible(column, garment) for column in attributes] for garment in garments]
        )
        self._applies: Bool[np.ndarray, "n attributes"] = np.array(
            [[applies(column.name, garment.values) for column in attributes] for garment in garments]
        )
        self._shown: Bool[np.ndarray, "n attributes"] = self._possible & self._applies

    def differences(self, source: int) -> Bool[np.ndarray, "n attributes"]:
        """For every garment, which attributes `compare(source, garment)` names."""
        unlike = self._shown[source] & self._shown & (self._codes != self._codes[source])
        absent = self._possible[source] & ~self._applies[source]
        return np.asarray(unlike | (absent & self._shown & ~self._neutral))

    def satisfying(self, source: int, target: int) -> list[int]:
        """All that have every requested value, and otherwise show nothing that the source does not.

        A requested value counts where the photos of a product do not show it, too.
        """
        requested = self.differences(source)[target]
        as_requested = self._applies & (self._codes == self._codes[target])
        as_source = ~self._shown | np.where(self._applies[source], self._codes == self._codes[source], self._neutral)
        kept = as_source | ~self._possible[source]
        return [int(i) for i in np.flatnonzero(np.where(requested, as_requested, kept).all(axis=1))]


class Shelf:
    """Which products of a split show a value, over all groups."""

    def __init__(self, garments: Sequence[Garment]) -> None:
        self._shown: dict[tuple[str, str], Bool[np.ndarray, " products"]] = {}
        for number, garment in enumerate(garments):
            for pair in visible(garment).items():
                self._shown.setdefault(pair, np.zeros(len(garments), dtype=bool))[number] = True

    def rivals(self, changes: Sequence[Change]) -> int:
        """How many products show all new values, whatever else they are; the target does, and is not counted."""
        return int(np.logical_and.reduce([self._shown[c.attribute, c.new] for c in changes]).sum()) - 1


def satisfying(
    source: ProductKey, target: ProductKey, garments: Mapping[ProductKey, Garment]
) -> tuple[ProductKey, ...]:
    """The true set of a request among the garments of one split: the products of the source's group that meet it."""
    group = garments[source].group
    keys = [key for key, garment in garments.items() if garment.group == group]
    found = Sheets([garments[key] for key in keys]).satisfying(keys.index(source), keys.index(target))
    return tuple(keys[i] for i in found)


def distinct_views(changes: Sequence[Change]) -> bool:
    """Whether the front shows one difference and only the back or only the side another."""
    places = {change.place for change in changes}
    return bool(places & {"front", "overall"}) and bool(places & {"back", "side"})


def choose_pairs(garments: Mapping[ProductKey, Garment], rng: Random) -> list[Pair]:
    """Up to `TARGETS` targets for every product, in the order of the products."""
    groups: dict[str, list[ProductKey]] = {}
    for key, garment in garments.items():
        groups.setdefault(garment.group.name, []).append(key)
    shelf = Shelf(list(garments.values()))
    chosen: dict[ProductKey, list[Pair]] = {}
    for keys in groups.values():
        sheets = Sheets([garments[key] for key in keys])
        for source, key in enumerate(keys):
            drawn = _draw_candidates(source, sheets, rng)
            chosen[key] = best(suitable(source, drawn, keys, garments, sheets), shelf)
    return [pair for key in garments for pair in chosen[key]]


def _draw_candidates(source: int, sheets: Sheets, rng: Random) -> list[int]:
    counts = sheets.differences(source).sum(axis=1)
    near = sorted((int(count), i) for i, count in enumerate(counts) if int(count) in CHANGES)[:NEIGHBORS]
    return [target for _, target in rng.sample(near, min(CANDIDATES, len(near)))]


def suitable(
    source: int,
    targets: Iterable[int],
    keys: Sequence[ProductKey],
    garments: Mapping[ProductKey, Garment],
    sheets: Sheets,
) -> list[Pair]:
    """The pairs of a source whose differences are as many as `CHANGES` allows and ask for more than one view.

    Products are numbered as in `keys`, which are those of `sheets`.
    """
    pairs = []
    for target in targets:
        changes = compare(garments[keys[source]], garments[keys[target]])
        if len(changes) in CHANGES and len(views_involved(changes)) > 1:
            true_set = tuple(keys[i] for i in sheets.satisfying(source, target))
            pairs.append(Pair(keys[source], keys[target], changes, true_set))
    return pairs


def best(pairs: Iterable[Pair], shelf: Shelf) -> list[Pair]:
    """The `TARGETS` best pairs: small true sets first, then distinct views, then many rivals."""
    return sorted(pairs, key=lambda pair: _merit(pair, shelf))[:TARGETS]


def _merit(pair: Pair, shelf: Shelf) -> tuple[int, bool, int]:
    return len(pair.satisfying), not distinct_views(pair.changes), -min(RIVALS, shelf.rivals(pair.changes))
