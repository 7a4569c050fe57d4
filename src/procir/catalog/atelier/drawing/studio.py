"""The photo studio: what varies from picture to picture, the backdrop, shadows, and the finished print."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt32
from PIL import Image, ImageFilter

from procir.catalog.atelier.drawing.canvas import Color, Matrix
from procir.catalog.atelier.drawing.paths import Number

_BACKDROPS: tuple[Color, ...] = (
    (243, 241, 237),
    (233, 236, 240),
    (238, 230, 222),
    (228, 236, 230),
    (240, 228, 230),
    (226, 230, 239),
    (245, 239, 224),
    (224, 222, 226),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """What one picture of a garment has of its own; it depends on the seed and the view alone."""

    dx: Number
    """Shift in shares of the picture's side, as `dy`."""
    dy: Number
    scale: Number
    turn: Number
    """Degrees clockwise."""
    arm: Number
    """Degrees that the arms are lifted beyond their rest, as `leg` for the legs."""
    leg: Number
    light: Number
    """Where the light comes from, -1 (image left) to 1."""
    strength: Number
    """Strength of shading, about 1."""
    crease: int
    backdrop: int
    balance: tuple[Number, Number, Number]
    """Factors on red, green and blue."""
    companion: Number
    """Shade of what is worn beside the garment, in [0, 1]."""
    layout: int


def jitter(seed: int, view: str) -> Jitter:
    """The jitter of a view of the garment with that seed."""
    rng = random.Random(f"{seed}/{view}")
    exposure = rng.uniform(0.975, 1.02)
    return Jitter(
        dx=rng.uniform(-0.015, 0.015),
        dy=rng.uniform(-0.014, 0.014),
        scale=rng.uniform(0.93, 0.985),
        turn=rng.uniform(-1.8, 1.8),
        arm=rng.uniform(-3.0, 4.0),
        leg=rng.uniform(-0.8, 1.6),
        light=rng.choice((-1.0, 1.0)) * rng.uniform(0.45, 1.0),
        strength=rng.uniform(0.85, 1.15),
        crease=rng.randrange(1 << 16),
        backdrop=rng.randrange(len(_BACKDROPS)),
        balance=(exposure * rng.uniform(0.988, 1.012), exposure, exposure * rng.uniform(0.985, 1.012)),
        companion=rng.random(),
        layout=rng.randrange(1 << 16),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The square of the drawing that a picture shows: its centre and its side."""

    x: Number
    y: Number
    span: Number

    def matrix(self, size: int, shake: Jitter) -> Matrix:
        """From drawing units to pixels."""
        scale = size / self.span * shake.scale
        angle = np.deg2rad(shake.turn)
        c, s = float(np.cos(angle)) * scale, float(np.sin(angle)) * scale
        x, y = size * (0.5 + shake.dx), size * (0.5 + shake.dy)
        return c, -s, x - c * self.x + s * self.y, s, c, y - s * self.x - c * self.y


@lru_cache(maxsize=64)
def _backdrop(which: int, light: int, size: int) -> Image.Image:
    """A paper backdrop lit from one side, brightest above the middle."""
    n = 48
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    glow = np.exp(-((x - 0.35 * light) ** 2 + (y + 0.25) ** 2) / 1.1)
    floor = 1.0 / (1.0 + np.exp(-(y - 0.78) * 14.0))
    bright = 0.875 + 0.15 * glow - 0.055 * floor
    large = Image.fromarray(bright.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(which).uniform(0.0, 1.0, (size, size, 1))
    pixels = np.asarray(large)[..., None] * np.asarray(_BACKDROPS[which], np.float64) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _shadow(cutout: Image.Image, shake: Jitter) -> Image.Image:
    """The soft shadow that a cutout throws on the backdrop, as a mask."""
    size = cutout.width
    small = cutout.getchannel("A").reduce(max(1, size // 64))
    light = 1 if shake.light > 0 else -1
    moved = Image.new("L", small.size, 0)
    moved.paste(small, (-2 * light, 2))
    soft = moved.filter(ImageFilter.BoxBlur(2.2)).filter(ImageFilter.BoxBlur(1.6))
    return soft.point(lambda level: level * (0.34 * shake.strength)).resize((size, size), Image.Resampling.BICUBIC)


def _balance(factors: tuple[Number, Number, Number]) -> list[int]:
    """Lookup tables that multiply red, green and blue."""
    levels = np.outer(factors, np.arange(256))
    return [int(level) for level in np.rint(np.minimum(levels, 255)).ravel()]


def develop(pixels: UInt32[np.ndarray, "n n"], shake: Jitter, size: int) -> Image.Image:
    """Set painted pixels (premultiplied RGBA) before the backdrop; RGB, size pixels wide."""
    n = pixels.shape[0]
    cutout = Image.frombuffer("RGBa", (n, n), pixels.tobytes(), "raw", "RGBa", 0, 1).convert("RGBA")
    picture = _backdrop(shake.backdrop, 1 if shake.light > 0 else -1, n).copy()
    picture.paste((58, 54, 66), (0, 0), _shadow(cutout, shake))
    picture.paste(cutout, (0, 0), cutout)
    picture = picture.point(_balance(shake.balance))
    return picture if n == size else picture.resize((size, size), Image.Resampling.BOX, reducing_gap=None)
