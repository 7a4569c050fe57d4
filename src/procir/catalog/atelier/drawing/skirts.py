"""Skirts from the front and the back: outline, folds, hems, slits."""

from __future__ import annotations

from dataclasses import dataclass

from procir.catalog.atelier.drawing.easel import Easel, flounce, wavy
from procir.catalog.atelier.drawing.paths import Number, Path, Point, ellipse, polygon, segment
from procir.catalog.atelier.drawing.tones import CREAM, WHITE, mix, outline
from procir.catalog.atelier.drawing.tops import SLANT

LENGTHS = {"mini": 117.0, "midi": 142.0, "maxi": 170.0}
_SLOPES = {"pencil": -0.035, "a-line": 0.26, "pleated": 0.24, "tiered": 0.27}


@dataclass(frozen=True, slots=True)
class Bell:
    """The outline of a skirt: half widths by height, and the heights of its lower corners in the image."""

    waist: Number
    waist_half: Number
    hip_half: Number
    slope: Number
    left: Number
    right: Number

    def half(self, y: Number) -> Number:
        """Half width at a height."""
        hip = self.waist + 20.0
        share = min(1.0, max(0.0, (y - self.waist) / 20.0))
        round_hip = self.waist_half + (self.hip_half - self.waist_half) * (2 * share - share * share)
        flare = max(self.slope, 0.0) * (y - self.waist) if self.slope > 0 else self.slope * max(0.0, y - hip)
        return max(round_hip, self.waist_half) + flare * (0.8 if self.slope > 0 else 1.0)

    def at(self, y: Number, t: Number) -> Point:
        """A point at a height, t from -1 to 1 across."""
        return self.half(y) * t, y

    @property
    def low(self) -> Number:
        """Height of the hem in the middle."""
        return (self.left + self.right) / 2


def make_bell(easel: Easel, waist: Number, waist_half: Number, hip_half: Number) -> Bell:
    """The skirt below a waist."""
    base = LENGTHS[easel["length"]]
    left, right = base, base
    if easel["hem"].startswith("slanted"):
        longer = easel.wearers_left * (1 if easel["hem"] == "slanted left" else -1)
        left, right = base - SLANT * longer, base + SLANT * longer
    return Bell(waist, waist_half, hip_half, _SLOPES[easel["skirt"]], left, right)


def bell_path(bell: Bell) -> Path:
    """Outline of a skirt."""
    right = [bell.at(bell.waist + (bell.right - bell.waist) * i / 5, 1) for i in range(6)]
    left = [bell.at(bell.waist + (bell.left - bell.waist) * i / 5, -1) for i in range(6)]
    path = Path().move(*left[0]).line(*right[0]).through(right)
    sag = 2.5 if bell.slope > 0 else 1.2
    (rx, ry), (lx, ly) = right[-1], left[-1]
    path.curve(rx * 0.6, ry + (ly - ry) * 0.2 + sag, lx * 0.6, ly + (ry - ly) * 0.2 + sag, lx, ly)
    return path.through(left[::-1]).close()


def draw_skirt(easel: Easel, bell: Bell) -> None:
    """The skirt with its folds and its hem."""
    path = bell_path(bell)
    half = bell.half(bell.low - 10)
    with easel.panel(path, ((-half, 0), (half, 0)), (0, 112), creased=3):
        _FOLDS[easel["skirt"]](easel, bell)
        if easel["hem"] in ("straight", "slanted left", "slanted right"):
            _hem_stitch(easel, bell)
    if easel["hem"] == "ruffled":
        count = max(6, int(half / 2.8))
        flounce(easel, (bell.at(bell.low - 1, -1), bell.at(bell.low - 1, 1)), 8.5, 2.4, count)
    if easel["hem"] == "lace":
        _lace(easel, bell)


def _hem_stitch(easel: Easel, bell: Bell) -> None:
    (lx, ly), (rx, ry) = bell.at(bell.left - 3, -1), bell.at(bell.right - 3, 1)
    easel.stitch(
        Path().move(lx, ly).curve(lx * 0.5, ly * 0.75 + ry * 0.25 + 2, rx * 0.5, ry * 0.75 + ly * 0.25 + 2, rx, ry)
    )


def _pencil_folds(easel: Easel, bell: Bell) -> None:
    for side in (-1, 1):
        easel.fold(*bell.at(bell.waist + 14, side * 0.98), *bell.at(bell.waist + 19, side * 0.2), 1.1, -0.8 * side)
        easel.fold(*bell.at(bell.waist + 4, side * 0.5), *bell.at(bell.waist + 16, side * 0.46), 0.7)


