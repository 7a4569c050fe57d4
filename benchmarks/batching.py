"""Batches that walk the product graph and share what they read, against batches at random.

A step of each kind of batching in turn, forward and backward, of the tiny model on garments as in the ablation. What a
batch shares (a document within a query on the same product, a dialogue of several rows, a view of several dialogues) is
counted. `python -m benchmarks.batching` prints what it measured, and as its last line one JSON object with the claim.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

from benchmarks import spread
from benchmarks.train_step import timed
from procir.catalog.atelier.catalogue import draw_catalogue
from procir.model.embedder import ProCIR
from procir.model.layout import beginnings
from procir.recipes import tiny
from procir.train.config import TrainConfig
from procir.train.data import ExampleBuilder, StepExamples
from procir.train.objective import losses

TARGET = 1.0
ROUNDS = 8
KINDS = get_args(get_type_hints(TrainConfig)["batching"])


def share_read(examples: StepExamples) -> float:
    """Of the tokens of all dialogues that a step's rows name, how many are read; padding left out."""
    named = examples.dialogues(slice(None))
    distinct = {id(dialogue): dialogue for dialogue in named}
    within = beginnings(list(distinct.values()))
    return sum(len(own) for key, own in distinct.items() if key not in within) / sum(map(len, named))


def measured(model: ProCIR, builders: Mapping[str, ExampleBuilder]) -> dict[str, list[tuple[float, float]]]:
    """Of every kind: seconds of a step, and the share of its tokens that are read, round by round."""
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in builders}
    for number in range(ROUNDS + 1):
        for kind, builder in builders.items():
            config = replace(tiny.demo_training(), batching=kind)
            batch = builder.examples(number)
            seconds, _ = timed(model, lambda batch=batch, config=config: losses(model, batch, config)["loss"])
            if number:  # the first round warms up
                found[kind].append((seconds, share_read(batch)))
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        split = draw_catalogue(Path(folder) / "data", tiny.ablation_catalogue())["train"]
        model = tiny.fresh_model(split)
        model.network.train()
        builders = {kind: ExampleBuilder(model, split, replace(tiny.demo_training(), batching=kind)) for kind in KINDS}
        found = measured(model, builders)
    size = tiny.demo_training().batch_size
    print(f"{os.cpu_count()} cores, {len(split.triplets)} triplets, batches of {size}, {ROUNDS} rounds in turn, "
          "medians and ranges")  # fmt: skip
    ratios = {}
    for kind, rounds in found.items():
        pairs = zip(found["uniform"], rounds, strict=True)
        ratios[kind] = [plain / seconds for (plain, _), (seconds, _) in pairs]
        print(f"{kind}: a step {spread([seconds for seconds, _ in rounds])} s, reads "
              f"{spread([100 * share for _, share in rounds])} % of the tokens that its rows name, "
              f"uniform / {kind} {spread(ratios[kind])}")  # fmt: skip
    value = statistics.median(ratios["neighbors"])
    claim = "a step on batches that walk the product graph takes no longer than one on batches at random"
    holds = value >= TARGET
    print(json.dumps({"claim": claim, "value": round(value, 2), "target": TARGET, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
