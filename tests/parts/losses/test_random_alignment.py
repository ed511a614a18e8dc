"""Random alignment by hand; the point of a pair is its own, and new at every step."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.outputs import Outputs, Rows
from clplat.parts.losses.random_alignment import RandomAlignment
from clplat.progress import Progress
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever

BATCH = tiny_collate()(tiny_domains()[0].train[:3])


def test_both_sides_are_drawn_to_one_point_of_each_pair() -> None:
    query, target = 3 * torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    outputs, here = (
        Outputs(normalize(query, dim=-1), normalize(target, dim=-1), torch.tensor(10.0)),
        Progress(step=5),
    )
    outputs.parts = {"raw_query": Rows(query), "raw_candidates": Rows(target, "candidate")}
    total = 0.0
    for i, name in enumerate(BATCH.ids):
        point = torch.randn(8, generator=here.generator(2, f"random alignment {name}")).double()
        for side in (query, target):
            total += float((side[i].double() - point).square().mean())
    loss = RandomAlignment(seed=2)
    assert float(loss(outputs, BATCH, here)) == pytest.approx(total / 3, rel=1e-5)
    assert float(loss(outputs, BATCH, Progress(step=6))) != pytest.approx(total / 3, rel=1e-3)


def test_a_retriever_gives_what_is_not_yet_normalised() -> None:
    model = tiny_retriever().eval()
    made = model(BATCH)
    for raw, unit in (("raw_query", made.query), ("raw_candidates", made.candidates)):
        assert torch.allclose(normalize(made[raw], dim=-1), unit, atol=1e-6)
    # Composers put out unit rows, the tower does not.
    assert not torch.allclose(made["raw_candidates"].norm(dim=-1), torch.ones(3), atol=0.05)
