"""`procir annotator serve` as a user runs it: in a process of its own, until it is interrupted."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from procir import cli
from procir.catalog.atelier.catalogue import AtelierConfig, draw_catalogue, read_garments, view_path
from procir.construct.domain import read_domain
from procir.construct.questions import caption_question


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogue") / "drawn"
    draw_catalogue(root, AtelierConfig(train_products=1, val_products=1, size=64))
    return root


def test_it_serves_until_it_is_interrupted(catalogue, tmp_path):
    from chats import chat, photo

    log = tmp_path / "log.jsonl"
    words = ["annotator", "serve", "--catalogue", catalogue, "--port", "0", "--log", log, "--key-variable", "A_KEY"]
    process = subprocess.Popen(
        [sys.executable, "-m", "procir.cli", *map(str, words)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "A_KEY": "secret"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        found = re.fullmatch(
            r"annotator of 2 products at (http://127\.0\.0\.1:\d+/v1); give this as base_url; .*\n", line
        )
        assert found, line
        url = found[1]
        assert httpx.get(f"{url}/models").status_code == 401
        (key, garment), *_ = read_garments(catalogue).items()
        photos = [photo(view_path(catalogue, key, i, view)) for i, view in enumerate(garment.views, start=1)]
        body = chat(caption_question(key, photos, read_domain("fashion")))
        headers = {"Authorization": "Bearer secret"}
        assert httpx.post(f"{url}/chat/completions", json=body, headers=headers).status_code == 200
        body = chat(caption_question(key, photos[::-1], read_domain("fashion")))
        wrong = httpx.post(f"{url}/chat/completions", json=body, headers=headers)
        assert (wrong.status_code, "is not its photo" in wrong.text) == (400, True)
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
    assert process.wait(30) == 130
    events = [json.loads(row)["event"] for row in log.read_text().splitlines()]
    assert events == ["answered", "error"]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines: set a key"),
        (["--key-variable", "NO_SUCH_KEY"], "the environment variable NO_SUCH_KEY is not set"),
        (["--slow", "2"], "slow is 2.0: a share lies in [0, 1]"),
        (["--catalogue", "nowhere"], "nowhere/garments.jsonl: cannot be opened"),
    ],
)
def test_what_cannot_be_served_is_refused(catalogue, capsys, flags, complaint):
    assert cli.main(["annotator", "serve", "--catalogue", str(catalogue), "--port", "0", *flags]) == 1
    assert complaint in capsys.readouterr().err
