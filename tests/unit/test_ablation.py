"""The sixteen runs: their tables and findings from hand-made results, and a small ablation for real."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from procir.errors import ConfigError
from procir.evaluate.strategies import MeanPool
from procir.recipes.ablation import Plan, ablate, all_runs, plan_of, variant_of, write_tables
from procir.report.ablation import Ablation, Mean, findings, markdown
from procir.report.paper_ablation import RUNS, STARTS, VARIANTS
from procir.train.sft_config import SftConfig
from procir.types import Caption, Product, ProductKey, Query, View
from training import fresh_model
from training import settings as training


def result(variant, start, seed, value, *, seconds=100.0, **more):
    """R@5 and R@10 around a value, so that their mean is that value."""
    recalls = {"R@1": value / 2, "R@5": value - 1, "R@10": value + 1}
    config = {"variant": variant, "start": start, "pretrained": "m", "training_data": "d", "train": {}, **more}
    return {
        "rows": {"procir": recalls}, "i2t": recalls, "t2i": recalls, "seed": seed, "config": config,
        "seconds": {"training": seconds}, "data_hash": "v",
    }  # fmt: skip


def grid(value, seeds=(0, 1, 2)):
    """All runs; `value` gives the average of a variant, start and seed."""
    return [result(v, s, seed, value(v, s, seed)) for v in VARIANTS for s in STARTS for seed in seeds]


def outcomes(runs):
    return {finding.claim: finding.outcome for finding in findings(Ablation(runs))}


def test_the_papers_numbers_are_those_of_its_averages():
    """Columns that table 3 prints itself, and pairs from the prose of tables 9 and 10."""
    averages = "72.0 73.4 70.5 71.2 72.0 73.6 68.1 78.2 78.8 84.1 76.1 76.9 78.1 84.8 78.3 83.0"
    for (name, start), printed in zip(RUNS, map(float, averages.split()), strict=True):
        recalls = [recall for pair in RUNS[name, start].cir for recall in pair]
        assert sum(recalls) / 6 == pytest.approx(printed, abs=0.11), (name, start)
    assert list(RUNS) == [(variant, start) for start in STARTS for variant in VARIANTS]
    assert RUNS["MT+Align", "sft"].i2t[0] == (81.9, 97.9)
    assert RUNS["MT+Align", "sft"].t2i[2] == (71.8, 91.0)
    assert (RUNS["MT", "pretrained"].cost, RUNS["MT+Align+CoT", "sft"].cost) == (1.0, 1.98)


def test_means_have_students_intervals():
    """Of 1, 2 and 6: mean 3, standard deviation sqrt(7), t of two degrees of freedom 4.302653."""
    mean = Mean.of([1.0, 2.0, 6.0])
    assert (mean.value, mean.seeds) == (3.0, 3)
    assert mean.margin == pytest.approx(4.302653 * math.sqrt(7) / math.sqrt(3), rel=1e-6)
    assert mean.sign == 0
    assert Mean.of([1.0, 1.1, 0.9]).sign == 1
    assert Mean.of([-1.0, -1.1, -0.9]).sign == -1
    assert (Mean.of([]), Mean.of([5.0]), str(Mean.of([5.0]))) == (None, Mean(5.0, None, 1), "5.0")
    assert Mean.of([5.0]).sign == 0


def test_a_table_has_every_run_and_shows_what_is_missing():
    runs = [
        result("MT", "pretrained", 0, 60.0, seconds=100), result("MT", "pretrained", 1, 62.0, seconds=120),
        result("Single", "pretrained", 0, 50.0, seconds=165), result("MT", "sft", 0, 70.0, seconds=110),
    ]  # fmt: skip
    ablation = Ablation(runs, sft_seconds=55.0)
    assert ablation.cost("Single", "pretrained") == pytest.approx(1.5)
    assert ablation.cost("MT", "pretrained") == 1.0
    assert ablation.cost("MT", "sft") == pytest.approx(1.5)
    assert Ablation(runs).cost("MT", "sft") is None
    text = markdown(ablation)
    # 61 ± 12.7062 * sqrt(2) / sqrt(2); the paper's averages of its three datasets.
    assert (
        "| pretrained | MT | **60.0 ± 12.7** | **62.0 ± 12.7** | **61.0 ± 12.7** | 1.00 | 66.0 | 77.9 | 71.9 | 1.00 |"
        in text
    )
    assert "| pretrained | Single | 49.0 | 51.0 | 50.0 | 1.50 | 66.0 | 78.0 | 72.0 | 1.01 |" in text
    assert "| pretrained | CoT | – | – | – | – |" in text
    assert "| sft | MT | **69.0** | **71.0** | **70.0** | 1.50 |" in text
    assert text.count("\n| sft |") == 24
    assert "Seeds 0, 1." in text
    assert "No run is finished" in markdown(Ablation([]))


def effects(*, align=0.0, mt=0.0, cot=0.0, both=0.0, cot_after=0.0, wobble=0.1):
    def value(variant, start, seed):
        parts = variant.split("+")
        found = 50 + align * ("Align" in parts) + mt * ("MT" in parts) + cot * ("CoT" in parts)
        found += both * ({"MT", "Align"} <= set(parts))
        found += cot_after * ("CoT" in parts and start == "sft")
        return found + wobble * (seed - 1) * (1 + VARIANTS.index(variant))

    return value


ALIGN = "Alignment is the most critical mechanism (sft)"
TURNS = "Two turns do not help without alignment, and do with it (pretrained)"
THINK = "After fine-tuning, CoT hurts"


@pytest.mark.parametrize(
    ("value", "claim", "outcome"),
    [
        (effects(align=9, mt=1, cot=1), ALIGN, "supported"),
        (effects(align=1, mt=9), ALIGN, "contradicted"),
        (effects(align=9, mt=8, wobble=4), ALIGN, "undecided"),
        (effects(mt=-2, both=7), TURNS, "supported"),
        (effects(mt=5, both=7), TURNS, "contradicted"),
        (effects(mt=-2, both=-7), TURNS, "contradicted"),
        (effects(both=3, wobble=4), TURNS, "undecided"),
        (effects(cot=5, cot_after=-9), THINK, "supported"),
        (effects(cot=5), THINK, "contradicted"),
        (effects(cot=-1, wobble=2), THINK, "undecided"),
    ],
)
def test_findings_are_judged_by_paired_differences(value, claim, outcome):
    assert outcomes(grid(value))[claim] == outcome


def test_one_seed_decides_nothing_and_missing_runs_are_said():
    single = outcomes(grid(effects(align=9, mt=-1, both=5, cot=-5), seeds=(0,)))
    assert {single[claim] for claim in (ALIGN, TURNS, THINK)} == {"undecided"}
    assert set(outcomes([]).values()) == {"not run"}


def test_pooling_and_caching_are_judged_by_what_runs_measured():
    claim, cached = "Reading all views together beats the mean of single views", "The first turn can be cached"
    better = [result("MT+Align", "sft", seed, 80.0 + seed, mean_pool=70.0 + seed, cached=2e-7) for seed in range(2)]
    assert outcomes(better[:1])[claim] == "undecided"
    better.append(result("MT+Align", "sft", 2, 81.0, mean_pool=70.5, cached=2e-7))
    assert outcomes(better)[claim] == "supported"
    assert outcomes(better)[cached] == "supported"
    worse = [result("MT+Align", "sft", seed, 60.0, mean_pool=70.0 + seed, cached=0.2) for seed in range(3)]
    assert (outcomes(worse)[claim], outcomes(worse)[cached]) == ("contradicted", "contradicted")


class Letters:
    """An embedder that looks at the names of views: a is east, b is north."""

    dim = 2

    def encode_products(self, products):
        rows = np.array([sum(np.eye(2)["ab".index(view.name)] for view in p.views) for p in products], np.float32)
        rows = rows.reshape(-1, 2)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_queries(self, queries):
        return self.encode_products([query.source for query in queries])

    def encode_captions(self, texts):
        return np.ones((len(texts), 2), np.float32) / np.float32(math.sqrt(2))


def test_mean_pool_is_the_mean_of_single_views():
    def product(names):
        return Product(ProductKey("d", names), tuple(View(Path(name), name) for name in names))

    pooled = MeanPool(Letters())
    found = pooled.encode_products([product("a"), product("aab"), product("ab")])
    expected = np.array([[1, 0], [2 / math.sqrt(5), 1 / math.sqrt(5)], [math.sqrt(0.5)] * 2])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(pooled.encode_queries([Query(product("aab"), "x")]), expected[1:2], rtol=1e-6)
    assert pooled.encode_products([]).shape == (0, 2)
    assert pooled.encode_captions(["x"]).shape == (1, 2)
    assert pooled.dim == 2


def test_runs_are_named_by_variant_start_and_seed():
    runs = all_runs(("MT", "Align+CoT"), ("sft",), (3, 4))
    assert [str(run) for run in runs] == [
        "MT from sft, seed 3", "Align+CoT from sft, seed 3", "MT from sft, seed 4", "Align+CoT from sft, seed 4",
    ]  # fmt: skip
    assert str(runs[1].folder) == "runs/sft/Align+CoT/seed-3"
    assert [variant_of(name).name for name in VARIANTS] == list(VARIANTS)
    with pytest.raises(ConfigError, match="'Align\\+MT' is no variant: choose from Single, Align"):
        variant_of("Align+MT")


@pytest.fixture(scope="module")
def plan(little_split, tmp_path_factory):
    """Three steps a run on noise; the same products for training and validation, with captions of their views."""
    captions = {
        key: Caption(key, f"Long {i}.", f"Short {i}.", (f"[Image 1] Front {i}.", f"[Image 2] Back {i}."))
        for i, key in enumerate(sorted(little_split.products))
    }
    # Ten products at least, so that R@10 is one.
    key = ProductKey("noise", "p9")
    products = {**little_split.products, key: replace(little_split.products[ProductKey("noise", "p0")], key=key)}
    captions[key] = Caption(key, "Long 9.", "Short 9.", ("[Image 1] Front 9.", "[Image 2] Back 9."))
    more = replace(little_split.triplets[0], source=ProductKey("noise", "p8"), target=key)
    split = replace(little_split, products=products, captions=captions, triplets=(*little_split.triplets, more))
    out = tmp_path_factory.mktemp("ablation") / "out"
    sft = SftConfig(share=1.0, batch_size=4, max_steps=2, log_every=1)
    config = training(batch_size=4, max_steps=3, log_every=1, save_every=1)
    return plan_of(out, {"train": split, "val": split}, config, sft, fresh_model, "noise"), out


@pytest.fixture(scope="module")
def done(plan):
    made, out = plan
    ablation = ablate(made, all_runs(("Align", "MT+Align"), STARTS, (0,)), out)
    return ablation, out


def test_a_real_ablation(done):
    ablation, out = done
    for start in STARTS:
        for variant in ("Align", "MT+Align"):
            found = json.loads((out / "runs" / start / variant / "seed-0" / "results.json").read_text())
            assert found["config"]["train"]["variant"]["two_turns"] == (variant == "MT+Align")
            assert found["seconds"]["training"] > 0
            assert ("mean_pool" in found["config"]) == (variant == "MT+Align") == ("cached" in found["config"])
    assert json.loads((out / "sft" / "seconds.json").read_text())["seconds"] > 0
    assert ablation.cost("MT+Align", "sft") > ablation.cost("MT+Align", "pretrained") > 0
    table = json.loads((out / "ablation.json").read_text())
    assert (table["runs"], table["seeds"]) == (4, [0])
    assert {row["outcome"] for row in table["findings"]} == {"not run", "undecided", "supported"}
    assert "| sft | MT+Align |" in (out / "ablation.md").read_text()


def test_finished_runs_are_not_done_again_and_cut_ones_go_on(plan, done, tmp_path):
    made, _ = plan
    out = tmp_path / "out"
    shutil.copytree(done[1], out)
    folder = out / "runs" / "pretrained" / "MT+Align" / "seed-0"
    before = (folder / "results.json").read_bytes()
    rows = json.loads(before)["rows"]
    runs = all_runs(("Align", "MT+Align"), ("pretrained",), (0,))

    def never(_start):
        raise AssertionError("a finished run is done again")

    ablate(replace(made, begin=never), runs, out)
    # As a kill after the second step leaves it: the end is done again, with the same result.
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-0000003")
    again = ablate(made, runs, out)
    assert json.loads((folder / "results.json").read_text())["rows"] == rows
    assert again.averages("MT+Align", "pretrained") == done[0].averages("MT+Align", "pretrained")


def test_other_settings_are_refused(plan, done):
    made, out = plan
    changed = replace(made, training=replace(made.training, learning_rate=1.0))
    with pytest.raises(ConfigError, match=r"MT\+Align/seed-0 is finished with other train: choose another --out"):
        ablate(changed, all_runs(("MT+Align",), ("pretrained",), (0,)), out)
    assert isinstance(made, Plan)


def test_runs_that_are_not_alike_share_no_table(done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[1], out)
    path = out / "runs" / "sft" / "Align" / "seed-0" / "results.json"
    found = json.loads(path.read_text())
    found["config"]["train"]["learning_rate"] = 7.0
    path.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="differ in learning_rate: they cannot stand in one table"):
        write_tables(out)


def test_a_run_that_another_process_does_is_left_to_it(plan, done, tmp_path, capsys):
    made, _ = plan
    out = tmp_path / "out"
    shutil.copytree(done[1], out)
    folder = out / "runs" / "pretrained" / "Align" / "seed-0"
    (folder / "results.json").unlink()
    script = (
        f"from filelock import FileLock\nlock = FileLock({str(folder / '.lock')!r})\nlock.acquire()\n"
        "print('held', flush=True)\ninput()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ}, **pipes) as other:
        try:
            assert other.stdout.readline() == "held\n"
            ablation = ablate(made, all_runs(("Align",), ("pretrained",), (0,)), out)
        finally:
            other.communicate("\n", timeout=60)
    assert "Align from pretrained, seed 0: another process does it" in capsys.readouterr().out
    assert ablation.averages("Align", "pretrained") == {}
