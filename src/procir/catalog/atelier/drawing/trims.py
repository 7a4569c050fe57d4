"""What is sewn on: buttons, zips, pockets, bows, prints, bands."""

from __future__ import annotations

from collections.abc import Sequence

from procir.catalog.atelier.drawing.canvas import Color
from procir.catalog.atelier.drawing.easel import Easel
from procir.catalog.atelier.drawing.paths import (
    Number,
    Path,
    Point,
    box,
    ellipse,
    heart,
    polygon,
    segment,
    smooth,
    star,
)
from procir.catalog.atelier.drawing.tones import BLACK, CREAM, INK, STEEL, WHITE, contrasting, mix, outline


def button(easel: Easel, x: Number, y: Number, radius: Number, color: Color | None = None) -> None:
    """A sewn button with a rim and a glint."""
    color = color or easel.contrast
    canvas = easel.canvas
    canvas.fill(ellipse(x + radius * 0.15, y + radius * 0.3, radius * 1.12, radius * 1.12), BLACK, 0.3)
    canvas.fill(ellipse(x, y, radius, radius), color)
    canvas.stroke(ellipse(x, y, radius, radius), mix(color, contrasting(color), 0.6), easel.pixel)
    canvas.fill(ellipse(x - radius * 0.25, y - radius * 0.25, radius * 0.35, radius * 0.35), WHITE, 0.5)


def snap(easel: Easel, x: Number, y: Number, radius: Number) -> None:
    """A metal snap button."""
    canvas = easel.canvas
    canvas.fill(ellipse(x, y, radius, radius), STEEL)
    canvas.stroke(ellipse(x, y, radius, radius), INK, 1.1 * easel.pixel)
    canvas.stroke(ellipse(x, y, radius * 0.5, radius * 0.5), mix(STEEL, INK, 0.6), 0.9 * easel.pixel)


def zipper(easel: Easel, points: Sequence[Point], width: Number, pull: Number = 1.0) -> None:
    """A zip along points with its slider at the first of them; `width` is that of the tape."""
    canvas, line = easel.canvas, smooth(points)
    canvas.stroke(line, easel.outline, width + 1.6 * easel.pixel, flat=True)
    canvas.stroke(line, mix(easel.contrast, easel.base, 0.25), width, flat=True)
    canvas.stroke(line, INK, width * 0.52, flat=True)
    tooth = max(0.5, 1.1 * easel.pixel)
    canvas.stroke(line, (222, 224, 230), width * 0.42, dash=(tooth, tooth * 0.85))
    (x, y), size = points[0], 1.5 * pull
    canvas.fill(box(x - size, y, 2 * size, 3 * size, size * 0.5), STEEL)
    canvas.stroke(box(x - size, y, 2 * size, 3 * size, size * 0.5), INK, easel.pixel)
    canvas.fill(box(x - size * 0.55, y + 2.6 * size, 1.1 * size, 3.4 * size, size * 0.5), mix(STEEL, INK, 0.25))
    canvas.stroke(box(x - size * 0.55, y + 2.6 * size, 1.1 * size, 3.4 * size, size * 0.5), INK, easel.pixel)


def pocket(easel: Easel, x: Number, y: Number, width: Number, height: Number, flap: bool = False) -> None:
    """A patch pocket centred on x below y, in a shifted shade of the cloth, with a stitched edge."""
    half, low = width / 2, y + height
    path = polygon([(x - half, y), (x + half, y), (x + half, low - 2.2), (x, low), (x - half, low - 2.2)])
    canvas, u = easel.canvas, easel.pixel
    canvas.fill(path.moved(u, 1.4 * u), BLACK, 0.28)
    shade = mix(easel.base, WHITE, 0.14) if easel.dark else mix(easel.base, BLACK, 0.1)
    canvas.fill(path, shade, 0.88)
    canvas.stroke(path, easel.outline if not easel.dark else mix(easel.base, WHITE, 0.55), 1.5 * u)
    inset = 1.1
    easel.stitch(
        Path().move(x - half + inset, y + 1).line(x - half + inset, low - 3).line(x, low - 1.3)
        .line(x + half - inset, low - 3).line(x + half - inset, y + 1)
    )  # fmt: skip
    if flap:
        _flap(easel, x, y, half)
    else:
        easel.seam(segment(x - half, y + 2.6, x + half, y + 2.6))


