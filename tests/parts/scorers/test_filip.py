"""Late interaction against a slow loop, masks, and what it cannot work with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.token_choice import merged_tokens
from clplat.mechanisms.transport import transported
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.parts.heads.matryoshka import Matryoshka
from clplat.parts.projections.procrustes import Procrustes
from clplat.parts.prompts.deep import DeepPrompt
from clplat.parts.scorers.filip import Filip, late_interaction
from clplat.randomness import generator
from clplat.retriever import ComposedRetriever
from clplat.testing import ScorerContract, tiny_backbone, tiny_collate, tiny_domains, tiny_retriever


class TestQueryToItem(ScorerContract):
    def make(self) -> Filip:
        return Filip(vectors=9)


class TestTransport(ScorerContract):
    def make(self) -> Filip:
        return Filip(vectors=4, words="sets", match="transport")


class TestBothDirections(ScorerContract):
    def make(self) -> Filip:
        return Filip(vectors=4, direction="both")


def sets(count: int, most: int, width: int, name: str) -> Tensor:
    """Unit vectors (count, most, width); every second set has a member less."""
    rows = torch.nn.functional.normalize(torch.randn(count, most, width, generator=generator(0, name)), dim=2)
    rows[::2, -1] = 0.0
    return rows


def slow(query: Tensor, item: Tensor) -> float:
    mine = [v for v in query.double() if v.any()]
    theirs = [v for v in item.double() if v.any()]
    return sum(max(float(a @ b) for b in theirs) for a in mine) / len(mine)


@pytest.mark.parametrize("both", [False, True])
def test_scores_are_those_of_a_slow_loop(both):
    queries, items = sets(5, 4, 8, "q"), -sets(7, 3, 8, "g").abs()  # all cosines with some are negative
    found = late_interaction(queries, items, both=both)
    for i, query in enumerate(queries):
        for j, item in enumerate(items):
            expected = (slow(query, item) + slow(item, query)) / 2 if both else slow(query, item)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)


def test_only_the_words_that_an_item_answers_best_count_in_focus():
    queries, items = sets(5, 4, 8, "q"), sets(7, 3, 8, "g")
    found = late_interaction(queries, items, focus=2)
    for i, query in enumerate(queries.double()):
        for j, item in enumerate(items.double()):
            best = sorted(max(float(a @ b) for b in item if b.any()) for a in query if a.any())[-2:]
            assert float(found[i, j]) == pytest.approx(sum(best) / len(best), abs=1e-6)
    assert torch.equal(late_interaction(queries, items, focus=9), late_interaction(queries, items))


def test_memory_is_bounded_and_makes_no_difference(monkeypatch):
    queries, items = sets(5, 4, 8, "q"), sets(7, 3, 8, "g")
    whole = late_interaction(queries, items)
    monkeypatch.setattr("clplat.parts.scorers.filip._CELLS", 1)
    assert torch.allclose(late_interaction(queries, items), whole, atol=1e-6)


def test_vectors_are_tokens_in_the_joint_space_by_hand():
    backbone = tiny_backbone().eval()
    scorer = Filip(vectors=10)
    scorer.attach(Towers(backbone))
    batch = tiny_collate()(tiny_domains()[0].train[:2])
    image = backbone.image(batch.pictures.pixels[:2], {"pooled", "tokens"})
    text = backbone.text(batch.texts.ids, {"pooled", "tokens"})
    rows = scorer.item(image, lambda found: found.pooled).view(2, 10, 24)
    patches = torch.nn.functional.normalize(image.tokens @ backbone.model.visual.proj, dim=-1)
    assert torch.allclose(rows[:, :4], patches) and not rows[:, 4:].any()
    words = scorer.text(text).view(2, 10, 24)
    for i, end in enumerate(text.ends.tolist()):
        own = torch.nn.functional.normalize(
            text.tokens[i, 1 : end + 1] @ backbone.model.text_projection, dim=-1
        )
        assert torch.allclose(words[i, :end], own, atol=1e-6) and not words[i, end:].any()
        # The last word of a text is its EOT, whose projection is the pooled feature.
        pooled = torch.nn.functional.normalize(text.pooled[i], dim=0)
        assert torch.allclose(words[i, end - 1], pooled, atol=1e-5)
    query = scorer.query(image, text, Sum()).view(2, 10, 24)
    one = Sum()(
        ImageFeatures(pooled=image.pooled[:1]),
        TextFeatures(pooled=text.tokens[:1, 1] @ backbone.model.text_projection),
    )
    assert torch.allclose(query[0, 0], torch.nn.functional.normalize(one[0], dim=0), atol=1e-5)


def test_a_long_text_keeps_its_first_words_and_its_end():
    scorer = Filip(vectors=3)
    scorer.attach(Towers(tiny_backbone()))
    ends = torch.tensor([5, 2])
    text = TextFeatures(
        pooled=torch.zeros(2, 24), tokens=torch.randn(2, 6, 48, generator=generator(1, "t")), ends=ends
    )
    words, real = scorer._words(text)
    expected = scorer.towers.joint_words(text.tokens[0, [1, 2, 5]])
    assert torch.allclose(words[0], expected) and real.tolist() == [[True, True, True], [True, True, False]]


@pytest.mark.parametrize("parts", [{"head": Matryoshka()}, {"projection": Procrustes()}])
def test_heads_and_projections_refuse_several_vectors_in_one_line(parts):
    with pytest.raises(UserError, match="several vectors an item"):
        ComposedRetriever(tiny_backbone(), Sum(), scorer=Filip(), **parts)


def test_without_a_gradient_from_masked_vectors():
    retriever = tiny_retriever(Full(), composer=Sum(), scorer=Filip(vectors=10)).train()
    outputs = retriever(tiny_collate()(tiny_domains()[0].train[:4]))
    (slope,) = torch.autograd.grad(outputs.scores().sum(), outputs.query)
    missing = ~outputs.query.view(4, 10, 24).any(2)
    assert missing.any() and not slope.view(4, 10, 24)[missing].any()


def test_patches_are_merged_or_are_values_and_a_query_may_be_whole() -> None:
    """The dense map by hand: values and output layer of the last attention, then norm and projection."""
    backbone = tiny_backbone()
    scorer = Filip(vectors=3, fewer="merged", patches="values", words="whole")
    scorer.attach(Towers(backbone))
    pixels = torch.rand(2, 3, 16, 16, generator=generator(0, "values"))
    with torch.no_grad():
        seen = backbone.image(pixels, {"pooled", "hidden"})
        rows = scorer.vectors_of(scorer.item(seen, lambda image: image.pooled))
        visual = backbone.model.visual
        block = visual.transformer.resblocks[-1]
        inside = block.ln_1(seen.hidden[-2][:, 1:])
        dense = visual.ln_post(block.attn.out_proj(block.attn.v_proj(inside))) @ visual.proj
        alone = backbone.text(backbone.tokenize(["red", "a blue shoe"]))
        asked = scorer.vectors_of(scorer.query(seen, alone, lambda image, text: image.pooled + text.pooled))
    expected = torch.nn.functional.normalize(merged_tokens(dense, 3), dim=2)
    assert torch.allclose(rows, expected, atol=1e-6)
    whole = torch.nn.functional.normalize(seen.pooled + alone.pooled, dim=1)
    assert torch.equal(asked[:, 0], whole) and not asked[:, 1:].any()
    best = (whole[:, None] @ rows.mT)[:, 0].amax(1)
    assert torch.allclose(scorer.pairs(asked.flatten(1), rows.flatten(1)), best, atol=1e-6)


class TestMergedValues(ScorerContract):
    def make(self) -> Filip:
        return Filip(vectors=3, fewer="merged", patches="values", words="whole")


def test_a_query_has_a_vector_for_each_set_of_its_prompt_and_masses_are_carried() -> None:
    """PLOT: each context's feature composed with the picture, and the plan between them and the patches."""
    backbone = tiny_backbone()
    DeepPrompt(sets=(1, 2), depth=1, towers="text").attach(backbone)
    scorer = Filip(vectors=4, words="sets", match="transport", epsilon=0.2)
    retriever = ComposedRetriever(backbone, Sum(), scorer=scorer).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:3])
    with torch.no_grad():
        queries = retriever.encode_queries(batch.pictures.part([0, 1, 2]), batch.texts)
        items = retriever.encode_images(batch.pictures.part([3, 4]))
        shown, said = backbone.image(batch.reference).pooled, []
        for part in backbone.text_prompt.passes:
            backbone.text_prompt, sets = part, backbone.text_prompt
            said.append(backbone.text(batch.tokens).pooled)
            backbone.text_prompt = sets
    for i in range(3):
        for k in range(2):
            made = retriever.composer(
                ImageFeatures(pooled=shown[i : i + 1]), TextFeatures(pooled=said[k][i : i + 1])
            )
            unit = torch.nn.functional.normalize(made, dim=1)[0]
            torch.testing.assert_close(scorer.vectors_of(queries)[i, k], unit, atol=1e-5, rtol=1e-4)
    left, right = scorer.vectors_of(queries), scorer.vectors_of(items)
    cosines = torch.einsum("qkd,gld->qgkl", left, right)
    expected = transported(cosines[1, 0, :2], torch.ones(2).bool(), right[0].any(1), 0.2)
    torch.testing.assert_close(scorer.block(queries, items)[1, 0], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="vectors is 2, but the prompt has 3 sets"):
        Filip(vectors=2, words="sets").text(TextFeatures(sets=torch.zeros(1, 3, 4)))
