"""Conversations for supervised fine-tuning: their words, who is drawn, who is left out, and LLaMA-Factory's files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from procir.catalog.conversations import (
    CAPTION_SYSTEM,
    MODIFICATION_REQUEST,
    Turn,
    caption_conversations,
    triplet_conversations,
)
from procir.catalog.findings import Findings
from procir.construct.llama_factory import export_llama_factory
from procir.errors import ConfigError, DataError
from procir.model.tokenizers import CHAT_TEMPLATE, EMBEDDING_TOKEN
from procir.types import Caption, Product, ProductKey, Split, Triplet, View

ROOT = Path("/data/images")


def make_split(count=3, **changes):
    keys = [ProductKey("shop", f"p{number:04}") for number in range(count)]
    products = {
        key: Product(
            key, (View(ROOT / "shop" / key.product_id / "a.jpg"), View(ROOT / "shop" / key.product_id / "b.jpg"))
        )
        for key in keys
    }
    captions = {
        key: Caption(key, f"long {key.product_id}", f"short {key.product_id}", ("[Image 1] Front: ä", "Back"))
        for key in keys
    }
    triplets = tuple(
        Triplet(source, target, f"red as {target.product_id}", "red at front and back", ("front", "back"))
        for source, target in itertools.pairwise(keys)
    )
    return replace(Split("train", products, captions, triplets), **changes)


def everything(split):
    findings = Findings()
    return (
        list(caption_conversations(split, findings, seed=1, share=1.0)),
        list(triplet_conversations(split, findings, seed=1, share=1.0)),
        findings,
    )


def test_a_product_is_described_view_by_view():
    split = make_split()
    (first, *_), _, findings = everything(split)
    product = split.products[ProductKey("shop", "p0000")]
    assert (first.name, first.system) == ("shop/p0000", CAPTION_SYSTEM)
    assert first.turns == (
        Turn(
            views=product.views,
            thought="[Image 1] Front: ä\n[Image 2] Back",
            answer='{"long_caption": "long p0000", "short_caption": "short p0000"}',
        ),
    )
    assert not findings


def test_a_triplet_shows_both_products_and_then_asks():
    split = make_split()
    _, (first, *_), _ = everything(split)
    source, target = (split.products[ProductKey("shop", name)] for name in ("p0000", "p0001"))
    assert (first.name, first.system) == ("shop/p0000 -> shop/p0001", None)
    assert first.turns == (
        Turn(views=source.views, thought="long p0000"),
        Turn(views=target.views, thought="long p0001"),
        Turn(
            request=MODIFICATION_REQUEST,
            answer='{"views_involved": ["front", "back"], "modification_text_long": "red at front and back", '
            '"modification_text_short": "red as p0001"}',
        ),
    )


def test_what_lacks_a_text_is_counted():
    split = make_split(5)
    keys = sorted(split.products)
    captions = dict(split.captions)
    captions[keys[0]] = replace(captions[keys[0]], images=("only one",))
    captions[keys[1]] = replace(captions[keys[1]], images=())
    del captions[keys[4]]
    triplets = (replace(split.triplets[0], long=None), *split.triplets[1:])
    described, modified, findings = everything(replace(split, captions=captions, triplets=triplets))
    assert [conversation.name for conversation in described] == ["shop/p0002", "shop/p0003"]
    assert [conversation.name for conversation in modified] == ["shop/p0001 -> shop/p0002", "shop/p0002 -> shop/p0003"]
    assert findings.counts == {
        "products without a caption of each view": 2,
        "triplets without a long modification text": 1,
        "triplets of products without a caption": 1,
    }


def names(split, seed, share=0.2):
    captions = caption_conversations(split, Findings(), seed=seed, share=share)
    triplets = triplet_conversations(split, Findings(), seed=seed, share=share)
    return {conversation.name for conversation in captions}, {conversation.name for conversation in triplets}


def test_the_draw_is_a_fifth_and_stays_when_the_data_grow():
    small, large = make_split(1000), make_split(2000)
    captions, triplets = names(large, 1)
    for drawn in (captions, triplets):
        assert abs(len(drawn) - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5
    before_captions, before_triplets = names(small, 1)
    assert before_captions == {name for name in captions if name < "shop/p1000"}
    assert before_triplets == {name for name in triplets if name.split(" -> ")[1] < "shop/p1000"}
    assert before_captions <= names(small, 1, share=0.3)[0]
    assert len(captions & names(large, 2)[0]) < 130
    chained = {name.split(" -> ")[0] for name in triplets}
    assert len(captions & chained) < 130  # one task's draw says nothing of the other's


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_impossible_shares(share):
    with pytest.raises(ConfigError, match="draw more than 0 and at most 1"):
        list(caption_conversations(make_split(), Findings(), seed=1, share=share))


def export(folder, split, **changes):
    arguments = {"images": ROOT, "embedding_token": EMBEDDING_TOKEN, "seed": 1, "share": 1.0} | changes
    return export_llama_factory(folder, split, **arguments)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_llama_factory_reads_messages_and_paths(tmp_path):
    report = export(tmp_path / "out", make_split())
    assert (report.captions, report.triplets, report.skipped) == (3, 2, {})
    first = rows(tmp_path / "out" / "captions.jsonl")[0]
    assert first == {
        "messages": [
            {"role": "system", "content": CAPTION_SYSTEM},
            {"role": "user", "content": "<image><image>"},
            {
                "role": "assistant",
                "content": "<think>\n[Image 1] Front: ä\n[Image 2] Back\n</think>\n\n"
                '{"long_caption": "long p0000", "short_caption": "short p0000"}',
            },
        ],
        "images": ["shop/p0000/a.jpg", "shop/p0000/b.jpg"],
    }
    first = rows(tmp_path / "out" / "triplets.jsonl")[0]
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"] * 3
    assert [message["content"] for message in first["messages"]][:5] == [
        "<image><image>",
        "<think>\nlong p0000\n</think>\n\n<emb_all>",
        "<image><image>",
        "<think>\nlong p0001\n</think>\n\n<emb_all>",
        MODIFICATION_REQUEST,
    ]
    last = first["messages"][5]["content"]
    assert last.startswith('<think>\n\n</think>\n\n{"views_involved": ["front", "back"]')
    assert first["images"] == [f"shop/p000{number}/{view}.jpg" for number in (0, 1) for view in "ab"]
    for row in rows(tmp_path / "out" / "triplets.jsonl"):
        assert sum(message["content"].count("<image>") for message in row["messages"]) == len(row["images"])


def test_the_assistant_speaks_as_in_the_models_own_dialogues(tmp_path):
    """The chat template that the model's tests hold its dialogues against gives the same turn."""
    from jinja2 import Environment

    export(tmp_path / "out", make_split())
    content = rows(tmp_path / "out" / "triplets.jsonl")[0]["messages"][1]["content"]
    message = {"role": "assistant", "reasoning_content": "long p0000", "content": EMBEDDING_TOKEN}
    rendered = Environment().from_string(CHAT_TEMPLATE).render(messages=[message])
    assert rendered.startswith(f"<|im_start|>assistant\n{content}<|im_end|>")


