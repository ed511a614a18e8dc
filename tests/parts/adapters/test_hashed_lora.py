"""One vector behind all factors: LoRA at full size, even use below it, and training that no scale upsets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clplat.mechanisms.hashed_factors import hashed
from clplat.mechanisms.low_rank import LowRank, LowRankSum, low_rank_layers
from clplat.parts.adapters.hashed_lora import HashedLoRA
from clplat.randomness import generator
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, embeddings, train_a_little


def layers() -> dict[str, nn.Linear]:
    return {"narrow": nn.Linear(8, 6), "wide": nn.Linear(20, 6)}


def made(size: int | None, piece: int = 4) -> dict[str, LowRank]:
    torch.manual_seed(0)
    own = layers()
    return {path: make(own[path]) for path, make in hashed(own, 2, 1.0, size, piece).items()}


def test_every_factor_is_read_from_the_vector_as_by_hand() -> None:
    changes: Any = made(16)
    shared = changes["wide"].shared
    assert shared is changes["narrow"].shared and shared.shape == (4, 4)
    shared.data.copy_(torch.randn(4, 4, generator=generator(0, "shared")))
    for change in changes.values():
        for factor, rows, scales in (
            (change.factors()[0], change.down_rows, change.down_scales),
            (change.factors()[1], change.up_rows, change.up_scales),
        ):
            by_hand = [
                float(shared[row, column].detach()) * float(scale)
                for row, scale in zip(rows.tolist(), scales, strict=True)
                for column in range(4)
            ]
            expected = torch.tensor(by_hand[: factor.numel()]).view_as(factor)
            torch.testing.assert_close(factor, expected)


def test_pieces_have_equally_many_users() -> None:
    changes: Any = made(24)
    for kind in ("down", "up"):
        users = torch.cat([getattr(change, f"{kind}_rows") for change in changes.values()])
        counts = users.unique(return_counts=True)[1]
        assert int(counts.max() - counts.min()) <= 1


def test_at_full_size_it_is_lora() -> None:
    """One user for each piece, factors of 1, and the same steps with the same start, under Adam."""
    changes: Any = made(None)
    for kind in ("down", "up"):
        users = torch.cat([getattr(change, f"{kind}_rows") for change in changes.values()])
        assert len(users.unique()) == len(users)
        assert all(bool((getattr(change, f"{kind}_scales") == 1).all()) for change in changes.values())
        assert all(bool((getattr(change, f"{kind}_gains") == 1).all()) for change in changes.values())
    lora = {path: LowRank(layer, 2) for path, layer in layers().items()}
    for path, change in lora.items():
        change.down.data.copy_(changes[path].factors()[0])
    x = {
        path: torch.randn(9, layer.in_features, generator=generator(0, path))
        for path, layer in layers().items()
    }
    for kind_of in (changes, lora):
        parameters = {id(p): p for change in kind_of.values() for p in change.parameters() if p.requires_grad}
        optimizer: Any = torch.optim.Adam([*parameters.values()], lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            sum((change(x[path]) - 1).square().sum() for path, change in kind_of.items()).backward()
            optimizer.step()
    for path, change in lora.items():
        torch.testing.assert_close(changes[path].delta(), change.delta())


def test_layers_begin_at_their_own_size_whatever_they_share() -> None:
    changes: Any = made(16)
    for path, layer in layers().items():
        largest = float(changes[path].factors()[0].abs().max())
        assert 0.5 * layer.in_features**-0.5 < largest <= layer.in_features**-0.5
        assert not changes[path].factors()[1].any()


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_vector_of_another_scale_trains_alike(scale: float) -> None:
    """A step of plain descent moves a piece's users, in the mean, by the weighted mean of their gradients."""
    changes: Any = made(16)
    shared = changes["wide"].shared
    for change in changes.values():  # as if the vector had begun smaller or larger by this
        change.down_scales.mul_(scale)
        change.down_gains.div_(scale**2)
    shared.data.div_(scale)
    before = {path: change.factors()[0].detach() for path, change in changes.items()}
    slopes = {path: torch.randn(b.shape, generator=generator(0, "slope", path)) for path, b in before.items()}
    sum((change.factors()[0] * slopes[path]).sum() for path, change in changes.items()).backward()
    shared.data.sub_(shared.grad)
    moved, expected = torch.zeros(4), torch.zeros(4)
    for path, change in changes.items():
        steps = (before[path] - change.factors()[0].detach()).view(-1, 4)[:, 0]
        own = slopes[path].view(-1, 4)[:, 0] * change.down_scales
        moved.index_add_(0, change.down_rows, steps)
        expected.index_add_(0, change.down_rows, own)
    users = torch.cat([change.down_rows for change in changes.values()])
    factors = torch.cat([change.down_scales for change in changes.values()])
    for row in users.unique():
        mine = users == row
        torch.testing.assert_close(
            moved[row] / mine.sum(), expected[row] / factors[mine].sum(), rtol=1e-3, atol=1e-5
        )


def test_all_layers_of_both_towers_share_one_trained_tensor() -> None:
    backbone = tiny_backbone()
    (name,) = attached(HashedLoRA(size=512, r=2), backbone)
    found = low_rank_layers(backbone)
    assert len(found) == 24 and backbone.get_parameter(name).numel() == 512
    assert all(isinstance(layer, LowRankSum) for layer in found.values())
    before = embeddings(backbone)
    train_a_little(backbone)
    after = embeddings(backbone)
    assert all(float((after[tower] - before[tower]).abs().max()) > 1e-4 for tower in before)
    with pytest.raises(ValueError, match="two pieces"):
        HashedLoRA(size=16, piece=16)
