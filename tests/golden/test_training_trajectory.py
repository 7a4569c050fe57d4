"""Twenty steps of every variant: the losses that a recorded run had, so that a refactoring cannot change them unseen.

`python tests/golden/test_training_trajectory.py` records them anew. The tolerance is what float32 leaves between
machines and thread counts after twenty steps; on one machine the numbers are equal.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from procir.train.contrastive import train
from procir.train.log import read_log
from procir.types import Split
from training import VARIANTS, crowded_split, fresh_model, settings

RECORD = Path(__file__).with_name("training_losses.json")
STEPS = 20
TOLERANCE = 2e-3


def losses(name: str, split: Split, out: Path) -> list[float]:
    """The loss of every step of a variant, with both lengths of every text."""
    variant = VARIANTS[name]
    config = settings(variant=variant, batch_size=4, max_steps=STEPS, learning_rate=3e-4, log_every=1)
    train(fresh_model(two_turns=variant.two_turns), split, config, out, data_hash="x")
    return [row["loss"] for row in read_log(out) if row["kind"] == "train"]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return crowded_split(tmp_path_factory.mktemp("crowded"))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_losses_are_those_recorded(name, split, tmp_path):
    recorded = json.loads(RECORD.read_text())[name]
    assert len(recorded) == STEPS
    assert losses(name, split, tmp_path) == pytest.approx(recorded, rel=TOLERANCE, abs=TOLERANCE)


def test_variants_differ_and_all_of_them_learn():
    """What makes the record worth comparing with: no two variants share it, and the last losses are below the first."""
    recorded = json.loads(RECORD.read_text())
    assert len({tuple(values) for values in recorded.values()}) == len(VARIANTS) == 8
    for name, values in recorded.items():
        assert sum(values[-5:]) < sum(values[:5]), name


def record() -> None:
    """Write the losses of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        split = crowded_split(Path(folder))
        found = {name: losses(name, split, Path(folder) / name) for name in VARIANTS}
    rounded = {name: [round(value, 5) for value in values] for name, values in found.items()}
    RECORD.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    record()
