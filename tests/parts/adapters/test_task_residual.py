"""TaskRes by hand: the shared vector, and those of a text's tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.parts.adapters.task_residual import TaskResidual
from clplat.testing import AdapterContract, tiny_backbone
from clplat.testing.towers import attached, embeddings


class TestOneVector(AdapterContract):
    def make(self) -> TaskResidual:
        return TaskResidual(rows=0)


def test_the_formula_by_hand_token_by_token() -> None:
    backbone = tiny_backbone()
    texts = ["a red shoe", "blue"]
    ids = backbone.tokenize(texts)
    bare, ends = backbone.text(ids).pooled.detach(), backbone.text_ends(ids)
    attached(TaskResidual(rows=5, scale=0.5), backbone)
    readout: Any = backbone.readouts["default"]["text"]
    torch.nn.init.normal_(readout.shared)
    torch.nn.init.normal_(readout.words)
    found = backbone.text(ids).pooled.detach()
    for i, row in enumerate(ids.tolist()):
        said = row[: int(ends[i]) + 1]
        mean = sum(readout.words[token % 5].detach() for token in said) / len(said)
        expected = bare[i] + 0.5 * (readout.shared.detach() + mean)
        assert torch.allclose(found[i], expected, atol=1e-5)


def test_pictures_stay_and_texts_of_embeddings_get_what_all_share() -> None:
    backbone = tiny_backbone()
    before = embeddings(backbone)
    ids = backbone.tokenize(["a red shoe"])
    given = backbone.embed_text(ids), backbone.text_ends(ids)
    bare = backbone.text_from_embeddings(*given).pooled.detach()
    attached(TaskResidual(rows=5, scale=2.0), backbone)
    readout: Any = backbone.readouts["default"]["text"]
    for vectors in readout.parameters():
        torch.nn.init.normal_(vectors)
    assert torch.equal(embeddings(backbone)["image"], before["image"])
    moved = backbone.text_from_embeddings(*given).pooled.detach() - bare
    assert torch.allclose(moved, 2.0 * readout.shared.detach()[None], atol=1e-5)


@pytest.mark.parametrize("wrong", [{"rows": -1}, {"scale": 0.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs rows"):
        TaskResidual(**wrong)
