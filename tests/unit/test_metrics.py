"""Ranks and recalls against hand-computed matrices, ir_measures, and their own invariants."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procir.errors import ConfigError, DataError
from procir.evaluate import metrics


def unit_rows(seed: int, count: int, dim: int = 12) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_ranks_of_a_hand_computed_matrix() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.8], [0.7, 0.6, 0.1]])
    assert metrics.ranks(scores, np.array([0, 1, 2])).tolist() == [1, 2, 3]


def test_a_tie_counts_against_the_target_wherever_it_stands() -> None:
    scores = np.array([[0.5, 0.5, 0.1, 0.5], [0.5, 0.5, 0.1, 0.5]])
    assert metrics.ranks(scores, np.array([0, 3])).tolist() == [3, 3]


@pytest.mark.parametrize("gallery", [2, 7, 64, 301])
def test_one_embedding_for_all_ranks_every_target_last(gallery: int) -> None:
    queries = unit_rows(0, 9, dim=33)
    same = np.repeat(unit_rows(1, 1, dim=33), gallery, axis=0)
    found = metrics.rank_in_gallery(queries, same, np.arange(9) % gallery, block=4)
    assert found.tolist() == [gallery] * 9
    assert metrics.recall_at(found, gallery - 1, gallery) == 0.0


def test_equal_embeddings_tie_in_blocks_though_their_columns_are_apart() -> None:
    gallery = unit_rows(2, 50, dim=129)
    gallery[49] = gallery[3]
    gallery[17] = -0.0 + gallery[3]
    found = metrics.rank_in_gallery(gallery[3:4], gallery, np.array([3]))
    assert found.tolist() == [3]


def test_signed_zeros_are_one_embedding() -> None:
    gallery = np.array([[1.0, 0.0], [1.0, -0.0], [0.0, 1.0]], dtype=np.float32)
    assert metrics.rank_in_gallery(gallery[:1], gallery, np.array([0])).tolist() == [2]


def test_nan_scores_name_their_row() -> None:
    scores = np.zeros((3, 4))
    scores[2, 1] = np.nan
    with pytest.raises(DataError, match="query row 2"):
        metrics.ranks(scores, np.array([0, 0, 0]))
    queries = unit_rows(3, 5)
    queries[4, 0] = np.nan
    with pytest.raises(DataError, match="query row 4"):
        metrics.rank_in_gallery(queries, unit_rows(4, 6), np.zeros(5, dtype=int), block=2)


def test_a_target_outside_the_gallery_is_refused() -> None:
    with pytest.raises(AssertionError, match="outside the gallery"):
        metrics.ranks(np.zeros((1, 3)), np.array([-1]))


def test_recall_counts_ranks_up_to_k() -> None:
    found = np.array([1, 2, 5, 6, 11])
    assert [metrics.recall_at(found, k, 20) for k in (1, 5, 10)] == [0.2, 0.6, 0.8]


@pytest.mark.parametrize("k", [0, -1, 21])
def test_a_k_outside_the_gallery_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match="gallery of 20"):
        metrics.recall_at(np.array([1]), k, 20)
    with pytest.raises(ConfigError, match="gallery of 20"):
        metrics.top_k(unit_rows(5, 2), unit_rows(6, 20), k)


def test_recall_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no queries"):
        metrics.recall_at(np.array([], dtype=int), 1, 20)


@pytest.mark.parametrize("block", [1, 3, 16, 1000])
def test_blocks_rank_like_the_whole_matrix(block: int) -> None:
    # Coordinates of eighths make every product exact, so that ties are the same however they are summed.
    rng = np.random.default_rng(7)
    queries = (rng.integers(-8, 9, (40, 6)) / 8).astype(np.float32)
    gallery = (rng.integers(-8, 9, (23, 6)) / 8).astype(np.float32)
    targets = rng.integers(0, 23, 40)
    expected = metrics.ranks(queries @ gallery.T, targets)
    assert metrics.rank_in_gallery(queries, gallery, targets, block=block).tolist() == expected.tolist()


def test_recalls_agree_with_ir_measures() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ir_measures
        from ir_measures import R
    queries, gallery = unit_rows(8, 60), unit_rows(9, 45)
    targets = np.random.default_rng(10).integers(0, 45, 60)
    scores = queries @ gallery.T
    run = {f"q{q}": {f"g{g}": float(scores[q, g]) for g in range(45)} for q in range(60)}
    relevant = {f"q{q}": {f"g{targets[q]}": 1} for q in range(60)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = ir_measures.calc_aggregate([R @ 1, R @ 5, R @ 10], relevant, run)
    found = metrics.rank_in_gallery(queries, gallery, targets, block=7)
    for k in (1, 5, 10):
        assert metrics.recall_at(found, k, 45) == pytest.approx(oracle[R @ k], abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1), gallery_size=st.integers(2, 30), copies=st.integers(0, 5))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_order_of_the_gallery_does_not_matter(seed: int, gallery_size: int, copies: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = (rng.integers(-2, 3, (gallery_size, 4)) / 4).astype(np.float32)
    gallery[: min(copies, gallery_size)] = gallery[-1]
    queries = (rng.integers(-2, 3, (11, 4)) / 4).astype(np.float32)
    targets = rng.integers(0, gallery_size, 11)
    order = rng.permutation(gallery_size)
    moved = np.argsort(order)[targets]
    before = metrics.rank_in_gallery(queries, gallery, targets)
    after = metrics.rank_in_gallery(queries, gallery[order], moved)
    assert before.tolist() == after.tolist()


def test_top_k_is_best_first_and_breaks_ties_by_row() -> None:
    gallery = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.8, 0.6]], dtype=np.float32)
    best, scores = metrics.top_k(np.array([[1.0, 0.0]], dtype=np.float32), gallery, 3)
    assert best.tolist() == [[1, 3, 4]]
    assert scores[0].tolist() == pytest.approx([1.0, 1.0, 0.8])


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 20))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_top_k_is_the_head_of_a_stable_sort(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = (rng.integers(-2, 3, (20, 3)) / 4).astype(np.float32)
    queries = (rng.integers(-2, 3, (9, 3)) / 4).astype(np.float32)
    expected = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :k]
    best, _ = metrics.top_k(queries, gallery, k, block=4)
    assert best.tolist() == expected.tolist()
