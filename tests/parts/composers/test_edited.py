"""Added and removed phrases against the formulas in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.lexicon import CONTRASTS
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.edited import Edited
from clplat.testing import tiny_backbone

TOWERS = Towers(tiny_backbone())
PICTURES = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
COLOURS = sorted(next(group for group in CONTRASTS["adjective"] if "red" in group))


def composed(texts: list[str], **options: Any) -> Any:
    composer = Edited(**options)
    composer.attach(TOWERS)
    if composer.fits:
        composer.explained.copy_(torch.linspace(-1, 1, 24 * 24).view(24, 24))
    with torch.no_grad():
        return composer(ImageFeatures(pooled=PICTURES), TextFeatures(texts=texts)).double().numpy()


def said(text: str, template: str = "a photo of a *.") -> Any:
    return TOWERS.text([template.replace("*", text)]).pooled[0].detach().double().numpy()


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_rayans_sum_is_of_features_as_the_towers_give_them() -> None:
    found = composed(["has a red belt and no collar", "make it blue"], added=0.5, removed=2.0)
    r = PICTURES.double().numpy()
    expected = [r[0] + 0.5 * said("red belt") - 2.0 * said("collar"), r[1] + 0.5 * said("blue")]
    np.testing.assert_allclose(found, unit(np.stack(expected)), atol=1e-5)
    normed = composed(["red instead of blue"] * 2, normalise=True)
    np.testing.assert_allclose(normed, unit(unit(r) + unit(said("red")) - unit(said("blue"))), atol=1e-5)


def test_a_removed_direction_is_projected_out() -> None:
    found = composed(["is without stripes, no collar", "no bow"], removal="project", added=0.0)
    stripes, collar = said("stripes"), said("collar")
    assert abs(found[0] @ unit(stripes)) < 1e-5 and abs(found[0] @ unit(collar)) < 1e-5
    assert abs(found[1] @ unit(said("bow"))) < 1e-5 and abs(found[1] @ unit(stripes)) > 1e-3


def test_a_value_replaces_that_of_its_kind_which_the_picture_shows() -> None:
    """By ideal words: means over a table, of the value minus those of all its kind."""
    nouns = ["dress", "shoe"]
    table = {c: np.mean([unit(said(f"{c} {noun}")) for noun in nouns], axis=0) for c in COLOURS}
    words = {c: v - np.mean(list(table.values()), axis=0) for c, v in table.items()}
    r = unit(PICTURES.double().numpy())
    expected = []
    for row in r:
        old = max((c for c in COLOURS if c != "red"), key=lambda c: unit(words[c]) @ row)
        expected.append(row + words["red"] - words[old])
    found = composed(["make it red"] * 2, nouns=nouns, replaces=True, normalise=True)
    np.testing.assert_allclose(found, unit(np.stack(expected)), atol=1e-5)
    named = composed(["red instead of blue"] * 2, nouns=nouns, replaces=True, normalise=True)
    np.testing.assert_allclose(named, unit(r + words["red"] - words["blue"]), atol=1e-5)


def test_what_a_removed_text_explains_is_taken_away() -> None:
    found = composed(["red instead of blue"] * 2, removal="explained", normalise=True)
    matrix = np.linspace(-1, 1, 24 * 24).reshape(24, 24)
    expected = unit(PICTURES.double().numpy()) - unit(said("blue")) @ matrix + unit(said("red"))
    np.testing.assert_allclose(found, unit(expected), atol=1e-5)


def test_texts_known_by_their_ids_alone_are_refused() -> None:
    ids = TOWERS.tokenize(["make it red"])
    name = " ".join(map(str, ids[0, :6].tolist()))
    composer = Edited()
    composer.attach(TOWERS)
    with pytest.raises(UserError, match="known by their ids alone"):
        composer(ImageFeatures(pooled=PICTURES[:1]), TextFeatures(input_ids=ids, texts=[name]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"added": -1}, "at least 0"),
        ({"template": "a"}, r"one \*"),
        ({"removal": "cut"}, "allowed: subtract"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Edited(**options)
