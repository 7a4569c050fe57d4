"""What lessons are about: the views of many unrelated garments, of which everything that shows is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int64, UInt8

from procir.catalog.atelier.drawing import draw
from procir.catalog.atelier.garments import GROUPS, Garment
from procir.catalog.atelier.sampling import generator, sample
from procir.catalog.processes import in_processes
from procir.errors import ConfigError
from procir.model.pixels import PixelSettings, resize
from procir.recipes.console import Advance

_DRAWN = 256
_HELD_OUT = 0.02
_CHUNK = 16


@dataclass(frozen=True, slots=True)
class Lessons:
    """Garments with all their views, in order; the views of the last are held out from what is taught.

    `first` is the number of each garment's first view, and at its end the number of all views.
    """

    garments: Sequence[Garment]
    pixels: UInt8[np.ndarray, "views height width 3"]
    first: Int64[np.ndarray, " garments_and_end"]

    @property
    def taught_views(self) -> int:
        """How many views are taught; the others are there to examine."""
        return len(self.pixels) - max(1, round(_HELD_OUT * len(self.pixels)))

    @property
    def taught_garments(self) -> int:
        """How many garments have none but taught views."""
        return int(np.searchsorted(self.first, self.taught_views, side="right")) - 1

    def views(self, garment: int) -> UInt8[np.ndarray, "views height width 3"]:
        """The views of a garment."""
        return self.pixels[self.first[garment] : self.first[garment + 1]]


def draw_lessons(garments: int, pixels: PixelSettings, workers: int, progress: Advance, *, seed: int = 0) -> Lessons:
    """Lessons about `garments` garments, whose views are resized as the model sees them and must be of one size.

    Raises ConfigError for so few garments that none would be held out.
    """
    if garments * _HELD_OUT < 1:
        raise ConfigError(f"lessons about {garments} garments: at least {math.ceil(1 / _HELD_OUT)} are needed")
    draw_one = partial(_draw_garment, seed=seed, pixels=pixels)
    shown: list[UInt8[np.ndarray, "height width 3"]] = []
    first = [0]
    for done, views in enumerate(in_processes(draw_one, range(garments), workers, _CHUNK), start=1):
        shown += views
        first.append(len(shown))
        progress(done, garments, "garments")
    return Lessons([_garment(number, seed) for number in range(garments)], np.stack(shown), np.array(first))


def _garment(number: int, seed: int) -> Garment:
    rng = generator("reading", seed, number)
    return sample(rng.choice(GROUPS), rng)


def _draw_garment(number: int, *, seed: int, pixels: PixelSettings) -> list[UInt8[np.ndarray, "height width 3"]]:
    garment = _garment(number, seed)
    return [resize(draw(garment, view, _DRAWN), pixels).pixels for view in garment.views]


def move_views(
    views: UInt8[np.ndarray, "views height width 3"], most: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "views height width 3"]:
    """Every view moved by a whole number of pixels of its own, its border repeated."""
    _, height, width, _ = views.shape
    wide = np.pad(views, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    starts = rng.integers(2 * most + 1, size=(len(views), 2))
    return np.stack([view[y : y + height, x : x + width] for view, (y, x) in zip(wide, starts, strict=True)])
