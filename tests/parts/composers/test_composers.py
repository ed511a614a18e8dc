"""What every registered composer keeps to, and the formulas of ours against plain numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from clplat import registry
from clplat.config.resolve import resolve, spaces
from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.slerp import Slerp
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.text_only import TextOnly

WIDTH = 16
every_composer = pytest.mark.parametrize("name", registry.names("composers"))


def features(rows=5, seed=0, scale=10.0):
    """Un-normalised, as towers give them."""
    g = torch.Generator().manual_seed(seed)
    image, text = scale * torch.randn(2, rows, WIDTH, generator=g)
    tokens = torch.randn(2, rows, 7, WIDTH, generator=g)
    ends = torch.full((rows,), 6)
    return ImageFeatures(image, tokens[0]), TextFeatures(text, tokens[1], ends=ends)


def built(name):
    composer = registry.load("composers", name)()
    torch.manual_seed(0)
    composer.build(WIDTH)
    return composer.eval()


@every_composer
def test_returns_finite_rows_of_the_joint_space(name):
    composer = built(name)
    assert isinstance(composer, Composer)
    query = composer(*features())
    assert query.shape == (5, WIDTH) and query.dtype == torch.float32
    assert torch.isfinite(query).all()
    assert composer(*features(rows=1)).shape == (1, WIDTH)


@every_composer
def test_rows_do_not_depend_on_each_other(name):
    composer, (image, text) = built(name), features()
    whole = composer(image, text)
    alone = composer(
        ImageFeatures(image.pooled[2:3], image.tokens[2:3]),
        TextFeatures(text.pooled[2:3], text.tokens[2:3], ends=text.ends[2:3]),
    )
    assert torch.allclose(whole[2:3], alone, atol=1e-5)


@every_composer
def test_same_seed_same_composer_and_the_state_moves(name):
    composer, twin = built(name), built(name)
    assert torch.equal(composer(*features()), twin(*features()))
    with torch.no_grad():
        for parameter in composer.parameters():
            parameter.add_(0.01)
    twin.load_state_dict(composer.state_dict())
    assert torch.equal(composer(*features()), twin(*features()))


@every_composer
def test_reads_what_it_says(name):
    composer, (image, text) = built(name), features()
    image.pooled.requires_grad_()
    text.pooled.requires_grad_()
    composer(image, text).square().mul(torch.arange(WIDTH)).sum().backward()
    for kind, pooled in (("image", image.pooled), ("text", text.pooled)):
        grad = pooled.grad
        if kind in composer.reads:
            assert torch.isfinite(grad).all() and (grad.norm(dim=1) > 0).all()
        else:
            assert grad is None


@every_composer
def test_every_parameter_has_a_gradient_and_moves_after_one_step(name):
    """A zeroed output layer hides those behind it at the first step only."""
    composer = built(name).train()
    parameters = dict(composer.named_parameters())
    if not parameters:
        return
    goal = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD(composer.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        (1 - (composer(*features(rows=64)) * normalize(goal, dim=1)).sum(1)).mean().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters.values())
        if step == 1:
            assert [n for n, p in parameters.items() if p.grad.abs().max() == 0] == []
        optimizer.step()


@every_composer
def test_the_search_space_can_be_built(name):
    part = registry.load("composers", name)
    for key, space in spaces(resolve({"composer": name})).items():
        slot, _, argument = key.partition(".")
        for value in space.values if isinstance(space, Choice) else (space.low, space.high):
            if slot == "composer":
                part(**{argument: value})


def test_single_inputs():
    image, text = features()
    assert torch.equal(ImageOnly()(image, text), normalize(image.pooled, dim=1))
    assert torch.equal(TextOnly()(image, text), normalize(text.pooled, dim=1))


def test_sum_by_hand():
    image, text = ImageFeatures(torch.tensor([[3.0, 0.0]])), TextFeatures(torch.tensor([[0.0, 2.0]]))
    expected = torch.tensor([[0.25, 0.75]]) / math.hypot(0.25, 0.75)
    assert torch.allclose(Sum(0.75)(image, text), expected)
    raw = torch.tensor([[0.75, 1.5]]) / math.hypot(0.75, 1.5)
    assert torch.allclose(Sum(0.75, normalise=False)(image, text), raw)


def test_half_the_raw_sum_is_clip4cirs_sum():
    image, text = features()
    expected = normalize(image.pooled + text.pooled, dim=1)
    assert torch.allclose(Sum(0.5, normalise=False)(image, text), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_slerp_divides_the_angle(alpha, seed):
    image, text = features(seed=seed)
    query = Slerp(alpha)(image, text).double()
    r, t = normalize(image.pooled.double(), dim=1), normalize(text.pooled.double(), dim=1)
    assert torch.allclose(query.norm(dim=1), torch.ones(5).double(), atol=1e-5)
    whole = torch.acos((r * t).sum(1))
    assert torch.allclose((query * r).sum(1), torch.cos(alpha * whole), atol=1e-5)
    assert torch.allclose((query * t).sum(1), torch.cos((1 - alpha) * whole), atol=1e-5)


@pytest.mark.parametrize("weight, same", [(0.0, ImageOnly), (1.0, TextOnly)])
@pytest.mark.parametrize("part", [Sum, Slerp])
def test_the_ends_are_the_single_inputs(part, weight, same):
    assert torch.allclose(part(weight)(*features()), same()(*features()), atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slerp_of_parallel_features_is_finite_with_its_gradient(noise, sign):
    image, text = features()
    text.pooled = sign * 2 * image.pooled + noise * text.pooled
    image.pooled.requires_grad_()
    query = Slerp(0.3)(image, text)
    query.square().mul(torch.arange(WIDTH)).sum().backward()
    assert torch.isfinite(query).all() and torch.isfinite(image.pooled.grad).all()
    if sign > 0:
        assert torch.allclose(query, normalize(image.pooled, dim=1), atol=2e-2)


def test_slerp_and_its_chord_meet():
    """No jump where the arc gives way to the chord."""
    angle = math.acos(0.9995)
    image = ImageFeatures(torch.tensor([[1.0, 0.0]]))
    around = [
        TextFeatures(torch.tensor([[math.cos(a), math.sin(a)]])) for a in (angle * 0.999, angle * 1.001)
    ]
    chord, arc = (Slerp(0.3)(image, text) for text in around)
    assert torch.allclose(chord, arc, atol=1e-4)


def combiner(**options):
    composer = Combiner(projection=24, hidden=32, **options)
    torch.manual_seed(0)
    composer.build(WIDTH)
    return composer


def test_the_combiner_begins_as_the_sum():
    expected = Sum(0.5, normalise=False)(*features())
    assert torch.allclose(combiner()(*features()), expected, atol=1e-6)  # in training mode, with dropout
    assert not torch.allclose(combiner(start="random").eval()(*features()), expected, atol=1e-2)


def test_the_combiner_is_the_papers_formula():
    """CLIP4Cir's forward pass, as its repository writes it."""
    c, (image, text) = combiner(start="random").eval(), features()
    t, r = text.pooled, image.pooled
    raw = torch.cat((c.project_text(t).relu(), c.project_image(r).relu()), -1)
    gate = c.gate_output(c.gate_hidden(raw).relu()).sigmoid()
    expected = c.output(c.combine(raw).relu()) + gate * t + (1 - gate) * r
    assert torch.allclose(c(image, text), normalize(expected, dim=-1), atol=1e-6)
    assert not torch.allclose(gate, torch.full_like(gate, 0.5), atol=1e-3)


def test_published_size():
    composer = Combiner(2560, 5120, 0.5, "random")
    with torch.device("meta"):
        composer.build(512)
    assert round(sum(p.numel() for p in composer.parameters()) / 1e6, 1) == 57.7


def test_the_combiner_learns():
    """Queries that no convex sum reaches: the target is a rotation of the text."""
    image, text = features(rows=64)
    goal = normalize(text.pooled.roll(1, dims=1), dim=1)
    composer = combiner(dropout=0.0)
    optimizer = torch.optim.Adam(composer.parameters(), lr=1e-2)
    for _ in range(150):
        loss = (1 - (composer(image, text) * goal).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_mistakes_are_named():
    with pytest.raises(UserError, match="build"):
        Combiner()(*features())
    for part, options in (
        (Sum, {"weight": 1.5}),
        (Slerp, {"alpha": -0.1}),
        (Combiner, {"start": "zero"}),
        (Combiner, {"projection": 0}),
        (Combiner, {"dropout": 1.0}),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            part(**options)
