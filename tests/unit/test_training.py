"""Training: the eight variants, exact resume, and what it refuses."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from procir.errors import ConfigError, ContextOverflowError, MissingDataError, TrainingError
from procir.model.embedder import ProCIR
from procir.model.pixels import PixelSettings
from procir.model.reader import EmbedderSettings
from procir.train.config import TrainConfig, Variant
from procir.train.contrastive import learning_rate, train
from procir.train.data import NEIGHBORHOODS, ExampleBuilder, batch_indices, epoch_order, repeated, total_steps
from procir.train.log import read_log
from procir.train.objective import losses
from procir.types import Split


def fresh(tokenizer, *, two_turns=True):
    settings = EmbedderSettings(two_turns=two_turns, pixels=PixelSettings(min_pixels=32 * 32, max_pixels=64 * 64))
    return ProCIR.from_shape("tiny", tokenizer, settings, seed=3)


def config(**changes):
    return TrainConfig(**{"batch_size": 4, "max_steps": 4, "learning_rate": 1e-3, "seed": 5} | changes)


VARIANTS = [
    Variant(two_turns=mt, alignment=align, cot=cot) for mt, align, cot in itertools.product((False, True), repeat=3)
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_variant_has_its_parts(tokenizer, little_split, variant):
    model = fresh(tokenizer, two_turns=variant.two_turns)
    builder = ExampleBuilder(model, little_split, config(variant=variant))
    first, last = builder.examples(0), builder.examples(3)
    parts = losses(model, first, config(variant=variant))
    expected = {"loss", "cir"}
    if variant.alignment:
        expected |= {"document", "source"} if variant.two_turns else {"document"}
    assert set(parts) == expected
    weighted = parts["cir"] + 0.25 * sum(parts[name] for name in expected - {"loss", "cir"})
    torch.testing.assert_close(parts["loss"], weighted)
    # With CoT the captions are in the documents at first, and in no dialogue of the second half.
    shrinks = len(first.documents[0][0]) > len(last.documents[0][0])
    assert shrinks == variant.cot
    if variant.two_turns and variant.cot:
        assert first.queries[0].embedding_at[0] > last.queries[0].embedding_at[0]


def test_loss_falls(tokenizer, little_split, tmp_path):
    model = fresh(tokenizer)
    train(model, little_split, config(max_steps=30, log_every=1), tmp_path, data_hash="x")
    rows = [row for row in read_log(tmp_path) if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"optimizer": "muon"}], ids=["fp32", "bf16", "muon"])
def test_resumed_training_equals_uninterrupted(tokenizer, little_split, tmp_path, changes):
    settings = config(max_steps=6, save_every=3, variant=Variant(cot=True), **changes)
    whole = fresh(tokenizer)
    train(whole, little_split, settings, tmp_path / "whole", data_hash="x", evaluate=lambda _: {"R@5": 1.0})

    class StopError(Exception):
        pass

    def stop(report):
        if report.step == 5:
            raise StopError

    broken = fresh(tokenizer)
    with pytest.raises(StopError):
        train(broken, little_split, settings, tmp_path / "broken", data_hash="x", report=stop)
    resumed = fresh(tokenizer)
    train(resumed, little_split, settings, tmp_path / "broken", data_hash="x", resume=True)
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name
    steps = [row["step"] for row in read_log(tmp_path / "broken") if row["kind"] == "train"]
    assert steps == sorted(set(steps))


def test_resume_refuses_what_changed(tokenizer, little_split, tmp_path):
    settings = config(max_steps=2, save_every=1)
    train(fresh(tokenizer), little_split, settings, tmp_path, data_hash="x")
    with pytest.raises(TrainingError, match="holds checkpoints of an earlier run"):
        train(fresh(tokenizer), little_split, settings, tmp_path, data_hash="x")
    with pytest.raises(TrainingError, match=r"learning_rate was 0.001 and is now 0.1"):
        train(
            fresh(tokenizer), little_split, config(max_steps=2, save_every=1, learning_rate=0.1), tmp_path,
            data_hash="x", resume=True,
        )  # fmt: skip
    with pytest.raises(TrainingError, match="data changed"):
        train(fresh(tokenizer), little_split, settings, tmp_path, data_hash="y", resume=True)


def test_old_checkpoints_are_removed(tokenizer, little_split, tmp_path):
    train(fresh(tokenizer), little_split, config(save_every=1, keep_checkpoints=2), tmp_path, data_hash="x")
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-0000003", "step-0000004"]
    facts = json.loads((tmp_path / "checkpoints" / "step-0000004" / "state.json").read_text())
    assert facts["step"] == 4
    assert facts["origin"]["settings"]["batch_size"] == 4


def test_order_of_triplets_is_a_function_of_seed_and_step():
    settings, ends = config(), np.zeros((8, 2), np.int64)
    epoch = [index for step in (0, 1) for index in batch_indices(step, ends, settings)]
    assert sorted(epoch) == list(range(8))
    next_epoch = [index for step in (2, 3) for index in batch_indices(step, ends, settings)]
    assert sorted(next_epoch) == list(range(8))
    assert epoch != next_epoch
    assert batch_indices(1, ends, settings).tolist() == epoch[4:]


def test_batches_of_neighbors_hold_runs_of_joined_products():
    """Sixteen islands of three products in a ring: 48 triplets, in batches out of eight islands."""
    ends = np.array([(3 * island + i, 3 * island + (i + 1) % 3) for island in range(16) for i in range(3)])
    settings = config(batching="neighbors", batch_size=3 * NEIGHBORHOODS)
    batches = [batch_indices(step, ends, settings) for step in range(2)]
    assert sorted(np.concatenate(batches)) == list(range(48))
    for batch in batches:
        for run in batch.reshape(NEIGHBORHOODS, 3):
            assert len(set(ends[run, 0] // 3)) == 1
    assert batches[0].tolist() != batch_indices(2, ends, settings).tolist()


@given(
    ends=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=4, max_size=60),
    size=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_distinct_batches_hold_every_triplet_once(ends, size, seed):
    pairs = np.array(ends, np.int64)
    settings = config(batching="distinct", batch_size=size, seed=seed)
    order = epoch_order(0, pairs, settings).tolist()
    assert sorted(order) == list(range(len(pairs)))
    assert order == epoch_order(0, pairs, settings).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_distinct_batches_repeat_a_product_only_where_they_must(seed):
    """Two triplets of product 0 beside two others go apart; three of it in two batches cannot."""
    settings = config(batching="distinct", batch_size=2, seed=seed)
    for ends, expected in (([0, 0, 1, 2], 0), ([0, 0, 0, 1], 2)):
        pairs = np.array([(product, product) for product in ends])
        batches = [batch_indices(step, pairs, settings) for step in range(2)]
        assert sum(repeated(pairs[batch, 0], pairs[batch, 1:]) for batch in batches) == expected


def test_distinct_batches_of_scattered_triplets_repeat_nothing():
    """2,000 triplets between 1,500 products in batches of 40: at random most batches repeat some, distinct none."""
    rng = np.random.default_rng(1)
    ends = np.array([rng.choice(1500, 2, replace=False) for _ in range(2000)])
    found = {}
    for batching in ("uniform", "distinct"):
        settings = config(batching=batching, batch_size=40)
        batches = [batch_indices(step, ends, settings) for step in range(50)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(2000))
        found[batching] = sum(repeated(ends[batch, 0], ends[batch, 1:]) for batch in batches)
    assert found["uniform"] > 100
    assert found["distinct"] == 0


def test_repeated_products_are_counted():
    assert repeated(np.array([1, 2, 3]), np.array([[4], [5], [6]])) == 0
    assert repeated(np.array([1, 2, 3]), np.array([[4], [1], [6]])) == 2
    assert repeated(np.array([1, 1, 3]), np.array([[4], [5], [6]])) == 2
    assert repeated(np.array([1]), np.array([[1]])) == 0
    assert repeated(np.array([1, 2]), np.array([[3, -1], [4, -1]])) == 0
    assert repeated(np.array([1, 2]), np.array([[3, 5], [5, -1]])) == 2


def test_the_papers_run_has_1175_steps():
    assert total_steps(188_015, TrainConfig()) == 1175


def test_cosine_schedule():
    settings = TrainConfig()
    assert learning_rate(0, 100, settings) == 1e-5
    assert learning_rate(50, 100, settings) == pytest.approx(5e-6)
    assert learning_rate(100, 100, settings) == pytest.approx(0)
    assert learning_rate(1, 100, TrainConfig(warmup_steps=4)) == 5e-6


def test_missing_texts_are_named_before_training(tokenizer, little_split):
    bare = Split("train", little_split.products, {}, little_split.triplets)
    with pytest.raises(MissingDataError, match=r"9 products of the train triplets have no caption, the first noise/p0"):
        ExampleBuilder(fresh(tokenizer), bare, config())
    ExampleBuilder(fresh(tokenizer), bare, config(variant=Variant(alignment=False)))


def test_a_text_without_room_is_refused_before_training(tokenizer, little_split):
    endless = replace(little_split.triplets[5], short="navy " * 5000)
    split = replace(little_split, triplets=(*little_split.triplets[:5], endless, *little_split.triplets[6:]))
    with pytest.raises(ContextOverflowError, match=r"the query on noise/p5 may take \d+ tokens, the model reads 4096"):
        ExampleBuilder(fresh(tokenizer), split, config())


def test_too_few_triplets(tokenizer, little_split):
    with pytest.raises(TrainingError, match="8 triplets do not fill a batch of 10"):
        ExampleBuilder(fresh(tokenizer), little_split, config(batch_size=10))


def test_divergence_stops(tokenizer, little_split, tmp_path):
    model = fresh(tokenizer)
    with torch.no_grad():
        model.network.model.language_model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 1: loss nan"):
        train(model, little_split, config(), tmp_path, data_hash="x")


def test_variant_must_fit_the_dialogue(tokenizer, little_split, tmp_path):
    with pytest.raises(TrainingError, match="does not fit the variant MT"):
        train(fresh(tokenizer, two_turns=False), little_split, config(), tmp_path, data_hash="x")


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 1}, {"learning_rate": 0.0}, {"save_every": 0}, {"weight_decay": -1.0}]
)
def test_impossible_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config(**wrong)
