"""kill -9 at random moments: nothing that was answered is paid for twice, and the result is that of an unbroken run."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue, read_garments
from procir.construct.builtin.faults import Faults
from procir.construct.builtin.server import RequestLog, create_app
from procir.construct.builtin.serving import running
from procir.records import read_jsonl

KILLS = 20
STAGES = ("caption", "verify", "triplets")
FAULTS = Faults(left_right_errors=0.05, malformed_json=0.05, rate_limited=0.02, retry_after=0.05, latency=0.1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """300 products of small photos."""
    root = tmp_path_factory.mktemp("shop") / "shop"
    draw_catalogue(root, AtelierConfig(train_products=200, val_products=100, size=48, seed=6))
    return root


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """A server that lives through all kills: its address, and its log."""
    log = tmp_path_factory.mktemp("server") / "requests.jsonl"
    requests = RequestLog(log)
    with running(create_app(read_garments(shop), FAULTS, log=requests)) as url:
        yield url, log
    requests.close()


def start(shop, url, out):
    settings = out.with_suffix(".toml")
    table = 'provider = "openai"\nmodel = "builtin"\nkey_variable = "KILLS_KEY"\nin_flight = 8\n'
    settings.write_text("".join(f'[{stage}]\nbase_url = "{url}"\n{table}' for stage in STAGES))
    with out.with_suffix(".err").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "procir.cli", "construct", "run", "--catalogue", shop, "--out", out,
             "--annotators", settings],
            env=os.environ | {"KILLS_KEY": "any", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip


def answered(out):
    """How many answers the ledger holds, as another process sees it."""
    try:
        with closing(sqlite3.connect(f"file:{out / 'ledger.sqlite'}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.Error:
        return 0


def wait_for_answers(process, out, wanted):
    """Until the ledger holds so many; False if the run ended before."""
    for _ in range(12_000):
        if process.poll() is not None:
            return False
        if answered(out) >= wanted:
            return True
        time.sleep(0.005)
    raise AssertionError("the run makes no progress")


def test_kills_cost_nothing_and_change_nothing(shop, server, tmp_path):
    url, log = server
    rng = random.Random(0)
    out, kills, wanted = tmp_path / "killed", 0, 0
    while True:
        process = start(shop, url, out)
        try:
            wanted = max(wanted, answered(out)) + rng.randint(1, 45)
            if kills < KILLS and wait_for_answers(process, out, wanted):
                time.sleep(rng.random() * 0.1)  # so that calls are in flight in every state
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=60)
                kills += 1
                continue
            assert process.wait(timeout=300) == 0, out.with_suffix(".err").read_text()
            break
        finally:
            process.kill()
            process.wait(timeout=60)
    rows = [row for _, row in read_jsonl(log)]
    billed = Counter(row["key"] for row in rows if row["event"] == "answered")
    assert max(billed.values()) == 1
    asked = Counter((row["stage"], tuple(row["items"])) for row in rows if row["event"] == "answered")
    again = {question: count for question, count in asked.items() if count > 1}
    # A second answer to a question is one to the objection against its malformed first one, never a repetition.
    assert sum(count - 1 for count in again.values()) <= 0.1 * len(asked)
    assert kills >= min(KILLS, 12)
    whole = tmp_path / "whole"
    process = start(shop, url, whole)
    assert process.wait(timeout=300) == 0, whole.with_suffix(".err").read_text()
    names = [f"data/{split}_{kind}.jsonl" for split in ("train", "val") for kind in ("captions", "triplets")]
    for name in [*names, "verdicts.jsonl", "removed_captions.jsonl", "failures.jsonl", "statistics/statistics.json"]:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    after = [row for _, row in read_jsonl(log)][len(rows) :]
    assert {row["event"] for row in after} <= {"replayed", "error"}  # the same questions under the same keys
