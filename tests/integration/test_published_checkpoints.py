"""A checkpoint that only transformers has touched, on data in the released layout: the released protocol's results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.released import Released, recalls, view_files
from examples.released_layout import save_checkpoint

from procir import cli
from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue
from procir.evaluate.results import read_results
from procir.model.embedder import ProCIR
from procir.types import Query

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("released") / "data"
    draw_catalogue(root, AtelierConfig(train_products=19, val_products=38, size=160, seed=4))
    return root


@pytest.fixture(scope="module")
def split(data):
    return draw_catalogue(data, AtelierConfig(train_products=19, val_products=38, size=160, seed=4))["val"]


@pytest.fixture(scope="module")
def checkpoint(split, tmp_path_factory):
    """config.json, model.safetensors and the tokenizer, in bfloat16; no procir.json."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(folder, [triplet.short for triplet in split.triplets])
    assert not (folder / "procir.json").exists()
    return folder


@pytest.fixture(scope="module")
def alone(checkpoint, data, tmp_path_factory):
    """The results of one process."""
    out = tmp_path_factory.mktemp("alone") / "scores"
    assert cli.main(["evaluate", "--model", str(checkpoint), "--data", str(data), "--out", str(out)]) == 0
    return read_results(out / "results.json")


def test_embeddings_and_recalls_are_those_of_the_released_protocol(checkpoint, data, split, alone):
    model = ProCIR.from_pretrained(checkpoint)
    peer = Released(model.network, model.tokenizer)
    root = data / "images" / "atelier"
    products = [split.products[key] for key in sorted(split.products)]
    folders = [root / product.key.product_id for product in products]
    assert [[view.path for view in product.views] for product in products] == [view_files(f) for f in folders]
    theirs = peer.encode(folders, [None] * len(folders))
    np.testing.assert_allclose(model.encode_products(products), theirs, atol=1e-4)
    triplets = split.triplets[:12]
    asked = peer.encode([root / t.source.product_id for t in triplets], [t.short for t in triplets])
    ours = model.encode_queries([Query(split.products[t.source], t.short) for t in triplets])
    np.testing.assert_allclose(ours, asked, atol=1e-4)
    plain = [(t.source.product_id, t.target.product_id, t.short) for t in split.triplets]
    expected = {f"R@{k}": round(100 * value, 2) for k, value in recalls(peer, root, plain).items()}
    assert alone["rows"]["procir"] == expected
    assert alone["gallery"] == len({key for t in split.triplets for key in (t.source, t.target)})


def test_several_processes_find_the_same(checkpoint, data, alone, tmp_path):
    """Every rank sees the whole gallery in one order."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    arguments = ["--model", checkpoint, "--data", data, "--out", tmp_path / "scores", "--plain"]
    done = subprocess.run(
        [*launch, "-m", "procir.cli", "evaluate", *map(str, arguments)],
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("R@10") == 1
    together = read_results(tmp_path / "scores" / "results.json")
    assert together["rows"]["procir"] == alone["rows"]["procir"]
    assert (together["i2t"], together["t2i"]) == (alone["i2t"], alone["t2i"])
    assert together["config"]["processes"] == 3
    assert {"source only", "text only", "only back"} <= together["rows"].keys()


def rename_token(folder, name):
    """The checkpoint as somebody else would have saved it."""
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("<emb_all>", name), encoding="utf-8")


def test_the_token_under_another_name(checkpoint, data, split, alone, tmp_path, capsys):
    model = ProCIR.from_pretrained(checkpoint)
    folder = tmp_path / "other"
    save_checkpoint(folder, [triplet.short for triplet in split.triplets])
    rename_token(folder, "<product>")
    command = ["evaluate", "--model", str(folder), "--data", str(data), "--out", str(tmp_path / "scores")]
    capsys.readouterr()
    assert cli.main(command) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "lacks the token '<emb_all>', but has '<product>' beside Qwen's own" in message
    assert "name its token (--embedding-token)" in message
    assert cli.main([*command, "--embedding-token", "<product>"]) == 0
    assert read_results(tmp_path / "scores" / "results.json")["rows"] == alone["rows"]
    other = ProCIR.from_pretrained(folder, embedding_token="<product>")
    other.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "procir.json").read_text())["embedding_token"] == "<product>"
    np.testing.assert_allclose(other.encode_captions(["red"]), model.encode_captions(["red"]), atol=1e-6)


def test_the_example_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "released_layout.py", tmp_path],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "R@10" in done.stdout
    assert 0 <= read_results(tmp_path / "scores" / "results.json")["rows"]["procir"]["R@10"] <= 100
