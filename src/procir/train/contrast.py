"""Whether there is something to tell apart in every batch of a run."""

from __future__ import annotations

import numpy as np

from procir.errors import TrainingError
from procir.train.data import ExampleBuilder


def require_contrast(builder: ExampleBuilder) -> None:
    """Raise TrainingError if all triplets of some batch ask for one product: with no other, nothing is learnt.

    Only where a product is asked for often enough are the batches looked at.
    """
    products, counts = np.unique(builder.ends[:, 1], return_counts=True)
    size = builder.config.batch_size
    if counts.max() < size:
        return
    frequent = set(products[counts >= size].tolist())
    for step in range(builder.total):
        triplets = builder.triplets(step)
        target = triplets[0].target
        if builder.numbers[target] in frequent and all(triplet.target == target for triplet in triplets):
            raise TrainingError(
                f"all {size} triplets of step {step + 1} ask for {target}, which leaves nothing to tell it from: raise "
                f"batch_size, add triplets with other targets ({counts.max():,} of {len(builder.ends):,} ask for one), "
                "or try --batching distinct"
            )
