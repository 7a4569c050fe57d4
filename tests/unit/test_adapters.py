"""Adapters: what learns, what is saved, and that the saved model says what the adapted one says."""

import sys
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from procir.errors import ConfigError, TrainingError
from procir.model import adapters
from procir.model.embedder import ProCIR
from procir.train.config import TrainConfig
from procir.train.contrastive import adapter_settings, train
from procir.train.data import ExampleBuilder
from procir.train.distributed import ALONE
from procir.train.gradients import accumulate
from procir.train.memory import estimate
from procir.train.optimizers import build
from procir.types import Query
from training import crowded_split, fresh_model, gradients_of, settings

RANK = 4


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return crowded_split(tmp_path_factory.mktemp("crowded"))


def lora(**changes) -> TrainConfig:
    return settings(lora_rank=RANK, lora_alpha=8, **changes)


def encoded(model, split):
    products = list(split.products.values())
    queries = [Query(product, "Make it navy.") for product in products]
    return np.concatenate(
        [model.encode_products(products), model.encode_queries(queries), model.encode_captions(["A red tee."])]
    )


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.network.named_parameters()}


class Adapted:
    """A model whose adapters have learnt something: two steps by hand, so that they are there to look at."""

    def __init__(self, split, **options):
        plain, config = fresh_model(), lora()
        self.model = ProCIR(plain.network, plain.tokenizer, plain.settings, **options)
        self.before = weights(self.model)
        self.within = adapters.adapted(
            plain.network, self.model.dialogues.vocabulary.embedding, adapter_settings(config)
        )
        self.within.__enter__()
        optimizer = torch.optim.AdamW([w for w in plain.network.parameters() if w.requires_grad], lr=0.02)
        for step in range(2):
            accumulate(self.model, ExampleBuilder(self.model, split, config).examples(step), config)
            optimizer.step()
            optimizer.zero_grad()


@pytest.fixture(scope="module")
def trained(split):
    """Tests must not change it."""
    made = Adapted(split)
    yield made
    made.within.__exit__(None, None, None)


def test_all_linear_layers_of_the_language_model_learn_and_one_row(split):
    model = fresh_model()
    token = model.dialogues.vocabulary.embedding
    linear = [
        name for name, layer in model.network.model.language_model.named_modules() if isinstance(layer, torch.nn.Linear)
    ]
    assert len(linear) == 8 + 3 * 7
    with adapters.adapted(model.network, token, adapter_settings(lora())):
        learning = {name for name, weight in model.network.named_parameters() if weight.requires_grad}
        accumulate(model, ExampleBuilder(model, split, lora()).examples(0), lora())
        assert gradients_of(model).keys() == learning
    place = "model.language_model."
    expected = {f"{place}{name}.lora_{half}.default.weight" for name in linear for half in "AB"}
    assert learning == expected | {f"{place}embed_tokens.row"}


def test_what_learnt_is_more_than_nothing(trained, split):
    assert np.abs(encoded(trained.model, split) - encoded(fresh_model(), split)).max() > 0.05


def test_frozen_weights_stay_bit_for_bit(trained):
    now = weights(trained.model)
    for name, before in trained.before.items():
        parent, _, kind = name.rpartition(".")
        stored = name if name in now else f"{parent}.base_layer.{kind}"
        assert torch.equal(now[stored], before), name


def test_the_saved_model_is_plain_and_says_the_same(trained, split, tmp_path):
    """Its names are those of a model without adapters, and only what has an adapter differs, the one row too."""
    trained.model.save_pretrained(tmp_path / "merged")
    plain = ProCIR.from_pretrained(tmp_path / "merged")
    assert plain.network.state_dict().keys() == fresh_model().network.state_dict().keys()
    assert np.abs(encoded(plain, split) - encoded(trained.model, split)).max() < 1e-5
    changed = {name for name, weight in weights(plain).items() if not torch.equal(weight, trained.before[name])}
    assert len(changed) == 8 + 3 * 7 + 1
    name = "model.language_model.embed_tokens.weight"
    rows = (weights(plain)[name] != trained.before[name]).any(1).nonzero().flatten().tolist()
    assert rows == [plain.dialogues.vocabulary.embedding]


def test_peft_reads_the_adapters_alone(trained, split, tmp_path):
    from peft import PeftModel

    adapters.export(trained.model.network, tmp_path / "adapter", adapter_settings(lora()))
    start = fresh_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a setting by its older name
        network = PeftModel.from_pretrained(start.network, str(tmp_path / "adapter")).merge_and_unload()
    found = ProCIR(network.eval(), start.tokenizer, start.settings)
    assert np.abs(encoded(found, split) - encoded(trained.model, split)).max() < 1e-5
    assert sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir()) < 400_000


def test_packed_is_padded(split):
    found = []
    for packed in (False, True):
        made = Adapted(split, packed=packed)
        found.append(encoded(made.model, split))
        made.within.__exit__(None, None, None)
    assert np.abs(found[0] - found[1]).max() < 1e-4


def test_conversations_go_on_with_adapters(trained, split):
    products = list(split.products.values())[:2]
    documents, queries = trained.model.encode_turns(products, [["Make it navy."]] * 2)
    whole = encoded(trained.model, split)
    assert np.abs(documents - whole[:2]).max() < 1e-5
    assert np.abs(queries - whole[5:7]).max() < 1e-5


