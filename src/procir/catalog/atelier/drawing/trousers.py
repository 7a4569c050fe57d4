"""Legs from the front and the back: outline, hems, knees, pockets on the seat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import Number, Path, Point, box, ellipse, polygon, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, CREAM, WHITE, mix
from procir.catalog.atelier.drawing.waists import BAND

LENGTHS = {"cropped": 156.0, "ankle": 172.0, "full": 188.0, "micro": 121.0, "mid-thigh": 136.0, "knee": 151.0}
_LONG = {
    "skinny": (9.4, 6.6, 4.4),
    "straight": (10.2, 8.8, 8.4),
    "tapered": (11.2, 9.6, 5.4),
    "wide": (11.4, 12.2, 14.0),
    "flared": (10.0, 7.4, 14.4),
}
"""Half widths of a leg at the crotch, the knee and the floor."""
_SHORT = {"straight": (10.4, 10.4), "wide": (11.2, 13.8), "flared": (10.6, 17.0)}
"""Half widths of the leg of shorts at the crotch and the hem."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One trouser leg by heights: `edges(y)` gives its inner and outer x."""

    side: int
    crotch: Number
    hem: Number
    kind: str
    short: bool
    spread: Number
    slope: Number | None = None
    """Seen from the side: how far the leg moves to the image's right for every unit down."""

    def half(self, y: Number) -> Number:
        """Half width at a height below the crotch."""
        if self.short:
            top, low = _SHORT[self.kind]
            share = max(0.0, (y - self.crotch) / (self.hem - self.crotch))
            return top + (low - top) * math.pow(share, 1.6 if self.kind == "flared" else 1.0)
        xs = [self.crotch, 132.0, 146.0, 188.0]
        top, knee, low = _LONG[self.kind]
        return float(np.interp(y, xs, [top, (top + 2 * knee) / 3, knee, low]))

    def edges(self, y: Number) -> tuple[Number, Number]:
        """Inner and outer x of the leg at a height, without side."""
        half = self.half(y)
        if self.slope is not None:
            middle = 0.8 + self.slope * (y - self.crotch)
            return middle - half, middle + half
        share = (y - self.crotch) / (188.0 - self.crotch)
        middle = 10.0 + (2.2 + self.spread) * share
        inner = max(0.5 + 0.5 * share, middle - half)
        return inner, inner + 2 * half

    def at(self, y: Number, t: Number) -> Point:
        """A point of the leg, t from 0 at the inner to 1 at the outer edge."""
        inner, outer = self.edges(y)
        return self.side * (inner + (outer - inner) * t), y


def make_leg(easel: Easel, side: int, slope: Number | None = None) -> Leg:
    """The leg on one side of the image, or with a slope: a leg seen from the side."""
    length = easel["length"]
    short = length in ("micro", "mid-thigh", "knee")
    return Leg(side, easel.figure.crotch_y, LENGTHS[length], easel["leg"], short, easel.shake.leg, slope)


def hip_half(easel: Easel, y: Number) -> Number:
    """Half width of trousers above the crotch."""
    return easel.figure.half_width(y) + 1.4


def leg_path(easel: Easel, leg: Leg, waist: Number) -> Path:
    """Outline of half a pair of trousers."""
    s, end = leg.side, leg.hem
    cuffed = 0.9 if easel["hem"] == "elastic" else 1.0
    hips = [(s * hip_half(easel, y), y) for y in (waist, waist + 8, 100.0)]
    count = 3 if leg.short else 6
    heights = [leg.crotch + 3 + (end - leg.crotch - 3) * i / count for i in range(1, count + 1)]
    outer = [*hips, *(leg.at(y, 1.0) for y in heights)]
    inner = [leg.at(y, 0.0) for y in reversed(heights)]
    if cuffed != 1.0:
        outer[-1], inner[0] = leg.at(end, 0.9), leg.at(end, 0.1)
    path = Path().move(0, waist).line(*outer[0]).through(outer)
    path.curve(outer[-1][0], end + 1.2, inner[0][0], end + 1.2, *inner[0]).through(inner)
    return path.curve(inner[-1][0], leg.crotch + 2, s * 0.2, leg.crotch + 1, 0, leg.crotch).close()


def draw_legs(easel: Easel, waist: Number) -> None:
    """Both legs up to the waist, with folds and hems."""
    for side in (-1, 1):
        leg = make_leg(easel, side)
        path = leg_path(easel, leg, waist)
        y = min(leg.hem - 4, 140.0)
        with easel.panel(path, (leg.at(y, -0.1), leg.at(y, 1.1)), (0, 100), creased=1 + (side > 0), line=0.8):
            _leg_folds(easel, leg)
        draw_hem(easel, leg)
    easel.seam(segment(0, waist, 0, easel.figure.crotch_y))


def _leg_folds(easel: Easel, leg: Leg) -> None:
    s, crotch = leg.side, leg.crotch
    easel.fold(s * 0.5, crotch - 2, *leg.at(crotch + 4, 0.5), 0.9, -0.8 * s)
    if leg.short:
        easel.fold(*leg.at(crotch + 6, 0.6), *leg.at(leg.hem, 0.55), 1.0)
        return
    easel.fold(*leg.at(146, 0.05), *leg.at(150, 0.75), 1.0, 0.8 * s)
    if leg.kind in ("wide", "flared"):
        for t in (0.3, 0.68):
            easel.fold(*leg.at(126, t), *leg.at(leg.hem, t), 1.3)
    else:
        easel.fold(*leg.at(120, 0.5), *leg.at(leg.hem - 3, 0.5), 0.8)
        easel.fold(*leg.at(leg.hem - 7, 0.02), *leg.at(leg.hem - 4, 0.8), 0.9, 0.6 * s)


