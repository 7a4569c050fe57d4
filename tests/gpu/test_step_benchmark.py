"""The benchmark of a whole step: every piece of it runs, on a tiny shape."""

import json

import pytest
from benchmarks.step_on_device import Work
from benchmarks.train_step import on_device


def test_a_small_step_is_measured(device, capsys):
    on_device(Work(device=device.type, shape="tiny", batch=2, side=64, rounds=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("shape tiny, 2 triplets of 4 + 4 views of 64 x 64")
    assert float(lines[1].split()[-1]) < 0.1
    assert [line.split(",")[0] for line in lines[3:6]] == ["recompute full", "recompute selective", "recompute off"]
    assert all("samples a second" in line for line in lines[3:8])
    if device.type == "cuda":
        told = json.loads(lines[-1])
        assert told["peak_gb"] < 24 and 0 < told["share"] < 1
    else:
        assert lines[-1] == "not measured: memory and the share of the peak, which are those of a known GPU alone"


@pytest.mark.gpu
def test_a_chunk_of_the_published_shape_stays_within_24_gb(device, capsys):
    if device.type != "cuda":
        pytest.skip("needs a CUDA device")
    on_device(Work(batch=8, rounds=1))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["peak_gb"] < 24
