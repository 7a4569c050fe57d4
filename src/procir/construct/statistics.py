"""What a data set holds, in numbers: the tables and figures of the paper's sections 3.5, B and C for any splits.

Texts are counted and let go: memory grows with the number of different lengths, not with the number of products.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from procir.catalog.atelier.lexicon import count_words
from procir.catalog.views import view_name
from procir.errors import DataError
from procir.records import Row
from procir.types import ProductKey, Split

KINDS = ("short caption", "short modification text", "long caption", "long modification text", "image caption")
"""The five kinds of text, in the order of the paper's figure 5."""

UNSTATED = "not stated"
"""Stands for the views of a triplet that names none."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each number occurs, numbers ascending."""

    counts: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(counts: Mapping[int, int]) -> Histogram:
        """The histogram of a mapping from numbers to how often they occur."""
        return Histogram(tuple(sorted(counts.items())))

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return sum(count for _, count in self.counts)

    @property
    def mean(self) -> float | None:
        """Their mean, None of no number."""
        return sum(number * count for number, count in self.counts) / self.total if self.counts else None

    @property
    def median(self) -> float | None:
        """Their median, the middle of the two in between for an even total, None of no number."""
        if not self.counts:
            return None
        return (self._at((self.total - 1) // 2) + self._at(self.total // 2)) / 2

    def _at(self, place: int) -> int:
        for number, count in self.counts:
            if place < count:
                return number
            place -= count
        raise AssertionError(f"place {place} in a histogram of {self.total}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCount:
    """A row of table 1: one dataset's part of one split."""

    dataset: str
    split: str
    triplets: int
    products: int
    """Products that a triplet names as source or target, as the paper counts them: the gallery of that split."""
    catalogue: int
    """All products of the split, those that no triplet names included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A row of table 4: products that stage 2 looked at, and how many it found wrong."""

    dataset: str
    checked: int
    errors: int

    def __post_init__(self) -> None:
        if not 0 <= self.errors <= self.checked:
            raise DataError(
                f"{self.dataset}: {self.errors} errors in {self.checked} checked products; count each product once"
            )

    @property
    def retained(self) -> int:
        """Products that stay."""
        return self.checked - self.errors

    @property
    def error_rate(self) -> float | None:
        """Share of errors, in [0, 1]; None if nothing was checked."""
        return self.errors / self.checked if self.checked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """All numbers of a data set; datasets ascend by name, splits stand in the order given."""

    splits: tuple[SplitCount, ...]
    verification: tuple[Verification, ...]
    words: Mapping[str, Mapping[str, Histogram]]
    """Words a text, by dataset and by kind, of `KINDS`."""
    combinations: Mapping[str, int]
    """Triplets by the views that they involve, such as "back + front", the most frequent first."""
    views: Mapping[str, Histogram]
    """Views a product, by dataset."""

    @property
    def triplets(self) -> int:
        """Triplets of all datasets and splits."""
        return sum(row.triplets for row in self.splits)

    def words_of(self, kind: str) -> Histogram:
        """Words a text of one kind, over all datasets."""
        total: Counter[int] = Counter()
        for kinds in self.words.values():
            total.update(dict(kinds[kind].counts))
        return Histogram.of(total)

    def share_of_several_views(self) -> float | None:
        """Share of the triplets with at least two views among those that state theirs (section 3.4), in [0, 1]."""
        stated = {name: count for name, count in self.combinations.items() if name != UNSTATED}
        several = sum(count for name, count in stated.items() if " + " in name)
        return several / sum(stated.values()) if stated else None

    def to_json(self) -> Row:
        """Everything as plain values, histograms whole."""
        return {
            "splits": [_fields(row, "dataset", "split", "triplets", "products", "catalogue") for row in self.splits],
            "verification": [
                _fields(row, "dataset", "checked", "errors", "retained", "error_rate") for row in self.verification
            ],
            "words": {
                dataset: {kind: _histogram(histogram) for kind, histogram in kinds.items()}
                for dataset, kinds in self.words.items()
            },
            "view_combinations": dict(self.combinations),
            "views_per_product": {dataset: _histogram(histogram) for dataset, histogram in self.views.items()},
        }


@dataclass(slots=True)
class _Tally:
    """The counters of one dataset."""

    words: dict[str, Counter[int]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    views: Counter[int] = field(default_factory=Counter)

    def read(self, kind: str, text: str | None) -> None:
        if text is not None:
            self.words[kind][count_words(text)] += 1


def combination(names: Iterable[str]) -> str:
    """The canonical spelling of a set of views: "Front view" and "back" are "back + front"."""
    return " + ".join(sorted({view_name(name) or name.strip().lower() for name in names})) or UNSTATED


def collect(splits: Iterable[Split], verification: Mapping[str, tuple[int, int]] | None = None) -> Statistics:
    """The statistics of splits, which are read once, one after another.

    `verification` gives for each dataset how many products stage 2 checked, and in how many it found an error.
    Raises DataError if two splits have one name, or if there are more errors than products.
    """
    rows: list[SplitCount] = []
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    combinations: Counter[str] = Counter()
    names: list[str] = []
    for split in splits:
        if split.name in names:
            raise DataError(f"two splits are named {split.name!r}; give each its own name")
        names.append(split.name)
        rows += _read_split(split, tallies, combinations)
    return Statistics(
        splits=tuple(sorted(rows, key=lambda row: (row.dataset, names.index(row.split)))),
        verification=tuple(
            Verification(dataset=dataset, checked=checked, errors=errors)
            for dataset, (checked, errors) in sorted((verification or {}).items())
        ),
        words={
            dataset: {kind: Histogram.of(counts) for kind, counts in tally.words.items()}
            for dataset, tally in sorted(tallies.items())
        },
        combinations=dict(sorted(combinations.items(), key=lambda item: (-item[1], item[0]))),
        views={dataset: Histogram.of(tally.views) for dataset, tally in sorted(tallies.items())},
    )


def _read_split(split: Split, tallies: defaultdict[str, _Tally], combinations: Counter[str]) -> list[SplitCount]:
    triplets: Counter[str] = Counter()
    named: set[ProductKey] = set()
    for key, product in split.products.items():
        tallies[key.dataset].views[len(product.views)] += 1
    for key, caption in split.captions.items():
        tally = tallies[key.dataset]
        tally.read("short caption", caption.short)
        tally.read("long caption", caption.long)
        for text in caption.images:
            tally.read("image caption", text)
    for triplet in split.triplets:
        tally = tallies[triplet.source.dataset]
        tally.read("short modification text", triplet.short)
        tally.read("long modification text", triplet.long)
        triplets[triplet.source.dataset] += 1
        named |= {triplet.source, triplet.target}
        combinations[combination(triplet.views_involved)] += 1
    products = Counter(key.dataset for key in named)
    catalogue = Counter(key.dataset for key in split.products)
    return [
        SplitCount(
            dataset=dataset,
            split=split.name,
            triplets=triplets[dataset],
            products=products[dataset],
            catalogue=catalogue[dataset],
        )
        for dataset in catalogue.keys() | triplets.keys()
    ]


def _fields(row: object, *names: str) -> Row:
    return {name: getattr(row, name) for name in names}


def _histogram(histogram: Histogram) -> Row:
    counts = {str(number): count for number, count in histogram.counts}
    return {"total": histogram.total, "mean": histogram.mean, "median": histogram.median, "counts": counts}
