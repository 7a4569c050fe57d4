"""The construction on a Ray cluster of two nodes: the same data set, also when a worker is killed in the middle."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from procir import cli
from procir.annotators.settings import AnnotatorSettings
from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue, read_garments
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import RequestLog, create_app
from procir.construct.builtin.serving import running
from procir.construct.construction import STAGES
from procir.errors import ConfigError, ExhaustedError
from procir.recipes.choices import ClusterChoice, ConstructChoice, ModelChoice
from procir.recipes.construct import chosen_embedder, run_construction
from procir.records import read_jsonl

RESULTS = [f"data/{split}_{kind}.jsonl" for split in ("train", "val") for kind in ("captions", "triplets")]
RESULTS += ["verdicts.jsonl", "failures.jsonl"]


@pytest.fixture(scope="module")
def cluster():
    """The address of two nodes on this machine's loopback; the key is in their environment."""
    ray = pytest.importorskip("ray", reason="Ray (the extra cluster) is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("CLUSTER_KEY", "any")
        from ray._private import ray_constants
        from ray.cluster_utils import Cluster

        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        nodes.add_node(num_cpus=2)
        assert nodes.address.startswith("127.0.0.1:")
        yield nodes.address
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "shop"
    draw_catalogue(root, AtelierConfig(train_products=57, val_products=19, size=48, seed=3))
    return root


def settings(url, **changes):
    made = AnnotatorSettings(
        provider="openai", model="builtin", base_url=url, key_variable="CLUSTER_KEY", max_tokens=3000, in_flight=8,
        **changes,
    )  # fmt: skip
    return dict.fromkeys(STAGES, made)


def construct(shop, out, url, **more):
    changes = more.pop("changes", {})
    embedder = chosen_embedder(ModelChoice(model="starter"))
    return run_construction(ConstructChoice(catalogue=shop), embedder, out, settings=settings(url, **changes), **more)


@pytest.fixture(scope="module")
def alone(shop, tmp_path_factory):
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with running(create_app(read_garments(shop), Faults(left_right_errors=0.2))) as url:
        construct(shop, out, url)
    return out


def workers():
    """Processes that ask questions, by their titles."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            title = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if title.startswith((b"ray::MapWorker", b"ray::MapBatches")):
            found.append(int(folder.name))
    return found


def kill_one(log, killed):
    """Kill a worker once some questions are answered."""
    for _ in range(4000):
        if log.exists() and log.read_text().count("answered") >= 20 and (found := workers()):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])
            return
        time.sleep(0.01)


def test_a_killed_worker_costs_nothing_and_changes_nothing(cluster, shop, alone, tmp_path):
    log, killed = tmp_path / "requests.jsonl", []
    out = tmp_path / "out"
    with closing(RequestLog(log)) as requests:
        faults = Faults(left_right_errors=0.2, latency=0.1)
        with running(create_app(read_garments(shop), faults, log=requests)) as url:
            killer = threading.Thread(target=kill_one, args=(log, killed))
            killer.start()
            construct(shop, out, url, place=ClusterChoice(cluster=cluster, workers=2))
            killer.join()
    assert killed
    rows = [row for _, row in read_jsonl(log)]
    assert max(Counter(row["key"] for row in rows if row["event"] == "answered").values()) == 1
    for name in RESULTS:
        assert (out / name).read_bytes() == (alone / name).read_bytes(), name
    assert cli.main(["construct", "status", "--out", str(out)]) == 0


def test_budget_key_and_second_run_stop_it(cluster, shop, tmp_path):
    locked = create_app(read_garments(shop), Faults(), api_key="another")
    with running(locked) as url, pytest.raises(ExhaustedError, match="401"):
        construct(shop, tmp_path / "key", url, place=ClusterChoice(cluster=cluster, workers=2))
    with running(create_app(read_garments(shop), Faults())) as url:
        with pytest.raises(ConfigError, match="a budget needs the prices"):
            construct(shop, tmp_path / "prices", url, place=ClusterChoice(cluster=cluster, workers=1), budget=1.0)
        prices = {"input_price": 1.0, "output_price": 1.0}
        with pytest.raises(ExhaustedError, match=r"the budget of 0\.1 dollars"):
            construct(
                shop,
                tmp_path / "budget",
                url,
                place=ClusterChoice(cluster=cluster, workers=2),
                budget=0.1,
                changes=prices,
            )
