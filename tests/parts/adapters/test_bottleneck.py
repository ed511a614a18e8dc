"""Bottleneck adapters: each form by hand in float64, at each place, and what keeps them from training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clplat.errors import UserError
from clplat.mechanisms.bottlenecks import Bottleneck as Narrow
from clplat.mechanisms.bottlenecks import Form, KroneckerLinear, RankLinear
from clplat.mechanisms.growth import grown_layers
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures
from clplat.parts.adapters.bottleneck import Bottleneck
from clplat.parts.adapters.moe import MoEAdapter
from clplat.randomness import generator
from clplat.testing import AdapterContract, tiny_backbone
from clplat.testing.towers import attached, distance, embeddings, train_a_little


class TestEveryOptionAtOnce(AdapterContract):
    def make(self) -> Bottleneck:
        return Bottleneck(
            "both", "parallel", size=8, activation="gelu", weights="kronecker", norm="out", learned=True
        )


class TestBesideTheStream(AdapterContract):
    def make(self) -> Bottleneck:
        return Bottleneck(path="parallel", reads="stream", size=4, scale=0.1, weights="low_rank")


def drawn(module: Any) -> Any:
    """In double precision, and no tensor zero."""
    draw = generator(0, "bottleneck")
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return module


def block_by_hand(block: Any, x: Tensor, behind: dict[str, Any]) -> Tensor:
    """A block (B, N, W) by its formula, with what becomes of a branch: (stream, read, made) -> out."""
    y = F.layer_norm(x, x.shape[-1:], block.ln_1.weight, block.ln_1.bias, block.ln_1.eps)
    attn: Any = block.attn
    heads = attn.num_heads
    q, k, v = (
        F.linear(y, layer.weight, layer.bias).unflatten(-1, (heads, -1)).transpose(1, 2)
        for layer in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    shares = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    made = F.linear((shares @ v).transpose(1, 2).flatten(2), attn.out_proj.weight, attn.out_proj.bias)
    x = x + behind.get("attention", lambda stream, read, made: made)(x, y, made)
    y = F.layer_norm(x, x.shape[-1:], block.ln_2.weight, block.ln_2.bias, block.ln_2.eps)
    h = F.gelu(F.linear(y, block.mlp.c_fc.weight, block.mlp.c_fc.bias))
    made = F.linear(h, block.mlp.c_proj.weight, block.mlp.c_proj.bias)
    return x + behind.get("ffn", lambda stream, read, made: made)(x, y, made)


FORMS = [
    ("both", {"path": "sequential"}, lambda a: lambda s, x, o: o + a(o)),
    ("both", {"path": "sequential", "residual": False}, lambda a: lambda s, x, o: a(o)),
    ("both", {"path": "parallel"}, lambda a: lambda s, x, o: o + a(x)),
    ("both", {"path": "parallel", "residual": True}, lambda a: lambda s, x, o: o + a(x) + x),
    ("ffn", {"path": "parallel", "reads": "stream"}, lambda a: lambda s, x, o: o + a(s)),
    ("attention", {"path": "sequential"}, lambda a: lambda s, x, o: o + a(o)),
]


@pytest.mark.parametrize(("place", "options", "formula"), FORMS)
def test_a_tower_by_hand(place: Any, options: dict[str, Any], formula: Any) -> None:
    """Every block, and the last one for the row that is pooled alone."""
    backbone: Any = tiny_backbone()
    plain = tiny_backbone().double()
    attached(Bottleneck(place, size=3, scale=0.3, towers="image", **options), backbone)
    layers = grown_layers(backbone)
    made = {path: drawn(layer.changes["default"]) for path, layer in layers.items()}
    backbone.double()
    branches = {"attention": "attn.out_proj", "ffn": "mlp"}
    held = plain.model.visual.transformer.resblocks
    x = torch.randn(2, 5, 32, dtype=torch.float64, generator=generator(0, "x"))

    def by_hand(change: Any) -> Any:
        def narrow(h: Tensor) -> Tensor:
            inside = torch.relu(h @ change.down.weight.T + change.down.bias)
            return 0.3 * (inside @ change.up.weight.T + change.up.bias)

        return formula(narrow)

    expected = x
    for i, block in enumerate(held):
        name = f"visual.transformer.resblocks.{i}."
        wanted = [b for b in branches if place in (b, "both")]
        behind = {b: by_hand(made[name + branches[b]]) for b in wanted}
        expected = block_by_hand(block, expected, behind)
    found = x
    for block in backbone.model.visual.transformer.resblocks:
        found = block(found)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    pixels = torch.randint(0, 256, (2, 3, backbone.image_size, backbone.image_size), dtype=torch.uint8)
    whole, pooled = backbone.image(pixels, {"pooled", "tokens"}), backbone.image(pixels)
    assert isinstance(whole, ImageFeatures)
    torch.testing.assert_close(pooled.pooled, whole.pooled, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 2])
def test_kronecker_products_by_hand(rank: int) -> None:
    layer = drawn(KroneckerLinear(6, 4, n=2, rank=rank))
    weight = sum(torch.kron(layer.rule[i], layer.left[i] @ layer.right[i]) for i in range(2))
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ weight + layer.bias)


def test_low_rank_and_norms_by_hand() -> None:
    """Of any rank: the published layer multiplies element by element, which is a product for rank 1 alone."""
    layer = drawn(RankLinear(6, 4, rank=2))
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ (layer.left @ layer.right) + layer.bias)
    for norm in ("in", "out"):
        form = Form(size=2, activation="silu", weights="low_rank", norm=norm, scale=2.0, learned=True)  # type: ignore[arg-type]
        narrow = drawn(Narrow(6, form, sequential=True, residual=True))
        h = F.layer_norm(x, (6,), narrow.before.weight, narrow.before.bias) if norm == "in" else x
        made = narrow.up(F.silu(narrow.down(h)))
        if norm == "out":
            made = F.layer_norm(made, (6,), narrow.behind.weight, narrow.behind.bias)
        torch.testing.assert_close(narrow.after(x, x), x + narrow.scale * made)


def test_only_one_end_begins_at_zero() -> None:
    """Both at zero, as in one public code, nothing but the last bias would ever have a gradient."""
    narrow = drawn(Narrow(4, Form(size=3, activation="gelu"), sequential=True, residual=True))
    for layer in (narrow.down, narrow.up):
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    narrow(torch.randn(5, 4, dtype=torch.float64)).square().sum().backward()
    dead = {name for name, p in narrow.named_parameters() if not p.grad.any()}
    assert dead >= {"down.weight", "up.weight", "down.bias"}
    backbone = tiny_backbone()
    names = attached(Bottleneck(size=4), backbone)
    assert train_a_little(backbone) == set(names)


def test_a_shared_rule_is_one_tensor_and_comes_back() -> None:
    from clplat.runs.checkpoint import Weights

    adapter = Bottleneck("both", weights="kronecker", size=4)
    backbone, again = tiny_backbone(), tiny_backbone()
    names = attached(adapter, backbone)
    rules = {id(m.rule) for m in backbone.modules() if isinstance(m, KroneckerLinear)}
    assert len(rules) == 1 and sum(name.endswith("rule") for name in names) == 1
    alone = tiny_backbone()
    own = attached(Bottleneck("both", weights="kronecker", size=4, shared=False), alone)
    assert sum(name.endswith("rule") for name in own) == 16  # two towers, blocks, branches, ways
    train_a_little(backbone)
    attached(adapter, again)
    Weights(again).restore({name: t.clone() for name, t in Weights(backbone).tensors().items()})
    assert distance(embeddings(again), embeddings(backbone)) == 0


def test_what_is_the_identity_at_first_and_what_is_not() -> None:
    for path, residual in (("sequential", True), ("parallel", False)):
        assert Bottleneck(path=path, residual=residual).identity_at_init  # type: ignore[arg-type]
        backbone, before = tiny_backbone(), embeddings(tiny_backbone())
        other = Bottleneck(path=path, residual=not residual)  # type: ignore[arg-type]
        attached(other, backbone)
        assert not other.identity_at_init and distance(embeddings(backbone), before) > 1e-3


def test_what_it_refuses() -> None:
    for wrong in (
        {"size": 0},
        {"place": "left"},
        {"path": "left"},
        {"norm": "left"},
        {"dropout": 1.0},
        {"scale": 0.0},
        {"reads": "stream"},
        {"towers": "left"},
        {"weights": "left"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Bottleneck(**wrong)  # type: ignore[arg-type]
    backbone: Backbone = tiny_backbone()
    with pytest.raises(UserError, match=r"adapter\.n must divide"):
        Bottleneck(weights="kronecker", n=5).attach(backbone)
    assert not backbone.adapters.installed and backbone.base_keys == set(backbone.model.state_dict())
    attached(Bottleneck(size=2), backbone)
    with pytest.raises(UserError, match="cannot be merged"):
        Bottleneck().merge(backbone)
    with pytest.raises(UserError, match="of another kind"):
        MoEAdapter().attach(backbone, "other")
