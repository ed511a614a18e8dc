"""Full fine-tuning: which tensors it names."""

from __future__ import annotations

import re

import pytest

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.testing import tiny_backbone
from clplat.testing.towers import distance, embeddings, train_a_little


@pytest.mark.parametrize("towers", ["both", "image", "text"])
def test_full_fine_tuning(towers: str) -> None:
    backbone = tiny_backbone()
    before = embeddings(backbone)
    adapter = Full(towers=towers)
    names = adapter.attach(backbone)
    assert sorted(names) == sorted(name for name, p in backbone.named_parameters() if p.requires_grad)
    assert {name.startswith("model.visual.") for name in names} == {"both": {True, False}}.get(
        towers, {towers == "image"}
    )
    assert "model.token_embedding.weight" not in names and "model.logit_scale" not in names
    felt = {name for name in names if not any(re.search(part, name) for part in adapter.without_effect)}
    assert felt <= train_a_little(backbone), "a tensor is dead"
    assert distance(embeddings(backbone), before) > 1e-6


def test_full_fine_tuning_of_the_last_blocks() -> None:
    backbone = tiny_backbone()
    names = Full(last=1).attach(backbone)
    assert (
        "model.visual.proj" in names and "model.text_projection" in names and "model.ln_final.bias" in names
    )
    assert not any(".0." in name or "embedding" in name or "conv1" in name for name in names)
    assert "model.token_embedding.weight" in Full(embeddings=True).attach(backbone)
    with pytest.raises(UserError, match="no bare base"):
        Full().activate(backbone, None)
    with pytest.raises(ValueError, match="leave out 'last'"):
        Full(last=1, embeddings=True)
    Full().merge(backbone)


def test_the_projections_alone() -> None:
    assert sorted(Full(last=0).attach(tiny_backbone())) == ["model.text_projection", "model.visual.proj"]
    assert Full(towers="image", last=0).attach(tiny_backbone()) == ["model.visual.proj"]
