"""Whether two pictures are one photo, perhaps resized or encoded anew: by small copies of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
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


_STEP = 4
_SLOPES = 12
"""Most of the 240 slopes in which two copies of one photo differ; see `alike`.

Of 500 pairs of views of drawn garments, none of one product was within both bounds; all of these views were when they
were encoded anew at quality 50, or resized to half or twice their size.
"""


def alike(one: SmallCopy, other: SmallCopy) -> bool:
    """Whether two photos of a product are one, perhaps resized or encoded anew: its perceptual hash and its colours.

    The hash is the difference hash of 240 bits: whether it gets brighter, by more than 4 of 255, from each of 16 x 16
    places to the next on its right. Views of a plain thing may have like hashes, and views of a small thing on white
    like colours, so that both must be close: at most 12 bits apart, and a mean difference of at most `UNLIKE`.
    """
    return int(np.count_nonzero(_slopes(one) != _slopes(other))) <= _SLOPES and difference(one, other) <= UNLIKE


def _slopes(copy: SmallCopy) -> Bool[np.ndarray, "16 15"]:
    grey = copy.mean(axis=2)
    return np.asarray(grey[:, 1:] > grey[:, :-1] + _STEP)
