"""Attention among sentences by hand in float64, and texts of unequal numbers of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clplat.data.text_table import TextTable
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.cross_attention import CrossAttention
from clplat.parts.composers.selected_sentences import SelectedSentences
from clplat.parts.composers.sum import Sum
from clplat.randomness import seeded
from clplat.testing import tiny_backbone

TOWERS = Towers(tiny_backbone())
SHOWN = ImageFeatures(pooled=torch.ones(2, 24), keys=["a", "b"], captions=["a red bag", "a red shoe"])


def attached(**options: object) -> SelectedSentences:
    composer = SelectedSentences(**options)  # type: ignore[arg-type]
    with seeded(0, "test"):
        composer.attach(TOWERS)
    return composer.eval()


def unit(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return found


@torch.no_grad()
def test_the_formula_by_hand_for_unequal_numbers_of_sentences() -> None:
    composer = attached(ratio=0.4, heads=1)
    for parameter in composer.among.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    said, after = ["is blue", "is green"], [("one", "two"), ("three",)]
    found = composer.chosen(said, after).double().numpy()
    w = {name: p.double().numpy() for name, p in composer.among.named_parameters()}
    for i, texts in enumerate((["is blue", "one", "two"], ["is green", "three"])):
        s = unit(TOWERS.text(texts).pooled.double().numpy())
        maps = zip(np.split(w["in_proj_weight"], 3), np.split(w["in_proj_bias"], 3), strict=True)
        q, k, v = (s @ m.T + b for m, b in maps)
        scores = np.exp(q @ k.T / np.sqrt(24))
        read = (scores / scores.sum(1, keepdims=True)) @ v @ w["out_proj.weight"].T + w["out_proj.bias"]
        expected = (0.6 * s + 0.4 * unit(s + read)).mean(0)
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


@torch.no_grad()
def test_it_begins_as_the_mean_of_the_text_and_its_sentences(tmp_path) -> None:  # type: ignore[no-untyped-def]
    TextTable({("a", "x"): ("one", "two"), ("b", "y"): ("three",)}).write(tmp_path / "t.jsonl")
    composer = attached(inner=Sum(weight=0.3), texts=str(tmp_path / "t.jsonl"))
    found = composer(SHOWN, TextFeatures(texts=["x", "y"]))
    rows = torch.nn.functional.normalize(TOWERS.text(["x", "one", "two", "y", "three"]).pooled, dim=1)
    means = torch.stack([rows[:3].mean(0), rows[3:].mean(0)])
    assert torch.allclose(found, Sum(weight=0.3)(SHOWN.pooled, means), atol=1e-5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio in"):
        SelectedSentences(ratio=0.0)
    with pytest.raises(ValueError, match="pooled features"):
        SelectedSentences(CrossAttention())
    assert SelectedSentences(Combiner()).wants["image"] == {"pooled", "name"}
