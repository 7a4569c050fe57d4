"""Reading lessons: a vision tower with random weights learns to name what drawn views show.

A published Qwen3.5 has seen billions of images before it meets a triplet; a tiny one has seen none, and triplets alone
teach it details very slowly. Here every view of many unrelated garments asks about each attribute that it shows, and a
linear layer answers from the view's tokens. The layer is thrown away afterwards; the tower stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16, Int64, UInt8
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from procir.catalog.atelier.comparison import columns
from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import GROUPS, Garment, applies
from procir.catalog.atelier.sampling import generator, sample
from procir.errors import ConfigError, TrainingError
from procir.model.checkpoint import replacing
from procir.model.embedder import ProCIR
from procir.model.packing import patches
from procir.model.pixels import PixelSettings, resize
from procir.model.vision import view_features
from procir.recipes.console import Advance, stage
from procir.train import optimizers

_TOWER, _MARKS = "tower.safetensors", "marks.json"
_DRAWN = 256
_HELD_OUT = 0.02
_CHUNK = 16
_NOT_SHOWN = -1
_SMOOTH = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConfig:
    """How long the lessons are."""

    garments: int = 40_000
    """Unrelated garments, each with all its views."""
    steps: int = 6000
    """Updates of the tower."""
    batch_size: int = 128
    """Views an update."""
    learning_rate: float = 4e-3
    """Peak rate of Muon and AdamW; warm-up, then a cosine to zero."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """Decay of matrices."""
    shift: int = 4
    """Most pixels that a view is moved up, down and sideways, so that it is never seen twice in the same place."""
    seed: int = 0
    """Decides garments, order and shifts."""

    def __post_init__(self) -> None:
        if min(self.garments * _HELD_OUT, self.steps, self.batch_size) < 1:
            raise ConfigError(
                f"{self.garments} garments, {self.steps} steps of {self.batch_size}: at least "
                f"{math.ceil(1 / _HELD_OUT)} garments and one step are needed"
            )


@dataclass(frozen=True, slots=True)
class Lessons:
    """Views with what can be read from each: the number of the value by question, or -1 where it does not show."""

    pixels: UInt8[np.ndarray, "views height width 3"]
    answers: Int16[np.ndarray, "views questions"]

    def part(self, first: int, last: int) -> Lessons:
        """The views from `first` on, up to `last`."""
        return Lessons(self.pixels[first:last], self.answers[first:last])


@cache
def questions() -> Mapping[str, tuple[str, ...]]:
    """Every attribute with its values over all groups, and the group itself."""
    found: dict[str, dict[str, None]] = {}
    for group in GROUPS:
        for attribute in columns(group):
            found.setdefault(attribute.name, {}).update(dict.fromkeys(attribute.values))
    return {name: tuple(values) for name, values in found.items()} | {"group": tuple(group.name for group in GROUPS)}


def answers(garment: Garment, view: str) -> list[int]:
    """What a view of a garment shows, in the order of `questions`."""
    shown = {
        attribute.name: garment[attribute.name]
        for attribute in columns(garment.group)
        if view in attribute.views and applies(attribute.name, garment.values)
    } | {"group": garment.group.name}
    return [values.index(shown[name]) if name in shown else _NOT_SHOWN for name, values in questions().items()]


def draw_lessons(config: ReadingConfig, pixels: PixelSettings, workers: int, progress: Advance) -> Lessons:
    """The views of `config.garments` garments, garment by garment."""
    shown: list[UInt8[np.ndarray, "height width 3"]] = []
    asked: list[list[int]] = []
    for done, views in enumerate(_drawn(config, pixels, workers), start=1):
        shown += [view for view, _ in views]
        asked += [answer for _, answer in views]
        progress(done, config.garments, "garments")
    return Lessons(np.stack(shown), np.array(asked, np.int16))


def _drawn(
    config: ReadingConfig, pixels: PixelSettings, workers: int
) -> Iterator[list[tuple[UInt8[np.ndarray, "height width 3"], list[int]]]]:
    draw_one = partial(_draw_garment, seed=config.seed, pixels=pixels)
    if workers == 1:
        yield from map(draw_one, range(config.garments))
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield from pool.map(draw_one, range(config.garments), chunksize=_CHUNK)
    finally:  # an interruption does not wait for garments that nobody wants any more
        pool.shutdown(cancel_futures=True)


def _draw_garment(
    number: int, *, seed: int, pixels: PixelSettings
) -> list[tuple[UInt8[np.ndarray, "height width 3"], list[int]]]:
    rng = generator("reading", seed, number)
    garment = sample(rng.choice(GROUPS), rng)
    return [(resize(draw(garment, view, _DRAWN), pixels).pixels, answers(garment, view)) for view in garment.views]


def learn_to_read(
    model: ProCIR, config: ReadingConfig, folder: Path, workers: int, *, resume: bool
) -> dict[str, float]:
    """Draw the lessons, teach the tower of `model`, and keep it in `folder`; with `resume`, take what is kept there.

    The tower is frozen afterwards: a language model that knows nothing yet would make it unlearn. Returns the share of
    right answers by question. Raises TrainingError if the kept tower had other lessons.
    """
    tower = model.network.model.visual
    if resume and (folder / _MARKS).is_file():
        record = json.loads((folder / _MARKS).read_text(encoding="utf-8"))
        if record["config"] != asdict(config):
            raise TrainingError(f"{folder} holds a tower that had other reading lessons: choose another folder")
        load_model(tower, folder / _TOWER)
        tower.requires_grad_(False)
        return dict(record["marks"])
    with stage("Drawing lessons") as advance:
        lessons = draw_lessons(config, model.settings.pixels, workers, advance)
    with stage("Reading") as advance:
        marks = teach(model, lessons, config, advance)
    with replacing(folder) as scratch:
        save_model(tower, str(scratch / _TOWER))
        (scratch / _MARKS).write_text(json.dumps({"config": asdict(config), "marks": marks}) + "\n", encoding="utf-8")
    tower.requires_grad_(False)
    return marks


def teach(model: ProCIR, lessons: Lessons, config: ReadingConfig, progress: Advance) -> dict[str, float]:
    """Train the vision tower of `model` in place.

    Returns the share of right answers by question on held-out garments; a question that none of them answers is left
    out. The views must be of one size.
    """
    held_out = max(1, round(_HELD_OUT * len(lessons.pixels)))
    training, rest = lessons.part(0, -held_out), lessons.part(len(lessons.pixels) - held_out, len(lessons.pixels))
    reader = _Reader(model, training.pixels.shape[1:3], config.seed).train()
    moving = optimizers.build(
        reader.named_parameters(), "muon", learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    rng = np.random.default_rng((config.seed, 2))
    smooth = 0.0
    for step in range(config.steps):
        chosen = rng.integers(len(training.pixels), size=config.batch_size)
        views = move_views(training.pixels[chosen], config.shift, rng)
        loss = reader.loss(torch.from_numpy(views), torch.from_numpy(training.answers[chosen].astype(np.int64)))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers.step(moving, _rate(step, config))
        smooth = loss.item() if step == 0 else _SMOOTH * smooth + (1 - _SMOOTH) * loss.item()
        progress(step + 1, config.steps, f"loss {smooth:.2f}")
    return reader.eval().marks(rest, config.batch_size)


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
            self.head = nn.Linear(model.dim * self.grid[0] * self.grid[1], sum(map(len, questions().values())))
        self.norm = nn.LayerNorm(model.dim)
        self.to(model.device)

    def forward(self, views: UInt8[Tensor, "views height width 3"]) -> list[Float[Tensor, "views values"]]:
        """Scores of the values, by question."""
        values = patches(views.to(self.head.weight.device), self.pixels, self.head.weight.dtype)
        tokens = self.norm(view_features(self.tower, values, self.grid))
        return list(self.head(tokens.flatten(1)).split([len(values) for values in questions().values()], dim=1))

    def loss(self, views: UInt8[Tensor, "views height width 3"], asked: Int64[Tensor, "views questions"]) -> Tensor:
        """Cross-entropy of all answers that the views give, a view."""
        parts = [
            F.cross_entropy(scores, right, ignore_index=_NOT_SHOWN, reduction="sum")
            for scores, right in zip(self(views), asked.to(self.head.weight.device).unbind(1), strict=True)
        ]
        return torch.stack(parts).sum() / len(views)

    @torch.inference_mode()
    def marks(self, lessons: Lessons, batch: int) -> dict[str, float]:
        """Share of right answers by question."""
        rows = [
            np.stack([scores.argmax(1).cpu().numpy() for scores in self(torch.from_numpy(part))], axis=1)
            for part in np.array_split(lessons.pixels, math.ceil(len(lessons.pixels) / batch))
        ]
        right, shown = np.concatenate(rows) == lessons.answers, lessons.answers != _NOT_SHOWN
        return {
            name: round(float(right[shown[:, column], column].mean()), 3)
            for column, name in enumerate(questions())
            if shown[:, column].any()
        }


def move_views(
    views: UInt8[np.ndarray, "views height width 3"], most: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "views height width 3"]:
    """Every view moved by a whole number of pixels of its own, its border repeated."""
    _, height, width, _ = views.shape
    wide = np.pad(views, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    starts = rng.integers(2 * most + 1, size=(len(views), 2))
    return np.stack([view[y : y + height, x : x + width] for view, (y, x) in zip(wide, starts, strict=True)])


def _rate(step: int, config: ReadingConfig) -> float:
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))
