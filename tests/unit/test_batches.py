"""One batch, however it is read: whole, in chunks, with activations computed again, or in two processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.train.config import Variant
from procir.train.contrastive import train
from procir.train.data import ExampleBuilder
from procir.train.distributed import ALONE, Team
from procir.train.gradients import accumulate
from procir.train.log import read_log
from procir.train.memory import estimate, language_numbers, vision_numbers
from procir.train.objective import losses, objective, product_numbers, similarities
from procir.train.optimizers import build
from procir.train.passes import chunks, embeddings, lay_out
from procir.train.recomputation import recompute
from training import (
    CUTS,
    RUNS,
    VARIANTS,
    InFloat64,
    crowded_split,
    fresh_model,
    gradients,
    gradients_of,
    run_ranks,
    settings,
)

WORKER = Path(__file__).parents[1] / "rank_worker.py"


def assert_same(found, expected):
    """Losses and gradients up to the rounding of float64, and gradients of the same weights."""
    assert found[0] == pytest.approx(expected[0], rel=1e-10)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).norm() <= 1e-10 * gradient.norm(), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("crowded")


@pytest.fixture(scope="module")
def split(folder):
    return crowded_split(folder)


@pytest.fixture(scope="module")
def together(folder, split):
    """The folder in which two processes have done what `rank_worker` says."""
    run_ranks(WORKER, "{rank}", 2, folder)
    return folder


@pytest.fixture(scope="module")
def shared(together):
    """Losses and gradients that each of two processes has."""
    return [torch.load(together / f"gradients-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_gradients_of_one_process_are_those_of_the_objective(split, name):
    config = settings(**RUNS[name])
    model = fresh_model(two_turns=config.variant.two_turns)
    model.network.double().train()
    with InFloat64():
        parts = losses(model, ExampleBuilder(model, split, config).examples(1), config)
        parts["loss"].backward()
    assert_same(gradients(split, name), ({name: part.item() for name, part in parts.items()}, gradients_of(model)))


@pytest.mark.parametrize("cut", ["chunks", "tokens"])
@pytest.mark.parametrize("name", RUNS)
def test_chunks_give_the_gradients_of_the_batch(split, name, cut):
    assert_same(gradients(split, name, cut=cut), gradients(split, name))


def test_a_budget_of_tokens_cuts_where_the_next_triplet_does_not_fit(split):
    examples = ExampleBuilder(fresh_model(), split, settings()).examples(1)
    rows = [examples.dialogues(slice(row, row + 1)) for row in range(7)]

    def tokens(start, stop):
        named = [dialogue for row in rows[start:stop] for dialogue in row]
        return sum(len(dialogue) for dialogue in {id(dialogue): dialogue for dialogue in named}.values())

    budget = tokens(0, 3)
    cut = chunks(examples, settings(chunk_tokens=budget))
    assert [one.start for one in cut] == [0, *(one.stop for one in cut[:-1])] and cut[-1].stop == 7
    assert cut[0] == slice(0, 3) and len({one.stop - one.start for one in cut}) > 1
    assert all(tokens(one.start, one.stop) <= budget for one in cut)
    assert all(tokens(one.start, one.stop + 1) > budget for one in cut[:-1])
    assert len(chunks(examples, settings(chunk_tokens=1))) == 7  # each is over the budget, and goes alone
    with pytest.raises(ConfigError, match="chunk and chunk_tokens both cut"):
        settings(chunk=2, chunk_tokens=100)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_gradients_of_one(split, shared, name, cut):
    expected = gradients(split, name)
    for found in shared:
        assert_same(found[name, cut, False], expected)


def test_two_processes_with_a_frozen_vision_tower(split, shared):
    expected = gradients(split, "MT+Align", frozen=True)
    assert not any("visual" in name for name in expected[1])
    for found in shared:
        assert_same(found["MT+Align", "whole", True], expected)


def test_the_crowded_batch_repeats_products_across_processes(split):
    """What the tests above rest on: masks inside each process alone would not do."""
    examples = ExampleBuilder(fresh_model(), split, settings()).examples(1)
    shares = [Team(rank, 2).rows(7) for rank in range(2)]
    assert [len(examples.targets[rows]) for rows in shares] == [3, 4]
    for numbers in (examples.sources, examples.targets):
        assert set(numbers[shares[0]].flat) & set(numbers[shares[1]].flat)


def test_each_process_builds_its_rows_alone(split):
    builder = ExampleBuilder(fresh_model(), split, settings(variant=Variant(cot=True), turns=2))
    whole, parts = builder.examples(1), [builder.examples(1, Team(rank, 2)) for rank in range(2)]
    assert [len(part.queries) for part in parts] == [3, 4]
    for name in ("queries", "source_captions"):
        put_together = [dialogue.digest for part in parts for dialogue in getattr(part, name)]
        assert put_together == [dialogue.digest for dialogue in getattr(whole, name)]
    for name in ("documents", "target_captions"):
        put_together = [[dialogue.digest for dialogue in row] for part in parts for row in getattr(part, name)]
        assert put_together == [[dialogue.digest for dialogue in row] for row in getattr(whole, name)]
    for part in parts:
        assert part.targets.tolist() == whole.targets.tolist()


class Storages(TorchDispatchMode):
    """Which storages operations made, by weak references; not those that were there, such as weights."""

    def __init__(self, there):
        super().__init__()
        self.there = {tensor.untyped_storage()._cdata for tensor in there}
        self.made = {}

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata in self.there:
                    continue
                self.made[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return result

    @property
    def alive(self):
        """Bytes of those that something still holds."""
        return sum(size for reference, size in self.made.values() if not reference.expired())


def kept_bytes(model, examples, config, rows=slice(None)):
    """Bytes that wait for the backward pass of some rows' embeddings."""
    one = lay_out(model, examples, config, rows)
    with Storages(model.network.parameters()) as storages:
        found = embeddings(model, one)
    assert found.requires_grad
    return storages.alive


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_recomputing_changes_nothing_but_what_is_kept(split, packed):
    """The more is computed again, the fewer bytes wait for the backward pass; the gradients are the same numbers."""
    kept, found = {}, {}
    for how in ("off", "selective", "full"):
        model = fresh_model()
        model = ProCIR(model.network.train(), model.tokenizer, model.settings, packed=packed)
        recompute(model.network, how)
        examples = ExampleBuilder(model, split, settings()).examples(1)
        kept[how] = kept_bytes(model, examples, settings())
        accumulate(model, examples, settings())
        found[how] = gradients_of(model)
    assert kept["selective"] < kept["off"] / 1.5
    assert kept["full"] < kept["selective"] / 1.5
    for how in ("selective", "full"):
        for name, gradient in found["off"].items():
            assert torch.equal(found[how][name], gradient), (how, name)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_recomputing_in_bfloat16(split, packed):
    """Also where several passes of the language model share what is narrowed."""
    found = {}
    for how in ("off", "selective", "full"):
        config, model = settings(precision="bf16", recompute=how), fresh_model()
        model = ProCIR(model.network.train(), model.tokenizer, model.settings, packed=packed, max_batch_tokens=100)
        recompute(model.network, how)
        accumulate(model, ExampleBuilder(model, split, config).examples(1), config)
        found[how] = gradients_of(model)
    for how in ("selective", "full"):
        for name, gradient in found["off"].items():
            torch.testing.assert_close(found[how][name], gradient, rtol=0.02, atol=0.02 * float(gradient.abs().max()))


