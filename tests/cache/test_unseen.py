"""What the store cannot see makes a tower run live, and the run says so: nothing stale is ever served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters.peft import LoRA
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached

PIXELS = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "pixels"))
WORDS = ["red", "make it blue", "is longer"]


def gain(width: int = 32) -> nn.Linear:
    with seeded(0, "gain"):
        return nn.Linear(width, width)


def hooked(backbone: Backbone, module: nn.Module) -> nn.Module:
    """After the first block of the image tower, wherever the module hangs."""
    block = backbone.model.visual.transformer.resblocks[0]
    block.register_forward_hook(lambda _, __, out: out + module(out))
    return module


def under_transformer(backbone: Backbone) -> nn.Module:
    backbone.model.visual.transformer.extra = gain()
    return hooked(backbone, backbone.model.visual.transformer.extra)


def under_model(backbone: Backbone) -> nn.Module:
    backbone.model.extra = gain()
    return hooked(backbone, backbone.model.extra)


def under_visual(backbone: Backbone) -> nn.Module:
    backbone.model.visual.extra = gain()
    return hooked(backbone, backbone.model.visual.extra)


def in_a_closure(backbone: Backbone) -> nn.Module:
    return hooked(backbone, gain())


def before_a_layer(backbone: Backbone) -> nn.Module:
    extra = gain()
    mlp = backbone.model.visual.transformer.resblocks[0].mlp
    mlp.register_forward_pre_hook(lambda _, given: (given[0] + extra(given[0]),))
    return extra


def patched(backbone: Backbone) -> nn.Module:
    extra, mlp = gain(), backbone.model.visual.transformer.resblocks[1].mlp
    plain = mlp.forward
    mlp.forward = lambda x: plain(x) + extra(x)
    return extra


def patched_class(backbone: Backbone) -> nn.Module:
    extra, norm = gain(), backbone.model.visual.ln_post
    made: Any = type("Norm", (type(norm),), {"__module__": type(norm).__module__})
    plain = type(norm).forward
    made.forward = lambda self, x: plain(self, x) + extra(x)
    norm.__class__ = made
    return extra


def patched_method(backbone: Backbone) -> nn.Module:
    extra, plain = gain(backbone.embed_dim), backbone.image

    def image(*args: Any, **options: Any) -> Any:
        found = plain(*args, **options)
        found.pooled = found.pooled + extra(found.pooled)
        return found

    backbone.image = image  # type: ignore[method-assign]
    return extra


class Calling(nn.Module):
    """Calls what it is given."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return x + self.call(x)


def in_an_attribute(backbone: Backbone) -> nn.Module:
    extra, visual = gain(), backbone.model.visual
    visual.ln_post = nn.Sequential(visual.ln_post, Calling(lambda x: extra(x)))
    return extra


UNSEEN: dict[str, tuple[Callable[[Backbone], nn.Module], str]] = {
    "under transformer": (under_transformer, "a forward hook on block 0"),
    "under model": (under_model, "a forward hook on block 0"),
    "under visual": (under_visual, "a forward hook on block 0"),
    "in a closure": (in_a_closure, "a forward hook on block 0"),
    "before a layer": (before_a_layer, "a forward hook on block 0.mlp"),
    "patched forward": (patched, "block 1.mlp.forward was replaced"),
    "patched class": (patched_class, "ln_post.forward was replaced in its class"),
    "patched method": (patched_method, "backbone.image was replaced"),
    "in an attribute": (in_an_attribute, "ln_post.1.call is a function"),
}


def images() -> Images:
    return Images.of(PIXELS, [f"picture {i}" for i in range(len(PIXELS))], "kind")


@pytest.mark.parametrize("name", UNSEEN)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_tower_that_cannot_be_seen_runs_live_and_says_so(name: str, late: bool) -> None:
    backbone, (install, why) = tiny_backbone(), UNSEEN[name]
    features = FeatureCache(backbone, Store(None))
    with torch.no_grad(), weights_fixed():
        if late:
            assert torch.allclose(features.image(images()).pooled, backbone.image(PIXELS).pooled, atol=1e-5)
        extra = install(backbone).requires_grad_(False)
        features.refresh()
        for _ in range(2):
            assert torch.equal(features.image(images()).pooled, backbone.image(PIXELS).pooled)
            for parameter in extra.parameters():
                parameter.add_(0.5)
    assert features.live_images()
    report = features.report()["image"]
    assert report["live"] == 2 * len(PIXELS) and why in report["unseen"]
    if name != "patched method":
        texts = Texts(backbone.tokenize(WORDS))
        features.text(texts)
        assert features.counts["text"].encoded == len(WORDS) and not features.counts["text"].unseen


