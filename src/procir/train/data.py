"""Training examples: which triplets a step sees, and the dialogues they become."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, zip_longest

import numpy as np
from jaxtyping import Int64

from procir.catalog.chains import Chains
from procir.errors import MissingDataError, TrainingError
from procir.model.cot import keep_ratio, subsample
from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.train.config import TextLength, TrainConfig
from procir.train.distributed import ALONE, Team
from procir.types import Caption, ProductKey, Query, Split, Triplet

NEIGHBORHOODS = 8
"""How many neighborhoods of products meet in a batch of `neighbors`: from fewer, random weights learn nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExamples:
    """The dialogues of one step, row by row the same triplet; captions are empty without alignment.

    A row has as many documents and target captions as its query has texts: one, or more in a conversation. `sources`
    and `targets` number the products, so that equal numbers are equal products; -1 stands where a conversation has
    ended. They are those of the whole batch; of several processes each has the dialogues of its own rows alone.
    """

    queries: list[Dialogue]
    documents: list[tuple[Dialogue, ...]]
    source_captions: list[Dialogue]
    target_captions: list[tuple[Dialogue, ...]]
    sources: Int64[np.ndarray, " batch"]
    targets: Int64[np.ndarray, "batch turns"]

    def dialogues(self, rows: slice) -> list[Dialogue]:
        """All dialogues of some rows; what several of them share comes repeatedly."""
        further = [
            dialogue for part in (self.documents, self.target_captions) for own in part[rows] for dialogue in own
        ]
        return [*self.queries[rows], *further, *self.source_captions[rows]]


def steps_per_epoch(triplets: int, config: TrainConfig) -> int:
    """Whole batches in one pass; raises TrainingError if not even one can be filled."""
    if triplets < config.batch_size:
        raise TrainingError(
            f"{triplets} triplets do not fill a batch of {config.batch_size}: lower batch_size or add triplets"
        )
    return triplets // config.batch_size


def total_steps(triplets: int, config: TrainConfig) -> int:
    """How many steps a run has."""
    if config.max_steps is not None:
        steps_per_epoch(triplets, config)
        return config.max_steps
    return max(1, round(config.epochs * steps_per_epoch(triplets, config)))


def batch_indices(step: int, ends: Int64[np.ndarray, "triplets 2"], config: TrainConfig) -> Int64[np.ndarray, " batch"]:
    """The triplets of a step: a pure function of seed and step, so that a resumed run sees the same.

    `ends` numbers the source and the target product of each triplet; uniform batching looks at its length alone.
    """
    epoch, place = divmod(step, steps_per_epoch(len(ends), config))
    order = epoch_order(epoch, ends, config)
    return order[place * config.batch_size : (place + 1) * config.batch_size]


