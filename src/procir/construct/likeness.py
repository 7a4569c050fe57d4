"""Whether two pictures are one photo, perhaps resized or encoded anew: by small copies of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SIDE = 16
"""Pixels of a side of a small copy."""

UNLIKE = 4.5
"""Mean difference, of 255, above which small copies are of two photos.

Photos encoded anew differ by up to 4 where they are scaled down to a few pixels, and by 1 or 2 as a rule; two photos
of a drawn catalogue by 6 and more, mostly by 20.
"""

SmallCopy = UInt8[np.ndarray, "16 16 3"]


def small_copy(image: Image.Image) -> SmallCopy:
    """An RGB picture of `SIDE` pixels a side, each the mean of what it stands for."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def difference(one: SmallCopy, other: SmallCopy) -> float:
    """The mean difference of two small copies, of 255."""
    return float(np.abs(one.astype(np.int16) - other).mean())
