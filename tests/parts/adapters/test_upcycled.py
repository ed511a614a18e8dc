"""Upcycled MLPs: a slow reference, gradients with top-k, the trap of k = 1, and what is active."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.adapters._experts import Mixture
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.moe import MoEAdapter
from clplat.parts.adapters.upcycled import Upcycled
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_loss, tiny_retriever
from clplat.testing.towers import attached


def trained(adapter: Upcycled, steps: int, task: bool = True) -> Any:
    """A retriever after some steps; the gradients of the last one are still there."""
    model = tiny_retriever(adapter, Sum()).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        batch = tiny_collate()(tiny_domains()[0].train[8 * step :][:8])
        outputs = model(batch)
        optimizer.zero_grad()
        sum(outputs.terms.values(), start=tiny_loss(batch, outputs) * task).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def mixtures(model: Any) -> list[Mixture]:
    return [module for module in model.modules() if isinstance(module, Mixture)]


def test_a_token_goes_through_the_copies_that_its_router_chooses() -> None:
    model = trained(Upcycled(experts=3, k=2), steps=2)
    mixture = mixtures(model)[0].double()
    experts: Any = mixture.experts["default"]
    h = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0)).double()
    found = mixture(h).flatten(0, 1)
    for x, row in zip(h.flatten(0, 1), found, strict=True):
        scores = experts.gate.weight @ x
        best = sorted(range(3), key=lambda e: -scores[e].item())[:2]
        weights = torch.stack([scores[e] for e in best]).softmax(0)
        made = [experts.each[e](x) for e in best]
        torch.testing.assert_close(row, weights[0] * made[0] + weights[1] * made[1])


def test_gradients_reach_router_and_experts() -> None:
    """Equal copies give the router no gradient but of rounding; once they differ it has one."""
    model = trained(Upcycled(experts=3, k=2, balance=0.0, z=0.0), steps=2)
    grads = {name: p.grad for name, p in model.named_parameters() if ".experts.default." in name}
    assert all(grad.any() for grad in grads.values() if grad is not None), "what was chosen learns"
    idle = [name for name, grad in grads.items() if grad is None]
    assert not [name for name in idle if "gate" in name or "resblocks.0" in name], "the last has few tokens"


def test_with_one_expert_per_token_balance_alone_trains_the_router() -> None:
    for balance, moves in ((0.0, False), (0.5, True)):
        model = trained(Upcycled(experts=2, k=1, balance=balance, z=0.0), steps=2)
        gates = [mixture.experts["default"].gate.weight for mixture in mixtures(model)]  # type: ignore[union-attr]
        found = [gate.grad is not None and bool(gate.grad.any()) for gate in gates]  # type: ignore[union-attr]
        assert found == [moves] * len(gates)


def test_one_expert_is_a_trained_copy_without_a_router() -> None:
    model = trained(Upcycled(experts=1, k=1), steps=1)
    grads = {name: p.grad for name, p in model.named_parameters() if ".experts." in name}
    assert grads and all(grad is not None and bool(grad.any()) for grad in grads.values())
    assert not [name for name in grads if "gate" in name]
    assert not model(tiny_collate()(tiny_domains()[0].train[:4])).terms


def test_the_losses_have_names_and_weights() -> None:
    both, none = trained(Upcycled(balance=0.1, z=0.2), 1), tiny_retriever(Upcycled(balance=0, z=0)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    assert set(both(batch).terms) == {"balance", "router_z"} and not none(batch).terms
    once = both(batch).terms
    doubled = trained(Upcycled(balance=0.2, z=0.4), 1)(batch).terms
    assert doubled["router_z"].item() > 1.5 * once["router_z"].item() > 0 < once["balance"].item()


def test_every_second_block_is_one_of_experts() -> None:
    backbone = tiny_backbone()
    attached(Upcycled(every=2, towers="image"), backbone)
    blocks = backbone.model.visual.transformer.resblocks
    assert [isinstance(block.mlp, Mixture) for block in blocks] == [False, True]
    with pytest.raises(UserError, match=r"wrapped|attached"):
        attached(Full(), backbone)


def test_the_names_of_the_dense_model_stay_and_nothing_merges() -> None:
    backbone = tiny_backbone()
    names, fingerprint = set(backbone.stock_state_dict()), backbone.fingerprint()
    attached(Upcycled(), backbone)
    assert set(backbone.stock_state_dict()) == names and backbone.fingerprint() != fingerprint
    with pytest.raises(UserError, match="cannot be merged"):
        Upcycled().merge(backbone)
    attached(MoEAdapter(), backbone, "beside")  # one surgery: both kinds side by side
    Upcycled().activate(backbone, None)
    assert backbone.fingerprint() == fingerprint


@pytest.mark.parametrize("options", [{"k": 5}, {"experts": 0}, {"every": 0}, {"z": -1.0}, {"towers": "all"}])
def test_what_it_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|must be|allowed"):
        Upcycled(**options)
