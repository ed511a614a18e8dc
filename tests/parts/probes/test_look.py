"""Opposite prompts on whole and damaged pictures, by a model that reads pixels, and what quality explains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clplat.data.records import Gallery, Item, Picture, Protocol, Query, RetrievalSet
from clplat.parts.probes import Look
from clplat.testing import ProbesContract


class TestLook(ProbesContract):
    def make(self) -> Look:
        return Look(most=4)


def chequered(key: str, light: int) -> Picture:
    cells = np.indices((24, 24)).sum(0) // 4 % 2
    pixels = np.stack([cells * light, cells * light // 2, cells * 20], 2).astype(np.uint8)
    return Picture(key, lambda: Image.fromarray(pixels))


def seen(pictures: Any) -> torch.Tensor:
    """Light, contrast of neighbours, and colour, of unit length with a fourth number."""
    rows = []
    for picture in pictures:
        x = np.asarray(picture.load(), dtype=np.float64) / 255
        rows.append([x.mean(), np.abs(np.diff(x.mean(2), axis=1)).mean(), x.std(2).mean()])
    return torch.tensor(rows).float()


AXES = {"Bright photo.": 0, "Sharp photo.": 1, "Colorful photo.": 2, "Good photo.": 0}


def said(texts: Any) -> torch.Tensor:
    rows = torch.zeros(len(texts), 3)
    for i, text in enumerate(texts):
        if text in AXES:
            rows[i, AXES[text]] = 1.0
    return rows


def view(first: list[int]) -> Any:
    pictures = [chequered(str(i), 120 + 30 * i) for i in range(4)]
    queries = tuple(Query(str(i), pictures[i], "brighter", (str((i + 1) % 4),)) for i in range(4))
    held = RetrievalSet(queries, Gallery("g", [Item.of(picture) for picture in pictures]), Protocol("p"))
    rows = torch.tensor(first)[:, None]
    return SimpleNamespace(sets={"one": held}, images=seen, texts=said, nearest=lambda name, k: rows)


def test_a_model_that_sees_light_edges_and_colour_tells_every_copy() -> None:
    found = Look(k=1).measure(view([1, 2, 3, 0]))
    assert [found[name] for name in ("sharp", "bright", "colourful", "told apart")] == [100.0] * 4
    shares = torch.sigmoid(100.0 * seen([chequered(str(i), 120 + 30 * i) for i in range(4)])[:, 0])
    assert found["quality"] == pytest.approx(100.0 * float(shares.double().mean()), abs=1e-3)
    assert found["failures"] == 50.0, "none failed"


def test_failures_count_pairs_of_answered_and_missed_references() -> None:
    shares = [1, 2, 3, 4]  # in the order of their light
    hits = [False, True, False, True]
    answered = view([0, 2, 0, 0])  # right for the second and fourth
    pairs = [
        a > b
        for a, hit in zip(shares, hits, strict=True)
        if hit
        for b, no in zip(shares, hits, strict=True)
        if not no
    ]
    assert Look(k=1).measure(answered)["failures"] == pytest.approx(100.0 * sum(pairs) / len(pairs))


@pytest.mark.parametrize("wrong", [{"most": 0}, {"k": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Look(**wrong)
