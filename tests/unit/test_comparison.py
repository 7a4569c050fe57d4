"""Several systems on the same queries, from their files to the tables."""

import json

import pytest

from embedders import HashEmbedder
from procir.errors import ConfigError, DataError, MissingDataError, RecordError
from procir.evaluate import protocol, results
from procir.evaluate.comparison import compare
from procir.evaluate.outcomes import FILE, read_outcomes, write_outcomes
from procir.evaluate.statistics import recall_difference
from procir.recipes.comparing import PUBLISHED, _read, compare_systems
from procir.report.leaderboard import Cell, Entry, Leaderboard, latex, markdown, page
from procir.types import Product, ProductKey, Split, Triplet

QUERIES = 80


class Knowing(HashEmbedder):
    """Finds the target of the first so many of a hundred queries, and guesses at the others."""

    def __init__(self, split, share, dim=24):
        super().__init__(dim)
        self.targets = {
            (triplet.source, triplet.short): triplet.target
            for place, triplet in enumerate(split.triplets)
            if place % 100 < share
        }
        self.known = split.products

    def encode_queries(self, queries):
        found = super().encode_queries(queries)
        for row, query in enumerate(queries):
            target = self.targets.get((query.source.key, query.text))
            if target is not None:
                found[row] = self.encode_products([self.known[target]])[0]
        return found


def circle(*datasets):
    products, triplets = {}, []
    for dataset in datasets:
        keys = [ProductKey(dataset, f"p{number:03}") for number in range(QUERIES)]
        products |= {key: Product(key, ()) for key in keys}
        triplets += [Triplet(key, keys[(at + 7) % QUERIES], f"{at} shades") for at, key in enumerate(keys)]
    return Split("val", products, {}, tuple(triplets))


def evaluated(folder, split, share, *, data_hash="a" * 64, config=None):
    evaluation = protocol.evaluate(Knowing(split, share), split)
    told = results.build_results(evaluation, {}, seed=0, data_hash=data_hash, config=config or {})
    results.write_results(folder / "results.json", told)
    write_outcomes(folder / FILE, evaluation.queries)
    return evaluation


def test_outcomes_come_back_as_they_were(tmp_path):
    evaluation = evaluated(tmp_path, circle("shop"), 50)
    found = read_outcomes(tmp_path / FILE)
    assert found.asked["shop"].ranks.tolist() == evaluation.cir.datasets["shop"].ranks.tolist()
    assert found.queries["shop"][0] == ("p000", "p007", "0 shades")
    assert found.asked["shop"].sources.tolist() == list(range(QUERIES))


def test_systems_are_ranked_with_what_is_sure(tmp_path):
    split = circle("one", "two")
    for name, share in (("good", 60), ("fair", 55), ("poor", 5)):
        evaluated(tmp_path / name, split, share)
    systems = [_read(f"{name}={tmp_path / name}") for name in ("poor", "fair", "good")]
    good, fair, poor = compare(systems)
    assert [standing.name for standing in (good, fair, poor)] == ["good", "fair", "poor"]
    told = json.loads((tmp_path / "good" / "results.json").read_text())
    assert 100 * good.means[5].value == pytest.approx(told["rows"]["procir"]["R@5"], abs=0.006)
    assert good.average == pytest.approx((told["rows"]["procir"]["R@5"] + told["rows"]["procir"]["R@10"]) / 2, abs=0.01)
    assert (good.worse(5), poor.worse(5)) == (False, True) and 5 not in good.p
    asked = {system.name: system.outcomes.asked for system in systems}
    raw = {name: recall_difference(asked["good"], asked[name], 5).p for name in ("fair", "poor")}
    assert poor.p[5] == pytest.approx(2 * raw["poor"]) and fair.p[5] == pytest.approx(max(raw["fair"], poor.p[5]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_hash": "b" * 64}, "a and b were measured on other data (aaaaaaaaaaaa, bbbbbbbbbbbb)"),
        ({"config": {"protocol": "natural"}}, "a and b were measured by other protocols (released and natural)"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, said):
    split = circle("shop")
    evaluated(tmp_path / "a", split, 50)
    evaluated(tmp_path / "b", split, 40, **change)
    with pytest.raises(DataError) as refusal:
        compare_systems([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "out")
    assert said in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_other_queries_of_the_same_data_are_refused(tmp_path):
    evaluated(tmp_path / "a", circle("shop"), 50)
    evaluated(tmp_path / "b", circle("shop"), 50)
    lines = (tmp_path / "b" / FILE).read_text().splitlines()
    (tmp_path / "b" / FILE).write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match="a and b were asked other queries"):
        compare_systems([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "out")


def test_names_and_files_that_cannot_be(tmp_path):
    evaluated(tmp_path / "a", circle("shop"), 50)
    with pytest.raises(ConfigError, match="two systems at least"):
        compare_systems([str(tmp_path / "a")], tmp_path)
    with pytest.raises(ConfigError, match="two systems are called a"):
        compare_systems([str(tmp_path / "a")] * 2, tmp_path)
    with pytest.raises(ConfigError, match="names no system"):
        compare_systems([f"={tmp_path / 'a'}"], tmp_path)
    (tmp_path / "a" / FILE).write_text(
        '{"dataset": "shop", "source_id": "x", "target_id": "y", "text": "z", "rank": 0}'
    )
    with pytest.raises(RecordError, match=r"queries\.jsonl:1: rank is 0"):
        read_outcomes(tmp_path / "a" / FILE)
    (tmp_path / "a" / FILE).unlink()
    with pytest.raises(MissingDataError, match="evaluate again"):
        read_outcomes(tmp_path / "a" / FILE)


def test_the_papers_figures_stand_below_on_its_data(tmp_path):
    split = circle("deepfashion", "f200k", "fashiongen_val")
    for name, share in (("ours", 60), ("theirs", 5)):
        evaluated(tmp_path / name, split, share)
    compare_systems([f"A & B={tmp_path / 'ours'}", f"<b>={tmp_path / 'theirs'}"], tmp_path / "out")
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert "| *ProCIR, joint* | – | – | – | – | – | – | 80.6 | 88.9 | 84.8 |" in table
    assert table.count("\n| *") == len(PUBLISHED)
    html = (tmp_path / "out" / "comparison.html").read_text()
    assert "&lt;b&gt;" in html and "<b>" not in html and "A &amp; B" in html and "://" not in html
    assert r"A \& B &" in (tmp_path / "out" / "comparison.tex").read_text()


def test_tables_by_hand():
    best, worse = Cell(value=50.04, bounds=(45.0, 55.0), best=True), Cell(value=40.0, worse=True)
    board = Leaderboard(
        groups={"shop": ("R@5", "R@10")},
        entries=[
            Entry(name="a_b", cells=(best, worse), seconds=3.0),
            Entry(name="p", cells=(None, worse), published=True),
        ],
        note="Notes.",
    )
    assert markdown(board).splitlines()[2:4] == ["| a_b | **50.0** (45.0–55.0) | 40.0† |", "| *p* | – | 40.0† |"]
    lines = latex(board).splitlines()
    assert lines[2] == r"& \multicolumn{2}{c}{shop} \\"
    assert r"a\_b & \textbf{50.0} & 40.0$^\dagger$ \\" in lines
    assert r"\textcolor{gray}{p} & \textcolor{gray}{--} & \textcolor{gray}{40.0$^\dagger$} \\" in lines
    assert '<td class="best">50.0<small>45.0 to 55.0</small></td>' in page(board, "Title")
