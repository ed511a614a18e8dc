"""The retriever: what goes through which tower, with which adapter."""

from __future__ import annotations

import torch

from clplat.mechanisms.routing import Router
from clplat.parts.adapters.peft import LoRA
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import attached


def test_texts_in_training_go_through_the_active_adapter() -> None:
    """In evaluation a text goes through the bare base; asking for it in training must not switch adapters."""
    adapter = LoRA()
    retriever = tiny_retriever(adapter)
    backbone = retriever.backbone
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1)
    retriever.router = Router(lambda name: adapter.activate(backbone, name))
    retriever.router.add("default", torch.eye(24)[:4])
    ids = tiny_collate()(tiny_domains()[0].train[:4]).tokens
    bare = torch.nn.functional.normalize(tiny_backbone().text(ids).pooled, dim=-1)
    retriever.train()
    found = retriever.encode_texts(ids)
    assert backbone.adapters.active == "default" and found.requires_grad
    assert not torch.allclose(found, bare, atol=1e-3)
    assert torch.allclose(retriever.eval().encode_texts(ids), bare, atol=1e-5)


def test_the_parameters_of_a_tower_are_those_of_its_modules_however_they_are_named() -> None:
    backbone = tiny_backbone()
    backbone.model.text_helper_of_visual = torch.nn.Linear(2, 2)
    backbone.model.visual.text_gate = torch.nn.Linear(2, 2)
    attached(LoRA(), backbone)
    found = {id(p) for p in backbone.tower_parameters("text")}
    names = {name for name, p in backbone.named_parameters() if id(p) in found}
    assert {name.removeprefix("model.").split(".")[0] for name in names} == {
        "token_embedding",
        "positional_embedding",
        "transformer",
        "ln_final",
        "text_projection",
    }
    assert any("lora_A" in name for name in names)
    found = {id(p) for p in backbone.tower_parameters("image")}
    names = {name for name, p in backbone.named_parameters() if id(p) in found}
    assert names and all(name.startswith("model.visual.") for name in names)
    assert not any("gate" in name for name in names), "it was hung there later"
