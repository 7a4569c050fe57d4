"""Training examples: which triplets a step sees, and the dialogues they become."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

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

    `sources` and `targets` number the products, so that equal numbers are equal products. They are those of the whole
    batch; of several processes each has the dialogues of its own rows alone.
    """

    queries: list[Dialogue]
    documents: list[Dialogue]
    source_captions: list[Dialogue]
    target_captions: list[Dialogue]
    sources: Int64[np.ndarray, " batch"]
    targets: Int64[np.ndarray, " batch"]


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
    rng = np.random.default_rng((config.seed, 0, epoch))
    if config.batching == "neighbors":
        order = _by_neighbors(ends, max(1, config.batch_size // NEIGHBORHOODS), rng)
    else:
        order = rng.permutation(len(ends))
    return order[place * config.batch_size : (place + 1) * config.batch_size]


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
        self.numbers: Mapping[ProductKey, int] = {key: i for i, key in enumerate(sorted(split.products))}
        self.ends = _ends(split, self.numbers)

    def triplets(self, step: int) -> list[Triplet]:
        """The triplets of a step, in the order of its rows."""
        return [self.split.triplets[index] for index in batch_indices(step, self.ends, self.config)]

    def examples(self, step: int, team: Team = ALONE) -> StepExamples:
        """The dialogues of a step; of several processes each builds its own rows.

        Random choices are made for the whole batch everywhere, so that they do not depend on the number of processes.
        """
        rng = np.random.default_rng((self.config.seed, 1, step))
        triplets = self.triplets(step)
        use_long, caption_long = _draw(self.config.modification, rng), _draw(self.config.caption, rng)
        variant = self.config.variant
        before = self._thoughts([t.source for t in triplets] if variant.two_turns else [], step, rng)
        thoughts = self._thoughts([t.target for t in triplets], step, rng)
        own = triplets[team.rows(len(triplets))]
        sources, targets = [t.source for t in own], [t.target for t in own]
        captions = self._captions([*sources, *targets] if variant.alignment else [], caption_long)
        return StepExamples(
            queries=self._queries(own, use_long, before),
            documents=self._documents(targets, thoughts),
            source_captions=[captions[key] for key in sources] if variant.alignment and variant.two_turns else [],
            target_captions=[captions[key] for key in targets] if variant.alignment else [],
            sources=np.array([self.numbers[t.source] for t in triplets]),
            targets=np.array([self.numbers[t.target] for t in triplets]),
        )

    def _queries(
        self, triplets: Sequence[Triplet], use_long: bool, thoughts: Mapping[ProductKey, list[int]]
    ) -> list[Dialogue]:
        build = self.model.dialogues
        views = self.model.store.products([self.split.products[triplet.source] for triplet in triplets])
        return [
            build.query(shown, (triplet.long or "") if use_long else triplet.short, thoughts.get(triplet.source))
            for shown, triplet in zip(views, triplets, strict=True)
        ]

    def _documents(self, keys: Sequence[ProductKey], thoughts: Mapping[ProductKey, list[int]]) -> list[Dialogue]:
        """One dialogue a product, however many rows show it, so that it is read once."""
        distinct = list(dict.fromkeys(keys))
        views = self.model.store.products([self.split.products[key] for key in distinct])
        build = self.model.dialogues.document
        documents = {key: build(shown, thoughts.get(key)) for key, shown in zip(distinct, views, strict=True)}
        return [documents[key] for key in keys]

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
    model.require_room(queries, captions)


def _ends(split: Split, numbers: Mapping[ProductKey, int]) -> Int64[np.ndarray, "triplets 2"]:
    return np.array([(numbers[triplet.source], numbers[triplet.target]) for triplet in split.triplets], np.int64)


def _draw(length: TextLength, rng: np.random.Generator) -> bool:
    """Whether this step reads long texts."""
    return bool(rng.random() < 0.5) if length == "both" else length == "long"


def _text(caption: Caption, use_long: bool) -> str:
    return caption.long if use_long else caption.short