@pytest.mark.parametrize("chunk", [None, 2], ids=["whole", "chunks"])
def test_the_memory_foretold_is_that_kept(split, chunk):
    """Of activations within a factor of 1.5; of weights and AdamW to the byte: 4 a weight, 4 a gradient, 8 of state."""
    model, config = fresh_model(), settings(chunk=chunk)
    examples = ExampleBuilder(model, split, config).examples(1)
    optimizers = build(model.network.named_parameters(), "adamw", learning_rate=1e-3, weight_decay=0.0)
    memory = estimate(model, examples, optimizers, config, ALONE)
    count = model.parameters()
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * count, 4 * count, 8 * count)
    assert estimate(model, examples, optimizers, config, Team(0, 2)).gradients == 8 * count
    size = chunk or 7
    rows = [slice(start, start + size) for start in range(0, 7, size)]
    kept = max(kept_bytes(model, examples, config, own) for own in rows)
    assert kept / 1.5 < memory.activations < kept * 1.5
    again = {
        how: estimate(model, examples, optimizers, settings(chunk=chunk, recompute=how), ALONE).activations
        for how in ("selective", "full")
    }
    assert again["full"] < again["selective"] < memory.activations
    assert again["full"] < memory.activations / 2


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_the_numbers_that_layers_keep(split, packed):
    """Beyond what is kept of everything else, within a tenth."""
    kept, foretold = {}, {}
    for how in ("off", "selective", "full"):
        model = fresh_model()
        model = ProCIR(model.network.train(), model.tokenizer, model.settings, packed=packed)
        recompute(model.network, how)
        examples = ExampleBuilder(model, split, settings()).examples(1)
        kept[how] = kept_bytes(model, examples, settings())
        layout = lay_out(model, examples, settings(), slice(None)).layout
        tokens = sum(batch.token_ids.numel() for batch in layout.batches)
        patches = sum(stack.numel() for pictures in layout.pictures for stack in pictures.stacks) // (3 * 16 * 16)
        language, vision = model.network.config.text_config, model.network.config.vision_config
        numbers = tokens * sum(language_numbers(language, how)) + patches * sum(vision_numbers(vision, how))
        foretold[how] = 4 * numbers
    for how in ("off", "selective"):
        assert kept[how] - kept["full"] == pytest.approx(foretold[how] - foretold["full"], rel=0.1)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_batches_and_chunks_without_views(split, packed):
    """Captions in the places of queries and documents: alone, and as the first of two chunks.

    A vision tower that sees nothing has no gradient, in the second case it has that of the whole batch.
    """
    config = settings(variant=VARIANTS["Single"], batch_size=4)

    def found(seen, chunk):
        model = fresh_model(two_turns=False)
        model = ProCIR(model.network.double().train(), model.tokenizer, model.settings, packed=packed)
        examples = ExampleBuilder(model, split, config).examples(1)
        said = [model.dialogues.caption(f"Product {name}, said.") for name in "abcdefgh"]
        queries = [*said[:2], *examples.queries[2:]] if seen else said[:4]
        documents = [*((own,) for own in said[4:6]), *examples.documents[2:]] if seen else [(own,) for own in said[4:]]
        examples = replace(examples, queries=queries, documents=documents)
        with InFloat64():
            outcome = accumulate(model, examples, replace(config, chunk=chunk))
        return dict(outcome.losses), gradients_of(model)

    for seen in (False, True):
        whole = found(seen, None)
        assert any("visual" in name for name in whole[1]) == seen
        assert_same(found(seen, 2), whole)