def epoch_order(epoch: int, ends: Int64[np.ndarray, "triplets 2"], config: TrainConfig) -> Int64[np.ndarray, " kept"]:
    """The order of a pass over the triplets; its batches follow one another."""
    rng = np.random.default_rng((config.seed, 0, epoch))
    if config.batching == "neighbors":
        return _by_neighbors(ends, max(1, config.batch_size // NEIGHBORHOODS), rng)
    order = rng.permutation(len(ends))
    return _distinct(order, ends, config.batch_size) if config.batching == "distinct" else order


def _distinct(
    order: Int64[np.ndarray, " triplets"], ends: Int64[np.ndarray, "triplets 2"], size: int
) -> Int64[np.ndarray, " triplets"]:
    """The same triplets, each moved back to the first batch with room that shows neither of its products.

    One that finds none may take the place of another that does. Those that are left come last, in their order.
    """
    batches = [_Batch(size) for _ in range(len(order) // size)]
    left = []
    first = 0  # batches before it are full
    for triplet in order.tolist():
        products = set(ends[triplet].tolist())
        later = (batches[number] for number in range(first, len(batches)))
        place = next((batch for batch in later if batch.takes(products)), None)
        if place is None:
            left.append(triplet)
        else:
            place.add(triplet, products)
        while first < len(batches) and len(batches[first].rows) == size:
            first += 1
    left = [triplet for triplet in left if not _exchange(batches, triplet, set(ends[triplet].tolist()))]
    rest = iter(left)
    filled = [triplet for batch in batches for triplet in (*batch.rows, *islice(rest, size - len(batch.rows)))]
    return np.array([*filled, *rest], np.int64)


@dataclass(slots=True)
class _Batch:
    """A batch on the way: its triplets with the products that each of them shows, and all of those."""

    size: int
    rows: dict[int, set[int]] = field(default_factory=dict)
    shown: set[int] = field(default_factory=set)

    def takes(self, products: set[int]) -> bool:
        """Whether there is room, and none of the products is shown already."""
        return len(self.rows) < self.size and self.shown.isdisjoint(products)

    def add(self, triplet: int, products: set[int]) -> None:
        """Take a triplet in."""
        self.rows[triplet] = products
        self.shown |= products

    def give(self, triplet: int) -> set[int]:
        """Let a triplet go; what it alone shows is shown no more, for no other shows the same."""
        products = self.rows.pop(triplet)
        self.shown -= products
        return products


def _exchange(batches: Sequence[_Batch], triplet: int, products: set[int]) -> bool:
    """Put a triplet into a full batch that shows none of its products, if one of that batch's fits elsewhere."""
    roomy = [batch for batch in batches if len(batch.rows) < batch.size]
    for batch in batches if roomy else ():
        for other, shown in batch.rows.items() if batch.shown.isdisjoint(products) else ():
            place = next((found for found in roomy if found is not batch and found.takes(shown)), None)
            if place is not None:
                place.add(other, batch.give(other))
                batch.add(triplet, products)
                return True
    return False


def repeated(sources: Int64[np.ndarray, " batch"], targets: Int64[np.ndarray, "batch turns"]) -> int:
    """How many triplets of a batch show a product that another of its triplets shows too."""
    rows = [{source, *shown} - {-1} for source, shown in zip(sources.tolist(), targets.tolist(), strict=True)]
    often = Counter(product for row in rows for product in row)
    return sum(any(often[product] > 1 for product in row) for row in rows)


def _by_neighbors(
    ends: Int64[np.ndarray, "triplets 2"], run: int, rng: np.random.Generator
) -> Int64[np.ndarray, " kept"]:
    """Runs of `run` triplets that lie near each other in the graph of products, the runs shuffled."""
    leaving: dict[int, list[int]] = defaultdict(list)
    beside: dict[int, list[int]] = defaultdict(list)
    for triplet in rng.permutation(len(ends)).tolist():
        source, target = ends[triplet].tolist()
        leaving[source].append(triplet)
        beside[source].append(target)
        beside[target].append(source)
    order = [triplet for product in _walk(beside, rng) for triplet in leaving[product]]
    whole = len(order) // run
    return np.array(order[: whole * run]).reshape(whole, run)[rng.permutation(whole)].reshape(-1)


def _walk(beside: Mapping[int, Sequence[int]], rng: np.random.Generator) -> Iterator[int]:
    """Every product once, neighbors soon after each other: breadth first from random starts."""
    seen: set[int] = set()
    for start in rng.permutation(sorted(beside)).tolist():
        waiting = deque([start])
        while waiting:
            product = waiting.popleft()
            if product not in seen:
                seen.add(product)
                yield product
                waiting.extend(beside[product])


def require_texts(split: Split, config: TrainConfig) -> None:
    """Raise before training if a text that the configuration needs is missing."""
    if config.modification != "short":
        lacking = [triplet for triplet in split.triplets if not triplet.long]
        if lacking:
            raise MissingDataError(
                f"{len(lacking)} triplets have no long modification text, the first from {lacking[0].source}: "
                "train with modification=short, or add the texts"
            )
    if config.variant.alignment or config.variant.cot:
        named = {key for triplet in split.triplets for key in (triplet.source, triplet.target)}
        missing = sorted(named - set(split.captions))
        if missing:
            raise MissingDataError(
                f"{len(missing)} products of the {split.name} triplets have no caption, the first {missing[0]}: "
                "add captions, or train a variant without alignment and CoT"
            )


class ExampleBuilder:
    """Turns the triplets of a step into dialogues for a model; every random choice comes from (seed, step)."""

    def __init__(self, model: ProCIR, split: Split, config: TrainConfig) -> None:
        require_texts(split, config)
        _require_room(model, split, config)
        self.model = model
        self.split = split
        self.config = config
        self.total = total_steps(len(split.triplets), config)
        self.chains = Chains(split.triplets)
        self.numbers: Mapping[ProductKey, int] = {key: i for i, key in enumerate(sorted(split.products))}
        self.ends = _ends(split, self.numbers)
        # An order takes up to a second for the paper's triplets, and is that of a thousand steps.
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(epoch, self.ends, config))

    def triplets(self, step: int) -> list[Triplet]:
        """The triplets of a step, in the order of its rows."""
        epoch, place = divmod(step, steps_per_epoch(len(self.ends), self.config))
        chosen = self._order(epoch)[place * self.config.batch_size :][: self.config.batch_size]
        return [self.split.triplets[index] for index in chosen]

    def conversations(self, step: int) -> list[tuple[Triplet, ...]]:
        """The triplets of a step, each with those that follow it in its conversation, which are drawn anew."""
        rng = np.random.default_rng((self.config.seed, 3, step))
        return [self.chains.from_triplet(triplet, self.config.turns, rng) for triplet in self.triplets(step)]

    def examples(self, step: int, team: Team = ALONE) -> StepExamples:
        """The dialogues of a step; of several processes each builds its own rows.

        Random choices are made for the whole batch everywhere, so that they do not depend on the number of processes.
        """
        rng = np.random.default_rng((self.config.seed, 1, step))
        chains = self.conversations(step)
        triplets = [chain[0] for chain in chains]
        use_long, caption_long = _draw(self.config.modification, rng), _draw(self.config.caption, rng)
        variant = self.config.variant
        before = self._thoughts([t.source for t in triplets] if variant.two_turns else [], step, rng)
        by_turn = [t.target for turn in zip_longest(*chains) for t in turn if t is not None]
        thoughts = self._thoughts(by_turn, step, rng)
        own = chains[team.rows(len(chains))]
        sources, targets = [chain[0].source for chain in own], [[t.target for t in chain] for chain in own]
        asked = [key for keys in targets for key in keys]
        documents = self._documents(asked, thoughts)
        captions = self._captions([*sources, *asked] if variant.alignment else [], caption_long)
        return StepExamples(
            queries=self._queries(own, use_long, before),
            documents=[tuple(documents[key] for key in keys) for keys in targets],
            source_captions=[captions[key] for key in sources] if variant.alignment and variant.two_turns else [],
            target_captions=[tuple(captions[key] for key in keys) for keys in targets] if variant.alignment else [],
            sources=np.array([self.numbers[t.source] for t in triplets]),
            targets=self._target_numbers(chains),
        )

    def _target_numbers(self, chains: Sequence[Sequence[Triplet]]) -> Int64[np.ndarray, "batch turns"]:
        numbers = np.full((len(chains), self.config.turns), -1, np.int64)
        for row, chain in zip(numbers, chains, strict=True):
            row[: len(chain)] = [self.numbers[triplet.target] for triplet in chain]
        return numbers

    def _queries(
        self, chains: Sequence[Sequence[Triplet]], use_long: bool, thoughts: Mapping[ProductKey, list[int]]
    ) -> list[Dialogue]:
        build = self.model.dialogues.conversation
        views = self.model.store.products([self.split.products[chain[0].source] for chain in chains])
        return [
            build(shown, [(t.long or "") if use_long else t.short for t in chain], thoughts.get(chain[0].source))
            for shown, chain in zip(views, chains, strict=True)
        ]

    def _documents(
        self, keys: Sequence[ProductKey], thoughts: Mapping[ProductKey, list[int]]
    ) -> dict[ProductKey, Dialogue]:
        """One dialogue a product, however many rows show it, so that it is read once."""
        distinct = list(dict.fromkeys(keys))
        views = self.model.store.products([self.split.products[key] for key in distinct])
        build = self.model.dialogues.document
        return {key: build(shown, thoughts.get(key)) for key, shown in zip(distinct, views, strict=True)}

    def _captions(self, keys: Sequence[ProductKey], use_long: bool) -> dict[ProductKey, Dialogue]:
        captions = {key: self.split.captions[key] for key in dict.fromkeys(keys)}
        return {key: self.model.dialogues.caption(_text(caption, use_long)) for key, caption in captions.items()}

    def _thoughts(self, keys: Sequence[ProductKey], step: int, rng: np.random.Generator) -> dict[ProductKey, list[int]]:
        """What is left of the long captions at this step."""
        ratio = keep_ratio(step, self.total) if self.config.variant.cot else 0.0
        if ratio == 0.0:
            return {}
        ids = {key: self.model.dialogues.text_ids(self.split.captions[key].long) for key in dict.fromkeys(keys)}
        return {key: subsample(tokens, ratio, rng) for key, tokens in ids.items()}


def _require_room(model: ProCIR, split: Split, config: TrainConfig) -> None:
    """Refuse texts that are too long now, not when their turn comes."""
    lengths = {"short": (False,), "long": (True,), "both": (False, True)}
    queries = (
        Query(split.products[triplet.source], (triplet.long or "") if use_long else triplet.short)
        for triplet in split.triplets
        for use_long in lengths[config.modification]
    )
    used = (True,) if config.variant.cot else lengths[config.caption] if config.variant.alignment else ()
    captions = (_text(caption, use_long) for caption in split.captions.values() for use_long in used)
    texts = [text for t in split.triplets for text in (t.short, t.long) if text] if config.turns > 1 else []
    further = (config.turns - 1) * model.dialogues.most_tokens(texts) if texts else 0
    model.require_room(queries, captions, further=further)


def _ends(split: Split, numbers: Mapping[ProductKey, int]) -> Int64[np.ndarray, "triplets 2"]:
    return np.array([(numbers[triplet.source], numbers[triplet.target]) for triplet in split.triplets], np.int64)


def _draw(length: TextLength, rng: np.random.Generator) -> bool:
    """Whether this step reads long texts."""
    return bool(rng.random() < 0.5) if length == "both" else length == "long"


def _text(caption: Caption, use_long: bool) -> str:
    return caption.long if use_long else caption.short
