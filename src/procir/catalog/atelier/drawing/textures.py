"""Cloth as pixels: prints in two colours, the grain of fabrics, and the creases that lie over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, UInt8, UInt16, UInt32

Grid = Float32[np.ndarray, "_ _"]
"""A square of values, or the single row or column that holds one of its coordinates."""

_MASK_LEVELS, _GRAIN_LEVELS = 16, 64
_GRAIN_LOW, _GRAIN_HIGH = 0.5, 1.5


def _grid(values: npt.ArrayLike) -> Grid:
    return np.asarray(values, np.float32)


def _noise(n: int, blur_x: float, blur_y: float, seed: int) -> Grid:
    """Smooth periodic noise with zero mean and unit deviation; blurs in pixels."""
    white = np.random.default_rng(seed).standard_normal((n, n)).astype(np.float32)
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]
    low_pass = np.exp(-2 * np.pi**2 * ((fx * blur_x) ** 2 + (fy * blur_y) ** 2))
    soft = np.fft.irfft2(np.fft.rfft2(white) * low_pass, s=(n, n))
    return _grid(((soft - soft.mean()) / soft.std()).astype(np.float32))


def _solid(x: Grid, y: Grid) -> Grid:
    return x * 0.0 + y * 0.0


def _band(position: Grid, period: float, share: float) -> Grid:
    """One inside stripes that take a share of each period, centred on its multiples."""
    offset = np.abs((position / period + 0.5) % 1.0 - 0.5)
    return _grid((offset < share / 2).astype(np.float32))


def _horizontal(x: Grid, y: Grid) -> Grid:
    return _grid(_band(y, 9.0, 0.46) + 0 * x)


def _vertical(x: Grid, y: Grid) -> Grid:
    return _grid(_band(x, 8.0, 0.42) + 0 * y)


def _plaid(x: Grid, y: Grid) -> Grid:
    wide = 0.46 * (_band(x, 18.0, 0.4) + _band(y, 18.0, 0.4))
    thin = np.maximum(_band(x + 9.0, 18.0, 0.07), _band(y + 9.0, 18.0, 0.07))
    return _grid(np.maximum(wide, 0.85 * thin))


def _cells(x: Grid, y: Grid, period: float) -> tuple[Grid, Grid, Grid]:
    """Offsets from the centres of brick-laid cells, and a number for each cell."""
    row = np.floor(y / period)
    shifted = x + (row % 2) * (period / 2)
    column = np.floor(shifted / period)
    number = (row * 37 + column * 17) % 101
    return shifted - (column + 0.5) * period, y - (row + 0.5) * period, number


def _dots(x: Grid, y: Grid) -> Grid:
    dx, dy, _ = _cells(x, y, 8.5)
    return _grid((np.hypot(dx, dy) < 2.5).astype(np.float32))


def _floral(x: Grid, y: Grid) -> Grid:
    dx, dy, number = _cells(x, y, 12.0)
    dx, dy = dx + 1.1 * np.sin(number), dy + 1.1 * np.cos(2 * number)
    radius, angle = np.hypot(dx, dy), np.arctan2(dy, dx) + number
    petals = radius < 3.3 + 1.5 * np.cos(5 * angle)
    heart = radius < 1.15
    sx, sy, _ = _cells(x + 6.0, y + 6.0, 12.0)
    bud = np.hypot(sx * 0.7 + sy * 0.4, sy * 1.3 - sx * 0.5) < 1.5
    return _grid(np.where(heart, 0.0, np.where(petals, 1.0, np.where(bud, 0.6, 0.0))).astype(np.float32))


def _zigzag(x: Grid, y: Grid) -> Grid:
    wave = np.abs((x / 10.0) % 1.0 - 0.5) * 10.0
    return _band(_grid(y + wave), 9.5, 0.46)


def _leopard(x: Grid, y: Grid) -> Grid:
    dx, dy, number = _cells(x, y, 8.0)
    dx, dy = dx + 1.2 * np.sin(3 * number), dy + 1.2 * np.cos(5 * number)
    angle = np.arctan2(dy, dx)
    radius = np.hypot(dx, dy) * (1 + 0.22 * np.sin(2 * angle + 1.7 * number))
    broken = np.sin(2 * angle + number) + 0.8 * np.sin(3 * angle + 2.3 * number) > -0.55
    ring = (radius > 1.6) & (radius < 3.1) & broken
    return _grid(np.where(ring, 1.0, np.where(radius <= 1.6, 0.5, 0.0)).astype(np.float32))


def _tie_dye(x: Grid, y: Grid) -> Grid:
    radius, angle = np.hypot(x, y + 4.0), np.arctan2(y + 4.0, x)
    wobble = 0.5 * np.sin(5 * angle) + 0.35 * np.sin(11 * angle + radius / 6) + 0.4 * np.sin(x / 5) * np.sin(y / 6)
    wave = np.sin(radius / 3.4 + angle + wobble)
    return _grid(np.clip(0.5 + 0.85 * wave, 0, 1).astype(np.float32))


_PATTERNS: Mapping[str, Callable[[Grid, Grid], Grid]] = {
    "solid": _solid,
    "horizontal stripes": _horizontal,
    "vertical stripes": _vertical,
    "plaid": _plaid,
    "polka dots": _dots,
    "floral": _floral,
    "zigzag": _zigzag,
    "leopard": _leopard,
    "tie-dye": _tie_dye,
}


@lru_cache(maxsize=256)
def _mask(pattern: str, n: int, unit: float) -> UInt16[np.ndarray, "n n"]:
    """Share of the accent colour, in levels; `unit` is the length of a pixel."""
    fine = 2
    steps = (np.arange(n * fine, dtype=np.float32) - (n * fine - 1) / 2) * (unit / fine)
    x, y = np.meshgrid(steps, steps, sparse=True)
    share = _PATTERNS[pattern](x, y).reshape(n, fine, n, fine).mean(axis=(1, 3))
    return cast(UInt16[np.ndarray, "n n"], np.rint(share * (_MASK_LEVELS - 1)).astype(np.uint16) << 6)


def _cotton(x: Grid, y: Grid, n: int, k: float) -> Grid:
    return _grid(0.012 * _noise(n, 0.6 * k, 0.6 * k, 1) + 0 * (x + y))


def _knit(x: Grid, y: Grid, n: int, k: float) -> Grid:
    rib = np.cos(2 * np.pi * x / 5.0)
    stitch = np.cos(2 * np.pi * (y / 3.4 + 0.3 * np.abs(rib)))
    return _grid(0.17 * rib + 0.045 * stitch * (rib > -0.2) + 0.01 * _noise(n, k, k, 2))


def _denim(x: Grid, y: Grid, n: int, k: float) -> Grid:
    twill = np.cos(2 * np.pi * (x - y) / 4.4)
    fleck = _noise(n, 0.5 * k, 1.6 * k, 3)
    fade = _noise(n, 18 * k, 26 * k, 4)
    return _grid(0.10 * twill + 0.075 * fleck + 0.04 * fade)


def _satin(x: Grid, y: Grid, n: int, k: float) -> Grid:
    flow = _noise(n, 9 * k, 30 * k, 5)
    return _grid(0.22 * np.sin(x / 10.0 + y / 34.0 + 1.5 * flow) ** 3 + 0.06 * flow + 0.03)


def _fleece(x: Grid, y: Grid, n: int, k: float) -> Grid:
    return _grid(0.075 * _noise(n, 0.9 * k, 0.9 * k, 6) + 0.04 * _noise(n, 2.2 * k, 2.2 * k, 7) + 0 * (x + y))


def _linen(x: Grid, y: Grid, n: int, k: float) -> Grid:
    across, along = _noise(n, 11 * k, 0.55 * k, 8), _noise(n, 0.55 * k, 11 * k, 9)
    return _grid(0.075 * across + 0.075 * along + 0 * (x + y))


def _corduroy(x: Grid, y: Grid, n: int, k: float) -> Grid:
    wale = np.abs(np.sin(np.pi * x / 8.0)) ** 0.7
    return _grid(0.52 * (wale - 0.72) + 0.05 * _noise(n, 0.7 * k, 2 * k, 10) * wale + 0 * y)


_FABRICS: Mapping[str, Callable[[Grid, Grid, int, float], Grid]] = {
    "smooth cotton": _cotton,
    "ribbed knit": _knit,
    "denim": _denim,
    "satin": _satin,
    "fleece": _fleece,
    "linen": _linen,
    "corduroy": _corduroy,
}


@lru_cache(maxsize=64)
def _grain(fabric: str, n: int, enlargement: float) -> UInt16[np.ndarray, "n n"]:
    """Brightness of a fabric in levels; its threads are `enlargement` times as many pixels wide as they are at 256."""
    steps = (np.arange(n, dtype=np.float32) - (n - 1) / 2) / np.float32(enlargement)
    x, y = np.meshgrid(steps, steps, sparse=True)
    bright = (1.0 + _FABRICS[fabric](x, y, n, enlargement) - _GRAIN_LOW) / (_GRAIN_HIGH - _GRAIN_LOW)
    levels = np.rint(np.clip(bright, 0, 1) * (_GRAIN_LEVELS - 1))
    return levels.astype(np.uint16)


def _palette(base: tuple[int, int, int], accent: tuple[int, int, int]) -> UInt32[np.ndarray, " levels"]:
    """Pixels for every pair of mask and grain level; dark cloth gets its grain by addition, as black has no shades."""
    share = np.linspace(0, 1, _MASK_LEVELS)[:, None, None]
    grain = np.linspace(_GRAIN_LOW, _GRAIN_HIGH, _GRAIN_LEVELS)[None, :, None]
    color = np.asarray(base) * (1 - share) + np.asarray(accent) * share
    shaded = np.clip(color * grain + 80.0 * (grain - 1.0), 0, 255)
    pixels = np.full((_MASK_LEVELS, _GRAIN_LEVELS, 4), 255, np.uint8)
    pixels[..., :3] = np.rint(shaded)
    return pixels.view(np.uint32).ravel()


@lru_cache(maxsize=6)
def cloth(  # one argument for each thing that the cache distinguishes
    base: tuple[int, int, int],
    accent: tuple[int, int, int],
    pattern: str,
    fabric: str,
    n: int,
    unit: float,
    enlargement: float,
) -> UInt32[np.ndarray, "n n"]:
    """A square of cloth, n pixels wide, opaque RGBA; a pixel is `unit` drawing units long."""
    levels = _mask(pattern, n, unit) + _grain(fabric, n, enlargement)
    pixels: UInt32[np.ndarray, "n n"] = np.take(_palette(base, accent), levels)
    return pixels


CREASE_MAPS = 6
"""How many different crease maps there are."""


@lru_cache(maxsize=64)
def creases(which: int, n: int, light: int) -> UInt32[np.ndarray, "n n"]:
    """Shadows and gleams of folds, premultiplied RGBA; `light` is -1 or 1, the side the light comes from."""
    k = n / 384
    height = _noise(n, 13 * k, 40 * k, 20 + which) + 0.2 * _noise(n, 7 * k, 20 * k, 40 + which)
    height += 0.35 * _noise(n, 20 * k, 20 * k, 60 + which)
    slope = light * (np.roll(height, -1, 1) - np.roll(height, 1, 1)) + 0.5 * (
        np.roll(height, -1, 0) - np.roll(height, 1, 0)
    )
    slope = np.tanh(0.75 * slope / slope.std())
    pixels: UInt8[np.ndarray, "n n 4"] = np.zeros((n, n, 4), np.uint8)
    gleam = np.rint(np.clip(slope, 0, 1) * 40).astype(np.uint8)
    pixels[..., :3] = gleam[..., None]
    pixels[..., 3] = np.maximum(gleam, np.rint(np.clip(-slope, 0, 1) * 60).astype(np.uint8))
    return cast(UInt32[np.ndarray, "n n"], pixels.view(np.uint32)[..., 0])
