"""The use of experts: by hand on a small model, and of a dense one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.parts.adapters.upcycled import Upcycled
from clplat.parts.composers.sum import Sum
from clplat.parts.probes import ExpertUse
from clplat.testing import ProbesContract, tiny_retriever
from clplat.testing.probes import tiny_views


class TestExpertUse(ProbesContract):
    def make(self) -> ExpertUse:
        return ExpertUse(most=4)


def measured(model: Any) -> dict[str, float]:
    view = tiny_views()[0]
    seen = SimpleNamespace(encoder=model.eval(), sets=view.sets, inputs=view.inputs, tokens=view.tokens)
    return ExpertUse(most=5).measure(seen)  # type: ignore[arg-type]


def test_a_dense_model_is_one_expert() -> None:
    found = measured(tiny_retriever(None, Sum()))
    assert found["active"] == 1.0 and found["image load min"] == 1.0 and found["text entropy"] == 0.0


def test_what_is_active_is_counted_without_the_dense_mlps() -> None:
    """Two towers of two blocks: MLPs of 2 * 4 w^2 + 5 w numbers, three copies, of which a token uses one."""
    dense = tiny_retriever(None, Sum())
    model = tiny_retriever(Upcycled(experts=3, k=1), Sum())
    mlps = sum(2 * (8 * w * w + 5 * w) for w in (32, 48))
    gates = sum(2 * 3 * w for w in (32, 48))
    all_of_it = sum(p.numel() for p in dense.backbone.model.parameters()) + 2 * mlps + gates
    assert measured(model)["active"] == pytest.approx((all_of_it - 2 * mlps) / all_of_it)


def test_a_router_that_chooses_one_expert() -> None:
    model = tiny_retriever(Upcycled(experts=3, k=1, towers="image"), Sum())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate.weight"):
                parameter.zero_()
    found = measured(model)
    assert (found["image load max"], found["image load min"]) == (1.0, 0.0), "of equal logits the first"
    assert found["image entropy"] == pytest.approx(1.0)
    assert found["text load max"] == 1.0, "the text tower is dense"
    assert not model.backbone.adapters.routes and not model.training
