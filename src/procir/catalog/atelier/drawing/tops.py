"""Upper bodies from the front and the back: torso, sleeves with cuffs and armbands, hems."""

from __future__ import annotations

import math
from dataclasses import dataclass

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.easel import Easel, flounce
from procir.catalog.atelier.drawing.necklines import Opening
from procir.catalog.atelier.drawing.paths import Number, Path, Point, polygon, segment, smooth
from procir.catalog.atelier.drawing.tones import BLACK, WHITE, mix

LENGTHS = {"cropped": 84.0, "hip": 104.0, "longline": 117.0}
SLEEVES = {"short": 19.0, "elbow": 34.0, "long": 58.0}
_EASE = {"slim": 0.4, "regular": 3.0, "relaxed": 7.5}
SLANT = 8.0


def fit(easel: Easel) -> str:
    """The garment's fit; what has none is cut regular."""
    return easel.garment.values.get("fit", "regular")


def trunk_half(easel: Easel, y: Number) -> Number:
    """Half width of a torso at a height, by fit."""
    body, chest = easel.figure.half_width(y), easel.figure.armpit
    kind = fit(easel)
    share = {"slim": 1.0, "regular": 0.5, "relaxed": 0.1}[kind]
    spread = min(1.0, max(0.6, 0.6 + (y - easel.figure.armpit_y) / 40.0))
    return share * body + (1 - share) * chest + _EASE[kind] * spread


def hem_heights(easel: Easel, base: Number, hem: str) -> tuple[Number, Number]:
    """Heights of the lower edge at the image's left and right end."""
    left = easel.wearers_left
    if hem == "curved":
        return base - 6.5, base - 6.5
    if hem not in ("slanted left", "slanted right"):
        return base, base
    longer = left if hem == "slanted left" else -left
    return base - SLANT * longer, base + SLANT * longer


def shoulder(easel: Easel) -> Point:
    """The right end of the shoulder seam."""
    figure = easel.figure
    if easel["sleeves"] == "sleeveless":
        x = figure.shoulder - 4.2
        return x, figure.shoulder_line(x)
    drop = {"slim": -0.8, "regular": 0.0, "relaxed": 2.4}[fit(easel)]
    return figure.shoulder + drop, figure.shoulder_y + 0.4 * drop


def _side_points(easel: Easel, y_end: Number) -> list[Point]:
    start = easel.figure.armpit_y + (2.0 if fit(easel) == "relaxed" else 0.0)
    heights = [start + (y_end - start) * i / 5 for i in range(6)]
    return [(trunk_half(easel, y), y) for y in heights]


def torso_path(easel: Easel, opening: Opening, base: Number, hem: str) -> Path:
    """Outline of the torso: right shoulder, right side, hem, left side, left shoulder, neckline."""
    left_y, right_y = hem_heights(easel, base, hem)
    sx, sy = shoulder(easel)
    right, left = _side_points(easel, right_y), _side_points(easel, left_y)
    ax, ay = right[0]
    inset = 2.6 if easel["sleeves"] == "sleeveless" else 1.4
    path = Path().move(opening.half, opening.y).line(sx, sy)
    path.curve(sx - inset, sy + 6, sx - inset - 0.4, ay - 5, ax, ay).through(right)
    _hem_line(path, hem, right[-1], left[-1])
    path.through([(-x, y) for x, y in reversed(left)])
    path.curve(-(sx - inset - 0.4), ay - 5, -(sx - inset), sy + 6, -sx, sy).line(-opening.half, opening.y)
    return opening.trace(path).close()


def _hem_line(path: Path, hem: str, right: Point, left: Point) -> None:
    (rx, ry), (lx, ly) = right, (-left[0], left[1])
    middle = (ry + ly) / 2
    if hem == "curved":
        path.curve(rx - 2, ry + 9, rx * 0.55, middle + 10, 0, middle + 10)
        path.curve(lx * 0.55, middle + 10, lx + 2, ly + 9, lx, ly)
    else:
        path.curve(rx * 0.5, ry + (middle - ry) * 0.5 + 1.6, lx * 0.5, ly + (middle - ly) * 0.5 + 1.6, lx, ly)


def draw_torso(easel: Easel, opening: Opening, base: Number, hem: bool = True) -> None:
    """The torso with its folds, armhole seams and lower edge."""
    path = torso_path(easel, opening, base, easel["hem"] if hem else "straight")
    half = trunk_half(easel, 66) + 0.5
    with easel.panel(path, ((-half, 0.0), (half, 0.0)), (0.0, 66.0), creased=0):
        _torso_folds(easel, base)
        if hem and easel["hem"] in ("straight", "curved", "slanted left", "slanted right"):
            _hem_stitch(easel, base)
    _armholes(easel)
    if hem and easel["hem"] == "ribbed":
        draw_rib_hem(easel, base)
    if hem and easel["hem"] == "ruffled":
        half = trunk_half(easel, base)
        flounce(easel, ((-half, base - 1), (half, base - 1)), 8.5, 2.6, 7)


