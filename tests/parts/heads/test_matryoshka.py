"""Nested prefixes: the loss by hand, the views of a run, and every loss around it."""

from __future__ import annotations

import pytest
import torch

from clplat.models.view import Towers
from clplat.parts.composers.sum import Sum
from clplat.parts.heads.matryoshka import Matryoshka
from clplat.parts.losses.info_nce import InfoNCE
from clplat.progress import Progress
from clplat.testing import HeadContract, tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.training.template import task_terms


class TestThreePrefixes(HeadContract):
    def make(self) -> Matryoshka:
        return Matryoshka(dims=[12, 6, 3], weights=[1.0, 1.0, 0.5, 0.25])


def attached(**options) -> Matryoshka:
    head = Matryoshka(**options)
    head.attach(Towers(tiny_backbone()))
    return head


def test_by_default_lengths_halve_down_to_eight_and_all_count_one():
    assert {name: view.weight for name, view in attached().views().items()} == {"full": 1.0, "d12": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": [0]}, "at least 1"),
        ({"dims": [4, 4]}, "different"),
        ({"dims": [4], "weights": [1.0]}, "the whole and 1 dims"),
        ({"dims": [24]}, "shorter than the joint space of 24"),
        ({"weights": [1.0, 2.0, 3.0]}, "not 3"),
        ({"weights": [-1.0, 1.0]}, "at least 0"),
    ],
)
def test_lengths_and_weights_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        attached(**options)


def test_the_loss_is_the_weighted_sum_over_prefixes_at_unit_length_by_hand():
    head = Matryoshka(dims=[12, 3], weights=[1.0, 0.5, 0.0])
    retriever = tiny_retriever(composer=Sum(), head=head).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    outputs = retriever(batch)
    assert list(outputs.views) == ["full", "d12"], "what has no weight is not computed"
    q, c = outputs.query.double(), outputs.candidates.double()
    expected = 0.0
    for dim, weight in ((24, 1.0), (12, 0.5)):
        left, right = (rows[:, :dim] / (rows[:, :dim] ** 2).sum(1, keepdim=True).sqrt() for rows in (q, c))
        logits = 10.0 * left @ right.T
        for i in range(5):
            exp = torch.where(batch.valid[i], logits[i].exp(), 0.0)
            for j in batch.positive[i].nonzero().flatten():
                expected -= weight * (exp[j] / exp.sum()).log() / batch.positive[i].sum() / 5
    terms = task_terms(InfoNCE(temperature=0.1), outputs, batch, Progress())
    assert list(terms) == ["task/full", "task/d12"]
    assert float(sum(terms.values())) == pytest.approx(float(expected), rel=1e-5)


def test_a_prefix_is_normalised_after_the_cut_and_not_before():
    view = attached(dims=[3]).views()["d3"]
    row = torch.tensor([[3.0, 4.0, 0.0, 99.0]])
    assert torch.allclose(view.map(row, "gallery"), torch.tensor([[0.6, 0.8, 0.0]]))
    assert view.bytes_per_item(view.store(row)) == 12
