"""Objectives of PEFT's methods against PEFT's own, and what MonteCLoRA draws."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clplat.models.backbone import Backbone
from clplat.parts.adapters._wrapping import layers
from clplat.parts.adapters.peft import AdaLoRA, KaSA, LoRA, MonteCLoRA
from tests.parts.adapters.test_peft import distance, embed, outputs

SMALL: dict[str, Any] = {"targets": "mlp", "last": 1}


def own(backbone: Backbone) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in backbone.adapters.terms(None, None).items()}


def moved(backbone: Backbone, names: list[str]) -> None:
    with torch.no_grad():
        for name in names:
            backbone.get_parameter(name).add_(0.1)


def test_adalora_keeps_its_factors_near_orthonormal_as_pefts_forward_does(backbone: Backbone) -> None:
    moved(backbone, AdaLoRA(**SMALL, orth_reg_weight=0.3).attach(backbone))
    terms = []
    for layer in layers(backbone):
        for rows in (layer.lora_A["default"].detach().double(), layer.lora_B["default"].detach().double().T):
            entries = [(float(a @ b) - (i == j)) ** 2 for i, a in enumerate(rows) for j, b in enumerate(rows)]
            terms.append(sum(entries) ** 0.5)
    assert own(backbone) == {"orthonormal": pytest.approx(0.3 * sum(terms) / len(terms), rel=1e-5)}


def test_kasas_terms_are_pefts(backbone: Backbone) -> None:
    moved(backbone, KaSA(**SMALL, beta=0.2, gamma=0.1).attach(backbone))
    theirs = backbone.adapters.peft_model.base_model._get_kasa_loss()  # type: ignore[attr-defined]
    assert own(backbone) == {"knowledge_aware": pytest.approx(float(theirs.detach()), rel=1e-5)}


def test_monteclora_draws_from_the_generator_of_the_step(backbone: Backbone) -> None:
    """A resumed run and a copy draw what the run itself drew, however many passes it had made."""
    names = MonteCLoRA(**SMALL, sample_scaler=1.0, kl_loss_weight=0.1).attach(backbone)
    moved(backbone, names)
    before = outputs(backbone)

    def drawn(model: Backbone, seed: int) -> tuple[Tensor, dict[str, float], list[Tensor]]:
        torch.manual_seed(seed)
        images, texts = embed(model.train())
        terms = model.adapters.terms(None, None)
        loss = F.cross_entropy(images @ texts.T, torch.arange(4)) + sum(terms.values())
        named = dict(model.named_parameters())
        gradients = torch.autograd.grad(loss, [named[name] for name in names])
        return torch.cat([images, texts]), {k: float(v) for k, v in terms.items()}, [*gradients]

    first = drawn(backbone, 3)
    assert all(bool(gradient.any()) for gradient in first[2]), "the priors are trained as well"
    other = drawn(backbone, 4)
    embed(backbone)  # a pass whose graph is there while it is copied
    for model in (backbone, copy.deepcopy(backbone)):
        again = drawn(model, 3)
        assert torch.equal(again[0], first[0]) and again[1] == first[1]
        assert all(map(torch.equal, again[2], first[2]))
    assert distance(other[0], first[0]) > 1e-3, "steps differ"
    assert torch.equal(outputs(backbone), before), "nothing is drawn outside training"


def test_monteclora_computes_what_pefts_samplers_do(backbone: Backbone) -> None:
    """PEFT's own class, which is given the same draws."""
    from peft.tuners.lora.monteclora import MontecloraSampler

    MonteCLoRA(**SMALL, kl_loss_weight=0.1, use_entropy=True).attach(backbone.train())
    sampler = layers(backbone)[0].lora_monteclora_sampler["default"]
    theirs = copy.deepcopy(sampler)
    theirs.__class__ = MontecloraSampler
    theirs.sampler.model = theirs
    torch.manual_seed(1)
    ours = sampler()
    theirs.sampler.buffer, theirs.sampler.index = sampler.sampler.buffer, 0
    made = theirs()
    assert torch.equal(ours[0], made[0]) and torch.equal(ours[1], made[1])
    expected = [float(term.detach()) for term in theirs.get_variational_loss()]
    assert [float(term.detach()) for term in sampler.get_variational_loss()] == expected


def test_methods_without_objectives_add_none(backbone: Backbone) -> None:
    LoRA(**SMALL).attach(backbone)
    assert own(backbone) == {}
    backbone.adapters.active = None
    assert own(backbone) == {}