def test_a_hook_is_seen_without_refresh() -> None:
    backbone = tiny_backbone()
    features = FeatureCache(backbone, Store(None))
    features.image(images())
    handle = backbone.model.visual.transformer.resblocks[0].register_forward_hook(lambda _, __, out: 2 * out)
    assert torch.equal(features.image(images()).pooled, backbone.image(PIXELS).pooled)
    handle.remove()
    features.refresh()
    features.image(images())
    assert features.counts["image"].encoded == len(PIXELS) and not features.live_images()


def test_texts_run_live_as_well_each_in_its_batch() -> None:
    backbone = tiny_backbone()
    backbone.model.transformer.resblocks[0].register_forward_hook(lambda _, __, out: out + out.mean(0))
    features, texts = FeatureCache(backbone, Store(None)), Texts(backbone.tokenize(["red", "red", *WORDS]))
    found, plain = features.text(texts).pooled, backbone.text(texts.ids).pooled
    assert torch.allclose(found, plain, atol=1e-5), (
        "equal texts apart from each other, in one pass: the hook sees the batch"
    )
    assert features.report()["text"]["unseen"] == {"a forward hook on block 0": 1}


class Sharing(nn.Module):
    """A layer that is another's child."""

    def __init__(self, of: nn.Module, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of, self.act, self.constant = (of,), act, torch.ones(32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.constant * self.act(self.of[0](x))


def test_what_is_held_in_an_attribute_is_seen() -> None:
    """Layers and constants in attributes and named functions count: rows are kept, and never stale."""
    backbone = tiny_backbone()
    visual = backbone.model.visual
    backbone.extra = gain().requires_grad_(False)
    layer = Sharing(backbone.extra, torch.nn.functional.silu)
    visual.ln_post = nn.Sequential(visual.ln_post, layer)
    features = FeatureCache(backbone, Store(None))

    def right() -> int:
        features.refresh()
        before = features.counts["image"].encoded
        assert torch.allclose(features.image(images()).pooled, backbone.image(PIXELS).pooled, atol=1e-5)
        return features.counts["image"].encoded - before

    with torch.no_grad():
        assert right() == len(PIXELS) and right() == 0
        backbone.extra.weight.add_(0.5)
        assert right() == len(PIXELS) and right() == 0
        layer.constant.mul_(2)
        assert right() == len(PIXELS) and right() == 0
        layer.act = torch.nn.functional.tanh
        assert right() == len(PIXELS) and right() == 0
    assert not features.counts["image"].live
    backbone.extra.requires_grad_(True)
    assert features.image(images()).pooled.requires_grad, "it is trained: what it computes is not kept"


def test_coupled_image_prompts_follow_the_text_prompts() -> None:
    """The vectors of the text tower reach the image tower through maps that did not change."""
    backbone = tiny_backbone()
    attached(DeepPrompt(coupled=True), backbone)
    features = FeatureCache(backbone, Store(None))
    assert backbone.text_prompt is not None
    with torch.no_grad(), weights_fixed():
        for _ in range(2):
            features.refresh()
            assert torch.allclose(features.image(images()).pooled, backbone.image(PIXELS).pooled, atol=1e-5)
            for vectors in backbone.text_prompt.parameters():
                vectors.add_(0.5)
    assert features.counts["image"].encoded == 2 * len(PIXELS)


def test_adapters_hide_nothing() -> None:
    backbone = tiny_backbone()
    attached(LoRA(), backbone)
    features = FeatureCache(backbone, Store(None))
    with torch.no_grad(), weights_fixed():
        features.image(images())
    assert features.counts["image"].cuts == {"pooled": 1} and "unseen" not in features.report()["image"]
