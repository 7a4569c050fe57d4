"""The easel: a canvas with the garment's cloth at hand, and the strokes that every part is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from jaxtyping import UInt32

from procir.catalog.atelier.drawing import textures
from procir.catalog.atelier.drawing.canvas import Canvas, Color, Stop
from procir.catalog.atelier.drawing.figures import FIGURES, Figure
from procir.catalog.atelier.drawing.paths import Number, Path, Point, leaf
from procir.catalog.atelier.drawing.studio import Frame, Jitter
from procir.catalog.atelier.drawing.tones import BLACK, WHITE, contrasting, luminance, mix, outline, parse_color
from procir.catalog.atelier.garments import COLORS, Garment

_CREASE_STRENGTH = {
    "smooth cotton": 0.75,
    "ribbed knit": 0.5,
    "denim": 0.85,
    "satin": 1.0,
    "fleece": 0.55,
    "linen": 0.95,
    "corduroy": 0.6,
}


class Easel:
    """What every part of a drawing needs: canvas, garment, figure, light, and the garment's cloth."""

    def __init__(self, garment: Garment, view: str, frame: Frame, shake: Jitter, size: int, closeness: Number = 1.0):
        self.garment = garment
        self.view = view
        self.shake = shake
        self.canvas = Canvas(size, frame.matrix(size, shake))
        self.pixel = max(self.canvas.pixel, frame.span / 340.0)
        """A thin line: one pixel, or what would be one at 256."""
        self.figure: Figure = FIGURES[garment.group.gender]
        self.base = parse_color(COLORS[garment["color"]])
        self.cloth = self._weave(frame, size, closeness)
        self.dark = luminance(self.base) < 0.32
        self.outline = outline(self.base)
        self.contrast = contrasting(self.base)
        self.trim = mix(self.base, self.contrast, 0.26)
        self.inside = mix(self.base, BLACK, 0.45)

    @property
    def wearers_left(self) -> int:
        """Sign of x where the wearer's left side is in this view."""
        return -1 if self.view == "back" else 1

    def __getitem__(self, attribute: str) -> str:
        return self.garment.values[attribute]

    def _weave(self, frame: Frame, size: int, closeness: Number) -> UInt32[np.ndarray, "n n"]:
        accent = parse_color(COLORS[self["accent"]])
        if self["pattern"] == "solid":
            accent = self.base
        elif accent == self.base:
            accent = mix(self.base, WHITE if luminance(self.base) < 0.6 else BLACK, 0.3)
        # A few scales instead of one for every frame: prints stay within 3 % of their size, and masks are reused.
        n, unit = int(size * 1.5), math.pow(1.06, round(math.log(frame.span / size, 1.06)))
        enlargement = closeness * size / 256
        return textures.cloth(self.base, accent, self["pattern"], self["fabric"], n, unit, enlargement)

    def lay_cloth(self, path: Path, anchor: Point, degrees: Number = 0.0) -> None:
        """Cover what is clipped with cloth whose middle lies at the anchor, its grain turned by degrees."""
        n, u = self.cloth.shape[0], self.canvas.pixel
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        points = np.asarray(path.points, np.float32).reshape(-1, 2) - anchor
        grid = np.stack([points @ [c, s], points @ [-s, c]], 1) / u + n / 2
        (i0, j0), (i1, j1) = np.maximum(grid.min(0) - 2, 0).astype(int), np.minimum(grid.max(0) + 3, n).astype(int)
        if i1 - i0 < 2 or j1 - j0 < 2:
            return
        piece = np.ascontiguousarray(self.cloth[j0:j1, i0:i1])
        x, y = (i0 - n / 2) * u, (j0 - n / 2) * u
        matrix = (c * u, -s * u, anchor[0] + c * x - s * y, s * u, c * u, anchor[1] + s * x + c * y)
        self.canvas.image(piece, matrix)

    def crease(self, path: Path, which: int = 0, strength: Number = 1.0) -> None:
        """Lay creases over what is clipped."""
        n = 384
        light = 1 if self.shake.light > 0 else -1
        chart = textures.creases((self.shake.crease + which) % textures.CREASE_MAPS, n, light)
        x0, y0, x1, y1 = path.bounds()
        scale = max(0.24, (x1 - x0) / (n - 2), (y1 - y0) / (n - 2))
        width, height = min(n, int((x1 - x0) / scale) + 2), min(n, int((y1 - y0) / scale) + 2)
        shift = (self.shake.crease >> 4) + 67 * which
        i, j = shift % (n - width + 1), (shift >> 3) % (n - height + 1)
        piece = np.ascontiguousarray(chart[j : j + height, i : i + width])
        alpha = min(1.0, _CREASE_STRENGTH[self["fabric"]] * strength * self.shake.strength)
        self.canvas.image(piece, (scale, 0, x0, 0, scale, y0), alpha)

    def round_off(self, path: Path, start: Point, end: Point, depth: Number = 1.0) -> None:
        """Shade a piece as a round body between two edge points: dark at the edges, bright towards the light."""
        light, k = self.shake.light, self.shake.strength * depth
        if start[0] > end[0]:
            start, end = end, start
        near, far = (0.30 + 0.07 * light) * k, (0.30 - 0.07 * light) * k
        gleam = (0.17 if self.dark else 0.13) * k
        middle = 0.5 + 0.2 * light
        stops: list[Stop] = [
            (0.0, BLACK, min(near, 1)),
            (0.16, BLACK, 0.10 * k),
            (middle - 0.17, WHITE, 0.0),
            (middle, WHITE, min(gleam, 1)),
            (middle + 0.17, WHITE, 0.0),
            (0.84, BLACK, 0.10 * k),
            (1.0, BLACK, min(far, 1)),
        ]
        self.canvas.linear(path, start, end, stops)

    @contextmanager
    def panel(
        self,
        path: Path,
        edges: tuple[Point, Point],
        anchor: Point,
        degrees: Number = 0.0,
        *,
        creased: int | None = None,
        depth: Number = 1.0,
        line: Number = 1.0,
    ) -> Iterator[None]:
        """A piece of cloth, shaded round between two edge points, and outlined; paint its details inside the block."""
        self.canvas.fill(path, self.base)
        with self.canvas.clipped(path):
            self.lay_cloth(path, anchor, degrees)
            self.round_off(path, *edges, depth=depth)
            if creased is not None:
                self.crease(path, creased)
            yield
        if line:
            self.canvas.stroke(path, self.outline, 1.25 * self.pixel * line, 0.9)

    def piece(self, path: Path, color: Color, shade: Number = 0.2) -> None:
        """A piece in one colour, a little darker below, outlined."""
        x0, y0, x1, y1 = path.bounds()
        middle = (x0 + x1) / 2
        low = mix(color, BLACK, shade)
        self.canvas.linear(path, (middle, y0), (middle, y1), [(0.0, color, 1.0), (1.0, low, 1.0)])
        self.canvas.stroke(path, outline(color), 1.1 * self.pixel)

    def seam(self, path: Path, weight: Number = 1.0) -> None:
        """A seam: a groove with a lit lip, seen on any colour."""
        u = self.pixel
        lit, deep = (0.5, 0.75) if self.dark else (0.3, 0.55)
        self.canvas.stroke(path.moved(0.75 * u, 0.75 * u), WHITE, u * weight, lit)
        self.canvas.stroke(path, mix(self.base, BLACK, 0.75), 1.15 * u * weight, deep)

    def stitch(self, path: Path, alpha: Number = 0.75) -> None:
        """A line of tonal topstitching."""
        u = self.pixel
        thread = mix(self.base, WHITE, 0.45) if self.dark else mix(self.base, BLACK, 0.5)
        self.canvas.stroke(path, thread, 0.8 * u, alpha, dash=(2.6 * u, 1.7 * u))

    def fold(self, x0: Number, y0: Number, x1: Number, y1: Number, width: Number, bend: Number = 0.0) -> None:
        """A soft fold: a shadow with a gleam beside it."""
        k = self.shake.strength
        side = width * 0.9 * (1 if self.shake.light > 0 else -1)
        self.canvas.fill(leaf(x0, y0, x1, y1, width, bend), BLACK, 0.13 * k)
        self.canvas.fill(leaf(x0, y0, x1, y1, width * 0.45, bend), BLACK, 0.12 * k)
        gleam = leaf(x0 + side, y0, x1 + side, y1, width * 0.6, bend)
        self.canvas.fill(gleam, WHITE, (0.13 if self.dark else 0.16) * k)

    def ribs(self, first: tuple[Point, Point], last: tuple[Point, Point], count: int) -> None:
        """Ribbing between two edges: lines that go from one edge to the other."""
        path, gleam = Path(), Path()
        for i in range(1, count):
            t = i / count
            x0, y0 = _between(first, t)
            x1, y1 = _between(last, t)
            path.move(x0, y0).line(x1, y1)
            gleam.move(x0 + self.pixel, y0).line(x1 + self.pixel, y1)
        self.canvas.stroke(path, mix(self.base, BLACK, 0.7), self.pixel, 0.6)
        self.canvas.stroke(gleam, WHITE, 0.8 * self.pixel, 0.36 if self.dark else 0.26)

    def hole(self, path: Path) -> None:
        """An opening through which the inside shows."""
        x0, y0, _, y1 = path.bounds()
        deep = mix(self.inside, BLACK, 0.35)
        if luminance(self.base) < 0.17:
            deep = mix(self.inside, WHITE, 0.3)
        self.canvas.linear(path, (x0, y0), (x0, y1), [(0.0, deep, 1.0), (1.0, mix(deep, WHITE, 0.1), 1.0)])
        self.canvas.stroke(path, self.outline if not self.dark else mix(self.base, WHITE, 0.5), 1.3 * self.pixel)


