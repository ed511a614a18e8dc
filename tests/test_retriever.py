"""The retriever: what goes through which tower, with which adapter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.mechanisms.routing import Experts, Router
from clplat.models import image_tower, text_tower
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import attached

#: What the first four texts of the first domain ask for.
ORDER = ("green", "blue", "yellow", "purple")


def test_texts_in_training_go_through_the_active_adapter() -> None:
    """In evaluation a text goes through the bare base; asking for it in training must not switch adapters."""
    adapter = LoRA()
    retriever = tiny_retriever(adapter)
    backbone = retriever.backbone
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1)
    retriever.experts = Experts(Router(), adapter.activate)
    retriever.experts.router.add("default", torch.eye(24)[:4])
    ids = tiny_collate()(tiny_domains()[0].train[:4]).tokens
    bare = torch.nn.functional.normalize(tiny_backbone().text(ids).pooled, dim=-1)
    retriever.train()
    found = retriever.encode_texts(ids)
    assert backbone.adapters.active == "default" and found.requires_grad
    assert not torch.allclose(found, bare, atol=1e-3)
    assert torch.allclose(retriever.eval().encode_texts(ids), bare, atol=1e-5)


class Wanting(Sum):
    """Notes what it is given."""

    def __init__(self, **wants: frozenset[str]) -> None:
        super().__init__()
        self.wants = wants  # type: ignore[misc]

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        self.given = (image, text)
        return vars(image).get("pooled", torch.ones(len(image.keys), 24))


def test_an_unknown_want_is_refused_when_the_model_is_made() -> None:
    with pytest.raises(UserError, match="unknown feature 'token'; did you mean 'tokens'"):
        tiny_retriever(composer=Wanting(image=frozenset({"token"})))
    with pytest.raises(UserError, match="unknown feature 'stats'"):
        tiny_backbone().image(torch.zeros(1, 3, 16, 16), {"stats"})


@pytest.mark.parametrize("kept", [False, True])
def test_what_nobody_wants_is_not_computed_and_what_is_wanted_travels(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, passes = tiny_collate()(tiny_domains()[0].train[:4]), {"image": 0, "text": 0}
    wants = {"image": frozenset({"pooled", "states", "input"}), "text": frozenset[str]()}
    model = tiny_retriever(composer=Wanting(**wants)).eval()
    model.cache = FeatureCache(model.backbone, Store(None)) if kept else None
    for tower, module in (("image", image_tower), ("text", text_tower)):
        plain = module.run_blocks

        def counted(*given: Any, tower: str = tower, plain: Any = plain, **more: Any) -> Any:
            passes[tower] += 1
            return plain(*given, **more)

        monkeypatch.setattr(module, "run_blocks", counted)
    model(batch)
    image, text = model.composer.given
    assert passes["image"] and not passes["text"]
    assert image.keys == batch.pictures.names[:4] and text.texts == [f"make it {c}" for c in ORDER]
    assert image.states.shape == (4, 2, 32) and torch.equal(image.pixels, batch.reference)
    torch.testing.assert_close(image.pooled, model.backbone.image(batch.reference).pooled)
    for name in ("pooled", "tokens", "states"):
        assert vars(text).get(name) is None
    with pytest.raises(AttributeError, match=r"'pooled' was not computed.*`wants`"):
        _ = text.pooled


def test_a_prompt_of_the_text_may_read_the_picture_that_is_modified() -> None:
    class Conditional(TowerPrompt):
        length, reads_other = 1, True

        def __init__(self, shift: Tensor) -> None:
            super().__init__()
            self.shift = shift

        def begin(self, own: Any, other: Any = None) -> TowerPrompt:
            return self if other is None else Conditional(other.pooled.repeat(1, 2)[:, None])

        def forward(self, layer: int) -> Tensor | None:
            return self.shift if layer == 0 else None

    model, batch = tiny_retriever(composer=Sum()).eval(), tiny_collate()(tiny_domains()[0].train[:4])
    model.backbone.text_prompt = Conditional(torch.zeros(1, 48))
    alone = model.text_features(batch.texts).pooled
    shown = model.image_features(batch.pictures.part(range(4)))
    told = model.text_features(batch.texts, other=shown).pooled
    assert not torch.allclose(alone, told, atol=1e-3)
    expected = torch.nn.functional.normalize(model.composer(shown, TextFeatures(pooled=told)), dim=-1)
    for cache in (None, FeatureCache(model.backbone, Store(None))):
        model.cache = cache
        assert torch.allclose(model(batch).query, expected, atol=1e-5)
        found = model.encode_queries(batch.pictures.part(range(4)), batch.texts)
        assert torch.allclose(found, expected, atol=1e-5)


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
