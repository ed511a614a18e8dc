"""What a map to words is trained on beside pictures, against loops by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from clplat.mechanisms.pseudo_words import Sentences, joint_nce
from clplat.mechanisms.word_maps import Words
from clplat.mechanisms.word_tasks import (
    Tasks,
    masked_phrases,
    noisy,
    reconstruction,
    semantic,
    subject_and_rest,
    text_triplets,
    uncrossed,
)
from clplat.models.view import Towers
from clplat.randomness import seeded
from clplat.testing import tiny_backbone

CAPTIONS = ["a red dress with long sleeves", "dogs run", "running"]


@pytest.fixture(scope="module")
def towers() -> Towers:
    return Towers(tiny_backbone())


def words_of(pooled: Tensor) -> Tensor:
    """Any map of features to two words."""
    return torch.stack([pooled, 0.5 * pooled], dim=1).repeat(1, 1, 2)


def test_all_nouns_and_adjectives_give_way_and_a_caption_without_them_is_a_photo() -> None:
    assert [masked_phrases(caption) for caption in CAPTIONS] == ["* with *", "* run", "a photo of *"]
    assert masked_phrases("the dog, and another * dog") == "*, and *"
    assert subject_and_rest(CAPTIONS[0]) == ("a red dress", "with long sleeves")
    assert subject_and_rest("dogs run") == ("dogs run", "dogs run"), "short ones are both"
    assert subject_and_rest("in a large house") == ("in a large house", "in a large house"), "nothing follows"


def test_each_row_has_noise_of_a_size_of_its_own() -> None:
    rows = torch.ones(4, 5)
    with seeded(0, "noise"):
        found = noisy(rows, 2.0)
    with seeded(0, "noise"):
        share, drawn = torch.rand(4, 1), torch.randn(4, 5)
    assert torch.equal(found, rows + 2.0 * share * drawn)


def test_captions_are_read_again_with_words_of_their_own_feature(towers: Towers) -> None:
    goal = towers.text(CAPTIONS).pooled
    read = Sentences(towers)(["* with *", "* run", "a photo of *"], words_of(goal))
    expected = np.mean((read.double().numpy() - goal.double().numpy()) ** 2)
    found = reconstruction(towers, Sentences(towers), words_of, CAPTIONS, noise=0.0)
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)


def test_text_triplets_pull_sentences_to_what_the_frozen_tower_reads(towers: Towers) -> None:
    shown, answers, texts = CAPTIONS[:2], ["a blue dress", "cats sleep"], ["is blue", "are cats"]
    goal = towers.text([*answers, *shown]).pooled
    made = words_of(towers.text(shown).pooled).requires_grad_()
    reads = ["a photo of * that is blue", "a photo of * that are cats", "a photo of *", "a photo of *"]
    said = Sentences(towers)(reads, torch.cat([made, made]))
    expected = joint_nce(said, goal, ["a", "b", "c", "d"], 5.0)
    held = (shown, texts, answers)
    share = torch.ones((), requires_grad=True)
    reader, asked = Sentences(towers), lambda pooled: share * words_of(pooled)
    found = text_triplets(towers, reader, asked, held, noise=0.0, scale=5.0)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad, "the word passes no gradient, and this tower is frozen"


def test_words_stand_for_the_subject_for_the_rest_and_for_both(towers: Towers) -> None:
    vectors = torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, True, True], [True, False, True]])
    said, reader = towers.text(["x", "y"]).pooled, Sentences(towers)
    captions = [CAPTIONS[0], "a dog on a bed"]
    goal = towers.text(["a photo of a red dress with with long sleeves", "a photo of a dog with on a bed"])
    subject = reader(["a photo of * with with long sleeves", "a photo of * with on a bed"], vectors[:, :1])
    rest = torch.cat(
        [
            reader(["a photo of a red dress with *"], vectors[:1, 1:]),
            reader(["a photo of a dog with *"], vectors[1:, 2:]),
        ]
    )
    expected = sum((1 - cosine_similarity(one, goal.pooled)).mean() for one in (subject, rest, said))
    found = semantic(towers, reader, Words(vectors, present), said, captions)
    torch.testing.assert_close(found, expected)


def test_parts_that_differ_cost_nothing() -> None:
    parts = normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)).double(), dim=-1)
    expected = np.mean([(p @ p.T - np.eye(3)) ** 2 for p in parts.numpy()])
    np.testing.assert_allclose(float(uncrossed(parts)), expected, rtol=1e-9)
    assert float(uncrossed(torch.eye(3)[None])) == 0.0


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks.told must be at least 0, not -1"):
        Tasks(told=-1)
    assert Tasks(language=0.5, told=1.0).names == ("language", "told")
