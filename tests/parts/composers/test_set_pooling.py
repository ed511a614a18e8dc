"""Six ways to pool the parts of a picture, each by its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.composers.set_pooling import POOLS, SetPooling
from clplat.testing import tiny_backbone
from clplat.testing.towers import features

TOWERS = Towers(tiny_backbone())
IMAGE, TEXT = features(tiny_backbone(), rows=3)


def attached(**options: Any) -> SetPooling:
    torch.manual_seed(0)
    composer = SetPooling(**{"depth": 1, "heads": 2, **options})
    composer.attach(TOWERS)
    return composer.eval()


def members() -> Tensor:
    return torch.cat([IMAGE.pooled[:, None], TOWERS.joint_patches(IMAGE.tokens)], dim=1).double()


def joined(pooled: Tensor, weight: float = 0.5) -> Tensor:
    t = normalize(TEXT.pooled.double(), dim=1)
    return (1 - weight) * normalize(pooled.double(), dim=1) + weight * t


def test_clip_hitchhiker_weighs_the_members_by_the_text() -> None:
    found = attached(pool="scored", temperature=0.2, weight=0.3)(IMAGE, TEXT)
    rows, t = members(), normalize(TEXT.pooled.double(), dim=1)
    shares = (torch.einsum("bnd,bd->bn", normalize(rows, dim=2), t) / 0.2).softmax(1)
    assert torch.allclose(found.double(), joined(torch.einsum("bn,bnd->bd", shares, rows), 0.3), atol=1e-5)


def test_clip4clips_loose_heads_average_unit_rows_of_members_with_a_residual() -> None:
    assert torch.allclose(
        attached(pool="mean")(IMAGE, TEXT).double(), joined(normalize(members(), dim=2).mean(1)), atol=1e-5
    )
    for pool in ("lstm", "transformer"):
        composer, rows = attached(pool=pool), members().float()
        if pool == "lstm":
            changed = composer.sequence(rows)[0]
        else:
            changed = composer.sequence(rows + composer.positions)
        expected = joined(normalize(rows + changed, dim=2).mean(1))
        assert torch.allclose(composer(IMAGE, TEXT).double(), expected, atol=1e-5), pool


@pytest.mark.parametrize("parts", ["like", "unlike"])
def test_trim_keeps_what_stands_out_from_the_text_picture_by_picture(parts: str) -> None:
    found = attached(pool="mean", parts=parts)(IMAGE, TEXT)
    for i in range(3):
        patches = TOWERS.joint_patches(IMAGE.tokens)[i].double()
        sign = 1.0 if parts == "like" else -1.0
        cosines = sign * normalize(patches, dim=1) @ normalize(TEXT.pooled[i].double(), dim=0)
        low, high = (float(cosines.quantile(q)) for q in (0.25, 0.75))
        stays = (cosines > high + 1.5 * (high - low)) | (cosines == cosines.max())
        rows = torch.stack([IMAGE.pooled[i].double(), *patches[stays], patches[~stays].mean(0)])
        mean = normalize(rows, dim=1).mean(0, keepdim=True)
        assert torch.allclose(found[i : i + 1].double(), joined(mean.expand(3, -1))[i : i + 1], atol=1e-5)
        alone = attached(pool="mean", parts=parts)(IMAGE.part([i]), TEXT.part([i]))
        assert torch.allclose(alone[0], found[i], atol=1e-6), "neighbours decide nothing"


def test_the_tight_head_reads_the_texts_row_and_contra_the_pictures() -> None:
    tight, rows = attached(pool="tight"), members().float()
    text = TEXT.pooled[:, None]
    row = torch.cat([text + tight.types[0], rows + tight.types[1]], 1) + tight.positions
    assert torch.allclose(tight(IMAGE, TEXT).double(), joined(tight.sequence(row)[:, 0]), atol=1e-5)
    contra = attached(pool="context", target=True)
    held = rows + contra.positions + contra.types[1]
    seen = contra.sequence(torch.cat([held, text + contra.types[0]], 1))[:, 0]
    assert torch.allclose(contra(IMAGE, TEXT).double(), joined(rows[:, 0] + seen), atol=1e-5)
    expected = rows[:, 0] + contra.sequence(held)[:, 0]
    assert torch.allclose(contra.target(IMAGE), expected, atol=1e-5), "a candidate knows no text"


@pytest.mark.parametrize("pool", POOLS[2:])
def test_every_weight_is_drawn_apart_and_learns(pool: Any) -> None:
    composer = attached(pool=pool, depth=2).train()
    parameters = dict(composer.named_parameters())
    composer(IMAGE, TEXT).square().mul(torch.arange(24.0)).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.any()) for p in parameters.values())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="candidates know no text"):
        SetPooling(target=True)
    with pytest.raises(ValueError, match="allowed: mean, scored"):
        SetPooling(pool="sum")  # type: ignore[arg-type]