def _torso_folds(easel: Easel, base: Number) -> None:
    ax, ay = easel.figure.armpit, easel.figure.armpit_y
    for side in (-1, 1):
        easel.fold(side * (ax + 1), ay + 1, side * (ax - 10), ay + 11, 1.4, 0.8 * side)
        waist = trunk_half(easel, 82)
        easel.fold(side * (waist + 1), 81, side * (waist - 11), 85, 1.1, -0.7 * side)
    if fit(easel) == "relaxed":
        for x in (-12.0, -3.5, 5.5, 13.0):
            easel.fold(x, 70, x * 1.1, base + 2, 1.3, 0.8)


def _hem_stitch(easel: Easel, base: Number) -> None:
    left_y, right_y = hem_heights(easel, base - 2.6, easel["hem"])
    right, left = (trunk_half(easel, right_y), right_y), (trunk_half(easel, left_y), left_y)
    path = Path().move(*right)
    _hem_line(path, easel["hem"], right, left)
    easel.stitch(path)


def draw_rib_hem(easel: Easel, base: Number) -> None:
    """A knitted band below the torso."""
    half = trunk_half(easel, base)
    low = half - 2.2
    path = polygon([(-half, base - 1), (half, base - 1), (low, base + 6.5), (-low, base + 6.5)])
    with easel.panel(path, ((-half, 0), (half, 0)), (0, base)):
        easel.canvas.fill(path, BLACK if not easel.dark else WHITE, 0.12)
        easel.ribs(((-half, base - 1), (half, base - 1)), ((-low, base + 6.5), (low, base + 6.5)), 26)
    easel.seam(segment(-half, base - 1, half, base - 1))


def _armholes(easel: Easel) -> None:
    sx, sy = shoulder(easel)
    x, ay = _side_points(easel, 84)[0]
    inset = 2.6 if easel["sleeves"] == "sleeveless" else 1.4
    for side in (-1, 1):
        path = Path().move(side * sx, sy)
        path.curve(side * (sx - inset), sy + 6, side * (sx - inset - 0.4), ay - 5, side * x, ay)
        if easel["sleeves"] == "sleeveless":
            easel.canvas.stroke(path, easel.trim, 2.2)
        easel.seam(path)


@dataclass(frozen=True, slots=True)
class Sleeve:
    """A sleeve as an axis with half widths: `at(t, side)` is a point t along it, side -1 (inner) to 1 (outer)."""

    origin: Point
    degrees: Number
    side: int
    length: Number
    top: Number
    wrist: Number

    def half(self, t: Number) -> Number:
        """Half width at a distance along the arm."""
        return self.top + (self.wrist - self.top) * t / SLEEVES["long"]

    def at(self, t: Number, side: Number, beyond: Number = 0.0) -> Point:
        """A point of the sleeve; `beyond` widens it."""
        reach = side * (self.half(t) + beyond)
        a = math.radians(self.degrees)
        x, y = math.sin(a) * t + math.cos(a) * reach, math.cos(a) * t - math.sin(a) * reach
        return self.origin[0] + self.side * x, self.origin[1] + y

    @property
    def down(self) -> Point:
        """Unit vector towards the hand."""
        a = math.radians(self.degrees)
        return self.side * math.sin(a), math.cos(a)


def arm_degrees(easel: Easel) -> Number:
    """How far the arms are lifted from the body."""
    return 18.0 + easel.shake.arm + {"slim": -1.0, "regular": 0.0, "relaxed": 5.0}[fit(easel)]


def make_sleeve(easel: Easel, side: int) -> Sleeve:
    """The sleeve on one side of the image, of the drawn length."""
    sx, sy = shoulder(easel)
    ease = {"slim": 0.0, "regular": 1.0, "relaxed": 2.6}[fit(easel)]
    top = (7.4 if easel.garment.group.gender == "women" else 8.4) + ease
    degrees = arm_degrees(easel)
    a = math.radians(degrees)
    x, y = sx - math.cos(a) * top, sy + math.sin(a) * top
    return Sleeve((side * x, y), degrees, side, SLEEVES[easel["sleeves"]], top, 4.6 + 0.8 * ease)


def sleeve_path(sleeve: Sleeve, into: Point, length: Number) -> Path:
    """Outline of a sleeve whose inner edge runs into the torso at a point."""
    outer = [sleeve.at(t, 1.0, 0.5 if t else 0.0) for t in (0.0, length * 0.3, length * 0.65, length)]
    inner = [sleeve.at(t, -1.0) for t in (length, length * 0.6, max(8.0, length * 0.3))]
    path = Path().move(*outer[0]).through(outer).line(*inner[0]).through(inner)
    return path.line(*into).close()


