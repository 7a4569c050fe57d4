"""Chains of triplets: where one ends another begins, as a person refines again what was found (A -> B -> C)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from procir.types import ProductKey, Triplet


class Chains:
    """Which triplets may follow which."""

    def __init__(self, triplets: Iterable[Triplet]) -> None:
        self._leaving: dict[ProductKey, list[Triplet]] = defaultdict(list)
        for triplet in triplets:
            self._leaving[triplet.source].append(triplet)

    def from_triplet(self, triplet: Triplet, turns: int, rng: np.random.Generator) -> tuple[Triplet, ...]:
        """The triplet and up to `turns` - 1 drawn ones, each of which begins where the one before ends.

        No product comes twice, so that a chain is shorter where none is left to go on to.
        """
        chain, shown = [triplet], {triplet.source, triplet.target}
        while len(chain) < turns:
            fitting = [after for after in self._leaving.get(chain[-1].target, ()) if after.target not in shown]
            if not fitting:
                break
            chain.append(fitting[int(rng.integers(len(fitting)))])
            shown.add(chain[-1].target)
        return tuple(chain)
