"""Informed LoRA: directions and ranks against an SVD of the inputs themselves, and a LoRA that is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.low_rank import low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.testing import plain_loop, tiny_domains, tiny_learner, tiny_retriever
from strategies import InformedLoRA

SMALL = Growing(r=3, targets=["v_proj", "c_fc"], last=1)


def test_rows_are_the_leading_right_singular_vectors_of_all_inputs() -> None:
    model, data = tiny_retriever(composer=Sum()), tiny_domains()[0].train[:12]
    seen: dict[str, list[Tensor]] = {}
    for name in SMALL.layers(model.backbone):
        layer = model.backbone.model.get_submodule(name)
        layer.register_forward_pre_hook(
            lambda _, given, name=name: seen.setdefault(name, []).append(given[0].detach().flatten(0, -2))
        )
    strategy, learner = InformedLoRA(SMALL, widest=2.0, examples=12), tiny_learner(model)
    strategy.before_experience(learner, SimpleNamespace(dataset=data))
    spectra = {name: torch.linalg.svd(torch.cat(rows).double()) for name, rows in seen.items()}
    shares = sorted(
        (-float(s), name)
        for name, (_, values, _) in spectra.items()
        for s in (values.square() / values.square().sum())[:6]
    )
    chosen = [name for _, name in shares[: 3 * len(spectra)]]
    assert strategy.state_dict()["ranks"] == {n: chosen.count(n) for n in spectra if n in chosen}
    for name, layer in low_rank_layers(model.backbone).items():
        rows, count = layer.newest().down.detach().double(), chosen.count(name)
        overlap = (rows @ spectra[name][2][:count].T).abs()
        assert rows.shape[0] == count and torch.allclose(overlap, torch.eye(count).double(), atol=1e-3)
        assert not layer.newest().up.any() and float(layer.newest().magnitude) == pytest.approx(16 / 3)
    assert len(set(strategy.state_dict()["ranks"].values())) > 1, "layers differ in rank"


def test_it_is_one_lora_for_the_stream() -> None:
    strategy, model = InformedLoRA(SMALL, widest=1.0, examples=8), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains(2), steps=2)
    layers = low_rank_layers(model.backbone)
    assert all(len(layer.changes) == 1 and layer.newest().down.shape[0] == 3 for layer in layers.values())
    assert all(
        bool(layer.newest().up.any()) and layer.newest().down.requires_grad for layer in layers.values()
    )
    assert strategy.numbers() == {"ranks": 3.0, "layers": len(layers)}


def test_what_it_cannot_do_is_reported() -> None:
    with pytest.raises(UserError, match="brings its own adapters"):
        plain_loop(InformedLoRA(), tiny_retriever(Full()))
    with pytest.raises(ValueError, match="at least 1"):
        InformedLoRA(widest=0.5)
