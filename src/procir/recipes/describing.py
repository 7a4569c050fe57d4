"""Describing lessons: a language model with random weights learns what its embeddings should tell.

Every garment comes with a wish for something else. A linear layer answers each question about the garment from the
source embedding of turn 1 (which is the document embedding, too) and each question about what was wished for from the
query embedding of turn 2. It is one layer for both, so that a query learns to say what the document of its target says.
The layer is thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor, nn

from procir.catalog.atelier.comparison import columns, possible
from procir.catalog.atelier.garments import Attribute, Garment, applies, visible
from procir.catalog.atelier.modifications import write_modification
from procir.catalog.atelier.sampling import generator, with_contrast
from procir.model.embedder import ProCIR
from procir.model.pixels import ViewPixels
from procir.recipes import questions
from procir.recipes.console import Advance
from procir.recipes.lessons import Lessons, move_views
from procir.recipes.study import StudyConfig, study

_CHANGES = (2, 2, 3)


def vary(garment: Garment, rng: Random) -> Garment:
    """What somebody may wish for instead of a garment: two or three of the attributes that its views show are new."""
    shown = [attribute for attribute in columns(garment.group) if _can_vary(attribute, garment)]
    changed = {
        attribute.name: rng.choice([value for value in attribute.values if value != garment[attribute.name]])
        for attribute in rng.sample(shown, rng.choice(_CHANGES))
    }
    return with_contrast(replace(garment, values={**garment.values, **changed}, seed=rng.getrandbits(31)), rng)


def _can_vary(attribute: Attribute, garment: Garment) -> bool:
    """An accent is left to the contrast with its ground."""
    several = len(attribute.values) > 1 and attribute.name != "accent"
    return several and possible(attribute, garment) and applies(attribute.name, garment.values)


def answers(garment: Garment) -> list[int]:
    """What a garment shows on any of its views, in the order of `questions`."""
    return questions.numbered(visible(garment) | {questions.GROUP: garment.group.name})


def teach_to_describe(model: ProCIR, lessons: Lessons, config: StudyConfig, progress: Advance) -> dict[str, float]:
    """Train those weights of a two-turn `model` that are not frozen in place; the items of a step are garments.

    Returns the share of right answers by question that queries on held-out garments give about what was wished for.
    """
    describer = _Describer(model, config).train()
    rng = np.random.default_rng((config.seed, 3))
    taught = lessons.taught_garments

    def loss(step: int) -> Tensor:
        chosen = rng.integers(taught, size=config.batch_size)
        scores, asked = describer(lessons, chosen.tolist(), step, rng)
        return questions.cross_entropy(scores, asked)

    study(describer.named_parameters(), loss, config, progress)
    return describer.eval().marks(lessons, range(taught, len(lessons.garments)), rng)


class _Describer(nn.Module):
    """A model with a linear layer over the direction of its embeddings: their length means nothing to retrieval."""

    def __init__(self, model: ProCIR, config: StudyConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.network = model.network
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.head = nn.Linear(model.dim, questions.width(), device=model.device)

    def forward(
        self, lessons: Lessons, chosen: Sequence[int], step: int, rng: np.random.Generator
    ) -> tuple[Float[Tensor, "items values"], Int16[np.ndarray, "items questions"]]:
        """Scores and answers: of the chosen garments, then of what is wished for instead."""
        garments = [lessons.garments[number] for number in chosen]
        wishes = [
            vary(garment, generator("wish", self.config.seed, step, place)) for place, garment in enumerate(garments)
        ]
        unit = self.model.settings.pixels.patch * self.model.settings.pixels.merge
        dialogues = []
        for number, garment, wish in zip(chosen, garments, wishes, strict=True):
            views = move_views(lessons.views(number), self.config.shift, rng)
            shown = [ViewPixels(view, (view.shape[0] // unit, view.shape[1] // unit)) for view in views]
            dialogues.append(self.model.dialogues.query(shown, write_modification(garment, wish).short))
        embeddings = self.model.embed(dialogues)
        directions = F.normalize(torch.cat([embeddings[0::2], embeddings[1::2]]), dim=-1)
        scores: Tensor = self.head(self.model.dim**0.5 * directions)
        return scores, np.array([answers(garment) for garment in (*garments, *wishes)], np.int16)

    @torch.inference_mode()
    def marks(self, lessons: Lessons, garments: Sequence[int], rng: np.random.Generator) -> dict[str, float]:
        """Share of right answers by question about what is wished for."""
        given, right = [], []
        for start in range(0, len(garments), self.config.batch_size):
            chosen = garments[start : start + self.config.batch_size]
            scores, asked = self(lessons, chosen, -1 - start, rng)
            given.append(questions.given(scores[len(chosen) :]))
            right.append(asked[len(chosen) :])
        return questions.marks(np.concatenate(given), np.concatenate(right))
