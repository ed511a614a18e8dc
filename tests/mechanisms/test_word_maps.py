"""Maps to pseudo-words against loops by hand, and what each must not do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.word_details import Attributes, Intent, Neighbours
from clplat.mechanisms.word_maps import Prefixes, SoftVocabulary
from clplat.randomness import generator, seeded


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, "word maps", *shape))


@pytest.fixture(autouse=True)
def _drawn_from_a_seed() -> object:
    with seeded(0, "word maps"):
        yield


def test_a_transformer_gives_what_it_makes_of_its_prefixes() -> None:
    made, pooled = Prefixes(24, 2, 48, depth=1, heads=4).eval(), drawn(3, 24)
    shown = made.tokens(pooled).view(3, 2, 48)
    x = made.layers(torch.cat([shown, made.prefix.expand(3, 2, 48)], dim=1))
    torch.testing.assert_close(made(pooled).view(3, 2, 48), x[:, 2:])


def test_a_word_is_a_mixture_of_rows_of_the_table() -> None:
    made, pooled = SoftVocabulary(24, 2, 48, size=5).eval(), drawn(3, 24)
    scores = made.norm((pooled @ made.head.weight.T).view(3, 2, 5))
    shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(made(pooled).view(3, 2, 48), torch.einsum("bws,sd->bwd", shares, made.table))
    assert made.entropy is not None and 0 < float(made.entropy) <= math.log(5)


def test_the_text_filters_what_becomes_a_word_and_patches_come_in_by_a_gate() -> None:
    made = Intent(32, 24, 48, hidden=8, dropout=0.0, depth=1)
    whole, patches, text = drawn(2, 32), drawn(2, 4, 32), drawn(2, 24)
    weight = made.turns.weight
    torch.testing.assert_close(made(whole, patches, text), made.whole((whole @ weight.T) * made.asks(text)))
    assert torch.equal(made(whole, patches, text), made(whole, 2 * patches, text)), (
        "the gate is shut at first"
    )
    with torch.no_grad():
        made.gate.fill_(1.0)
    assert not torch.allclose(made(whole, patches, text), made(whole, drawn(2, 5, 32), text))


def test_attributes_are_those_that_fit_the_picture_in_their_own_order() -> None:
    made = Attributes(32, 24, 48, hidden=8, dropout=0.0, count=6, top=3, least=0.2, depth=1).eval()
    pooled, tokens = 0.5 * drawn(4, 24), drawn(4, 5, 32)
    found = made(pooled, tokens)
    latents = made.layers(torch.cat([made.latents.expand(4, 6, 32), tokens], dim=1))[:, :6]
    shown = made.shows(latents)
    counts = set()
    for row in range(4):
        shares = (shown[row] @ pooled[row]).softmax(0)
        best = shares.argsort(descending=True)[:3]
        chosen = sorted(i for i in best.tolist() if shares[i] > 0.2) or [int(best[0])]
        words = torch.stack([made.attribute(normalize(shown[row, i], dim=0)) for i in chosen])
        assert found.present is not None and bool(found.present[row, 0])
        torch.testing.assert_close(found.vectors[row, 1:][found.present[row, 1:]], words)
        counts.add(len(chosen))
    assert len(counts) > 1, "pictures differ in how many there are"
    torch.testing.assert_close(found.vectors[:, 0], made.subject(pooled))


def test_neighbours_are_asked_without_residuals_and_nobody_is_its_own() -> None:
    made = Neighbours(24, 48, hidden=8, texts=drawn(5, 24), dropout=0.0, near=2, size=4)
    pooled = drawn(3, 24)
    words, own = made(pooled), made.own(pooled)
    torch.testing.assert_close(words[:, 2], own)
    word = own[:1, None]
    for layer in made.asks_pictures:  # in training the two other pictures of the batch
        word = layer(word, own[None, 1:], own[None, 1:], need_weights=False)[0]
    torch.testing.assert_close(words[0, 0], word[0, 0])
    made.eval()
    alone = made(pooled[:1])
    made.fit(drawn(9, 24))
    assert int(made.filled) == 4 and not torch.allclose(made(pooled[:1]), alone)
    texts = made.texts[(normalize(pooled[0], dim=0) @ normalize(made.texts, dim=1).T).topk(2).indices]
    word = made.own(pooled[:1])[:, None]
    for layer in made.asks_texts:
        word = layer(word, made.own(texts)[None], made.own(texts)[None], need_weights=False)[0]
    torch.testing.assert_close(made(pooled)[0, 1], word[0, 0])
