"""Outlines of lines and Bezier curves, and the shapes that garments are made of."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence

Number = float | int
"""A length or coordinate; whole numbers count as floats."""
Point = tuple[Number, Number]

_CLOSE, _MOVE, _LINE, _CURVE = 0, 1, 2, 3


class Path:
    """An outline under construction; every method that adds returns the path itself."""

    __slots__ = ("commands", "points")

    def __init__(self) -> None:
        self.commands = bytearray()
        self.points = array("f")

    def move(self, x: Number, y: Number) -> Path:
        """Begin a stretch."""
        self.commands.append(_MOVE)
        self.points.extend((x, y))
        return self

    def line(self, x: Number, y: Number) -> Path:
        """Go straight."""
        self.commands.append(_LINE)
        self.points.extend((x, y))
        return self

    def curve(self, x1: Number, y1: Number, x2: Number, y2: Number, x: Number, y: Number) -> Path:
        """Go along a cubic Bezier curve."""
        self.commands.append(_CURVE)
        self.points.extend((x1, y1, x2, y2, x, y))
        return self

    def close(self) -> Path:
        """Return to where the stretch began."""
        self.commands.append(_CLOSE)
        return self

    def lines(self, points: Iterable[Point]) -> Path:
        """Go straight from point to point."""
        for x, y in points:
            self.line(x, y)
        return self

    def through(self, points: Sequence[Point]) -> Path:
        """Go smoothly through points (Catmull-Rom), the first of which is where the path stands."""
        for i in range(len(points) - 1):
            before, start = points[max(i - 1, 0)], points[i]
            end, after = points[i + 1], points[min(i + 2, len(points) - 1)]
            self.curve(
                start[0] + (end[0] - before[0]) / 6,
                start[1] + (end[1] - before[1]) / 6,
                end[0] - (after[0] - start[0]) / 6,
                end[1] - (after[1] - start[1]) / 6,
                end[0],
                end[1],
            )
        return self

    def join(self, other: Path) -> Path:
        """Add another path's stretches."""
        self.commands += other.commands
        self.points.extend(other.points)
        return self

    def mapped(self, place: Callable[[Number, Number], Point]) -> Path:
        """The path with every point replaced."""
        path = Path()
        path.commands[:] = self.commands
        for i in range(0, len(self.points), 2):
            path.points.extend(place(self.points[i], self.points[i + 1]))
        return path

    def moved(self, dx: Number, dy: Number) -> Path:
        """The path shifted."""
        return self.mapped(lambda x, y: (x + dx, y + dy))

    def mirrored(self) -> Path:
        """The path with left and right exchanged at x = 0."""
        return self.mapped(lambda x, y: (-x, y))

    def turned(self, degrees: Number, x: Number, y: Number, scale: Number = 1.0) -> Path:
        """The path scaled and turned clockwise about the origin, then shifted to a point."""
        c, s = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
        return self.mapped(lambda u, v: (c * u - s * v + x, s * u + c * v + y))

    def bounds(self) -> tuple[Number, Number, Number, Number]:
        """Least x and y, greatest x and y of all points, control points included."""
        xs, ys = self.points[::2], self.points[1::2]
        return min(xs), min(ys), max(xs), max(ys)


def segment(x0: Number, y0: Number, x1: Number, y1: Number) -> Path:
    """A straight line."""
    return Path().move(x0, y0).line(x1, y1)


def polygon(points: Sequence[Point]) -> Path:
    """A closed outline of straight lines."""
    return Path().move(*points[0]).lines(points[1:]).close()


def smooth(points: Sequence[Point]) -> Path:
    """An open curve through points."""
    return Path().move(*points[0]).through(points)


def blob(points: Sequence[Point]) -> Path:
    """A closed curve through points."""
    ring = [points[-1], *points, points[0], points[1]]
    path = Path().move(*points[0])
    for before, start, end, after in zip(ring, ring[1:], ring[2:], ring[3:], strict=False):
        path.curve(
            start[0] + (end[0] - before[0]) / 6,
            start[1] + (end[1] - before[1]) / 6,
            end[0] - (after[0] - start[0]) / 6,
            end[1] - (after[1] - start[1]) / 6,
            end[0],
            end[1],
        )
    return path.close()


def box(x: Number, y: Number, width: Number, height: Number, round_by: Number = 0.0) -> Path:
    """A rectangle from its upper left corner, with rounded corners where asked."""
    right, bottom, r = x + width, y + height, round_by
    if not r:
        return polygon([(x, y), (right, y), (right, bottom), (x, bottom)])
    k = r * 0.45
    path = Path().move(x + r, y).line(right - r, y).curve(right - k, y, right, y + k, right, y + r)
    path.line(right, bottom - r).curve(right, bottom - k, right - k, bottom, right - r, bottom)
    path.line(x + r, bottom).curve(x + k, bottom, x, bottom - k, x, bottom - r)
    return path.line(x, y + r).curve(x, y + k, x + k, y, x + r, y).close()


def ellipse(x: Number, y: Number, rx: Number, ry: Number) -> Path:
    """An ellipse about its centre."""
    kx, ky = rx * 0.5523, ry * 0.5523
    path = Path().move(x + rx, y).curve(x + rx, y + ky, x + kx, y + ry, x, y + ry)
    path.curve(x - kx, y + ry, x - rx, y + ky, x - rx, y).curve(x - rx, y - ky, x - kx, y - ry, x, y - ry)
    return path.curve(x + kx, y - ry, x + rx, y - ky, x + rx, y).close()


def star(x: Number, y: Number, radius: Number) -> Path:
    """A five-pointed star that stands on two points."""
    corners = []
    for i in range(10):
        r, angle = radius * (0.45 if i % 2 else 1.0), math.pi * (i / 5 - 0.5)
        corners.append((x + r * math.cos(angle), y + r * math.sin(angle)))
    return polygon(corners)


def heart(x: Number, y: Number, radius: Number) -> Path:
    """A heart about its centre."""
    path = Path().move(0, 0.95).curve(-0.5, 0.5, -1.05, 0.15, -1.05, -0.35)
    path.curve(-1.05, -0.95, -0.3, -1.05, 0, -0.45).curve(0.3, -1.05, 1.05, -0.95, 1.05, -0.35)
    return path.curve(1.05, 0.15, 0.5, 0.5, 0, 0.95).close().turned(0, x, y, radius)


def leaf(x0: Number, y0: Number, x1: Number, y1: Number, width: Number, bend: Number = 0.0) -> Path:
    """A tapered sliver between two points, as folds are; `bend` bows it sideways."""
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    nx, ny = (y0 - y1) / length, (x1 - x0) / length
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    path = Path().move(x0, y0)
    for side, x, y in ((bend + width, x1, y1), (bend - width, x0, y0)):
        cx, cy = mx + nx * side, my + ny * side
        path.curve(cx, cy, cx, cy, x, y)
    return path.close()
