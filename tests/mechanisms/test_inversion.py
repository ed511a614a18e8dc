"""Words found by gradient steps, against a loop over pictures by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from clplat.errors import UserError
from clplat.mechanisms.concepts import Concepts
from clplat.mechanisms.inversion import TEMPLATES, Inversion, Inverted
from clplat.mechanisms.pseudo_words import Sentences, Template
from clplat.models.view import Towers
from clplat.randomness import generator
from clplat.testing import tiny_backbone

PHRASES = {"dog": ["a dog runs", "no animal"], "cat": ["the cat of a cat"], "cow": ["nothing of it"]}


@pytest.fixture(scope="module")
def towers() -> Towers:
    return Towers(tiny_backbone())


def inverted(towers: Towers, steps: int = 3, **options: float) -> Inverted:
    reader = Sentences(towers)
    concepts = Concepts(towers, reader, PHRASES) if options.get("phrases") else None
    template = Template(towers, "a photo of * that")
    return Inverted(template, 48, steps, Inversion(**options), reader, concepts)  # type: ignore[arg-type]


def features(rows: int = 2) -> Tensor:
    return torch.randn(rows, 24, generator=generator(0, "inversion test", rows))


def test_the_loss_of_phrases_counts_beside_that_of_the_picture_and_words_are_averaged(towers: Towers) -> None:
    pooled, reader = features(), Sentences(towers)
    found = inverted(towers, phrases=0.5, average=0.9, concepts=1)(["a", "b"], pooled)
    names = ["a photo of a cat", "a photo of a dog"]
    best = cosine_similarity(pooled[:, None], towers.text(names).pooled[None], dim=2).argmax(1)
    for row, key in enumerate("ab"):
        said = [("the cat of a cat", "the * of a cat"), ("a dog runs", "a * runs")][int(best[row])]
        draw = generator(0, "inversion", key)
        word = torch.empty(1, 48).normal_(std=0.02, generator=draw)[None].requires_grad_()
        mean, optimizer = word.detach().clone(), torch.optim.AdamW([word], lr=0.02, weight_decay=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            away = 1 - cosine_similarity(reader(["a photo of *"], word), pooled[row : row + 1])
            phrase = 1 - cosine_similarity(reader([said[1]], word), towers.text([said[0]]).pooled)
            ((away + 0.5 * phrase) / 1.5).sum().backward()
            optimizer.step()
            mean = 0.9 * mean + 0.1 * word.detach()
        torch.testing.assert_close(found[row], mean[0], atol=1e-5, rtol=1e-4)


def test_sentences_vary_and_noise_is_each_pictures_own(towers: Towers) -> None:
    pooled = features()
    plain = inverted(towers)(["a", "b"], pooled)
    varied = inverted(towers, varied=True)(["a", "b"], pooled)
    noisy = inverted(towers, noise=0.5)
    both, again = noisy(["a", "b"], pooled), inverted(towers, noise=0.5)(["b"], pooled[1:])
    assert len(set(TEMPLATES)) == 20 and all(text.count("*") == 1 for text in TEMPLATES)
    assert not torch.allclose(plain, varied) and not torch.allclose(plain, both)
    torch.testing.assert_close(both[1:], again, atol=1e-5, rtol=1e-4)


def test_words_are_those_of_the_version_that_saw_the_picture(towers: Towers) -> None:
    found, (first, second) = inverted(towers), features()
    before = found(["a"], first[None])
    assert torch.equal(found(["a"], first[None] * (1 + 1e-7)), before), "rounding does not move it"
    after = found(["a"], second[None])
    torch.testing.assert_close(after, inverted(towers)(["a"], second[None]))
    assert not torch.allclose(before, after)
    unnamed = found(["", ""], torch.stack([first, second]))
    assert not torch.allclose(unnamed[0], unnamed[1]), "pictures without a name are not one"


def test_phrases_of_a_file_and_what_no_file_can_be(towers: Towers, tmp_path: Path) -> None:
    reader, file = Sentences(towers), tmp_path / "phrases.json"
    file.write_text(json.dumps(PHRASES))
    assert Concepts.read(towers, reader, str(file)).phrases == {
        "dog": ["a dog runs"],
        "cat": ["the cat of a cat"],
    }
    file.write_text("[1]")
    with pytest.raises(UserError, match="must be an object of lists"):
        Concepts.read(towers, reader, str(file))
    with pytest.raises(UserError, match="cannot be read"):
        Concepts.read(towers, reader, str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="no phrase"):
        Concepts(towers, reader, {"cow": ["nothing"]})
    assert len(Concepts.read(towers, reader, None).nearest(normalize(features(), dim=1), 3)[0]) == 3


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="average < 1"):
        Inversion(average=1.0)
    with pytest.raises(ValueError, match="lr > 0"):
        Inversion(lr=0.0)
