"""Layer decay: rates of blocks by hand."""

from __future__ import annotations

import pytest

from strategies import LayerDecay

PLACES = ["visual.conv1.weight", *(f"visual.transformer.resblocks.{i}.ln_1.bias" for i in range(3))]


def test_a_block_lower_is_slower_by_the_factor() -> None:
    names = [f"backbone.model.{place}" for place in PLACES]
    groups = LayerDecay(factor=0.5).groups([*names, "composer.gate"])
    rates = {name: group.lr_factor for group in groups for name in group.names}
    assert rates == dict(zip(names, (1 / 16, 1 / 8, 1 / 4, 1 / 2), strict=True)), (
        "the rest has the whole rate"
    )


def test_a_wrong_factor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"factor must be in \(0, 1\], not 0"):
        LayerDecay(factor=0)
