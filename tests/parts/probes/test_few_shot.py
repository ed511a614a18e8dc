"""Few shots of folders: what is drawn, a linear probe by hand, and the cache's formula."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clplat.data.folders import split_of
from clplat.errors import UserError
from clplat.parts.probes import FewShot
from clplat.parts.probes.few_shot import linear_probe
from clplat.testing import ProbesContract

COLOURS = {"red_ball": (200, 30, 30), "green_ball": (30, 200, 30)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two domains of two classes that differ in colour, with noise; some pictures of each split."""
    root, rng = tmp_path_factory.mktemp("few"), np.random.default_rng(0)
    for domain in ("drawn", "photo"):
        for name, colour in COLOURS.items():
            place = root / domain / name
            place.mkdir(parents=True)
            for i in range(16):
                pixels = np.clip(np.array(colour) + rng.normal(0, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return str(root)


class TestFewShot(ProbesContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: str) -> None:
        self.folder = folder

    def make(self) -> FewShot:
        return FewShot(self.folder, domains=["photo"], shots=(1, 2), draws=2, most=3)


def colours(pictures: Any) -> Tensor:
    rows = [np.asarray(one.load(), dtype=np.float64).mean((0, 1)) for one in pictures]
    return torch.nn.functional.normalize(torch.tensor(np.array(rows)), dim=1).float()


def said(texts: Any) -> Tensor:
    """Prompts that know one class alone: zero-shot is a guess."""
    return torch.tensor([[1.0, 0.0, 0.0] if "red" in text else [-1.0, 0.0, 0.0] for text in texts])


def test_shots_are_training_pictures_and_fewer_are_the_first_of_more(folder: str) -> None:
    probe: Any = FewShot(folder, domains=["drawn"], shots=(4, 1), draws=3).build()[0]
    assert probe.texts == ("a photo of a green ball.", "a photo of a red ball.")
    assert probe.headline == "linear 4" and probe.group == "robustness"
    for one in probe.shown:
        held = split_of(one.picture.key.partition("@")[0].partition("#")[0])
        assert (held == "train") == one.support and held in ("train", "test")
    for draw in probe.drawn:
        for label, rows in enumerate(draw):
            assert len(rows) == len(set(rows)) == 4
            assert all(probe.shown[row].label == label and probe.shown[row].support for row in rows)
    assert len({str(draw) for draw in probe.drawn}) > 1, "draws differ"


def test_a_model_that_sees_colour_learns_from_one_shot(folder: str) -> None:
    one, two = FewShot(folder, shots=(1, 4)).build()
    assert (one.name, two.name) == ("few-shot/drawn", "few-shot/photo")
    found = one.measure(SimpleNamespace(images=colours, texts=said))  # type: ignore[arg-type]
    assert list(found) == ["zero", "linear 1", "cache 1", "linear 4", "cache 4"]
    assert found["zero"] == 50.0 and found["linear 1"] == found["linear 4"] == 100.0


def test_the_cache_by_loops(folder: str) -> None:
    probe: Any = FewShot(folder, domains=["photo"], shots=(2,), draws=1, most=4).build()[0]
    found = probe.measure(SimpleNamespace(images=colours, texts=said))
    rows, prompts = colours(probe.pictures).double(), said(probe.texts).double()
    hits: dict[int, list[bool]] = {0: [], 1: []}
    for x, one in zip(rows, probe.shown, strict=True):
        if one.support:
            continue
        logits = [float(100 * x @ prompt) for prompt in prompts]
        for label, chosen in enumerate(probe.drawn[0]):
            for row in chosen:
                logits[label] += float(torch.exp(-5.5 * (1 - x @ rows[row])))
        hits[one.label].append(logits.index(max(logits)) == one.label)
    assert found["cache 2"] == pytest.approx(sum(100 * sum(h) / len(h) for h in hits.values()) / 2)


def test_the_linear_probe_stands_where_its_gradient_is_zero() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(12, 5, generator=draw).double(), dim=1)
    y = torch.arange(12) % 3
    weights = linear_probe(x, y, 3, 7.0)
    shares = torch.softmax(7.0 * x @ weights.T, 1)
    gradient = 7.0 * (shares - torch.eye(3, dtype=torch.float64)[y]).T @ x + weights
    assert gradient.abs().max() < 1e-5 and weights.abs().max() > 0.1


def test_wrong_values_are_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        FewShot(folder, shots=(0, 1))
    with pytest.raises(ValueError, match="prompt needs"):
        FewShot(folder, prompt="a photo")
    with pytest.raises(UserError, match="no such folder"):
        FewShot(str(tmp_path / "none")).build()
    with pytest.raises(UserError, match="photo"):
        FewShot(folder, domains=["photos"]).build()
