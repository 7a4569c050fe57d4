"""When a run has gone astray: the retrieval loss stays far above that of chance."""

from __future__ import annotations

import math
from collections import deque

WINDOW = 20
"""Steps over which the loss is averaged, so that no single batch ends a run."""


class Divergence:
    """Looks at the retrieval loss of the last `WINDOW` steps, and begins anew where a run is resumed.

    `limit` counts in losses of chance, ln(batch_size): what a model has that gives every target of a batch the same
    probability. None looks at nothing.
    """

    def __init__(self, limit: float | None, batch_size: int) -> None:
        self.limit = limit
        self.chance = math.log(batch_size)
        self._losses: deque[float] = deque(maxlen=WINDOW)

    def found(self, loss: float) -> str | None:
        """Take in the loss of one more step; what is wrong, if the mean of a full window is above the limit."""
        self._losses.append(loss)
        if self.limit is None or len(self._losses) < WINDOW:
            return None
        mean = math.fsum(self._losses) / WINDOW
        if mean <= self.limit * self.chance:
            return None
        return (
            f"the retrieval loss was {mean:.3f} on average over {WINDOW} steps, above {self.limit:g} times "
            f"the {self.chance:.3f} of chance: training diverged"
        )
