"""Queries in text space against their formulas, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.data.text_table import TextTable
from clplat.errors import UserError
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.direction import Direction
from clplat.parts.composers.rewritten import Rewritten
from clplat.testing import tiny_backbone

TOWERS = Towers(tiny_backbone())
SHOWN = ImageFeatures(
    pooled=torch.randn(2, 24, generator=torch.Generator().manual_seed(0)),
    keys=["bag@12-7", "hat"],
    captions=["a red bag", "a small hat"],
)
ASKED = TextFeatures(texts=["is blue", "is large"])
ROWS = {
    ("bag", ""): ("a bag", "a red one"),
    ("bag", "is blue"): ("a blue bag", "a bag in blue", "blue"),
    ("hat", ""): ("a hat",),
    ("hat", "is large"): ("a large hat",),
}


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def said(*texts: str) -> Any:
    with torch.no_grad():
        return unit(TOWERS.text(texts).pooled.double().numpy())


def attached(**options: Any) -> Rewritten:
    composer = Rewritten(**options)
    composer.attach(TOWERS)
    return composer.eval()


@pytest.fixture
def table(tmp_path):
    TextTable(ROWS).write(tmp_path / "texts.jsonl")
    return str(tmp_path / "texts.jsonl")


@torch.no_grad()
def test_the_stand_in_rewrites_the_streams_captions() -> None:
    np.testing.assert_allclose(
        attached()(SHOWN, ASKED).double(), said("a blue bag", "a large hat"), atol=1e-6
    )


@torch.no_grad()
def test_several_captions_rank_as_the_mean_of_their_similarities(table) -> None:
    query = attached(texts=table)(SHOWN, ASKED).double().numpy()
    mean = said(*ROWS["bag", "is blue"]).mean(0)
    np.testing.assert_allclose(query[0], unit(mean), atol=1e-6)
    gallery = unit(np.random.default_rng(0).normal(size=(50, 24)))
    each = (said(*ROWS["bag", "is blue"]) @ gallery.T).mean(0)
    assert (np.argsort(-each) == np.argsort(-(query[0] @ gallery.T))).all()
    first = attached(texts=table, number=1)(SHOWN, ASKED).double()
    np.testing.assert_allclose(first, said("a blue bag", "a large hat"), atol=1e-6)


@torch.no_grad()
def test_divergent_weights_by_hand(table) -> None:
    composer = attached(texts=table, weights="divergent", temperature=0.1, top=3, bank=16)
    equal = attached(texts=table)(SHOWN, ASKED)
    assert torch.allclose(composer(SHOWN, ASKED), equal, atol=1e-6), "without training data weights are equal"
    target = torch.randn(40, 24, generator=torch.Generator().manual_seed(1))
    composer.fit(target, target, target)
    bank = unit(target.double().numpy()[np.linspace(0, 39, 16).round().astype(int)])
    after, before = said(*ROWS["bag", "is blue"]), said("a bag", "a red one", "a bag")
    lost = np.sort(np.maximum((before - after) @ bank.T, 0), axis=1)[:, ::-1][:, :3].sum(1)
    weights = np.exp(lost / lost.max() / 0.1)
    found = composer(SHOWN, ASKED).double().numpy()
    np.testing.assert_allclose(found[0], unit(weights / weights.sum() @ after), atol=1e-5)
    np.testing.assert_allclose(composer(SHOWN.part([0]), ASKED.part([0])).double()[0], found[0], atol=1e-6)


@torch.no_grad()
def test_the_direction_of_a_rewriting_is_pdv() -> None:
    composer = Direction(Rewritten(), image=0.7, text=1.3, share=0.4)
    composer.attach(TOWERS)
    plain, after, r = (
        said("a red bag", "a small hat"),
        said("a blue bag", "a large hat"),
        SHOWN.pooled.double(),
    )
    change = after - plain
    expected = 0.6 * unit(r.numpy() + 0.7 * change) + 0.4 * unit(plain + 1.3 * change)
    np.testing.assert_allclose(composer(SHOWN, ASKED).double(), expected, atol=1e-6)


def test_what_is_not_known_is_told(table) -> None:
    with pytest.raises(UserError, match="texts of picture 'hat' and text 'is green'"):
        attached(texts=table)(SHOWN, TextFeatures(texts=["is blue", "is green"]))
    with pytest.raises(UserError, match="picture 'hat' has no caption"):
        attached()(ImageFeatures(keys=["hat"], captions=[""]), ASKED.part([0]))
    with pytest.raises(ValueError, match="no such file"):
        Rewritten(texts="nowhere.jsonl")
    with pytest.raises(ValueError, match="top"):
        Rewritten(top=0)
