"""The objective, against hand-computed values."""

import math

import pytest
import torch
import torch.nn.functional as F

from procir.model.cot import keep_ratio, subsample
from procir.model.losses import symmetric_info_nce


def test_two_pairs_by_hand():
    """Cosines [[1, 0], [0.6, 0.8]] at temperature 1."""
    left = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    right = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    rows = math.log(1 + math.exp(0 - 1)) + math.log(1 + math.exp(0.6 - 0.8))
    columns = math.log(1 + math.exp(0.6 - 1)) + math.log(1 + math.exp(0 - 0.8))
    loss = symmetric_info_nce(left, right, torch.tensor([1, 2]), temperature=1.0)
    assert loss.item() == pytest.approx((rows + columns) / 4, rel=1e-6)


def test_swapped_targets_cost_more():
    left = torch.eye(3)
    right = torch.eye(3)
    ids = torch.arange(3)
    assert symmetric_info_nce(left, right, ids, temperature=0.07) < 1e-5
    assert symmetric_info_nce(left, right[[1, 2, 0]], ids, temperature=0.07) > 10


def test_same_product_is_no_negative():
    """Rows 0 and 2 show one product: leaving column 2 out of row 0 and back gives the loss of that smaller problem."""
    torch.manual_seed(0)
    left, right = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    scores = F.normalize(left, dim=1) @ F.normalize(right, dim=1).T / 0.07
    kept = {0: [0, 1], 1: [0, 1, 2], 2: [1, 2]}

    def mean(matrix):
        return sum(torch.logsumexp(matrix[i, columns], 0) - matrix[i, i] for i, columns in kept.items()) / 3

    expected = (mean(scores) + mean(scores.T)) / 2
    loss = symmetric_info_nce(left, right, torch.tensor([7, 8, 7]), temperature=0.07)
    torch.testing.assert_close(loss, expected)


def test_gradient_of_masked_pairs_is_zero():
    left = torch.randn(2, 4, requires_grad=True)
    symmetric_info_nce(left, torch.randn(2, 4), torch.tensor([5, 5]), temperature=0.07).backward()
    assert left.grad.abs().max() < 1e-6


def test_half_precision_is_computed_in_float32():
    left, right = torch.randn(4, 8), torch.randn(4, 8)
    loss = symmetric_info_nce(left.bfloat16(), right.bfloat16(), torch.arange(4), temperature=0.07)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, symmetric_info_nce(left, right, torch.arange(4), temperature=0.07), rtol=0.05, atol=0.05
    )


def test_keep_ratio_falls_over_the_first_half():
    assert [keep_ratio(step, 100) for step in (0, 25, 49, 50, 99)] == pytest.approx([1, 0.5, 0.02, 0, 0])


def test_subsample_keeps_order_and_rounds_up():
    import numpy as np

    tokens = list(range(100, 110))
    kept = subsample(tokens, 0.31, np.random.default_rng(0))
    assert len(kept) == 4
    assert kept == sorted(kept)
    assert set(kept) <= set(tokens)
    assert subsample(tokens, 1.0, np.random.default_rng(0)) == tokens
