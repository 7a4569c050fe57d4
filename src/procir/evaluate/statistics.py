"""How sure recalls and their differences are: bootstrap intervals, paired randomisation tests, Holm's correction.

Queries on one source product are not independent, so sources are drawn, each with all its queries; datasets are drawn
apart from each other, and averaged as recalls are. Sources with equal counts are exchangeable: how often each kind is
drawn is a multinomial number, and the sum of the signs of one kind a binomial one: the usual resampling, exactly,
at the cost of the kinds instead of the queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from procir.errors import ConfigError, DataError

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one dataset's queries: the rank of each target, and a number for each query's source product."""

    ranks: Int[np.ndarray, " queries"]
    sources: Int[np.ndarray, " queries"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the bounds that contain it with the level's probability; recalls in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a system is than another, and the probability of such a difference if both were alike."""

    interval: Interval
    p: float


def recall_interval(
    asked: Mapping[str, Asked], k: int, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Recall at k as the mean over datasets, with a percentile bootstrap interval over source products.

    Raises DataError for a dataset without queries, ConfigError for a level or a number of resamples that make no sense.
    """
    _check(asked, resamples, level)
    sums = [_by_source(own.sources, np.ones(len(own.ranks), np.int64), own.ranks <= k) for own in asked.values()]
    drawn = np.mean([_resampled(one, resamples, seed, place) for place, one in enumerate(sums)], axis=0)
    value = float(np.mean([one[:, 1].sum() / one[:, 0].sum() for one in sums]))
    return _interval(value, drawn[:, 0], level)


def recall_difference(
    ours: Mapping[str, Asked],
    theirs: Mapping[str, Asked],
    k: int,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """Recall at k of one system less that of another on the same queries, its interval, and a two-sided p-value.

    The test swaps both systems' outcomes source by source; p is at least 1 / (resamples + 1). Raises DataError if the
    queries are not the same, one by one.
    """
    _check(ours, resamples, level)
    _check_same(ours, theirs)
    sums = [_pair(ours[name], theirs[name], k) for name in ours]
    drawn = [_resampled(one, resamples, seed, place) for place, one in enumerate(sums)]
    spread = np.mean([one[:, 0] - one[:, 1] for one in drawn], axis=0)
    value = float(np.mean([(one[:, 1] - one[:, 2]).sum() / one[:, 0].sum() for one in sums]))
    swapped = np.mean([_swapped(one, resamples, seed, place) for place, one in enumerate(sums)], axis=0)
    extreme = np.count_nonzero(np.abs(swapped) >= abs(value) - _ROUNDING)
    return Difference(_interval(value, spread, level), (1 + int(extreme)) / (1 + resamples))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all of them together err no more often than each alone (Holm, 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = highest
    return adjusted


_ROUNDING = 1e-12
"""Differences closer than this are one and the same, added up in another order."""


def _pair(ours: Asked, theirs: Asked, k: int) -> Int64[np.ndarray, "sources 3"]:
    return _by_source(ours.sources, np.ones(len(ours.ranks), np.int64), ours.ranks <= k, theirs.ranks <= k)


def _by_source(sources: Int[np.ndarray, " queries"], *columns: np.ndarray) -> Int64[np.ndarray, "sources columns"]:
    """The columns summed over the queries of each source."""
    _, own = np.unique(sources, return_inverse=True)
    return np.stack([np.bincount(own, weights=column).astype(np.int64) for column in columns], axis=1)


def _resampled(
    sums: Int64[np.ndarray, "sources columns"], resamples: int, seed: int, place: int
) -> Float64[np.ndarray, "resamples rates"]:
    """The later columns over the first one, in every resample of the sources."""
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    rng = np.random.default_rng((seed, place, 0))
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples) @ kinds
    rates: Float64[np.ndarray, "resamples rates"] = drawn[:, 1:] / drawn[:, :1]
    return rates


def _swapped(
    sums: Int64[np.ndarray, "sources 3"], resamples: int, seed: int, place: int
) -> Float64[np.ndarray, " resamples"]:
    """The difference of recalls with both systems' outcomes swapped for every source or not, by the toss of a coin."""
    sizes, counts = np.unique(np.abs(sums[:, 1] - sums[:, 2]), return_counts=True)
    rng = np.random.default_rng((seed, place, 1))
    kept = rng.binomial(counts, 0.5, size=(resamples, len(counts)))
    differences: Float64[np.ndarray, " resamples"] = (2 * kept - counts) @ sizes / sums[:, 0].sum()
    return differences


def _interval(value: float, drawn: Float64[np.ndarray, " resamples"], level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _check(asked: Mapping[str, Asked], resamples: int, level: float) -> None:
    if not 0 < level < 1 or resamples < 1:
        raise ConfigError(f"{resamples} resamples at level {level}: give at least one, and a level between 0 and 1")
    empty = [name for name, own in asked.items() if not len(own.ranks)]
    if empty or not asked:
        raise DataError(f"no queries in {', '.join(empty) or 'any dataset'}: there is nothing to resample")


def _check_same(ours: Mapping[str, Asked], theirs: Mapping[str, Asked]) -> None:
    if list(ours) != list(theirs):
        raise DataError(f"results of other datasets: {', '.join(ours)} and {', '.join(theirs)}; evaluate both on one")
    for name, own in ours.items():
        if not np.array_equal(own.sources, theirs[name].sources):
            raise DataError(f"{name}: both systems were asked other queries; evaluate both on the same split")