def _bell_folds(easel: Easel, bell: Bell) -> None:
    for t in (-0.72, -0.26, 0.3, 0.76):
        top = bell.waist + 10 + 8 * abs(((t * 7) % 1.0) - 0.5)
        easel.fold(*bell.at(top, t * 0.9), *bell.at(bell.low + 8, t), 1.8)


def _pleats(easel: Easel, bell: Bell) -> None:
    count = 4.4
    for i in range(-4, 5):
        t = i / count
        x0, y0 = bell.at(bell.waist, t)
        x1, y1 = bell.at(bell.low + 10, t)
        x2 = x1 + bell.half(bell.low) / count * 0.6
        easel.canvas.fill(polygon([(x0, y0), (x2, y1), (x1, y1)]), (0, 0, 0), 0.3)
        easel.seam(segment(x0, y0, x1, y1), 1.3)


def _tiers(easel: Easel, bell: Bell) -> None:
    depth = (bell.low - bell.waist) / 3
    for tier in range(3):
        y = bell.waist + depth * tier
        if tier:
            shade = polygon([bell.at(y, -1), bell.at(y, 1), bell.at(y + 5, 1), bell.at(y + 5, -1)])
            easel.canvas.linear(shade, (0, y), (0, y + 5), [(0, (0, 0, 0), 0.45), (1, (0, 0, 0), 0.0)])
            easel.seam(Path().move(*bell.at(y, -1)).through(wavy((bell.at(y, -1), bell.at(y, 1)), 7, 1.6, (0, 1))), 1.6)
        for i in range(-4, 5):
            t = (i + 0.3 * (tier % 2)) / 4.4
            easel.fold(*bell.at(y + 1, t), *bell.at(y + depth * 0.85, t), 1.2)


_FOLDS = {"pencil": _pencil_folds, "a-line": _bell_folds, "pleated": _pleats, "tiered": _tiers}


def _lace(easel: Easel, bell: Bell) -> None:
    y0, y1 = bell.low - 2.5, bell.low + 5.5
    count = max(7, int(bell.half(y1) / 2.5))
    edge = wavy((bell.at(y1, 1), bell.at(y1, -1)), count, 2.6, (0, 1))
    path = Path().move(*bell.at(y0, -1)).line(*bell.at(y0, 1)).line(*edge[0]).through(edge).close()
    color = CREAM if sum(easel.base) < 3 * 205 else mix(easel.base, (120, 110, 100), 0.45)
    easel.canvas.fill(path, color, 0.94)
    easel.canvas.stroke(path, outline(color), easel.pixel)
    for i in range(count):
        x, y = bell.at(y1 - 1.2, -1 + (2 * i + 1) / count)
        easel.canvas.fill(ellipse(x, y + 0.4, 1.25, 1.5), outline(color), 0.7)
        easel.canvas.fill(ellipse(x, y0 + 2.0, 0.7, 0.8), outline(color), 0.6)
    easel.seam(segment(*bell.at(y0, -1), *bell.at(y0, 1)))


def draw_slit(easel: Easel, bell: Bell) -> None:
    """The slit in the front, through which the inside or a leg shows."""
    kind = easel["slit"]
    if kind == "none":
        return
    t = {"center": 0.0, "left": 0.5, "right": -0.5}[kind] * easel.wearers_left
    low = bell.low + (bell.right - bell.left) / 2 * t
    x, y = bell.at(low, t)
    top = max(bell.waist + 14, low - max(18.0, (low - bell.waist) * 0.42))
    x0 = bell.half(top) * t
    reach = 9.5 if easel["hem"] in ("ruffled", "lace") else 2.0
    tilt = 4.6 * (bell.right - bell.left) / (2 * bell.half(low))
    right, left = (x + 4.6, y + reach + tilt), (x - 4.6, y + reach - tilt)
    hole = polygon([(x0, top), right, left])
    if easel.view == "full":
        easel.canvas.fill(hole, (202, 190, 178))
        easel.canvas.stroke(hole, easel.outline, 1.3 * easel.pixel)
    else:
        easel.hole(hole)
    easel.canvas.stroke(Path().move(*right).line(x0, top).line(*left),
                        mix(easel.base, WHITE, 0.5) if easel.dark else easel.outline, 1.5 * easel.pixel)  # fmt: skip
