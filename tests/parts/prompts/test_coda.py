"""CODA-Prompt against its formula: per sample, in the attention, and over growths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.models.attention import SplitAttention
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.coda import CodaPrompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_loss


def prompted(**options: Any) -> Backbone:
    backbone = tiny_backbone()
    with seeded(0, "coda"):
        CodaPrompt(**{"components": 3, "length": 4, "depth": 1, **options}).attach(backbone)
    return backbone


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_formula_by_hand() -> None:
    """p = sum_m cos(q * A_m, K_m) P_m, of components of two growths, in float64."""
    prompt: Any = prompted().image_prompt
    with seeded(1, "coda"):
        prompt.grow()
    query = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    chosen = prompt.begin(ImageFeatures(pooled=query))
    kept = [(g.prompts, g.keys, g.attention) for g in prompt.grown]
    for row, q in enumerate(query.double().numpy()):
        expected = np.zeros(4 * 32)
        for p, k, a in ([part[0].detach().double().numpy() for part in parts] for parts in kept):
            for m in range(3):
                expected += cosine(q * a[m], k[m]) * p[m]
        keys, values = chosen.prefix(0)
        found = torch.cat([keys[row], values[row]]).flatten().detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert chosen.prefix(1) is None and chosen(0) is None


def test_a_prefix_is_attended_to_and_never_hidden() -> None:
    """Attention with two more keys and values, head by head, under a causal mask."""
    torch.manual_seed(0)
    attention = SplitAttention(torch.nn.MultiheadAttention(8, 2, batch_first=True)).eval()
    x, keys, values = torch.randn(2, 3, 8), torch.randn(2, 2, 8), torch.randn(2, 8)
    hidden = torch.full((3, 3), -torch.inf).triu(1)
    banned = hidden.isinf()
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    out = torch.zeros(2, 3, 8)
    for row in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            rows = torch.cat([keys[row][:, head], k[row][:, head]])
            held = torch.cat([values[:, head], v[row][:, head]])
            for place in range(3):
                seen = 2 + place + 1
                weights = (rows[:seen] @ q[row, place, head] / 2).softmax(0)
                out[row, place, head] = weights @ held[:seen]
    expected = attention.out_proj(out)
    for mask in (hidden, banned, banned[None, None]):
        found = attention(x, x, x, attn_mask=mask, prefix=(keys, values))[0]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("wants", [{"pooled"}, {"pooled", "tokens"}])
def test_both_towers_are_prompted_and_short_cuts_change_nothing(wants: set[str]) -> None:
    """The last block computes one row only, unless tokens are wanted: the pooled feature is the same."""
    backbone = prompted(towers="both", depth=5)
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    plain = tiny_backbone()
    for found, whole, bare in (
        (
            backbone.image(batch.reference, wants),
            backbone.image(batch.reference),
            plain.image(batch.reference),
        ),
        (backbone.text(batch.tokens, wants), backbone.text(batch.tokens), plain.text(batch.tokens)),
    ):
        torch.testing.assert_close(found.pooled, whole.pooled, atol=2e-6, rtol=1e-4)
        assert not torch.allclose(found.pooled, bare.pooled, atol=1e-3)


def test_growth_freezes_adds_orthogonal_components_and_is_penalised_for_overlap() -> None:
    prompt: Any = prompted(orthogonality=1.0).image_prompt
    before = [p.clone() for p in prompt.parameters()]
    with seeded(1, "coda"):
        assert prompt.grow()
    first, second = prompt.grown
    assert all(torch.equal(a, b) for a, b in zip(before, first.parameters(), strict=True))
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in second.parameters())
    for name in ("prompts", "keys", "attention"):
        rows = prompt._held(name)[0]
        torch.testing.assert_close(rows @ rows.T, torch.eye(6), atol=1e-5, rtol=0)
    assert float(prompt.terms(None, None)["orthogonality"].detach()) < 1e-6
    with torch.no_grad():
        second.keys.add_(0.5)
    expected: Tensor = torch.zeros(())
    for name in ("prompts", "keys", "attention"):
        rows = prompt._held(name)[0].detach()
        expected = (
            expected + sum((rows[i] @ rows[j] - float(i == j)) ** 2 for i in range(6) for j in range(6)) / 36
        )
    torch.testing.assert_close(prompt.terms(None, None)["orthogonality"].detach(), expected)


def test_more_components_than_dimensions_are_drawn_all_the_same() -> None:
    prompt: Any = prompted(components=20).image_prompt
    prompt.grow()
    assert prompt._held("keys").shape == (1, 40, 24) and bool(prompt._held("keys").isfinite().all())


def test_the_query_is_found_in_the_store_and_the_objective_is_added() -> None:
    """The bare tower is frozen: what the prompt asks of it is that of a run without prompts."""
    backbone, store = prompted(), Store(None)
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    plain = FeatureCache(tiny_backbone(), store)
    plain.image(batch.pictures)
    model = ComposedRetriever(backbone, Sum()).train()
    live = model(batch)
    model.cache = cache = FeatureCache(backbone, store)
    kept = model(batch)
    assert torch.allclose(kept.query, live.query, atol=1e-5)
    assert set(kept.terms) == {"orthogonality"}
    counts = cache.counts["image"]
    assert counts.encoded == 0 and counts.cuts == {"pooled": 1, "live": 1}
    (tiny_loss(batch, kept) + kept.terms["orthogonality"]).backward()
    trained = dict(backbone.image_prompt.named_parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in trained.values())


@pytest.mark.parametrize("asks", ["own", "picture", "composed"])
def test_what_asks_for_the_prompts_of_a_text(asks: str) -> None:
    prompt: Any = prompted(towers="text", query=asks).text_prompt
    draw = torch.Generator().manual_seed(0)
    said, seen = (torch.randn(2, 24, generator=draw) for _ in range(2))
    chosen = prompt.begin(TextFeatures(pooled=said), ImageFeatures(pooled=seen))
    alone = prompt.begin(TextFeatures(pooled=said))
    p, k, a = (part[0].detach().double().numpy() for part in prompt.grown[0].parameters())
    for row in range(2):
        own, other = said[row].double().numpy(), seen[row].double().numpy()
        both = own / np.linalg.norm(own) + other / np.linalg.norm(other)
        for given, q in ((chosen, {"own": own, "picture": other, "composed": both}[asks]), (alone, own)):
            expected = sum(cosine(q * a[m], k[m]) * p[m] for m in range(3))
            found = torch.cat([part[row] for part in given.prefix(0)]).flatten().detach().numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert prompt.reads_other == (asks != "own")


def test_a_pictures_prompts_never_go_by_a_query() -> None:
    with pytest.raises(ValueError, match="go by the picture alone"):
        CodaPrompt(query="picture")
    assert not prompted(towers="both", query="picture").image_prompt.reads_other  # type: ignore[union-attr]
