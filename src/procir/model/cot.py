"""Chain of thought with progressive removal (paper, section 4.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def keep_ratio(step: int, total_steps: int, *, removed_by: float = 0.5) -> float:
    """The share of caption tokens kept at a step (formula 11): 1 at step 0, falling to 0 at `removed_by` of all."""
    return max(0.0, 1.0 - step / (removed_by * total_steps))


def subsample(tokens: Sequence[int], ratio: float, rng: np.random.Generator) -> list[int]:
    """A random ceil(ratio * n) of the tokens, in their order."""
    kept = math.ceil(ratio * len(tokens))
    if kept >= len(tokens):
        return list(tokens)
    chosen = np.sort(rng.choice(len(tokens), size=kept, replace=False))
    return [tokens[index] for index in chosen]
