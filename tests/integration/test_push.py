"""`procir push` against a Hub on loopback, with huggingface_hub's real client in a process of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

from hub_server import READER, TOKEN, hub
from procir.evaluate.results import write_results
from training import fresh_model

RESULTS = {
    "rows": {"procir": {"R@1": 40.0, "R@5": 75.5, "R@10": None}}, "i2t": {"R@1": 1.0}, "t2i": {"R@1": 1.0},
    "datasets": {
        name: {"queries": 1234, "gallery": 567, "rows": {"procir": {"R@1": value, "R@5": 75.5, "R@10": None}}}
        for name, value in (("deepfashion", 30.0), ("f200k", 50.0))
    },
    "substituted": {}, "queries": 2468, "gallery": 1134, "seed": 0, "data_hash": "d" * 64,
    "versions": {"procir": "0.1.0"}, "config": {}, "seconds": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model's folder with something in it that is no part of a model."""
    folder = tmp_path_factory.mktemp("run") / "model"
    fresh_model().save_pretrained(folder)
    (folder / "notes.docx").write_text("mine")
    return folder


def push(*arguments, url="http://127.0.0.1:9", token=TOKEN, cache):
    environment = {
        **os.environ, "HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0", "COLUMNS": "100",
    }  # fmt: skip
    if not token:
        environment.pop("HF_TOKEN")
    command = [sys.executable, "-m", "procir.cli", "push", *map(str, arguments)]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)


def test_a_model_goes_up_in_one_commit_and_comes_back_the_same(model, tmp_path):
    write_results(tmp_path / "results.json", RESULTS)
    with hub() as store:
        options = ["--results", tmp_path / "results.json", "--license", "apache-2.0", "--private"]
        done = push("--model", model, "--repository", "me/mine", *options, url=store.url, cache=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"The model is at {store.url}/me/mine/commit/" in done.stdout
        assert "left out, as no part of a model: notes.docx" in done.stdout
        assert [commit["summary"] for commit in store.commits] == ["Upload model"]
        (created,) = store.created
        assert (created["organization"], created["name"]) == ("me", "mine")
        assert created.get("private") or created.get("visibility") == "private"
        sent = {path.name: path.read_bytes() for path in model.iterdir() if path.suffix != ".docx"}
        card = ModelCard(store.files["README.md"].decode())
        assert {name: content for name, content in store.files.items() if name != "README.md"} == {
            name: content for name, content in sent.items() if name != "README.md"
        }
        code = (
            "from procir.model.embedder import ProCIR; import json; m = ProCIR.from_pretrained('me/mine');"
            "from sentence_transformers import SentenceTransformer;"
            "t = SentenceTransformer('me/mine', trust_remote_code=True, device='cpu');"
            "found = [m.encode_captions(['navy dress'])[0], t.encode(['navy dress'])[0]];"
            "print(json.dumps([one.tolist() for one in found]))"
        )
        environment = {
            **os.environ, "HF_ENDPOINT": store.url, "HF_HOME": str(tmp_path / "other"), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        loaded = subprocess.run(
            [sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True, timeout=120
        )
        assert loaded.returncode == 0, loaded.stderr
    expected = fresh_model().encode_captions(["navy dress"])[0].tolist()
    for embedding in json.loads(loaded.stdout.splitlines()[-1]):  # as the card says: by itself, and as theirs
        assert embedding == pytest.approx(expected, abs=1e-5)
    assert card.data.license == "apache-2.0"
    found = {(one.dataset_name, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found == {
        ("deepfashion", "Recall at 1"): 30.0, ("deepfashion", "Recall at 5"): 75.5,
        ("f200k", "Recall at 1"): 50.0, ("f200k", "Recall at 5"): 75.5,
        ("mean over datasets", "Recall at 1"): 40.0, ("mean over datasets", "Recall at 5"): 75.5,
    }  # fmt: skip
    assert "| deepfashion | 1,234 | 567 | 30.00 | 75.50 | – |" in card.text
    assert "| mean | 2,468 | 1,134 | 40.00 | 75.50 | – |" in card.text


def test_a_dry_run_sends_nothing(model, tmp_path):
    with hub() as store:
        done = push("--model", model, "--repository", "me/mine", "--dry-run", url=store.url, cache=tmp_path)
        assert done.returncode == 0, done.stderr
        assert store.asked == []
    assert "nothing was sent to me/mine" in done.stdout
    assert f"model.safetensors  {(model / 'model.safetensors').stat().st_size:,} bytes" in done.stdout


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_" + "w" * 34, "the Hub does not know the token"),
        (READER, "the token may not write there (You don't have the rights)"),
    ],
    ids=["none", "unknown", "reader"],
)
def test_what_the_hub_refuses_is_said_with_a_remedy(model, tmp_path, token, said):
    with hub() as store:
        done = push("--model", model, "--repository", "me/mine", url=store.url, token=token, cache=tmp_path)
        assert store.files == {}
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def test_a_card_that_cannot_be_read_is_named(model, tmp_path):
    own = tmp_path / "model"
    shutil.copytree(model, own)
    (own / "README.md").write_text("---\nlicense: [\n---\n# Mine\n")
    with hub() as store:
        done = push("--model", own, "--repository", "me/mine", url=store.url, cache=tmp_path)
        assert store.asked == []
    assert done.returncode == 1 and f"{own / 'README.md'} is no card of a model" in done.stderr.replace("\n", "")
    (own / "README.md").unlink()
    with hub() as store:
        done = push("--model", own, "--repository", "me/mine", url=store.url, cache=tmp_path)
        card = ModelCard(store.files["README.md"].decode())
    assert done.returncode == 0, done.stderr
    assert card.data.library_name == "sentence-transformers" and card.data.eval_results is None
    assert "README.md" not in {path.name for path in own.iterdir()}


def test_no_way_to_the_hub(model, tmp_path):
    done = push("--model", model, "--repository", "me/mine", cache=tmp_path)
    assert done.returncode == 1
    assert "the Hub at http://127.0.0.1:9 cannot be reached" in done.stderr and "Traceback" not in done.stderr


def test_folders_and_names_that_cannot_be(model, tmp_path):
    for arguments, said in (
        (["--model", model.parent, "--repository", "me/mine"], f"is the folder of a run: push {model}"),
        (["--model", tmp_path, "--repository", "me/mine"], "is no model folder"),
        (["--model", model, "--repository", "me/my/model"], "is no name of a repository"),
    ):
        done = push(*arguments, cache=tmp_path)
        assert done.returncode == 1 and said in done.stderr.replace("\n", ""), done.stderr
