"""Snapshots continue a dialogue exactly, whatever was read in between."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from procir.errors import ConfigError, ContextOverflowError, DataError, MissingDataError, SnapshotError
from procir.evaluate.metrics import rank_in_gallery
from procir.evaluate.protocol import evaluate
from procir.model import embedder, prefix
from procir.model.dialogue import Dialogue
from procir.model.embedder import ProCIR
from procir.model.prefix import Snapshot, ask, fingerprint, go_on, snapshot_bytes, start, views_fingerprint
from procir.types import Query

TEXTS = (
    "Make it navy",
    "A zipper at the back and a much longer sentence than the others here",
    "red",
    "Кроткая ὀργή 😀",
)
GRIDS = (
    ((2, 2), (2, 3)),
    ((3, 2),),
    ((2, 2), (2, 2), (1, 2), (1, 1), (2, 3)),
    ((2, 2), (2, 3)),
)


@pytest.fixture
def products(random_views):
    """Views of four products, two of them equally long."""
    return [random_views(20 + number, *grids) for number, grids in enumerate(GRIDS)]


@pytest.fixture
def snapshots(tiny, products):
    return start(tiny, [tiny.dialogues.document(views) for views in products])


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def full(model, dialogues):
    with torch.inference_mode():
        return model.embed(dialogues)


def test_a_snapshot_holds_the_document_embedding(tiny, products, snapshots):
    expected = full(tiny, [tiny.dialogues.document(views) for views in products])
    close(torch.stack([snapshot.embedding for snapshot in snapshots]), expected)


def test_a_turn_after_a_snapshot_equals_the_whole_query(tiny, products, snapshots):
    """Ragged prefixes and texts, one snapshot several times, products interleaved."""
    order = [(0, 1), (2, 0), (1, 3), (0, 2), (3, 1), (2, 1), (0, 0)]
    found = ask(tiny, [snapshots[product] for product, _ in order], [TEXTS[text] for _, text in order])
    queries = [tiny.dialogues.query(products[product], TEXTS[text]) for product, text in order]
    close(found, full(tiny, queries)[1::2])
    again = ask(tiny, [snapshots[0]], [TEXTS[1]])
    close(again, found[:1])


@pytest.mark.parametrize("max_batch_tokens", [1, 90, 4096])
def test_any_size_of_batch_gives_the_same(tiny, products, max_batch_tokens):
    model = ProCIR(tiny.network, tiny.tokenizer, tiny.settings, max_batch_tokens=max_batch_tokens)
    snapshots = start(model, [model.dialogues.document(views) for views in products])
    found = ask(model, snapshots, TEXTS)
    queries = [tiny.dialogues.query(views, text) for views, text in zip(products, TEXTS, strict=True)]
    close(found, full(tiny, queries)[1::2])


def test_further_turns_equal_one_long_dialogue(tiny, products, snapshots):
    """Three more turns each, their texts of different lengths, branching after the first."""
    first = go_on(tiny, snapshots, TEXTS)
    second = go_on(tiny, [first[2], first[0], first[2]], ["longer", "with a hood and a belt", "shorter sleeves"])
    third = ask(tiny, second, ["in black", "in black", "no buttons"])
    paths = [(2, "longer", "in black"), (0, "with a hood and a belt", "in black"), (2, "shorter sleeves", "no buttons")]
    for found, (product, middle, last) in zip(third, paths, strict=True):
        dialogue = tiny.dialogues.query(products[product], TEXTS[product])
        for text in (middle, last):
            dialogue = appended(tiny, dialogue, text)
        states = full(tiny, [dialogue])
        assert len(states) == 4
        close(found, states[-1])
    for snapshot, views, text in zip(first, products, TEXTS, strict=True):
        close(snapshot.embedding, full(tiny, [tiny.dialogues.query(views, text)])[1])


def appended(model, dialogue, text):
    turn = model.dialogues.turn(text, length=len(dialogue), next_position=int(dialogue.position_ids[:, -1].max()) + 1)
    return Dialogue(
        token_ids=np.concatenate([dialogue.token_ids, turn.token_ids]),
        position_ids=np.concatenate([dialogue.position_ids, turn.position_ids], axis=1),
        is_image=np.concatenate([dialogue.is_image, turn.is_image]),
        views=dialogue.views,
        embedding_at=(*dialogue.embedding_at, len(dialogue) + turn.embedding_at[0]),
    )


def test_a_turn_completes_a_document_to_a_query(tiny, products):
    document = tiny.dialogues.document(products[0])
    query, together = tiny.dialogues.query(products[0], TEXTS[0]), appended(tiny, document, TEXTS[0])
    np.testing.assert_array_equal(together.token_ids, query.token_ids)
    np.testing.assert_array_equal(together.position_ids, query.position_ids)
    assert together.embedding_at == query.embedding_at


def test_asking_leaves_a_snapshot_as_it_was(tiny, snapshots):
    before = {name: tensor.clone() for name, tensor in snapshots[0].states.items()}
    ask(tiny, snapshots[:1], TEXTS[:1])
    go_on(tiny, snapshots[:1], TEXTS[:1])
    assert all(torch.equal(before[name], tensor) for name, tensor in snapshots[0].states.items())


def test_size_of_a_snapshot(tiny, products, snapshots):
    """One linear layer: 384 channels x 4, 3 heads of 32 x 64; three full ones: keys and values of 64 a token."""
    length = len(tiny.dialogues.document(products[0]))
    assert snapshots[0].length == length
    assert [snapshot_bytes(tiny, snapshot.length) for snapshot in snapshots] == [s.nbytes for s in snapshots]
    assert snapshots[0].nbytes == 4 * ((2 * 3 * 32 + 3 * 64) * 4 + 3 * 32 * 64 + 3 * 2 * length * 64 + 192)


@pytest.mark.parametrize("kept", [1, 20_000, 1 << 30])
def test_products_with_their_texts_equal_products_and_queries(tiny, little_split, monkeypatch, kept):
    """Whatever is kept at a time; a product may have no text."""
    monkeypatch.setattr(embedder, "SNAPSHOT_BYTES", kept)
    products = list(little_split.products.values())
    texts = [TEXTS[: number % 3] for number in range(len(products))]
    documents, queries = tiny.encode_turns(products, texts)
    np.testing.assert_allclose(documents, tiny.encode_products(products), atol=1e-5)
    asked = [Query(product, text) for product, own in zip(products, texts, strict=True) for text in own]
    np.testing.assert_allclose(queries, tiny.encode_queries(asked), atol=1e-5)
    assert [len(rows) for rows in tiny.encode_turns([], [])] == [0, 0]


def test_single_turn_models_read_products_again(tiny, little_split):
    model = ProCIR(tiny.network, tiny.tokenizer, replace(tiny.settings, two_turns=False))
    products = list(little_split.products.values())[:2]
    documents, queries = model.encode_turns(products, [["navy"], ["red", "longer"]])
    np.testing.assert_array_equal(documents, model.encode_products(products))
    asked = [Query(products[0], "navy"), Query(products[1], "red"), Query(products[1], "longer")]
    np.testing.assert_array_equal(queries, model.encode_queries(asked))


def test_an_evaluation_reads_every_product_once(tiny, little_split, monkeypatch):
    """And its documents are the source embeddings of turn 1."""
    read = []
    whole = prefix.start
    monkeypatch.setattr(prefix, "start", lambda model, dialogues: read.extend(dialogues) or whole(model, dialogues))
    found = evaluate(tiny, little_split)
    (gallery,) = found.galleries
    assert len(read) == len(gallery.products)
    queries = [Query(little_split.products[t.source], t.short) for t in gallery.triplets]
    ranks = rank_in_gallery(tiny.encode_queries(queries), tiny.encode_products(gallery.products), gallery.targets())
    np.testing.assert_array_equal(found.cir.datasets[gallery.dataset].ranks, ranks)


@pytest.mark.parametrize(("storage", "least", "share"), [("bf16", 0.9999, 0.5), ("int8", 0.999, 0.3)])
def test_narrow_storage_costs_little(tiny, products, snapshots, storage, least, share):
    exact = ask(tiny, snapshots, TEXTS)
    narrow = [snapshot.stored(storage) for snapshot in snapshots]
    assert F.cosine_similarity(ask(tiny, narrow, TEXTS), exact).min() > least
    assert narrow[2].nbytes < (share + 0.02) * snapshots[2].nbytes
    assert narrow[2].stored(storage) is narrow[2]
    assert all(snapshot.storage == "full" for snapshot in go_on(tiny, narrow, TEXTS))
    with pytest.raises(ConfigError, match="cannot become 'full': start from the product"):
        narrow[0].stored("full")


def test_bfloat16_models(tiny, products):
    network = copy.deepcopy(tiny.network).to(torch.bfloat16)
    model = ProCIR(network, tiny.tokenizer, tiny.settings)
    snapshots = start(model, [model.dialogues.document(views) for views in products])
    queries = [model.dialogues.query(views, text) for views, text in zip(products, TEXTS, strict=True)]
    found, expected = ask(model, snapshots, TEXTS).float(), full(model, queries)[1::2].float()
    assert F.cosine_similarity(found, expected).min() > 0.9999


@pytest.mark.parametrize("storage", ["full", "bf16", "int8"])
def test_saved_and_loaded(tiny, products, snapshots, tmp_path, storage):
    kept = snapshots[2].stored(storage)
    kept.save(tmp_path / "deep" / "one.safetensors")
    loaded = Snapshot.load(tmp_path / "deep" / "one.safetensors")
    assert (loaded.length, loaded.next_position, loaded.storage) == (kept.length, kept.next_position, storage)
    assert loaded.nbytes == kept.nbytes
    loaded.require(tiny, products[2])
    assert torch.equal(ask(tiny, [loaded], TEXTS[:1]), ask(tiny, [kept], TEXTS[:1]))
    assert torch.equal(loaded.to("cpu").embedding, snapshots[2].embedding)


def test_damaged_files_are_refused(snapshots, tmp_path):
    path = tmp_path / "one.safetensors"
    with pytest.raises(MissingDataError, match=r"one.safetensors: no such snapshot"):
        Snapshot.load(path)
    snapshots[0].save(path)
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(SnapshotError, match=r"one.safetensors: a damaged snapshot"):
            Snapshot.load(path)
    path.write_bytes(whole.replace(b"procir-snapshot-1", b"procir-snapshot-0"))
    with pytest.raises(SnapshotError, match="not a snapshot of this version"):
        Snapshot.load(path)


def test_snapshots_of_other_models_and_images_are_refused(tiny, tokenizer, products, snapshots):
    other = ProCIR.from_shape("tiny", tokenizer, tiny.settings, seed=2)
    with pytest.raises(SnapshotError, match="made by another model"):
        ask(other, snapshots, TEXTS)
    larger = tiny.with_views(type(tiny.settings.pixels)(min_pixels=64 * 64, max_pixels=128 * 128))
    with pytest.raises(SnapshotError, match="made by another model, or with other settings"):
        go_on(larger, snapshots, TEXTS)
    snapshots[0].require(tiny, products[0])
    with pytest.raises(SnapshotError, match="made from other images"):
        snapshots[0].require(tiny, products[3])
    with pytest.raises(SnapshotError, match="made from other images"):
        snapshots[0].require(tiny, products[0][::-1])


def test_the_fingerprint_follows_the_weights(tiny, tokenizer, tmp_path):
    model = ProCIR.from_shape("tiny", tokenizer, tiny.settings, seed=1)
    assert fingerprint(model) == fingerprint(tiny)
    model.save_pretrained(tmp_path / "model")
    assert fingerprint(ProCIR.from_pretrained(tmp_path / "model")) == fingerprint(model) == fingerprint(tiny)
    with torch.no_grad():
        model.network.model.language_model.norm.weight[0] += 1e-3
    assert fingerprint(model) != fingerprint(tiny)


def test_views_are_told_apart_by_pixels_and_shape(random_views):
    wide, tall = random_views(1, (1, 2)), random_views(1, (2, 1))
    assert wide[0].pixels.tobytes() == tall[0].pixels.tobytes()
    assert views_fingerprint(wide) != views_fingerprint(tall)
    assert views_fingerprint(wide) == views_fingerprint(random_views(1, (1, 2)))


def test_texts_that_cannot_follow(tiny, tokenizer, snapshots):
    with pytest.raises(DataError, match="the text is empty"):
        ask(tiny, snapshots[:1], [" "])
    with pytest.raises(ContextOverflowError, match=r"takes \d+ tokens, the model reads 4096"):
        ask(tiny, snapshots[:1], ["navy " * 4080])
    assert ask(tiny, [], []).shape == (0, tiny.dim)
    assert start(tiny, []) == []
