"""Checkpoint folders: the same embeddings after a round trip, readable by transformers alone, whole or refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoTokenizer, Qwen3_5ForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from procir.errors import CheckpointError, MissingTokenError
from procir.model import checkpoint
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.model.tokenizers import EMBEDDING_TOKEN, special_id
from procir.records import replacing_folder
from procir.types import Query

FILES = {
    "README.md", "config.json", "model.safetensors", "preprocessor_config.json", "procir.json", "tokenizer.json",
    "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """The tiny model as a checkpoint; tests must not change it."""
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    tiny.save_pretrained(folder)
    return folder


@pytest.fixture
def broken(saved, tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(saved, tmp_path / "broken"))


@pytest.fixture(scope="module")
def tokenizer_folder(saved, tmp_path_factory):
    """A tokenizer as a plain Qwen3.5 has it: without the embedding token."""
    folder = tmp_path_factory.mktemp("plain-tokenizer")
    content = json.loads((saved / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != EMBEDDING_TOKEN]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = json.loads((saved / "tokenizer_config.json").read_text())
    del settings["extra_special_tokens"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def backbone(folder, saved, tokenizer, rows=None):
    """A folder that transformers alone wrote: weights, perhaps with other embedding rows, and a tokenizer."""
    network = Qwen3_5ForConditionalGeneration.from_pretrained(saved)
    if rows:
        network.resize_token_embeddings(rows)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def embeddings(model, split):
    products = list(split.products.values())[:3]
    return np.concatenate(
        [
            model.encode_products(products),
            model.encode_queries([Query(product, "Make it navy.") for product in products]),
            model.encode_captions(["A red cotton dress.", "A tee."]),
        ]
    )


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_round_trip_keeps_the_embeddings(tiny, saved, little_split):
    loaded = ProCIR.from_pretrained(saved)
    assert loaded.settings == tiny.settings
    assert not loaded.network.training
    assert np.array_equal(embeddings(loaded, little_split), embeddings(tiny, little_split))


def test_settings_survive(tokenizer, tmp_path):
    settings = EmbedderSettings(
        two_turns=False, embedding_token="<|box_end|>", pixels=PixelSettings(min_pixels=1024, max_pixels=4096)
    )
    ProCIR.from_shape("tiny", tokenizer, settings).save_pretrained(tmp_path / "model", card="# Mine\n")
    assert ProCIR.from_pretrained(str(tmp_path / "model")).settings == settings
    assert (tmp_path / "model" / "README.md").read_text() == "# Mine\n"


def test_files_of_a_checkpoint(saved):
    assert {path.name for path in saved.iterdir()} >= FILES
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in saved.iterdir())
    assert saved.stat().st_mode & 0o555 == 0o555
    assert json.loads((saved / "procir.json").read_text()) == {
        "two_turns": True,
        "embedding_token": "<emb_all>",
        "pixels": {"min_pixels": 4096, "max_pixels": 6144, "patch": 16, "merge": 2, "reduced_jpeg": False},
    }
    assert "ProCIR.from_pretrained" in (saved / "README.md").read_text()
    assert "lm_head.weight" not in load_file(saved / "model.safetensors")


def test_transformers_alone_computes_the_same(tiny, saved, tmp_path):
    rng = np.random.default_rng(3)
    images = [Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)) for size in ((90, 70, 3), (64, 64, 3))]
    tokenizer = AutoTokenizer.from_pretrained(saved)
    network = Qwen3_5ForConditionalGeneration.from_pretrained(saved).eval()
    processor = Qwen2VLImageProcessorPil.from_pretrained(saved)
    assert type(AutoImageProcessor.from_pretrained(saved)) is Qwen2VLImageProcessorPil
    seen = processor(images, return_tensors="pt")
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "image"}]},
        {"role": "assistant", "content": EMBEDDING_TOKEN},
        {"role": "user", "content": "Make it navy."},
        {"role": "assistant", "content": EMBEDDING_TOKEN},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    for _, rows, columns in seen["image_grid_thw"].tolist():
        text = text.replace("<|image_pad|>", "<placeholder>" * (rows * columns // 4), 1)
    ids = tokenizer(text.replace("<placeholder>", "<|image_pad|>"), return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        states = network.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == special_id(tokenizer, "<|image_pad|>")).int(),
            **seen,
        ).last_hidden_state[ids == special_id(tokenizer, EMBEDDING_TOKEN)]
        from procir.model.pixels import resize

        views = tuple(resize(image, tiny.settings.pixels) for image in images)
        ours = tiny.embed([tiny.dialogues.query(views, "Make it navy.")])
    torch.testing.assert_close(ours, states, atol=2e-5, rtol=1e-4)


def test_a_checkpoint_of_transformers_has_the_published_settings(tiny, saved, tokenizer_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [EMBEDDING_TOKEN]})
    loaded = ProCIR.from_pretrained(backbone(tmp_path / "published", saved, tokenizer))
    assert loaded.settings == EmbedderSettings(
        two_turns=True, embedding_token="<emb_all>", pixels=PixelSettings(min_pixels=128 * 128, max_pixels=512 * 512)
    )
    caption = ["A red cotton dress."]
    assert np.array_equal(loaded.encode_captions(caption), tiny.encode_captions(caption))
    other = ProCIR.from_pretrained(tmp_path / "published", settings=tiny.settings)
    assert other.settings == tiny.settings


def test_weights_in_several_files(saved, tokenizer, tiny, tmp_path):
    Qwen3_5ForConditionalGeneration.from_pretrained(saved).save_pretrained(tmp_path, max_shard_size="6MB")
    tokenizer.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    loaded = ProCIR.from_pretrained(tmp_path)
    assert np.array_equal(loaded.encode_captions(["red"]), tiny.encode_captions(["red"]))
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=r"the weights in .* cannot be read"):
        ProCIR.from_pretrained(tmp_path)


def test_narrow_weights(tiny, saved, little_split, tmp_path):
    tiny.save_pretrained(tmp_path / "narrow", dtype=torch.bfloat16)
    stored = load_file(tmp_path / "narrow" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "narrow" / "config.json").read_text())["dtype"] == "bfloat16"
    assert Qwen3_5ForConditionalGeneration.from_pretrained(tmp_path / "narrow").dtype == torch.bfloat16
    assert next(tiny.network.parameters()).dtype == torch.float32
    wide = embeddings(ProCIR.from_pretrained(saved), little_split)
    narrow = ProCIR.from_pretrained(tmp_path / "narrow")
    assert narrow.network.dtype == torch.float32
    assert (wide * embeddings(narrow, little_split)).sum(1).min() > 0.999


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files_are_named(broken, name):
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match=f"is no model checkpoint: it lacks {name}"):
        ProCIR.from_pretrained(broken)


def test_an_empty_folder_lacks_everything(tmp_path):
    with pytest.raises(CheckpointError, match=r"lacks config\.json, tokenizer\.json, model\.safetensors"):
        ProCIR.from_pretrained(tmp_path)


def edit(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def other_width(config):
    config["text_config"]["hidden_size"] = 128
    return config


FAULTS = [
    ("config.json", truncate, "config.json cannot be read"),
    ("config.json", lambda path: path.write_text("[]"), "does not hold a JSON object"),
    ("config.json", lambda path: edit(path, lambda c: c | {"model_type": "qwen3_vl"}), "describes a 'qwen3_vl' model"),
    ("config.json", lambda path: edit(path, lambda c: {}), "describes a None model"),
    ("config.json", lambda path: edit(path, lambda c: c | {"text_config": 7}), "is no configuration of a Qwen3.5"),
    ("config.json", lambda path: edit(path, other_width), r"the weight \S+ has shape .*192\), its config.json asks"),
    ("model.safetensors", truncate, "the weights in .* are damaged"),
    ("model.safetensors", lambda path: path.write_bytes(b""), "the weights in .* are damaged"),
    ("tokenizer.json", truncate, "the tokenizer in .* cannot be read"),
    ("tokenizer.json", lambda path: path.write_text("{}"), "the tokenizer in .* cannot be read"),
    ("tokenizer.json", lambda path: edit(path, lambda c: c | {"model": {"type": "Other"}}), "the tokenizer in"),
    ("tokenizer_config.json", truncate, "the tokenizer in .* cannot be read"),
    ("procir.json", truncate, "procir.json cannot be read"),
    ("procir.json", lambda path: path.write_text("{}"), "of the wrong type: two_turns, embedding_token, pixels"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"two_turns": "no"}), "of the wrong type: two_turns;"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"turns": 2}), "unknown or of the wrong type: turns"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"pixels": {"side": 9}}), "pixels are wrong.*'side'"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"pixels": {"min_pixels": 0}}), "pixels are wrong: 0 < min"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"pixels": {"patch": 14}}), "patch 14 and merge 2 are not"),
    ("procir.json", lambda path: edit(path, lambda c: c | {"embedding_token": "<emb>"}), "lacks the token '<emb>'"),
]


@pytest.mark.parametrize(("name", "damage", "message"), FAULTS)
def test_damage_is_named(broken, name, damage, message):
    damage(broken / name)
    before = snapshot(broken)
    with pytest.raises(CheckpointError, match=message):
        ProCIR.from_pretrained(broken)
    assert snapshot(broken) == before


def test_missing_weights_are_named(broken):
    from safetensors.torch import save_file

    weights = load_file(broken / "model.safetensors")
    del weights["model.language_model.norm.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights, among them model\.language_model\.norm\.weight"):
        ProCIR.from_pretrained(broken)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("somebody/some-model", "somebody/some-model is no folder here and could not be fetched .* pass a folder, or"),
        ("./here", "is not a folder, and no Hub id"),
        ("starter", "is not a folder, and no Hub id"),
        ("a/b/c", "is not a folder, and no Hub id"),
        ("some body/model?", "could not be fetched from the Hub"),
    ],
)
def test_paths_that_lead_nowhere(path, message):
    with pytest.raises(CheckpointError, match=message):
        ProCIR.from_pretrained(path)


def test_a_backbone_gets_the_token_it_lacks(saved, tokenizer_folder, tmp_path):
    plain = AutoTokenizer.from_pretrained(tokenizer_folder)
    folder = backbone(tmp_path / "backbone", saved, plain)
    with pytest.raises(
        MissingTokenError, match=r"lacks the token '<emb_all>': use a checkpoint .* with ProCIR.from_backbone"
    ):
        ProCIR.from_pretrained(folder)
    before = snapshot(folder)
    model = ProCIR.from_backbone(folder, EmbedderSettings(two_turns=False))
    assert special_id(model.tokenizer, EMBEDDING_TOKEN) == len(plain)
    assert not model.settings.two_turns
    # The matrix has spare rows, as published ones do: it keeps its size.
    stored = load_file(folder / "model.safetensors")["model.language_model.embed_tokens.weight"]
    assert torch.equal(model.network.get_input_embeddings().weight, stored)
    assert snapshot(folder) == before


def test_a_backbone_without_spare_rows_grows_by_one(saved, tokenizer_folder, tmp_path):
    plain = AutoTokenizer.from_pretrained(tokenizer_folder)
    folder = backbone(tmp_path / "backbone", saved, plain, rows=len(plain))
    model = ProCIR.from_backbone(folder, EmbedderSettings())
    weight = model.network.get_input_embeddings().weight
    stored = load_file(folder / "model.safetensors")["model.language_model.embed_tokens.weight"]
    assert weight.shape[0] == len(plain) + 1
    assert torch.equal(weight[:-1], stored)
    model.save_pretrained(tmp_path / "grown")
    again = ProCIR.from_pretrained(tmp_path / "grown")
    assert np.array_equal(again.encode_captions(["red"]), model.encode_captions(["red"]))
    # The tokenizer of the grown model on the weights that did not grow.
    model.tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=rf"has id {len(plain)}, but the embedding matrix has {len(plain)} rows"):
        ProCIR.from_pretrained(folder)


def test_a_backbone_with_the_token_stays_as_it_is(tiny, saved):
    model = ProCIR.from_backbone(saved, tiny.settings)
    assert len(model.tokenizer) == len(tiny.tokenizer)
    assert np.array_equal(model.encode_captions(["red"]), tiny.encode_captions(["red"]))


class FullDisk:
    """A tokenizer that cannot be written."""

    def save_pretrained(self, folder):
        raise OSError("no space left on device")


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_save_leaves_what_was_there(tiny, saved, tmp_path, there):
    target = tmp_path / "models" / "mine"
    if there:
        shutil.copytree(saved, target)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(
            target, network=tiny.network, tokenizer=FullDisk(), settings=tiny.settings, card=None, dtype=None
        )
    assert [path.name for path in target.parent.iterdir()] == (["mine"] if there else [])
    if there:
        assert snapshot(target) == snapshot(saved)


def test_a_failing_exchange_puts_the_old_checkpoint_back(saved, tmp_path, monkeypatch):
    target = Path(shutil.copytree(saved, tmp_path / "mine"))
    replace = Path.replace

    def refuse(path, other):
        if other == target and "before" not in path.name:
            raise OSError("the disk went away")
        return replace(path, other)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="went away"), replacing_folder(target) as scratch:
        (scratch / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert snapshot(target) == snapshot(saved)


def test_saving_again_replaces_the_checkpoint(tiny, broken):
    truncate(broken / "model.safetensors")
    (broken / "model-00001-of-00002.safetensors").write_bytes(b"an older shard")
    tiny.save_pretrained(broken)
    assert not (broken / "model-00001-of-00002.safetensors").exists()
    assert [path.name for path in broken.parent.iterdir()] == ["broken"]
    ProCIR.from_pretrained(broken)


def test_other_files_are_never_replaced(tiny, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    (tmp_path / "note").write_text("precious")
    for name in ("photos", "note"):
        with pytest.raises(CheckpointError, match=f"{name} is no checkpoint that could be replaced"):
            tiny.save_pretrained(tmp_path / name)
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"precious"
    (tmp_path / "empty").mkdir()
    tiny.save_pretrained(tmp_path / "empty")
    assert {path.name for path in (tmp_path / "empty").iterdir()} >= FILES
