"""Outputs of a batch: what they hold by name, how they are compared, and how parts are joined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clplat.models.outputs import Outputs, Rows


def outputs(rows: list[int], extras: list[int], term: float) -> Outputs:
    """Numbered rows: queries 0, 1, ...; targets 100, 101, ...; other candidates as they are."""
    query = torch.tensor(rows, dtype=torch.float)[:, None]
    candidates = torch.tensor([*(100 + i for i in rows), *extras], dtype=torch.float)[:, None]
    parts = {"words": Rows(query + 0.5), "shown": Rows(candidates + 0.5, "candidate")}
    return Outputs(query, candidates, torch.tensor(3.0), parts, {"balance": torch.tensor(term)})


def test_parts_of_a_batch_are_joined_by_what_they_run_along() -> None:
    whole = Outputs.joined([outputs([0, 1], [900, 901], 1.0), outputs([2], [902], 4.0)])
    assert whole.query.flatten().tolist() == [0, 1, 2] and len(whole) == 3
    assert whole.candidates.flatten().tolist() == [100, 101, 102, 900, 901, 902]
    assert whole["words"].flatten().tolist() == [0.5, 1.5, 2.5]
    assert whole["shown"].flatten().tolist() == [100.5, 101.5, 102.5, 900.5, 901.5, 902.5]
    assert whole.terms["balance"].item() == pytest.approx((2 * 1.0 + 1 * 4.0) / 3)
    assert whole.scale.item() == 3.0


def test_the_scorer_compares_by_name_and_by_embeddings_of_others() -> None:
    def distance(left: Tensor, right: Tensor) -> Tensor:
        return -torch.cdist(left, right)

    out = outputs([0, 1], [], 0.0)
    assert torch.equal(out.scores(), out.query @ out.candidates.T)
    out.scorer = distance
    assert torch.equal(out.scores(), -torch.cdist(out.query, out.candidates))
    assert torch.equal(out.scores("words", torch.zeros(1, 1)), torch.tensor([[-0.5], [-1.5]]))
    assert Outputs.joined([out, out]).scorer is distance


def test_a_part_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"no 'tokens'.*query, candidates, words, shown"):
        outputs([0], [], 0.0).scores("tokens")
