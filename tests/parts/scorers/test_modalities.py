"""M3EL's score pair by pair: what both have is compared, what one lacks is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.scorers.modalities import Modalities
from clplat.testing import tiny_backbone


def cosine(x: Any, y: Any) -> Any:
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def test_the_formula_by_hand_for_every_kind_of_query_and_item() -> None:
    torch.manual_seed(0)
    weights = {"pictures": 1.0, "words": 2.0, "said": 0.5, "shown": 0.25}
    scorer = Modalities(**weights)
    scorer.attach(Towers(tiny_backbone()))
    for layer in (scorer.of_picture, scorer.of_words):
        torch.nn.init.normal_(layer.weight)
    g, t = (layer.weight.detach().double().numpy() for layer in (scorer.of_picture, scorer.of_words))
    shown, said = torch.randn(2, 3, 24)
    image, text = ImageFeatures(pooled=shown), TextFeatures(pooled=said)
    rows = {
        (True, True): scorer.query(image, text, ImageOnly()),
        (True, False): scorer.item(image, lambda found: found.pooled),
        (False, True): scorer.text(text),
    }
    for asked, query in rows.items():
        for held, items in rows.items():
            for i, j in ((0, 1), (2, 2)):
                r, m, v, h = (x.double().numpy() for x in (shown[i], said[i], shown[j], said[j]))
                compared = {
                    "pictures": (asked[0] and held[0], cosine(r, v)),
                    "words": (asked[1] and held[1], cosine(m, h)),
                    "said": (asked[1] and held[0], cosine(t @ m, g @ v)),
                    "shown": (asked[0] and held[1], cosine(g @ r, t @ h)),
                }
                there = {name: value for name, (both, value) in compared.items() if both}
                expected = sum(weights[name] * value for name, value in there.items())
                expected /= sum(weights[name] for name in there)
                found = scorer.block(query, items)[i, j].item()
                assert found == pytest.approx(expected, abs=1e-5), (asked, held)


def test_weights_must_count() -> None:
    with pytest.raises(ValueError, match="weights must be numbers above 0"):
        Modalities(words=0.0)