def _between(ends: tuple[Point, Point], t: Number) -> Point:
    (x0, y0), (x1, y1) = ends
    return x0 + (x1 - x0) * t, y0 + (y1 - y0) * t


def wavy(ends: tuple[Point, Point], waves: int, height: Number, down: Point) -> list[Point]:
    """Points of a scalloped edge between two ends; crests lie `height` further along `down`."""
    points: list[Point] = []
    for i in range(2 * waves + 1):
        x, y = _between(ends, i / (2 * waves))
        lift = height if i % 2 else 0.0
        points.append((x + down[0] * lift, y + down[1] * lift))
    return points


def flounce(
    easel: Easel, top: tuple[Point, Point], depth: Number, flare: Number, waves: int, down: Point = (0.0, 1.0)
) -> None:
    """A ruffle that hangs from an edge, wider by `flare` at each end."""
    (ax, ay), (bx, by) = top
    length = math.hypot(bx - ax, by - ay) or 1.0
    ex, ey = (bx - ax) / length * flare, (by - ay) / length * flare
    a = (ax - ex + down[0] * depth, ay - ey + down[1] * depth)
    b = (bx + ex + down[0] * depth, by + ey + down[1] * depth)
    edge = wavy((b, a), waves, depth * 0.24, down)
    path = Path().move(*top[0]).line(*top[1]).line(*b).through(edge).close()
    angle = math.degrees(math.atan2(by - ay, bx - ax))
    with easel.panel(path, (a, b), ((ax + bx) / 2, (ay + by) / 2), angle):
        for i in range(waves):
            x, y = _between(top, (i + 0.5) / waves)
            u, v = _between((a, b), (i + 0.5) / waves)
            easel.fold(u, v, x, y, length / waves * 0.16)
    easel.seam(Path().move(*top[0]).line(*top[1]))


def row(x: Number, y0: Number, y1: Number, count: int) -> Sequence[Point]:
    """Evenly spaced points down a line."""
    step = (y1 - y0) / count
    return [(x, y0 + step * (i + 0.5)) for i in range(count)]
