"""Domain cues: what a picture reads, what a growth freezes, and where cues begin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures
from clplat.parts.prompts.domain_cues import DomainCuesPrompt
from clplat.randomness import seeded
from clplat.testing import tiny_backbone

QUERY = torch.randn(4, 24, generator=torch.Generator().manual_seed(0))


def prompted(grown: int = 2, **options: Any) -> Any:
    backbone = tiny_backbone()
    with seeded(0, "cues"):
        sizes = {"length": 2, "depth": 2, "cues": 3, "width": 8, "heads": 1}
        DomainCuesPrompt(**{**sizes, **options}).attach(backbone)
        prompt: Any = backbone.image_prompt
        for _ in range(grown - 1):
            assert prompt.grow()
    return prompt.eval()


def open_reader(prompt: Any) -> None:
    for parameter in prompt.reader.out[1].parameters():  # zero at first
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))


def test_a_picture_reads_the_cues_of_all_domains_and_itself() -> None:
    """The reader is the one of `Decoder`, whose formula `test_conditioned` has by hand."""
    prompt = prompted()
    open_reader(prompt)
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    assert chosen.length == prompt.length == 2 and chosen(2) is None
    for row, q in enumerate(QUERY):
        members = torch.cat([prompt.grown[0], prompt.grown[1], (q / q.norm())[None]])
        c = prompt.vectors.flatten(0, 1)
        expected = (c + prompt.reader(c[None], members[None])[0]).view(2, 2, -1)
        for layer in (0, 1):
            torch.testing.assert_close(chosen(layer)[row], expected[layer], atol=1e-5, rtol=0)
    with torch.no_grad():
        prompt.grown[0].neg_()
    moved = prompt.begin(ImageFeatures(pooled=QUERY))
    assert not torch.allclose(moved(0), chosen(0), atol=1e-4), "old cues are read as well"


def test_at_first_the_vectors_alone() -> None:
    prompt = prompted()
    chosen = prompt.begin(ImageFeatures(pooled=QUERY))
    assert torch.equal(chosen(0), prompt.vectors[0].expand(4, -1, -1))


def test_a_growth_freezes_cues_and_leaves_what_all_share() -> None:
    trained = {name for name, p in prompted(grown=3).named_parameters() if p.requires_grad}
    assert "grown.2" in trained and not trained & {"grown.0", "grown.1"}
    assert "vectors" in trained and any(name.startswith("reader.") for name in trained)


def test_cues_begin_at_centres_of_their_domain() -> None:
    prompt = prompted(cues=1)
    before = prompt.grown[0].detach().clone()
    prompt.fit(QUERY)
    unit = QUERY.double().numpy() / np.linalg.norm(QUERY.double().numpy(), axis=1, keepdims=True)
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0))
    np.testing.assert_allclose(prompt.grown[1].detach().double().numpy()[0], mean, atol=1e-5)
    assert torch.equal(prompt.grown[0], before) and prompt.grown[1].requires_grad


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        DomainCuesPrompt(cues=0)
