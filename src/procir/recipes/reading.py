"""Reading lessons: a vision tower with random weights learns to name what drawn views show.

Every view asks about each attribute that it shows, and a linear layer answers from the view's tokens. The layer is
thrown away afterwards; the tower stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from torch import Tensor, nn

from procir.catalog.atelier.comparison import columns
from procir.catalog.atelier.garments import Garment, applies
from procir.model.embedder import ProCIR
from procir.model.packing import patches
from procir.model.vision import view_features
from procir.recipes import questions
from procir.recipes.console import Advance
from procir.recipes.lessons import Lessons, move_views
from procir.recipes.study import StudyConfig, study


def answers(garment: Garment, view: str) -> list[int]:
    """What a view of a garment shows, in the order of `questions`."""
    shown = {
        attribute.name: garment[attribute.name]
        for attribute in columns(garment.group)
        if view in attribute.views and applies(attribute.name, garment.values)
    }
    return questions.numbered(shown | {questions.GROUP: garment.group.name})


def teach_to_read(model: ProCIR, lessons: Lessons, config: StudyConfig, progress: Advance) -> dict[str, float]:
    """Train the vision tower of `model` in place; the items of a step are views.

    Returns the share of right answers by question on held-out views; a question that none of them answers is left out.
    """
    asked = np.array([answers(garment, view) for garment in lessons.garments for view in garment.views], np.int16)
    taught = lessons.taught_views
    reader = _Reader(model, lessons.pixels.shape[1:3], config.seed).train()
    rng = np.random.default_rng((config.seed, 2))

    def loss(_: int) -> Tensor:
        chosen = rng.integers(taught, size=config.batch_size)
        scores = reader(torch.from_numpy(move_views(lessons.pixels[chosen], config.shift, rng)))
        return questions.cross_entropy(scores, asked[chosen])

    study(reader.named_parameters(), loss, config, progress)
    return reader.eval().marks(lessons.pixels[taught:], asked[taught:], config.batch_size)


class _Reader(nn.Module):
    """A vision tower with a linear layer over all tokens of a view, so that every place can answer for itself."""

    def __init__(self, model: ProCIR, sides: Sequence[int], seed: int) -> None:
        super().__init__()
        self.tower = model.network.model.visual
        self.pixels = model.settings.pixels
        unit = self.pixels.patch * self.pixels.merge
        self.grid = (sides[0] // unit, sides[1] // unit)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = nn.Linear(model.dim * self.grid[0] * self.grid[1], questions.width())
        self.norm = nn.LayerNorm(model.dim)
        self.to(model.device)

    def forward(self, views: UInt8[Tensor, "views height width 3"]) -> Float[Tensor, "views values"]:
        """Scores of the values of all questions."""
        values = patches(views.to(self.head.weight.device), self.pixels, self.head.weight.dtype)
        tokens = self.norm(view_features(self.tower, values, self.grid))
        scores: Tensor = self.head(tokens.flatten(1))
        return scores

    @torch.inference_mode()
    def marks(
        self, views: UInt8[np.ndarray, "views height width 3"], asked: Int16[np.ndarray, "views questions"], batch: int
    ) -> dict[str, float]:
        """Share of right answers by question."""
        parts = np.array_split(views, math.ceil(len(views) / batch))
        return questions.marks(np.concatenate([questions.given(self(torch.from_numpy(part))) for part in parts]), asked)
