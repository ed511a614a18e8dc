"""Hubs in one pass against all scores at once, ties and excluded rows among them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms import bank_sums, hubs
from clplat.mechanisms.bank_sums import away_from_nearest, log_sums
from clplat.mechanisms.hubs import BestRows, best_is_among


def drawn(seed: int, count: int, step: float) -> Tensor:
    """Rows of few distinct numbers, so that scores tie; a small step makes near ties."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (count, 4), generator=draw) * step + 0.25


@settings(max_examples=40, deadline=None)
@given(some.integers(0, 10**6), some.integers(1, 20), some.sampled_from([1.0, 1e-4]))
def test_whether_the_best_is_among_some_rows_is_what_all_scores_say(
    seed: int, size: int, step: float
) -> None:
    gallery, queries = drawn(seed, size, step), drawn(seed + 1, 5, step)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randperm(size, generator=draw)[: 1 + size // 3].sort().values
    exclude = torch.randint(-1, size, (5, 2), generator=draw)
    exclude[:, 1] = torch.where(torch.arange(5) % 2 == 0, exclude[:, 1], -1)
    if size < 3:
        exclude[:] = -1
    scores = queries.double() @ gallery.double().T
    for q, hidden in enumerate(exclude.tolist()):
        scores[q, [row for row in hidden if row >= 0]] = -torch.inf
    expected = torch.isin(scores.argmax(1), rows)  # of equal ones the first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hubs, "_CELLS", 17)  # several parts
        assert torch.equal(best_is_among(queries, gallery, rows, exclude), expected)


@settings(max_examples=20, deadline=None)
@given(some.integers(0, 10**6), some.integers(1, 4))
def test_the_best_rows_of_a_bank_and_its_sums_come_of_one_pass(seed: int, k: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gallery, bank = (normalize(torch.randn(n, 6, generator=draw), dim=1) for n in (40, 7))
    best = BestRows(7, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bank_sums, "_CELLS", 21)  # three rows a block
        sums = log_sums(gallery, bank, 30.0, watch=best.add)
    similar = bank.double() @ gallery.double().T
    assert torch.equal(best.rows.T.sort(1).values, similar.topk(k, dim=1).indices.sort(1).values)
    assert torch.allclose(sums, (30.0 * similar).logsumexp(0), atol=1e-5)
    far = log_sums(gallery, bank, 3000.0)  # would overflow in single precision
    assert torch.allclose(far, (3000.0 * similar).logsumexp(0), atol=1e-2), "3e-6 of a similarity"


@settings(max_examples=30, deadline=None)
@given(some.integers(0, 10**6), some.integers(1, 9), some.sampled_from([1.0, 1e-4]))
def test_rows_move_away_from_the_nearest_that_double_precision_finds(
    seed: int, count: int, step: float
) -> None:
    """In a bank whose similarities lie as near together as single precision can tell, too."""
    draw = torch.Generator().manual_seed(seed)
    rows = normalize(torch.randn(6, 5, generator=draw), dim=1)
    bank = normalize(torch.ones(9, 5) + step * torch.randn(9, 5, generator=draw), dim=1)
    found = away_from_nearest(rows, bank, 0.3, count)
    for x, got in zip(rows.double(), found.double(), strict=True):
        scores, which = (bank.double() @ x).topk(count)
        moved = x - 0.3 / count * (scores[:, None] * bank.double()[which]).sum(0)
        assert torch.allclose(got, moved / moved.norm(), atol=1e-6)
