import itertools

import numpy as np
import pytest

from procir.errors import ConfigError, DataError
from procir.evaluate.statistics import Asked, holm, recall_difference, recall_interval


def asked(ranks, sources=None) -> Asked:
    ranks = np.asarray(ranks)
    return Asked(ranks, np.arange(len(ranks)) if sources is None else np.asarray(sources))


def test_value_is_the_plain_recall_averaged_over_datasets():
    found = recall_interval({"a": asked([1, 2, 9, 9]), "b": asked([1])}, 2, resamples=10)
    assert found.value == pytest.approx((0.5 + 1.0) / 2)


def test_interval_of_independent_queries_is_the_binomial_one():
    ranks = np.where(np.arange(400) < 120, 1, 100)
    found = recall_interval({"a": asked(ranks)}, 10, resamples=40_000)
    wide = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert (found.low, found.high) == pytest.approx((0.3 - wide, 0.3 + wide), abs=0.003)


def test_queries_that_always_agree_with_their_source_widen_the_interval_as_fewer_queries_would():
    ranks = np.where(np.arange(400) < 120, 1, 100)
    found = recall_interval({"a": asked(ranks, np.arange(400) // 4)}, 10, resamples=40_000)
    wide = 1.96 * np.sqrt(0.3 * 0.7 / 100)
    assert (found.low, found.high) == pytest.approx((0.3 - wide, 0.3 + wide), abs=0.006)


def test_interval_equals_plain_resampling_of_sources():
    rng = np.random.default_rng(3)
    ranks, sources = rng.integers(1, 30, 300), rng.integers(0, 90, 300)
    members = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    plain = []
    for _ in range(4000):
        rows = np.concatenate([members[pick] for pick in rng.integers(0, len(members), len(members))])
        plain.append(np.mean(ranks[rows] <= 10))
    found = recall_interval({"a": asked(ranks, sources)}, 10, resamples=20_000)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.006)


def test_p_value_equals_that_of_every_possible_swap():
    ours = np.array([1, 1, 1, 1, 9, 1, 1, 9])
    theirs = np.array([9, 9, 1, 9, 1, 1, 9, 9])
    sources = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    differences = np.zeros(5)
    np.add.at(differences, sources, (ours <= 5).astype(int) - (theirs <= 5).astype(int))
    seen = abs(differences.sum())
    swaps = [abs(np.dot(signs, differences)) >= seen for signs in itertools.product((-1, 1), repeat=5)]
    found = recall_difference({"a": asked(ours, sources)}, {"a": asked(theirs, sources)}, 5, resamples=100_000)
    assert found.interval.value == pytest.approx(differences.sum() / 8)
    assert found.p == pytest.approx(np.mean(swaps), abs=0.01)


def test_systems_that_do_not_differ_give_p_one_and_an_empty_interval():
    same = {"a": asked([1, 5, 20])}
    found = recall_difference(same, same, 10)
    assert (found.interval.low, found.interval.high, found.p) == (0.0, 0.0, 1.0)


def test_p_values_are_uniform_where_systems_are_alike():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(300):
        ours, theirs = ({"a": asked(rng.integers(1, 3, 200))} for _ in range(2))
        found.append(recall_difference(ours, theirs, 1, resamples=500, seed=seed).p)
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_real_difference_is_found():
    ours, theirs = {"a": asked([1] * 60 + [9] * 40)}, {"a": asked([1] * 30 + [9] * 70)}
    found = recall_difference(ours, theirs, 1, resamples=9999)
    assert found.p == pytest.approx(1e-4) and found.interval.low > 0.15


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_same_seed_same_bounds():
    data = {"a": asked(np.arange(1, 50)), "b": asked([1, 2, 3])}
    assert recall_interval(data, 5, seed=4) == recall_interval(data, 5, seed=4)


def test_other_queries_and_empty_datasets_are_refused():
    with pytest.raises(DataError, match="b: both systems were asked other queries"):
        recall_difference({"b": asked([1, 2], [0, 0])}, {"b": asked([1, 2], [0, 1])}, 1)
    with pytest.raises(DataError, match="other datasets: a and b"):
        recall_difference({"a": asked([1])}, {"b": asked([1])}, 1)
    with pytest.raises(DataError, match="no queries in b"):
        recall_interval({"a": asked([1]), "b": asked(np.zeros(0, int))}, 1)
    with pytest.raises(ConfigError, match="level 95"):
        recall_interval({"a": asked([1])}, 1, level=95.0)
