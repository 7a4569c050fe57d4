"""Garments from the wearer's left side, who faces the image's left with the right arm and leg ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from procir.catalog.atelier.drawing import skirts, tops, trousers, waists
from procir.catalog.atelier.drawing.easel import Easel, flounce
from procir.catalog.atelier.drawing.paths import Number, Path, Point, ellipse, polygon, segment, smooth
from procir.catalog.atelier.drawing.sides import draw_side
from procir.catalog.atelier.drawing.skirts import Bell
from procir.catalog.atelier.drawing.tones import BLACK, WHITE
from procir.catalog.atelier.drawing.tops import SLEEVES, Sleeve, fit

_HEIGHTS = (36.0, 44.0, 54.0, 62.0, 79.0, 90.0, 100.0, 110.0, 140.0)
_FRONTS = {
    "women": (5.5, 8.0, 11.2, 12.2, 8.2, 9.2, 9.6, 9.4, 9.4),
    "men": (6.0, 9.0, 11.4, 11.6, 10.2, 10.2, 10.0, 9.8, 9.8),
}
_BACKS = {
    "women": (6.0, 9.0, 10.0, 9.4, 6.6, 9.6, 11.8, 11.0, 10.6),
    "men": (6.5, 9.8, 10.8, 10.2, 8.0, 9.4, 11.4, 11.0, 10.6),
}
_EASE = {"slim": 0.3, "regular": 1.8, "relaxed": 5.2}
_WAIST_HALF = 8.4


def _reach(easel: Easel, y: Number, table: Mapping[str, tuple[Number, ...]]) -> Number:
    gender = easel.garment.group.gender
    body = float(np.interp(y, _HEIGHTS, table[gender]))
    chest = float(np.interp(60.0, _HEIGHTS, table[gender]))
    share = {"slim": 1.0, "regular": 0.55, "relaxed": 0.2}[fit(easel)] if y > 60 else 1.0
    ease = _EASE[fit(easel)] * min(1.0, max(0.0, (y - 36.0) / 18.0))
    return share * body + (1 - share) * chest + ease


def _hem_points(easel: Easel, base: Number) -> list[Point]:
    """The lower edge from the front to the back."""
    hem = easel["hem"]
    y = base + {"slanted left": tops.SLANT, "slanted right": -tops.SLANT}.get(hem, 0.0)
    front, back = (-_reach(easel, y, _FRONTS), y), (_reach(easel, y, _BACKS), y)
    if hem == "curved":
        front, back = (front[0], y + 6.0), (back[0], y + 8.0)
        return [front, (front[0] * 0.6, y + 5.0), (-0.5, y - 7.0), (back[0] * 0.6, y + 6.0), back]
    return [front, ((front[0] + back[0]) / 2, y + 1.0), back]


def torso_path(easel: Easel, base: Number, hem: bool) -> Path:
    """Outline of a torso from the side."""
    low = _hem_points(easel, base) if hem else [
        (-_reach(easel, base, _FRONTS), base), (_reach(easel, base, _BACKS), base)]  # fmt: skip
    fronts = [(-_reach(easel, y, _FRONTS), y) for y in _HEIGHTS if y < low[0][1] - 5]
    backs = [(_reach(easel, y, _BACKS), y) for y in _HEIGHTS if y < low[-1][1] - 5]
    path = Path().move(-4.6, 34.5).line(*fronts[0]).through([*fronts, low[0]]).through(low)
    path.through([low[-1], *backs[::-1]]).line(5.4, 32.5)
    return path.curve(3.0, 35.5, -2.5, 37.5, -4.6, 34.5).close()


def draw_torso(easel: Easel, base: Number, hem: bool = True) -> None:
    """Torso, both arms, and the edge at the neck."""
    if easel["sleeves"] != "sleeveless":
        _draw_arm(easel, near=False)
    if hem and easel["hem"] == "slanted right":
        _far_hem(easel, base)
    easel.hole(ellipse(0.4, 33.4, 5.2, 2.6))
    path = torso_path(easel, base, hem)
    x = _reach(easel, 62, _FRONTS)
    with easel.panel(path, ((-x, 0), (x, 0)), (0, 66), creased=0):
        easel.fold(-4, 62, -x, 70, 1.2, 0.8)
        easel.fold(6, 80, -3, 86, 1.1, -0.8)
    edge = Path().move(5.4, 32.5).curve(3.0, 35.5, -2.5, 37.5, -4.6, 34.5)
    easel.canvas.stroke(edge, easel.outline, 2.4 + 2 * easel.pixel, flat=True)
    easel.canvas.stroke(edge, easel.trim, 2.4, flat=True)
    if hem:
        _finish_hem(easel, base)


def _far_hem(easel: Easel, base: Number) -> None:
    y = base + tops.SLANT
    front, back = -_reach(easel, y, _FRONTS), _reach(easel, y, _BACKS)
    _inside(easel, [(front, base - 12), (back, base - 12), (back, y), (front, y)])


def _inside(easel: Easel, corners: list[Point]) -> None:
    """The inner side of what hangs lower on the far side."""
    path = polygon(corners)
    with easel.panel(path, (corners[3], corners[2]), (0, corners[3][1])):
        easel.canvas.fill(path, BLACK, 0.45)


def _finish_hem(easel: Easel, base: Number) -> None:
    hem, points = easel["hem"], _hem_points(easel, base)
    (fx, fy), (bx, by) = points[0], points[-1]
    if hem == "ribbed":
        path = polygon([(fx, fy - 1), (bx, by - 1), (bx - 1.8, by + 6.5), (fx + 1.8, fy + 6.5)])
        with easel.panel(path, ((fx, 0), (bx, 0)), (0, base)):
            easel.canvas.fill(path, BLACK if not easel.dark else WHITE, 0.12)
            easel.ribs(((fx, fy - 1), (bx, by - 1)), ((fx + 1.8, fy + 6.5), (bx - 1.8, by + 6.5)), 15)
        easel.seam(segment(fx, fy - 1, bx, by - 1))
    elif hem == "ruffled":
        flounce(easel, ((fx, fy - 1), (bx, by - 1)), 8.5, 2.4, 4)
    else:
        easel.stitch(smooth(points).moved(0, -2.6))


def _make_arm(easel: Easel, near: bool) -> Sleeve:
    ease = {"slim": 0.0, "regular": 1.0, "relaxed": 2.6}[fit(easel)]
    top = (6.8 if easel.garment.group.gender == "women" else 7.6) + ease
    degrees = (33.0 if near else 31.0) + 0.6 * easel.shake.arm
    origin = (1.2, 43.5) if near else (-1.5, 45.0)
    return Sleeve(origin, degrees, 1 if near else -1, SLEEVES[easel["sleeves"]], top, 4.6 + 0.8 * ease)


def _arm_path(arm: Sleeve) -> Path:
    stations = (0.0, arm.length * 0.33, arm.length * 0.66, arm.length)
    outer, inner = [arm.at(t, 1) for t in stations], [arm.at(t, -1) for t in reversed(stations)]
    cap = [inner[-1], arm.at(-4.0, -0.62), arm.at(-5.2, 0.1), arm.at(-4.0, 0.7), outer[0]]
    return Path().move(*outer[0]).through(outer).line(*inner[0]).through(inner).through(cap).close()


def _draw_arm(easel: Easel, near: bool) -> None:
    arm = _make_arm(easel, near)
    path = _arm_path(arm)
    edges = (arm.at(arm.length / 2, -1), arm.at(arm.length / 2, 1))
    with easel.panel(path, edges, arm.at(20, 0), -arm.side * arm.degrees, creased=2):
        for t in (0.25, 0.55):
            easel.fold(*arm.at(t * arm.length, -1), *arm.at(t * arm.length + 5, 0.4), 1.1, 0.6)
        if not near:
            easel.canvas.fill(path, BLACK, 0.16)
    tops.draw_cuff(easel, arm)
    tops.draw_armband(easel, arm, "left" if near else "right")


def draw_near_arm(easel: Easel) -> None:
    """The left arm, or the armhole of what has no sleeves."""
    if easel["sleeves"] != "sleeveless":
        _draw_arm(easel, near=True)
        return
    hole = ellipse(0.8, 46.5, 5.6, 9.5)
    easel.hole(hole)
    easel.canvas.stroke(hole, easel.trim, 2.0)
    easel.canvas.stroke(ellipse(0.8, 46.5, 6.8, 10.7), easel.outline, easel.pixel, 0.8)


def _slope(shake: Number, near: bool) -> Number:
    return math.tan(math.radians(2.2 + shake)) if near else -math.tan(math.radians(7.0 + shake))


def _leg_path(easel: Easel, leg: trousers.Leg, waist: Number) -> Path:
    crotch = leg.crotch
    count = 3 if leg.short else 6
    heights = [crotch + 4 + (leg.hem - crotch - 4) * i / count for i in range(1, count + 1)]
    ends = (0.1, 0.9) if easel["hem"] == "elastic" else (0.0, 1.0)
    back = [(_WAIST_HALF, waist), (10.2, waist + 8), (11.8, 100.0), *(leg.at(y, 1) for y in heights[:-1])]
    front = [*(leg.at(y, 0) for y in heights[-2::-1]), (-9.8, 100.0), (-9.4, waist + 8), (-_WAIST_HALF, waist)]
    low = [leg.at(leg.hem, ends[1]), leg.at(leg.hem, ends[0])]
    path = Path().move(-_WAIST_HALF, waist).line(*back[0]).through([*back, low[0]])
    return path.line(*low[1]).through([low[1], *front]).close()


def draw_trousers(easel: Easel, waist: Number, band: bool = True) -> None:
    """Both legs and the waistband, with what runs down the side."""
    for near in (False, True):
        leg = trousers.make_leg(easel, 1, _slope(0.3 * easel.shake.leg, near))
        path = _leg_path(easel, leg, waist)
        y = min(leg.hem, 130.0)
        with easel.panel(path, (leg.at(y, -0.05), leg.at(y, 1.05)), (0, 100), creased=1 + near):
            easel.fold(*leg.at(146 if not leg.short else leg.hem - 6, 1), *leg.at(150, 0.3), 1.0, -0.8)
            if not near:
                easel.canvas.fill(path, BLACK, 0.2)
        trousers.draw_hem(easel, leg)
    start = waist + (waists.BAND if band else 12.0)
    draw_side(easel, [(0.0, start), (0.6, 104.0), *(leg.at(leg.crotch + (leg.hem - leg.crotch) * t, 0.5)
                                                   for t in (0.3, 0.65, 0.97))])  # fmt: skip
    if band:
        waists.plain_band(easel, _WAIST_HALF, waist)


def _side_bell(easel: Easel, waist: Number, waist_half: Number, hip_half: Number) -> Bell:
    bell = skirts.make_bell(easel, waist, waist_half, hip_half)
    low = skirts.LENGTHS[easel["length"]]
    low += {"slanted left": tops.SLANT, "slanted right": -tops.SLANT}.get(easel["hem"], 0.0)
    return Bell(bell.waist, bell.waist_half, bell.hip_half, bell.slope, low, low)


def draw_skirt(easel: Easel, waist: Number, ease: Number = 0.0) -> Bell:
    """A skirt from the side, without what runs down its seam."""
    bell = _side_bell(easel, waist, _WAIST_HALF + ease, 11.4 + ease)
    if easel["hem"] == "slanted right":
        low = bell.low + 2 * tops.SLANT
        _inside(easel, [bell.at(bell.low - 4, -1), bell.at(bell.low - 4, 1), bell.at(low, 1), bell.at(low, -1)])
    skirts.draw_skirt(easel, bell)
    return bell
