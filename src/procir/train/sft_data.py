"""Lessons of supervised fine-tuning: which conversations a run has, in which order, and the dialogues they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from procir.catalog.conversations import Conversation, caption_conversations, triplet_conversations
from procir.catalog.findings import Findings
from procir.errors import ContextOverflowError, TrainingError
from procir.model.dialogue import Dialogue, DialogueBuilder, Exchange
from procir.model.embedder import ProCIR
from procir.model.pixels import ViewPixels, outline
from procir.train.sft_config import SftConfig
from procir.types import LoadReport, Split


def gather(
    model: ProCIR, split: Split, config: SftConfig, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[tuple[Conversation, ...], LoadReport]:
    """The drawn conversations of both tasks that fit into `config.max_tokens`, and a report of all others.

    The report counts them as captions and triplets. Only the headers of image files are read. Raises TrainingError if
    no conversation is left, ImageError for a view that is no image.
    """
    findings = Findings()
    tasks = [
        list(task(split, findings, seed=config.seed, share=config.share))
        for task in (caption_conversations, triplet_conversations)
    ]
    total, done = sum(map(len, tasks)), 0
    renderer = LessonRenderer(model, config)
    kept: list[list[Conversation]] = []
    for task in tasks:
        kept.append([])
        for conversation in task:
            if renderer.fits(conversation):
                kept[-1].append(conversation)
            else:
                findings.add(f"conversations longer than {renderer.max_length} tokens", conversation.name)
            done += 1
            progress(done, total)
    captions, triplets = kept
    if not captions and not triplets:
        raise TrainingError(f"no conversation to learn from: {findings.describe() or 'none was drawn; raise share'}")
    report = LoadReport(
        captions=len(captions), triplets=len(triplets), skipped=findings.counts, examples=findings.examples()
    )
    return (*captions, *triplets), report


def total_steps(conversations: int, config: SftConfig) -> int:
    """How many steps a run has."""
    if config.max_steps is not None:
        return config.max_steps
    return max(1, round(config.epochs * steps_per_epoch(conversations, config)))


def steps_per_epoch(conversations: int, config: SftConfig) -> int:
    """Steps of one pass, the last of which may be ragged."""
    return math.ceil(conversations / config.batch_size)


def batch_indices(step: int, conversations: int, config: SftConfig) -> list[int]:
    """The conversations of a step: a pure function of seed and step, so that a resumed run sees the same."""
    epoch, place = divmod(step, steps_per_epoch(conversations, config))
    order = _order(config.seed, epoch, conversations)
    return order[place * config.batch_size : (place + 1) * config.batch_size]


@cache
def _order(seed: int, epoch: int, conversations: int) -> list[int]:
    order: list[int] = np.random.default_rng((seed, 2, epoch)).permutation(conversations).tolist()
    return order


class LessonRenderer:
    """Turns conversations into dialogues for a model, none longer than `max_length` tokens."""

    def __init__(self, model: ProCIR, config: SftConfig) -> None:
        self.store = model.store
        self.max_length = min(config.max_tokens, model.dialogues.max_length)
        self._builder = DialogueBuilder(
            model.tokenizer,
            two_turns=model.settings.two_turns,
            max_length=self.max_length,
            embedding_token=model.settings.embedding_token,
        )
        self._outline = cache(lambda path: outline(path, self.store.settings))

    def fits(self, conversation: Conversation) -> bool:
        """Whether the conversation is short enough; pixels are not decoded for that."""
        shown = [tuple(map(self._outlined, turn_paths)) for turn_paths in _paths(conversation)]
        try:
            self._lesson(conversation, shown)
        except ContextOverflowError:
            return False
        return True

    def lessons(self, conversations: Sequence[Conversation]) -> list[Dialogue]:
        """The dialogues of conversations that fit."""
        groups = self.store.views([turn.views for conversation in conversations for turn in conversation.turns])
        shown = iter(groups)
        return [self._lesson(conversation, [next(shown) for _ in conversation.turns]) for conversation in conversations]

    def _outlined(self, path: Path) -> ViewPixels:
        return self._outline(path)

    def _lesson(self, conversation: Conversation, shown: Sequence[tuple[ViewPixels, ...]]) -> Dialogue:
        exchanges = [
            Exchange(views=views, request=turn.request, thought=turn.thought, answer=turn.answer)
            for turn, views in zip(conversation.turns, shown, strict=True)
        ]
        return self._builder.lesson(conversation.system, exchanges)


def _paths(conversation: Conversation) -> Iterator[list[Path]]:
    return ([view.path for view in turn.views] for turn in conversation.turns)
