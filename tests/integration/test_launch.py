"""`procir train` in several processes, as torchrun and accelerate start them, through the command line."""

import json
import os
import subprocess
import sys

import pytest

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.train.log import read_log

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": [
        "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", "--main_process_port", "0",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched") / "data"
    draw_catalogue(folder, AtelierConfig(train_products=40, val_products=20, size=96, seed=3))
    return folder


def trained(data, out, launcher, *more):
    command = [
        sys.executable, "-m", *launcher, *(["-m"] if launcher else []), "procir.cli", "train", "--data", data,
        "--out", out, "--batch-size", "6", "--max-steps", "2", "--log-every", "1", "--modification", "short",
        "--caption", "short", "--no-check", *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        list(map(str, command)), check=False, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [row["loss"] for row in read_log(out) if row["kind"] == "train"]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    return trained(data, tmp_path_factory.mktemp("alone") / "out", [])


@pytest.mark.parametrize(("launcher", "more"), [("torchrun", ["--sharded"]), ("accelerate", [])])
def test_two_processes_take_the_steps_of_one(data, alone, tmp_path, launcher, more):
    assert trained(data, tmp_path / "out", LAUNCHERS[launcher], *more) == pytest.approx(alone, rel=1e-3)
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["model_type"] == "qwen3_5"
