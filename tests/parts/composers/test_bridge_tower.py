"""The side tower against its formula, text by text, and where it starts."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.models.view import Towers
from clplat.parts.composers.bridge_tower import BridgeTower
from clplat.testing import ComposerContract, tiny_backbone
from clplat.testing.towers import features

TOWERS = Towers(tiny_backbone())


class TestBridgeTower(ComposerContract):
    """Of a narrow one."""

    def make(self) -> BridgeTower:
        return BridgeTower(width=8, heads=2)


def test_the_formula_by_hand_of_each_text_alone() -> None:
    torch.manual_seed(0)
    composer = BridgeTower(width=8, heads=2)
    composer.attach(TOWERS)
    composer.eval()
    image, text = features(tiny_backbone(), rows=3)
    start = normalize(image.pooled, dim=1) + normalize(text.pooled, dim=1)
    assert torch.equal(composer(image, text), start), "the sum at first"
    torch.nn.init.normal_(composer.out.weight)
    with torch.no_grad():
        found = composer(image, text)
        for row, end in enumerate(text.ends.tolist()):  # nothing behind the EOT counts
            shown, said = 0.0, 0.0
            for i in range(2):
                v = composer.from_image(image.hidden[i][row : row + 1])
                w = composer.from_text(text.hidden[i][row : row + 1, : end + 1])
                x, y = composer.image_bridges[i](shown + v), composer.text_bridges[i](said + w)
                shown, said = composer.shown[i](x, y), composer.said[i](y, x)
            both = torch.cat([shown[0, 0], said[0, -1]])
            assert torch.allclose(found[row], start[row] + composer.out(both), atol=1e-5)


def test_more_layers_than_blocks_are_refused() -> None:
    with pytest.raises(UserError, match="layers is 3; the towers have 2 blocks"):
        BridgeTower(layers=3).attach(TOWERS)
