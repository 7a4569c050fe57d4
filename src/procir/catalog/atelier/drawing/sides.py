"""What runs down the side of a garment, seen from the wearer's left."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from procir.catalog.atelier.drawing import trims
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import Number, Path, Point, ellipse, polygon, smooth
from procir.catalog.atelier.drawing.tones import BLACK, CREAM, INK, WHITE, mix, outline


def along(points: Sequence[Point], count: int) -> list[Point]:
    """Points evenly spread down a line, ends left out."""
    ys = [y for _, y in points]
    heights = np.linspace(ys[0], ys[-1], count + 2)[1:-1]
    xs = np.interp(heights, ys, [x for x, _ in points])
    return [(float(x), float(y)) for x, y in zip(xs, heights, strict=True)]


def draw_side(easel: Easel, points: Sequence[Point]) -> None:
    """The side's feature along the side seam, which is given from above to below."""
    kind, length = easel["side"], points[-1][1] - points[0][1]
    if kind not in ("stripe", "zipper"):
        easel.seam(smooth(points), 0.9)
    if kind == "slit":
        _slit(easel, points, max(15.0, length * 0.42))
    elif kind == "stripe":
        _stripe(easel, points)
    elif kind == "zipper":
        trims.zipper(easel, points, 4.0, 1.3)
    elif kind == "lacing":
        _lacing(easel, points)
    elif kind == "snap buttons":
        _snaps(easel, points, max(4, round(length / 8)))
    elif kind == "cargo pocket":
        _cargo(easel, points)


def _slit(easel: Easel, points: Sequence[Point], depth: Number) -> None:
    x, low = points[-1]
    top = (float(np.interp(low - depth, [y for _, y in points], [p for p, _ in points])), low - depth)
    easel.hole(polygon([top, (x + 5.0, low + 2.5), (x - 5.0, low + 2.5)]))
    edge = mix(easel.base, WHITE, 0.5) if easel.dark else easel.outline
    easel.canvas.stroke(Path().move(x + 5, low + 2.5).line(*top).line(x - 5, low + 2.5), edge, 1.6 * easel.pixel)


def _stripe(easel: Easel, points: Sequence[Point]) -> None:
    line = smooth(points)
    easel.canvas.stroke(line, outline(easel.contrast), 6.4 + 1.6 * easel.pixel, flat=True)
    easel.canvas.stroke(line, easel.contrast, 6.4, flat=True)
    easel.canvas.stroke(line, mix(easel.contrast, easel.base, 0.75), 1.6, flat=True)


def _lacing(easel: Easel, points: Sequence[Point]) -> None:
    knots = along(points, max(4, round((points[-1][1] - points[0][1]) / 7)))
    gap = Path().move(knots[0][0] - 2.4, knots[0][1]).lines((x - 2.4, y) for x, y in knots[1:])
    easel.hole(gap.lines((x + 2.4, y) for x, y in reversed(knots)).close())
    cords = Path()
    for (x0, y0), (x1, y1) in pairwise(knots):
        cords.move(x0 - 3.4, y0).line(x1 + 3.4, y1).move(x0 + 3.4, y0).line(x1 - 3.4, y1)
    easel.canvas.stroke(cords, outline(easel.contrast), 1.1 + 1.5 * easel.pixel)
    easel.canvas.stroke(cords, easel.contrast, 1.1)
    for x, y in knots:
        for side in (-3.6, 3.6):
            easel.canvas.fill(ellipse(x + side, y, 1.2, 1.2), CREAM)
            easel.canvas.stroke(ellipse(x + side, y, 1.2, 1.2), INK, easel.pixel)


def _snaps(easel: Easel, points: Sequence[Point], count: int) -> None:
    line = smooth(points)
    easel.canvas.stroke(line, WHITE if easel.dark else BLACK, 5.6, 0.2, flat=True)
    easel.seam(line.moved(-2.8, 0), 1.1)
    easel.seam(line.moved(2.8, 0), 1.1)
    for x, y in along(points, count):
        trims.snap(easel, x, y, 1.9)


def _cargo(easel: Easel, points: Sequence[Point]) -> None:
    length = points[-1][1] - points[0][1]
    y = points[0][1] + max(4.0, min(36.0, length * 0.3))
    x = float(np.interp(y + 6, [v for _, v in points], [u for u, _ in points]))
    trims.pocket(easel, x, y, 13.5, min(15.5, length * 0.62), flap=True)