def draw_sleeve(easel: Easel, side: int) -> None:
    """One sleeve with folds, cuff and armband."""
    sleeve = make_sleeve(easel, side)
    ax, ay = easel.figure.armpit, easel.figure.armpit_y
    path = sleeve_path(sleeve, (side * (ax - 8), ay - 2), sleeve.length)
    degrees = -side * sleeve.degrees
    edges = (sleeve.at(sleeve.length * 0.5, -1), sleeve.at(sleeve.length * 0.5, 1))
    with easel.panel(path, edges, sleeve.at(20, 0), degrees, creased=1 + (side > 0), depth=1.1):
        for t in (0.24, 0.5, 0.74) if sleeve.length > 20 else (0.45,):
            x0, y0 = sleeve.at(t * sleeve.length, -1.0)
            x1, y1 = sleeve.at(t * sleeve.length + 5, 0.5)
            easel.fold(x0, y0, x1, y1, 1.1, 0.6 * side)
    draw_cuff(easel, sleeve)
    draw_armband(easel, sleeve, "left" if side == easel.wearers_left else "right")


def draw_cuff(easel: Easel, sleeve: Sleeve) -> None:
    """How a sleeve ends."""
    kind, end = easel["cuffs"], sleeve.length
    depth = 7.0 if end > 20 else 5.6
    top, low = (sleeve.at(end - depth, -1), sleeve.at(end - depth, 1)), (sleeve.at(end, -1), sleeve.at(end, 1))
    if kind == "plain":
        easel.stitch(segment(*sleeve.at(end - 2.0, -1), *sleeve.at(end - 2.0, 1)))
    elif kind == "ribbed":
        _rib_cuff(easel, sleeve, depth)
    elif kind == "rolled":
        corners = [sleeve.at(end - depth, -1, 0.9), sleeve.at(end - depth, 1, 0.9), sleeve.at(end, 1, 1.3),
                   sleeve.at(end, -1, 1.3)]  # fmt: skip
        shade = mix(easel.base, WHITE, 0.3) if not _pale(easel) else mix(easel.base, BLACK, 0.16)
        trims.band(easel, corners, shade)
        easel.canvas.stroke(segment(*sleeve.at(end - depth * 0.5, -1, 1), *sleeve.at(end - depth * 0.5, 1, 1)),
                            easel.outline, easel.pixel, 0.7)  # fmt: skip
    elif kind == "contrast":
        trims.band(easel, [*top, low[1], low[0]], easel.contrast)
    elif kind == "ruffled":
        flounce(easel, (sleeve.at(end - 2, -1), sleeve.at(end - 2, 1)), 6.5, 3.0, 4, sleeve.down)


def _pale(easel: Easel) -> bool:
    return sum(easel.base) > 3 * 190


def _rib_cuff(easel: Easel, sleeve: Sleeve, depth: Number) -> None:
    end = sleeve.length
    top = (sleeve.at(end - depth, -1), sleeve.at(end - depth, 1))
    low = (sleeve.at(end + 1.5, -0.72), sleeve.at(end + 1.5, 0.72))
    path = polygon([*top, low[1], low[0]])
    with easel.panel(path, top, top[0]):
        easel.canvas.fill(path, BLACK if not easel.dark else WHITE, 0.12)
        easel.ribs(top, low, 8)
    easel.seam(segment(*top[0], *top[1]))


def draw_armband(easel: Easel, sleeve: Sleeve, wearers: str) -> None:
    """A sewn band round the upper arm, on the sleeve that the sheet names."""
    if easel.garment.values.get("armband") != f"{wearers} sleeve":
        return
    t = 20.0 if sleeve.length > 40 else sleeve.length * 0.26
    corners = [sleeve.at(t, -1, 0.2), sleeve.at(t, 1, 0.6), sleeve.at(t + 7.5, 1, 0.6), sleeve.at(t + 7.5, -1, 0.2)]
    trims.band(easel, corners, easel.contrast, (0.5,))


def draw_sleeves(easel: Easel) -> None:
    """Both sleeves, where there are any."""
    if easel["sleeves"] != "sleeveless":
        draw_sleeve(easel, -1)
        draw_sleeve(easel, 1)


def shoulder_seams(easel: Easel, half: Number) -> None:
    """The seams from the neck to the shoulders, seen from the back."""
    sx, sy = shoulder(easel)
    for side in (-1, 1):
        easel.seam(smooth([(side * half, easel.figure.shoulder_line(half) + 1.4), (side * sx, sy + 1.6)]), 0.7)
