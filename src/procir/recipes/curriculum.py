"""All lessons of a tiny model: its vision tower learns to read views, then its embeddings learn to describe products.

A published Qwen3.5 has seen billions of images and texts before it meets a triplet; a tiny one has seen none, and
triplets alone teach it details very slowly. Of drawn garments everything that shows is known, and can be asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from procir.model.embedder import ProCIR
from procir.recipes.console import Advance, stage
from procir.recipes.describing import teach_to_describe
from procir.recipes.lessons import Lessons, draw_lessons
from procir.recipes.reading import teach_to_read
from procir.recipes.study import StudyConfig, once

_Teach = Callable[[ProCIR, Lessons, StudyConfig, Advance], dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """What a model studies, and how long."""

    garments: int
    """Unrelated garments, each with all its views."""
    seed: int = 0
    """Decides the garments."""
    reading: StudyConfig
    """Steps over views, for the vision tower."""
    describing: StudyConfig
    """Steps over garments with a wish, for the language model."""


def attend(
    model: ProCIR, curriculum: Curriculum, folder: Path, workers: int, *, resume: bool
) -> dict[str, dict[str, Any]]:
    """Teach `model` in place, and keep what it learnt in `folder`; with `resume`, take what is kept there.

    The tower is frozen once it can read: a language model that knows nothing yet would make it unlearn. Returns the
    records of reading and describing: the share of right answers on held-out garments by question as `marks`, and
    `seconds`. Raises TrainingError if what is kept had other lessons, ConfigError for too few garments.
    """

    @cache
    def lessons() -> Lessons:
        with stage("Drawing lessons") as advance:
            return draw_lessons(curriculum.garments, model.settings.pixels, workers, advance, seed=curriculum.seed)

    def learn(name: str, teach: _Teach, config: StudyConfig) -> dict[str, float]:
        subject = lessons()
        with stage(name) as advance:
            return teach(model, subject, config, advance)

    whole, tower = asdict(curriculum), model.network.model.visual
    reading = once(
        tower,
        {name: value for name, value in whole.items() if name != "describing"},
        folder / "reading",
        lambda: learn("Reading", teach_to_read, curriculum.reading),
        resume=resume,
    )
    tower.requires_grad_(False)
    describing = once(
        model.network,
        whole,
        folder / "describing",
        lambda: learn("Describing", teach_to_describe, curriculum.describing),
        resume=resume,
    )
    records = {"reading": reading, "describing": describing}
    return {name: {"marks": record["marks"], "seconds": record["seconds"]} for name, record in records.items()}
