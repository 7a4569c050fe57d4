"""Runs that go astray are stopped, and tell of the step."""

from __future__ import annotations

import json
import math

import pytest

from procir.errors import ConfigError, TrainingError
from procir.train.contrastive import train
from procir.train.divergence import WINDOW, Divergence
from training import crowded_split, fresh_model, settings


def test_only_a_full_window_above_the_limit_counts():
    """Chance among four is ln 4; twice that is 2.7726."""
    looking = Divergence(2.0, 4)
    assert [looking.found(9.0) for _ in range(WINDOW - 1)] == [None] * (WINDOW - 1)
    assert looking.found(9.0) == (
        "the retrieval loss was 9.000 on average over 20 steps, above 2 times the 1.386 of chance: training diverged"
    )


def test_the_mean_decides():
    """Ten steps of 2 ln 4 + 1 and ten of 2 ln 4 - 1 are at the limit, not above it; a little more is above."""
    limit = 2 * math.log(4)
    at, above = Divergence(2.0, 4), Divergence(2.0, 4)
    losses = [limit + 1.0, limit - 1.0] * (WINDOW // 2)
    assert [at.found(loss - 1e-9) for loss in losses] == [None] * WINDOW
    assert [above.found(loss + 1e-6) for loss in losses][:-1] == [None] * (WINDOW - 1)
    assert above.found(limit + 1.0) is not None
    off = Divergence(None, 4)
    assert [off.found(1e9) for _ in range(2 * WINDOW)] == [None] * 2 * WINDOW


def test_a_run_that_diverges_is_stopped(tmp_path):
    """With a limit below what random weights reach, the first full window stops the run; without one it goes on."""
    split = crowded_split(tmp_path)
    run = settings(max_steps=WINDOW + 3, learning_rate=1e-9, diverged_above=0.2, batch_size=4)
    with pytest.raises(TrainingError, match=rf"^step {WINDOW}: the retrieval loss was .* training diverged"):
        train(fresh_model(), split, run, tmp_path / "stopped", data_hash="x")
    told = json.loads((tmp_path / "stopped" / f"bad-step-{WINDOW}.json").read_text())
    assert len(told["triplets"]) == 4
    assert float(told["cir"]) > 0.2 * math.log(4)
    train(fresh_model(), split, settings(max_steps=WINDOW + 3, learning_rate=1e-9, diverged_above=None, batch_size=4),
          tmp_path / "whole", data_hash="x")  # fmt: skip
    with pytest.raises(ConfigError, match="diverged_above must be positive, not 0"):
        settings(diverged_above=0.0)