def _flap(easel: Easel, x: Number, y: Number, half: Number) -> None:
    path = polygon([(x - half - 0.6, y - 1), (x + half + 0.6, y - 1), (x + half + 0.6, y + 3), (x, y + 6.2),
                    (x - half - 0.6, y + 3)])  # fmt: skip
    shade = mix(easel.base, WHITE, 0.26) if easel.dark else mix(easel.base, BLACK, 0.2)
    easel.piece(path, shade)
    button(easel, x, y + 3.4, 1.3)


def emblem(easel: Easel, x: Number, y: Number, size: Number) -> None:
    """A woven shield."""
    path = Path().move(-1, -1).line(1, -1).curve(1.05, 0.2, 0.7, 0.9, 0, 1.3).curve(-0.7, 0.9, -1.05, 0.2, -1, -1)
    shield = path.close().turned(0, x, y, size)
    easel.canvas.fill(shield, (201, 162, 58))
    easel.canvas.stroke(shield, easel.contrast, 2.6 * easel.pixel)
    easel.canvas.stroke(shield, INK, easel.pixel)
    easel.canvas.fill(star(x, y, size * 0.62), (150, 28, 40))
    easel.canvas.stroke(
        segment(x - size * 0.9, y - size * 0.72, x + size * 0.9, y - size * 0.72), INK, 1.2 * easel.pixel
    )


def figure_print(easel: Easel, kind: str, x: Number, y: Number, radius: Number) -> None:
    """A printed star, heart or circle in the contrasting colour."""
    make = {"star print": star, "heart print": heart}.get(kind)
    path = make(x, y, radius) if make else ellipse(x, y, radius * 0.92, radius * 0.92)
    easel.canvas.fill(path, easel.contrast, 0.97)
    easel.canvas.stroke(path, outline(easel.contrast) if easel.dark else CREAM, 1.4 * easel.pixel)
    if make is None:
        easel.canvas.stroke(ellipse(x, y, radius * 0.62, radius * 0.62), easel.base, 1.8 * easel.pixel)


def bow(easel: Easel, x: Number, y: Number, size: Number, tails: Number = 1.0) -> None:
    """A tied bow; `size` is the length of a loop."""
    color, u = mix(easel.base, easel.contrast, 0.42), easel.pixel
    for side in (-1, 1):
        tail = polygon([(x, y), (x + side * size * 0.62, y + size * 1.05 * tails),
                        (x + side * size * 0.36, y + size * 1.0 * tails),
                        (x + side * size * 0.2, y + size * 1.2 * tails)])  # fmt: skip
        easel.piece(tail, mix(color, BLACK, 0.1))
    for side in (-1, 1):
        loop = Path().move(x, y).curve(x + side * size * 0.4, y - size * 0.75, x + side * size * 1.1, y - size * 0.7,
                                       x + side * size, y)  # fmt: skip
        loop.curve(x + side * size * 1.1, y + size * 0.6, x + side * size * 0.4, y + size * 0.5, x, y).close()
        easel.piece(loop, color, 0.25)
        easel.canvas.stroke(
            smooth([(x, y), (x + side * size * 0.35, y - size * 0.12), (x + side * size * 0.7, y - size * 0.1)]),
            outline(color), u,
        )  # fmt: skip
    easel.piece(box(x - size * 0.17, y - size * 0.22, size * 0.34, size * 0.46, size * 0.12), mix(color, WHITE, 0.08))


def band(easel: Easel, corners: Sequence[Point], color: Color, lines: Sequence[Number] = ()) -> None:
    """A band of one colour between four corners (two of the upper edge, then two of the lower, going round)."""
    path = polygon(corners)
    easel.canvas.fill(path, color)
    a, b, c, d = corners
    with easel.canvas.clipped(path):
        easel.round_off(path, a, b)
        for t in lines:
            start = (a[0] + (d[0] - a[0]) * t, a[1] + (d[1] - a[1]) * t)
            end = (b[0] + (c[0] - b[0]) * t, b[1] + (c[1] - b[1]) * t)
            easel.canvas.stroke(segment(*start, *end), contrasting(color), 1.4 * easel.pixel, flat=True)
    easel.canvas.stroke(path, outline(color), 1.1 * easel.pixel)


def vent(easel: Easel, x: Number, y0: Number, y1: Number, width: Number) -> None:
    """An opening that widens downward from y0 to y1."""
    easel.hole(polygon([(x, y0), (x + width / 2, y1), (x - width / 2, y1)]))
    easel.seam(segment(x, y0 - 3, x, y0))
