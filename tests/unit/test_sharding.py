"""Weights shared out among two processes: the same gradients, runs and checkpoints as of whole weights."""

from pathlib import Path

import pytest
import torch

from procir.errors import ConfigError
from procir.model.embedder import ProCIR
from procir.train.contrastive import train
from procir.train.data import ExampleBuilder
from procir.train.distributed import ALONE, Team
from procir.train.gradients import precision
from procir.train.log import read_log
from procir.train.memory import estimate
from procir.train.optimizers import build
from shard_worker import GRADIENTS, SIX
from training import InFloat64, crowded_split, fresh_model, gradients, run_ranks, settings, wide_model

WORKER = Path(__file__).parents[1] / "shard_worker.py"
ONE = {name: value for name, value in SIX.items() if name != "sharded"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def split(folder):
    return crowded_split(folder)


@pytest.fixture(scope="module")
def together(folder, split):
    """The folder in which two processes have done what `shard_worker` says, after one process did half a run."""

    def stop(step):
        if step.step == 4:
            raise KeyboardInterrupt

    model = wide_model()  # InFloat64 would change what it is made of
    with InFloat64(), pytest.raises(KeyboardInterrupt):
        train(model, split, settings(**ONE), folder / "other-half", data_hash="x", report=stop)
    run_ranks(WORKER, "{rank}", folder)
    return folder


@pytest.fixture(scope="module")
def whole(split, folder):
    """The weights after a run of one process."""
    found = {}
    for name, changes in (("all", {}), ("adapted", {"lora_rank": 4})):
        model = wide_model()
        with InFloat64():
            train(model, split, settings(**ONE, **changes), folder / f"{name}-one", data_hash="x")
        found[name] = model.network.state_dict()
    return found


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_are_those_of_one_process(split, together, case):
    """Also where the two have unlike numbers of passes; up to rounding. Each holds half of the weights' bytes."""
    name, _, _, how = GRADIENTS[case]
    near = 1e-10 if how == "off" else 1e-3  # float32
    losses, expected = gradients(split, name)
    for rank in range(2):
        found_losses, found, held, all_of_them = torch.load(together / f"sharded-gradients-{rank}.pt")[case]
        assert found_losses == pytest.approx(losses, rel=near)
        assert found.keys() == expected.keys()
        for title, gradient in expected.items():
            assert (found[title] - gradient).norm() <= near * gradient.norm() + near * 1e-3, title
        assert 0.4 * all_of_them < held < 0.6 * all_of_them


def test_gradients_in_bfloat16_are_those_of_whole_weights(together):
    """Sums in another order, some of them in bfloat16."""
    for rank in range(2):
        whole, found = torch.load(together / f"narrow-gradients-{rank}.pt")
        assert found.keys() == whole.keys()
        for title, gradient in whole.items():
            assert (found[title] - gradient).norm() <= 0.01 * gradient.norm() + 1e-6, title


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for title, weight in expected.items():
        assert (found[title] - weight).abs().max() <= 1e-9, title


@pytest.mark.parametrize("name", ["all", "adapted"])
def test_a_run_ends_in_the_weights_of_one_process(together, whole, name):
    for rank in range(2):
        assert_close(torch.load(together / f"{name}-{rank}.pt"), whole[name])
    steps = [read_log(together / place) for place in (name, f"{name}-one")]
    for found, expected in zip(*([row for row in rows if row["kind"] == "train"] for rows in steps), strict=True):
        for number in ("loss", "gradient_norm"):
            assert found[number] == pytest.approx(expected[number], rel=1e-9)


def test_the_best_model_of_a_sharded_run_is_whole(together):
    best = ProCIR.from_pretrained(together / "all" / "best")
    assert best.parameters() == fresh_model().parameters()


def test_one_process_goes_on_where_two_shared(split, together, whole):
    """The two were stopped in order: one of them got SIGTERM in the fourth step."""
    model = wide_model()
    with InFloat64():
        train(model, split, settings(**ONE), together / "half", data_hash="x", resume=True)
    assert [row["step"] for row in read_log(together / "half") if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert_close(model.network.state_dict(), whole["all"])


def test_two_share_where_one_process_was(together, whole):
    for rank in range(2):
        assert_close(torch.load(together / f"other-half-{rank}.pt"), whole["all"])


def test_the_memory_foretold_is_that_of_a_share(split):
    model = fresh_model()
    examples = ExampleBuilder(model, split, settings()).examples(1)
    optimizers = build(model.network.named_parameters(), "adamw", learning_rate=1e-3, weight_decay=0.0)
    alone = estimate(model, examples, optimizers, settings(), ALONE)
    shared = estimate(model, examples, optimizers, settings(sharded=True), Team(0, 4))
    assert shared.optimizer == alone.optimizer // 4
    assert alone.weights // 4 < shared.weights < alone.weights
    assert shared.activations == alone.activations


@pytest.mark.parametrize(("recompute", "kept"), [("off", 1), ("full", 0)])
def test_in_bfloat16_narrow_copies_are_foretold(split, recompute, kept):
    """Of layers that are whole on the way there and back; half as many bytes as all weights have."""
    model = fresh_model()
    examples = ExampleBuilder(model, split, settings()).examples(1)
    changes = {"sharded": True, "recompute": recompute}
    narrow, wide = (
        estimate(model, examples, [], settings(precision=width, **changes), Team(0, 4)).weights
        for width in ("bf16", "fp32")
    )
    assert narrow - wide == kept * 2 * model.parameters()


def test_autocast_keeps_no_copies_of_shared_weights():
    """It would keep those of all layers until the last one was read."""
    model, config = fresh_model(), settings(precision="bf16")
    for sharded in (False, True):
        with precision(model, config, sharded=sharded):
            assert torch.is_autocast_cache_enabled() is not sharded


@pytest.mark.parametrize(
    ("changes", "said"), [({"optimizer": "muon"}, "Muon needs whole matrices"), ({"compile": True}, "compiled regions")]
)
def test_what_does_not_go_together_is_refused(split, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        train(fresh_model(), split, settings(sharded=True, **changes), tmp_path, data_hash="x")


def test_alone_it_changes_nothing(split, tmp_path):
    """There is nobody to share with."""
    found = [fresh_model(), fresh_model()]
    for number, model in enumerate(found):
        train(model, split, settings(sharded=bool(number)), tmp_path / str(number), data_hash="x")
    states = [model.network.state_dict() for model in found]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
