"""Side networks by hand, in float64 and loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.mechanisms.side_networks import LayerReader, Recurrence, Residual, chosen_layers, masked_mean
from clplat.randomness import generator


def drawn(module: Any) -> Any:
    draw = generator(0, "side")
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return module


def rows(*shape: int, name: str = "rows") -> Tensor:
    return torch.randn(shape, generator=generator(1, name), dtype=torch.float64)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("gate", ["learned", "confidence", "sum"])
def test_a_recurrence_by_hand(gate: Any, shared: bool) -> None:
    network = drawn(Recurrence(3, 4, lambda: Residual(4), gate, temperature=0.5, shared=shared))
    steps = [rows(2, 4, name=f"z{i}") for i in range(3)]
    expected = []
    for sample in range(2):
        h = steps[0][sample]
        for i, step in enumerate(steps):
            z = step[sample]
            if i > 0:
                if gate == "sum":
                    h = h + z
                else:
                    a = network.weights[i - 1] if gate == "learned" else network.weights @ (h * z)
                    g = 1 / (1 + torch.exp(-a / 0.5))
                    h = g * h + (1 - g) * z
            block = network.blocks[0 if shared else i]
            normed = (h - h.mean()) / (h.var(unbiased=False) + 1e-5).sqrt()
            normed = normed * block.norm.weight + block.norm.bias
            first, last = block.mlp[0], block.mlp[2]
            inside = first.weight @ normed + first.bias
            inside = 0.5 * inside * (1 + torch.erf(inside / 2**0.5))
            h = h + last.weight @ inside + last.bias
        expected.append(h)
    torch.testing.assert_close(network(steps), torch.stack(expected))
    assert len(network.blocks) == (1 if shared else 3)


def test_each_step_is_given_what_is_its_own() -> None:
    class Adds(nn.Module):
        def forward(self, h: Tensor, more: Tensor) -> Tensor:
            return h + more

    network = Recurrence(2, 1, Adds, "sum", shared=True)
    found = network([torch.zeros(1, 1), torch.ones(1, 1)], [(torch.tensor(10.0),), (torch.tensor(100.0),)])
    assert found.item() == 111.0


def test_a_reader_by_hand_and_what_is_missing_is_not_read() -> None:
    network = drawn(LayerReader(5, 3, queries=2, places=4))
    x = rows(1, 4, 5)
    normed = [(row - row.mean()) / (row.var(unbiased=False) + 1e-5).sqrt() for row in x[0]]
    normed = [row * network.norm.weight + network.norm.bias for row in normed]
    keys = [network.key.weight @ row + place for row, place in zip(normed, network.places, strict=True)]
    values = [network.value.weight @ row + network.value.bias for row in normed]
    read = []
    for query in network.queries:
        scores = torch.stack([query @ key for key in keys]) / 3**0.5
        shares = scores.exp() / scores.exp().sum()
        read.append(sum(share * value for share, value in zip(shares, values, strict=True)))
    torch.testing.assert_close(network(x)[0], sum(read) / 2)
    words = drawn(LayerReader(5, 3, queries=2))
    longer = torch.cat([x, rows(1, 2, 5, name="padding")], dim=1)
    missing = torch.tensor([[False] * 4 + [True] * 2])
    torch.testing.assert_close(words(longer, missing), words(x))


def test_means_end_at_the_eot_and_layers_end_with_the_last() -> None:
    x = rows(2, 3, 4)
    torch.testing.assert_close(masked_mean(x, torch.tensor([0, 1])), torch.stack([x[0, 0], x[1, :2].mean(0)]))
    assert torch.equal(masked_mean(x, None), x.mean(dim=1))
    assert chosen_layers(5, every=2) == [0, 2, 4] and chosen_layers(4, every=3) == [0, 3]
    assert chosen_layers(5, every=2, last=3) == [2, 4] and chosen_layers(2, last=9) == [0, 1]