def draw_hem(easel: Easel, leg: Leg) -> None:
    """How a leg ends."""
    kind, end = easel["hem"], leg.hem
    if kind == "plain":
        easel.stitch(segment(*leg.at(end - 2.4, 0.02), *leg.at(end - 2.4, 0.98)))
    elif kind == "cuffed":
        corners = [leg.at(end - 7, -0.04), leg.at(end - 7, 1.04), leg.at(end + 0.6, 1.06), leg.at(end + 0.6, -0.06)]
        shade = mix(easel.base, CREAM, 0.32) if sum(easel.base) < 3 * 190 else mix(easel.base, BLACK, 0.16)
        trims.band(easel, corners, shade)
        easel.canvas.stroke(segment(*leg.at(end - 5.4, 0), *leg.at(end - 5.4, 1)), easel.outline, easel.pixel, 0.6)
    elif kind == "frayed":
        _fray(easel, leg)
    elif kind == "elastic":
        _elastic_hem(easel, leg)


def _fray(easel: Easel, leg: Leg) -> None:
    end, threads = leg.hem, Path()
    inner, outer = leg.edges(end)
    count = max(8, int((outer - inner) * 0.95))
    for i in range(count + 1):
        x, y = leg.at(end - 1.5, i / count)
        threads.move(x, y).line(x + ((i * 7) % 5 - 2) * 0.35, y + 4.0 + (i * 5) % 4)
    easel.canvas.stroke(threads, easel.outline, 0.6 + 1.6 * easel.pixel)
    easel.canvas.stroke(threads, mix(easel.base, WHITE, 0.55) if sum(easel.base) < 600 else (205, 200, 190), 0.75)
    easel.canvas.stroke(segment(*leg.at(end - 1.6, 0), *leg.at(end - 1.6, 1)), mix(easel.base, CREAM, 0.6), 1.3)


def _elastic_hem(easel: Easel, leg: Leg) -> None:
    end = leg.hem
    top, low = (leg.at(end - 5.5, 0.03), leg.at(end - 5.5, 0.97)), (leg.at(end + 0.6, 0.14), leg.at(end + 0.6, 0.86))
    path = polygon([*top, low[1], low[0]])
    with easel.panel(path, top, top[0]):
        easel.canvas.fill(path, BLACK if not easel.dark else WHITE, 0.14)
        easel.ribs(top, low, 9)
    for t in (0.2, 0.4, 0.6, 0.8):
        easel.fold(*leg.at(end - 5.5, t), *leg.at(end - 13, t), 0.8)
    easel.seam(segment(*top[0], *top[1]))


def draw_fly(easel: Easel, waist: Number) -> None:
    """The fly below the front of the waistband."""
    y = waist + BAND
    easel.stitch(smooth([(3.4, y), (3.4, y + 12), (2.4, y + 17), (0.2, y + 19)]))


def draw_knees(easel: Easel) -> None:
    """Rips or panels at the knees, seen from the front."""
    kind, left = easel["knees"], easel.wearers_left
    for side, name in ((left, "left rip"), (-left, "right rip")):
        leg = make_leg(easel, side)
        if kind in (name, "both ripped"):
            _rip(easel, leg)
        elif kind == "panels":
            _knee_panel(easel, leg)


def _rip(easel: Easel, leg: Leg) -> None:
    x, y = leg.at(142, 0.5)
    half = leg.half(142) * 0.62
    hole = ellipse(x, y, half, 5.2)
    easel.canvas.fill(
        hole, (196, 172, 154) if easel.view == "full" else (44, 42, 48) if not easel.dark else (120, 116, 114)
    )
    threads = Path()
    for i in range(6):
        dy = -4.2 + 1.7 * i
        threads.move(x - half * 1.05, y + dy).line(x + half * 1.05, y + dy + (0.8 if i % 2 else -0.6))
    easel.canvas.stroke(threads, (238, 236, 230), 0.8)
    easel.canvas.stroke(hole, (238, 236, 230), 1.3)
    easel.canvas.stroke(ellipse(x, y, half + 0.9, 6.0), easel.outline, easel.pixel)


def _knee_panel(easel: Easel, leg: Leg) -> None:
    corners = [leg.at(133, 0.03), leg.at(133, 0.97), leg.at(152, 0.97), leg.at(152, 0.03)]
    path = polygon(corners)
    easel.canvas.fill(path, WHITE if easel.dark else BLACK, 0.18)
    for y in (133, 139.5, 146, 152):
        easel.seam(segment(*leg.at(y, 0.03), *leg.at(y, 0.97)), 1.2)


def draw_back_pockets(easel: Easel, y: Number) -> None:
    """Pockets on the seat below the waistband's lower edge."""
    kind, left, x = easel["back pockets"], easel.wearers_left, 9.8
    sides = {"left patch": (left,), "right patch": (-left,), "none": ()}.get(kind, (-1, 1))
    for side in sides:
        if kind == "two welt":
            easel.piece(box(side * x - 6, y + 11, 12, 3.0, 0.6), mix(easel.base, BLACK, 0.5 if not easel.dark else 0.0))
            easel.canvas.stroke(box(side * x - 6, y + 11, 12, 3.0, 0.6), mix(easel.base, WHITE, 0.45), easel.pixel)
        else:
            trims.pocket(easel, side * x, y + 9, 12.5, 14.5, flap=kind == "two flap")
