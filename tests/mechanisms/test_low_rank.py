"""Low-rank changes beside each other: their sum by hand, nothing at first, earlier ones frozen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clplat.errors import UserError
from clplat.mechanisms.growth import GrowthState
from clplat.mechanisms.low_rank import grow, low_rank_layers
from clplat.mechanisms.weight_space import set_weights, weights_of
from clplat.models.backbone import Backbone
from clplat.parts.adapters._growing import Growing
from clplat.parts.adapters.moe import MoEAdapter
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone, tiny_retriever

PATH = "visual.transformer.resblocks.0.mlp.c_fc"


def grown(backbone: Backbone, *names: str) -> None:
    draw = generator(0, "changes")
    for name in names:
        with seeded(0, "grow", name):
            layers = grow(
                backbone, [PATH, "transformer.resblocks.1.attn.v_proj"], name, rank=2, magnitude=0.5
            )
        with torch.no_grad():
            for layer in layers.values():
                layer.newest().up.normal_(generator=draw)


def test_a_layer_computes_its_weight_and_the_sum_of_all_changes() -> None:
    backbone = tiny_backbone()
    weight = backbone.model.get_parameter(f"{PATH}.weight").detach().double()
    bias = backbone.model.get_parameter(f"{PATH}.bias").detach().double()
    grown(backbone, "a", "b")
    layer = low_rank_layers(backbone)[PATH]
    by_hand = weight + sum(0.5 * (c.up.double() @ c.down.double()) for c in layer.in_use())
    x = torch.randn(3, 5, 32, generator=generator(0, "x"))
    assert torch.allclose(layer(x).double(), x.double() @ by_hand.T + bias, atol=1e-5)
    assert torch.allclose(
        backbone.adapters.deltas(backbone.model)[f"{PATH}.weight"].double(), by_hand - weight
    )
    state = backbone.adapters
    assert isinstance(state, GrowthState) and state.used == ("a", "b")
    state.use(["b"])
    one = 0.5 * (layer.newest().up @ layer.newest().down)
    assert torch.allclose(layer(x), x @ (weight.float() + one).T + bias.float(), atol=1e-5)


def test_it_computes_in_the_precision_of_its_layer() -> None:
    backbone = tiny_backbone()
    grown(backbone, "a")
    with torch.autocast("cpu", torch.bfloat16):
        assert low_rank_layers(backbone)[PATH](torch.ones(1, 32)).dtype == torch.bfloat16


def test_a_new_change_is_none_and_earlier_ones_are_frozen() -> None:
    backbone = tiny_backbone()
    pixels = torch.randint(256, (2, 3, 16, 16), generator=generator(0, "pixels"), dtype=torch.uint8)
    bare, names = backbone.image(pixels).pooled, set(backbone.base_keys)
    grow(backbone, [PATH], "a", rank=2)
    assert torch.equal(backbone.image(pixels).pooled, bare)
    trained = [name for name, p in backbone.model.named_parameters() if p.requires_grad]
    assert trained == [f"{PATH}.changes.a.down", f"{PATH}.changes.a.up"]
    grow(backbone, [PATH], "b", rank=2)
    assert all(".b." in n for n, p in backbone.model.named_parameters() if p.requires_grad)
    assert set(backbone.base_state()) == names
    assert len(backbone.adapters.factors(backbone.model)) == 6
    fingerprint, state = backbone.fingerprint(), backbone.adapters
    assert isinstance(state, GrowthState)
    state.use([])
    assert backbone.fingerprint() != fingerprint and torch.equal(backbone.image(pixels).pooled, bare)


def test_directions_and_magnitudes_make_the_same_change() -> None:
    backbone = tiny_backbone()
    grown(backbone, "a")
    change = low_rank_layers(backbone)[PATH].newest()
    before, lengths = change.delta().detach(), (change.up.norm() * change.down.norm()).detach()
    change.decouple()
    assert torch.allclose(change.delta(), before, atol=1e-6)
    assert float(change.magnitude) == pytest.approx(0.5 * float(lengths), rel=1e-5)
    assert float(change.up.norm()) == pytest.approx(1.0) == pytest.approx(float(change.down.norm()))
    empty = grow(backbone, [PATH], "b", rank=2)[PATH].newest()
    empty.decouple()
    assert float(empty.up.norm()) == 0 and float(empty.down.norm()) == pytest.approx(1.0)


def test_its_weights_are_read_and_moved_as_those_of_any_adapter() -> None:
    model = tiny_retriever(composer=Sum())
    start = weights_of(model)
    grown(model.backbone, "a")
    assert weights_of(model).keys() >= start.keys()
    target = {name: torch.zeros_like(tensor) for name, tensor in weights_of(model).items() if PATH in name}
    set_weights(model, target)
    assert float(weights_of(model)[f"backbone.model.{PATH}.weight"].abs().max()) < 1e-6
    assert float(low_rank_layers(model.backbone)[PATH].newest().up.abs().max()) > 0


def test_what_cannot_grow_is_reported() -> None:
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="low-rank changes are of linear layers"):
        grow(backbone, ["visual.ln_pre"], "a", rank=2)
    MoEAdapter(experts=1, k=1, rank=2).attach(other := tiny_backbone())
    with pytest.raises(UserError, match="attached already, of another kind"):
        grow(other, [PATH], "a", rank=2)
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        Growing().grow(nn.Linear(1, 1), 0, "any")
    for wrong in ({"r": 0}, {"alpha": 0.0}, {"towers": "left"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Growing(**wrong)  # type: ignore[arg-type]
