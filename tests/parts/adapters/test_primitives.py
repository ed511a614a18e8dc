"""CoT by hand: the object guides the attribute, and the other way round it does not go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clplat.models.features import ImageFeatures
from clplat.parts.adapters.primitives import Primitives, _Experts
from clplat.randomness import generator
from clplat.testing import AdapterContract, tiny_backbone
from clplat.testing.towers import attached, train_a_little


class TestOfPatches(AdapterContract):
    def make(self) -> Primitives:
        return Primitives(rank=4, reads="patches")


def drawn(patches: bool) -> tuple[Any, ImageFeatures]:
    network: Any = _Experts([1, 0], 32, 3, 6, patches).double()
    draw = generator(0, "primitives")
    for parameter in network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    states, pooled, *hidden = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((1, 3, 32), (1, 6), (1, 5, 32), (1, 5, 32), (1, 5, 32))
    )
    return network, ImageFeatures(pooled=pooled, states=states, hidden=hidden)


@pytest.mark.parametrize("patches", [False, True])
def test_the_formula_by_hand(patches: bool) -> None:
    """Three layers, four patches."""
    network, found = drawn(patches)
    assert found.states is not None
    o = network.object.weight @ found.states[0, -1] + network.object.bias
    means = []
    for i, level in enumerate((1, 0)):
        rows = found.hidden[level][0, 1:] if patches else found.states[0, level][None]
        first, _, last = network.channels[i]
        inside = torch.relu(first.weight @ torch.cat([o, rows.mean(0)]) + first.bias)
        y = rows * torch.sigmoid(last.weight @ inside + last.bias)
        side = 2 if patches else 1
        maps = torch.stack([o.mean().expand(len(rows)), y.mean(1)]).view(2, side, side)
        kernel = network.places[i].weight[0]
        scale = torch.zeros(side, side, dtype=torch.float64)
        for row in range(side):
            for column in range(side):
                total = network.places[i].bias[0]
                reach = kernel.shape[-1] // 2
                for above in range(-reach, reach + 1):
                    for left in range(-reach, reach + 1):
                        if 0 <= row + above < side and 0 <= column + left < side:
                            weights = kernel[:, above + reach, left + reach]
                            total = total + weights @ maps[:, row + above, column + left]
                scale[row, column] = torch.sigmoid(total)
        means.append((rows + y * scale.flatten()[:, None]).mean(0))
    a = network.attribute(torch.cat(means))
    expected = found.pooled[0] + network.up(F.relu(network.both(torch.cat([o, a]))))
    torch.testing.assert_close(network(found)[0], expected)


def test_the_object_is_of_the_last_layer_alone() -> None:
    network, found = drawn(False)
    assert found.states is not None
    changed = found.states.clone()
    changed[:, :-1] += 1
    assert torch.equal(network.object(changed[:, -1]), network.object(found.states[:, -1]))
    assert not torch.equal(network(ImageFeatures(pooled=found.pooled, states=changed)), network(found))


def test_levels_are_below_the_last_and_the_text_tower_stays() -> None:
    backbone: Any = tiny_backbone()
    names = attached(Primitives(rank=4), backbone)
    assert backbone.readouts["default"]["image"].levels == [0]
    assert train_a_little(backbone) == set(names)
    for wrong in ({"rank": 0}, {"depths": []}, {"depths": [1.0]}, {"reads": "left"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Primitives(**wrong)  # type: ignore[arg-type]