def test_dataset_info_names_both_files(tmp_path):
    export(tmp_path / "out", make_split())
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert list(info) == ["procir_captions", "procir_triplets"]
    for about in info.values():
        assert (tmp_path / "out" / about["file_name"]).is_file()
        assert about["formatting"] == "sharegpt"
        assert about["columns"] == {"messages": "messages", "images": "images"}
        assert about["tags"] == {
            "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system",
        }  # fmt: skip


@pytest.mark.parametrize("mark", ["<image>", "</think>", "<|im_end|>", "<emb_all>", "<video>"])
def test_texts_that_would_not_be_read_as_texts_are_left_out(tmp_path, mark):
    split = make_split(4)
    key = ProductKey("shop", "p0001")
    captions = {**split.captions, key: replace(split.captions[key], long=f"long {mark}")}
    report = export(tmp_path / "out", replace(split, captions=captions))
    assert (report.captions, report.triplets) == (3, 1)
    assert report.skipped == {"conversations whose texts spell a special token": 3}
    assert report.examples["conversations whose texts spell a special token"][0] == "shop/p0001"
    assert mark not in (tmp_path / "out" / "captions.jsonl").read_text().replace("<image>" * 2, "").replace(
        "\\n</think>", ""
    )


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(DataError, match=r"/data/images/shop/p0000/a.jpg does not lie below /elsewhere"):
        export(tmp_path / "out", make_split(), images=Path("/elsewhere"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(DataError, match="mine is there and not empty"):
        export(tmp_path / "mine", make_split())


def test_without_word_of_the_share_a_fifth_is_drawn(tmp_path):
    split = make_split(300)
    report = export_llama_factory(tmp_path / "out", split, images=ROOT, embedding_token=EMBEDDING_TOKEN, seed=1)
    assert (report.captions, report.triplets) == tuple(map(len, names(split, 1, share=0.2)))
