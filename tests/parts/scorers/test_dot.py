"""The dot product is what Outputs used before there were scorers."""

from __future__ import annotations

import torch

from clplat.models.outputs import dot
from clplat.parts.scorers.dot import Dot
from clplat.randomness import generator
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever


def test_its_bits_are_those_of_a_matrix_product():
    left, right = torch.randn(2, 9, 24, generator=generator(0, "rows"))
    assert torch.equal(Dot().block(left, right), left @ right.T)


def test_a_retriever_without_a_scorer_scores_by_the_plain_product():
    outputs = tiny_retriever().eval()(tiny_collate()(tiny_domains()[0].train[:4]))
    assert outputs.scorer is dot and not outputs.views and outputs.weight == 1.0