@pytest.mark.parametrize("changes", [{}, {"chunk": 3, "recompute": "full"}], ids=["whole", "chunks"])
def test_resumed_equals_uninterrupted(split, tmp_path, changes):
    """And the weights at the end are plain, with the flags that they had."""
    run = lora(max_steps=4, save_every=2, **changes)
    whole, broken, resumed = (fresh_model() for _ in range(3))
    resumed.network.model.visual.merger.requires_grad_(False)
    train(whole, split, run, tmp_path / "whole", data_hash="x")

    def stop(report):
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, split, run, tmp_path / "run", data_hash="x", report=stop)
    train(resumed, split, run, tmp_path / "run", data_hash="x", resume=True)
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name
    assert not adapters.present(whole.network)
    assert all(weight.requires_grad for weight in whole.network.parameters())
    assert not any(weight.requires_grad for weight in resumed.network.model.visual.merger.parameters())
    apart = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    for name, weight in load_file(tmp_path / "whole" / "adapter" / "adapter_model.safetensors").items():
        assert torch.equal(weight, apart[name]), name


def test_a_checkpoint_is_small_and_the_best_model_is_whole(split, tmp_path):
    run = lora(max_steps=2, save_every=2, evaluate_every=1)
    model = fresh_model()
    train(model, split, run, tmp_path, data_hash="x", evaluate=lambda _: {"R@5": 1.0})
    folder = tmp_path / "checkpoints" / "step-0000002"
    assert sorted(path.name for path in folder.iterdir()) == ["adapters.safetensors", "optimizers.pt", "state.json"]
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 4 * model.parameters() / 8
    assert ProCIR.from_pretrained(tmp_path / "best").parameters() == model.parameters()


def test_adapters_do_not_go_on_beside_other_weights(split, tmp_path):
    run = lora(max_steps=2, save_every=1)
    train(fresh_model(), split, run, tmp_path, data_hash="x")
    other = fresh_model()
    with torch.no_grad():
        other.network.model.visual.merger.linear_fc2.weight[0, 0] += 1e-3
    with pytest.raises(TrainingError, match="the weights that the adapters were trained beside are others"):
        train(other, split, run, tmp_path, data_hash="x", resume=True)
    with pytest.raises(TrainingError, match=r"lora_rank was 4 and is now None \(setting\)"):
        train(fresh_model(), split, settings(max_steps=2, save_every=1), tmp_path, data_hash="x", resume=True)


def test_the_memory_foretold_counts_what_learns(split):
    """Frozen weights have no gradient and no state; the tower that does not learn keeps nothing."""
    from test_batches import kept_bytes

    model, config = fresh_model(), lora()
    count = model.parameters()
    with adapters.adapted(model.network, model.dialogues.vocabulary.embedding, adapter_settings(config)):
        examples = ExampleBuilder(model, split, config).examples(1)
        optimizers = build(model.network.named_parameters(), "adamw", learning_rate=1e-3, weight_decay=0.0)
        memory = estimate(model, examples, optimizers, config, ALONE)
        kept = kept_bytes(model, examples, config)
    text = model.network.config.text_config
    small = sum(
        RANK * (layer.in_features + layer.out_features)
        for layer in model.network.model.language_model.modules()
        if isinstance(layer, torch.nn.Linear)
    )
    learning = small + text.hidden_size
    assert memory.weights == 4 * (count + learning)
    assert (memory.gradients, memory.optimizer) == (4 * learning, 8 * learning)
    assert kept / 1.5 < memory.activations < kept * 1.5


def test_snapshots_know_adapters_from_none_and_from_merged_ones(split):
    from procir.model.prefix import fingerprint

    model = fresh_model()
    seen = [fingerprint(model)]
    with adapters.adapted(model.network, model.dialogues.vocabulary.embedding, adapter_settings(lora())):
        seen.append(fingerprint(model))
        with torch.no_grad():
            model.network.get_input_embeddings().row += 1
        seen.append(fingerprint(model))
    seen.append(fingerprint(model))
    assert len(set(seen)) == 4


def test_the_language_model_may_have_an_output_layer_of_its_own(split, tmp_path):
    """As 9b has: its weights are frozen, saved, and read again."""
    plain = fresh_model()
    config = plain.network.config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(1)
    model = ProCIR(type(plain.network)(config).eval(), plain.tokenizer, plain.settings)
    assert model.network.lm_head.weight is not model.network.get_input_embeddings().weight
    head = model.network.lm_head.weight.detach().clone()
    train(model, split, lora(max_steps=2, save_every=2), tmp_path, data_hash="x")
    model.save_pretrained(tmp_path / "model")
    loaded = ProCIR.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.network.lm_head.weight, head)
    assert np.abs(encoded(loaded, split) - encoded(model, split)).max() < 1e-6


def test_without_peft_adapters_are_refused(split, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"adapters \(lora_rank\) need peft: pip install 'procir\[lora\]'"):
        train(fresh_model(), split, lora(), tmp_path, data_hash="x")


def test_settings_of_adapters():
    assert adapter_settings(TrainConfig()) is None
    with pytest.raises(ConfigError, match="lora_rank must be positive"):
        settings(lora_rank=0)
