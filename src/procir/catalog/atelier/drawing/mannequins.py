"""The faceless figure that wears a garment, and the plain clothes it wears beside it."""

from __future__ import annotations

import math

from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.figures import Figure
from procir.catalog.atelier.drawing.paths import Number, Path, Point, ellipse, smooth
from procir.catalog.atelier.drawing.tones import BLACK, luminance, mix
from procir.catalog.atelier.drawing.tops import arm_degrees

SKIN: Color = (214, 202, 190)
_LEG_MIDDLE = (9.6, 11.0, 12.0)


def _piece(easel: Easel, path: Path, color: Color, edges: tuple[Point, Point]) -> None:
    easel.canvas.fill(path, color)
    easel.round_off(path, *edges, depth=0.8)
    easel.canvas.stroke(path, mix(color, BLACK, 0.4), 0.9 * easel.pixel, 0.7)


def draw_figure(easel: Easel) -> None:
    """The bare figure from the front."""
    figure = easel.figure
    for side in (-1, 1):
        _arm(easel, figure, side)
        _leg(easel, figure, side)
    _trunk(easel, figure)
    _piece(easel, ellipse(0, 15.5, 8.3, 11.2), SKIN, ((-8.3, 0), (8.3, 0)))


def _arm(easel: Easel, figure: Figure, side: int) -> None:
    a = math.radians(arm_degrees(easel))
    x0, y0 = figure.shoulder - 5.2, figure.shoulder_y + 3.5

    def at(t: Number, reach: Number) -> Point:
        return side * (x0 + math.sin(a) * t + math.cos(a) * reach), y0 + math.cos(a) * t - math.sin(a) * reach

    outer = [at(-3, 1.5), at(3, 4.6), at(25, 3.9), at(34, 3.7), at(57, 2.4), at(65, 2.9), at(72, 0.6)]
    inner = [at(72, 0.6), at(65, -2.6), at(57, -2.2), at(34, -3.6), at(20, -4.2), at(4, -5)]
    path = Path().move(*outer[0]).through(outer).through(inner).close()
    _piece(easel, path, SKIN, (at(30, -4.5), at(30, 4.5)))


def _leg(easel: Easel, figure: Figure, side: int) -> None:
    outer = [(18.8, 100), (18.6, 112), (16.4, 132), (14.6, 148), (15.2, 160), (13.4, 176), (12.6, 187)]
    inner = [(8.8, 187), (8.6, 176), (7.8, 160), (7.4, 148), (4.2, 130), (0.6, figure.crotch_y + 3), (0, 100)]
    path = Path().move(*outer[0]).through(outer).line(*inner[0]).through(inner).close()
    path = path if side > 0 else path.mirrored()
    _piece(easel, path, SKIN, ((side * 4, 0), (side * 17, 0)))
    shoe = Path().move(side * 8.2, 186).curve(side * 7, 194, side * 8, 198, side * 12, 198.5)
    shoe.curve(side * 18, 198.5, side * 17, 192, side * 13.4, 186).close()
    _piece(
        easel, shoe, (236, 234, 230) if easel.shake.companion > 0.5 else (92, 88, 90), ((side * 7, 0), (side * 18, 0))
    )


def _trunk(easel: Easel, figure: Figure) -> None:
    right = [(figure.neck - 0.8, 24.0), (figure.neck - 0.6, 31.0), (figure.shoulder - 4, figure.shoulder_y - 1.5)]
    sides = [(figure.shoulder - 0.5, figure.shoulder_y + 4)]
    sides += [(figure.half_width(y), y) for y in (58, 68, 79, 90, 100, 108)]
    path = Path().move(*right[0]).through(right).line(*sides[0]).through(sides).line(0, 112)
    mirror = [(-x, y) for x, y in [*right, *sides]]
    path.lines([mirror[-1]]).through(mirror[:2:-1]).lines([mirror[2]]).through(mirror[2::-1]).close()
    edges = ((-figure.armpit, 0.0), (figure.armpit, 0.0))
    easel.canvas.fill(path, SKIN)
    easel.round_off(path, *edges, depth=0.8)
    for side in (-1, 1):
        neck = smooth([(side * x, y) for x, y in right])
        easel.canvas.stroke(neck, mix(SKIN, BLACK, 0.4), 0.9 * easel.pixel, 0.7)
    chin = ellipse(0, 27.0, figure.neck - 0.6, 2.4)
    easel.canvas.fill(chin, BLACK, 0.16)


def _neutral(easel: Easel) -> Color:
    """Grey that differs in brightness from the garment."""
    if luminance(easel.base) > 0.5:
        return mix((72, 74, 80), (98, 96, 98), easel.shake.companion)
    return mix((214, 212, 208), (196, 198, 202), easel.shake.companion)


def draw_plain_trousers(easel: Easel) -> None:
    """Neutral trousers to wear with a top."""
    figure, color = easel.figure, _neutral(easel)
    for side in (-1, 1):
        outer = [(figure.half_width(82) + 0.6, 82), (19.4, 98), (19.6, 112), (17.4, 134), (16.2, 150), (15.2, 184)]
        inner = [(8.2, 184), (6.8, 150), (3.6, 130), (0.4, figure.crotch_y + 2), (0, 100)]
        path = Path().move(0, 82).line(*outer[0]).through(outer).line(*inner[0]).through(inner).close()
        path = path if side > 0 else path.mirrored()
        _piece(easel, path, color, ((side * 1, 0), (side * 20, 0)))


def draw_plain_top(easel: Easel) -> None:
    """A neutral, tucked-in top to wear with trousers or a skirt."""
    figure, color = easel.figure, _neutral(easel)
    a = math.radians(arm_degrees(easel))
    for side in (-1, 1):
        x, y = figure.shoulder - 0.3, figure.shoulder_y - 0.2
        tip = (x + math.sin(a) * 17 + math.cos(a) * 0.6, y + math.cos(a) * 17 - math.sin(a) * 0.6)
        low = (tip[0] - math.cos(a) * 12, tip[1] + math.sin(a) * 12)
        sleeve = Path().move(side * (x - 4), y - 2).line(side * x, y).curve(
            side * (x + 3), y + 4, side * (tip[0] - 1), tip[1] - 6, side * tip[0], tip[1])  # fmt: skip
        sleeve.line(side * low[0], low[1]).line(side * (figure.armpit - 2), figure.armpit_y).close()
        _piece(easel, sleeve, color, ((side * low[0], 0), (side * tip[0], 0)))
    half = figure.neck + 2.6
    right = [(figure.armpit + 1.6, figure.armpit_y)]
    right += [(figure.half_width(y) + ease, y) for y, ease in ((68, 1.6), (80, 1.2), (92, 0.0))]
    path = Path().move(half, figure.shoulder_line(half)).line(figure.shoulder, figure.shoulder_y)
    path.line(*right[0]).through(right).line(-right[-1][0], 92).through([(-u, v) for u, v in reversed(right)])
    path.line(-figure.shoulder, figure.shoulder_y).line(-half, figure.shoulder_line(half))
    path.curve(-half * 0.9, 45, half * 0.9, 45, half, figure.shoulder_line(half)).close()
    _piece(easel, path, color, ((-figure.armpit, 0), (figure.armpit, 0)))


def draw_floor(easel: Easel) -> None:
    """The shadow at the feet."""
    for i in range(6):
        share = 1.0 - i / 6.5
        easel.canvas.fill(ellipse(0, 197, 34 * share, 5.5 * share), BLACK, 0.05)
