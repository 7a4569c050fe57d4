"""Systems on the same queries, side by side: recalls, intervals, and whether the best is really better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from procir.errors import ConfigError, DataError
from procir.evaluate.outcomes import Outcomes
from procir.evaluate.results import MODEL_ROW
from procir.evaluate.statistics import Interval, holm, recall_difference, recall_interval

KS = (5, 10)
"""The recalls that the paper compares (Table 2); their mean is its Avg."""

SURE = 0.05
"""A difference counts as one if its adjusted p-value is below this."""


@dataclass(frozen=True, slots=True)
class System:
    """One evaluation: its name, the content of its results.json, and of its queries.jsonl."""

    name: str
    results: Mapping[str, Any]
    outcomes: Outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a system stands; recalls by dataset and k in percent, intervals in [0, 1] of the means over datasets.

    `p` has by k the adjusted p-value of the difference to the best system at that k; the best itself has none.
    """

    name: str
    datasets: Mapping[str, Mapping[int, float]]
    means: Mapping[int, Interval]
    p: Mapping[int, float]
    seconds: float

    @property
    def average(self) -> float:
        """The paper's Avg: the mean of the recalls at `KS`, over datasets, in percent."""
        return 100 * sum(self.means[k].value for k in KS) / len(KS)

    def worse(self, k: int) -> bool:
        """Whether the best system is really better at k."""
        return self.p.get(k, 1.0) < SURE


def compare(systems: Sequence[System]) -> list[Standing]:
    """The systems, best Avg first; p-values are adjusted (Holm) over all systems that are held against the best.

    Raises ConfigError for fewer than two systems or two of one name, DataError if their data, queries or protocols are
    not the same, or a gallery is too small.
    """
    _check(systems)
    means = {system.name: {k: recall_interval(system.outcomes.asked, k) for k in KS} for system in systems}
    p_values = {k: _p_values(systems, {name: own[k].value for name, own in means.items()}, k) for k in KS}
    standings = [_standing(system, means[system.name], p_values) for system in systems]
    return sorted(standings, key=lambda standing: (-standing.average, standing.name))


def _standing(system: System, means: Mapping[int, Interval], p_values: Mapping[int, Mapping[str, float]]) -> Standing:
    parts = system.results["datasets"]
    return Standing(
        name=system.name,
        datasets={name: {k: parts[name]["rows"][MODEL_ROW][f"R@{k}"] for k in KS} for name in parts},
        means=means,
        p={k: own[system.name] for k, own in p_values.items() if system.name in own},
        seconds=float(sum(system.results["seconds"].values())),
    )


def _p_values(systems: Sequence[System], values: Mapping[str, float], k: int) -> dict[str, float]:
    """Of the differences to the best system, by the name of each other one; `values` are their recalls at k."""
    best = max(systems, key=lambda system: values[system.name])
    others = [system for system in systems if system is not best]
    found = [recall_difference(best.outcomes.asked, other.outcomes.asked, k).p for other in others]
    return dict(zip((other.name for other in others), holm(found), strict=True))


def _check(systems: Sequence[System]) -> None:
    if len(systems) < 2:
        raise ConfigError("a comparison needs the results of two systems at least")
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two systems are called {', '.join(twice)}: name them apart, as NAME=FOLDER")
    first = systems[0]
    for other in systems[1:]:
        _check_pair(first, other)
    for name, part in first.results["datasets"].items():
        if part["gallery"] < max(KS):
            raise DataError(f"{name} has {part['gallery']} products, too few for R@{max(KS)}")


def _check_pair(first: System, other: System) -> None:
    pair = f"{first.name} and {other.name}"
    hashes = [system.results["data_hash"] for system in (first, other)]
    if hashes[0] != hashes[1]:
        raise DataError(
            f"{pair} were measured on other data ({hashes[0][:12]}, {hashes[1][:12]}): evaluate both on one"
        )
    protocols = [system.results["config"].get("protocol", "released") for system in (first, other)]
    if protocols[0] != protocols[1]:
        raise DataError(f"{pair} were measured by other protocols ({' and '.join(protocols)}): evaluate both by one")
    if first.outcomes.queries != other.outcomes.queries:
        raise DataError(f"{pair} were asked other queries, though of the same data: evaluate both again")