def test_sums_of_gradients(together):
    for rank in range(2):
        (both, first, none), told = torch.load(together / f"sums-{rank}.pt")
        assert (both.tolist(), first.tolist(), none) == ([3.0, 6.0], [5.0, 7.0], None)
        assert told == (True, False)


def test_processes_that_differ_are_refused(together):
    for rank in range(2):
        message = (together / f"error-{rank}.txt").read_text()
        assert message == "process 1 of 2 differs: the training data: data 1, not data 0; give all the same files"


def test_processes_with_other_settings_are_refused(together):
    for rank in range(2):
        message = (together / f"settings-{rank}.txt").read_text()
        assert message.startswith("process 1 of 2 differs: the settings: ")
        assert '"learning_rate": 0.002' in message


@pytest.mark.parametrize(("name", "changes"), [("run", {}), ("adapted", {"lora_rank": 4})])
def test_a_run_goes_on_with_other_processes_and_chunks(together, split, name, changes):
    """Half of it in two processes and chunks of two, the rest in one process and whole: up to rounding the same."""
    run = settings(max_steps=6, save_every=3, evaluate_every=2, **changes)
    resumed, whole = fresh_model(), fresh_model()
    train(resumed, split, run, together / name, data_hash="x", resume=True)
    train(whole, split, run, together / f"{name}-whole", data_hash="x")
    steps = {
        place: [row for row in read_log(together / place) if row["kind"] == "train"]
        for place in (name, f"{name}-whole")
    }
    assert [row["step"] for row in steps[name]] == [1, 6]
    for found, expected in zip(*steps.values(), strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    for key, weight in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[key], weight, rtol=0, atol=2e-3, msg=key)


def test_shares_cover_all_rows_and_differ_by_one_at_most():
    for total in range(1, 12):
        for count in range(1, total + 1):
            rows = [range(total)[Team(rank, count).rows(total)] for rank in range(count)]
            assert [row for own in rows for row in own] == list(range(total))
            assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_more_processes_than_triplets(split, tmp_path):
    with pytest.raises(ConfigError, match="a batch of 2 is too small for 3 processes: raise batch_size"):
        train(fresh_model(), split, settings(batch_size=2), tmp_path, data_hash="x", team=Team(0, 3))


def test_dropout_is_refused(split, tmp_path):
    model = fresh_model()
    model.network.config.text_config.attention_dropout = 0.1
    with pytest.raises(ConfigError, match="the model has dropout"):
        train(model, split, settings(), tmp_path, data_hash="x")


def test_a_batch_with_one_product_has_no_loss(split):
    """Every triplet has one source and one target: nothing is a negative, and nothing is not a number."""
    same = type(split)("train", split.products, split.captions, split.triplets[:1] * 7)
    model, config = fresh_model(), settings()
    outcome = accumulate(model, ExampleBuilder(model, same, config).examples(0), config)
    assert outcome.losses == pytest.approx(dict.fromkeys(outcome.losses, 0.0), abs=1e-6)
    assert outcome.similarities.keys() == {"positive"}
    assert all(gradient.isfinite().all() for gradient in gradients_of(model).values())


def test_similarities_by_hand():
    """Single turn: q and d of three triplets, the first and the last of one product."""
    found = torch.tensor([[[1.0, 0], [3.0, 4]], [[0, 2.0], [0, 1.0]], [[-1.0, 0], [1.0, 0]]])
    values = similarities(
        found, torch.tensor([[7], [8], [7]]), settings(variant=Variant(two_turns=False, alignment=False))
    )
    # Of different products are (0, 1) with cosine 0, (1, 0) with 0.8, (1, 2) with 0 and (2, 1) with 0.
    assert values == pytest.approx({"positive": (0.6 + 1 - 1) / 3, "negative": 0.8 / 4})


def test_the_objective_is_computed_in_float32(split):
    """Under bfloat16 the model rounds; similarities divided by a temperature of 0.07 must not be rounded."""
    model, config = fresh_model(), settings(precision="bf16")
    examples = ExampleBuilder(model, split, config).examples(1)
    found = accumulate(model, examples, config).losses
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        states = embeddings(model, lay_out(model, examples, config, slice(None)))
    expected = objective(states, *product_numbers(examples, model.device), config)
    assert found == {name: value.item() for name, value in expected.items()}
