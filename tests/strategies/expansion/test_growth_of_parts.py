"""Every adapter and every prompt across a stream: one for each domain under a router, or a stack.

What grows is told apart by what happens to earlier domains, so that a new part is held to it as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat import registry
from clplat.errors import UserError
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters._method import Method
from clplat.parts.adapters.moe import MoEAdapter
from clplat.parts.adapters.peft import METHODS, LoRA
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.pool import PoolPrompt
from clplat.retriever import ComposedRetriever
from clplat.runs.checkpoint import Weights
from clplat.testing import plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import difference
from clplat.testing.towers import embeddings
from strategies import RoutedExperts, Stacked

#: What the default is too large for, where texts have 12 tokens.
OPTIONS = {"long_text": {"keep": 8}}
ALIKE = Routing(by="key", inside=None)


def once_of_each_kind(names: list[str]) -> list[Any]:
    """All parts; adapters of PEFT whose kind came before are slow: the same code grows them."""
    marked, kinds = [], set()
    for name in names:
        row: Method | None = METHODS.get(name)
        kind = (row.rewrites_base, row.towers, row.targets, row.stacks) if row is not None else name
        marked.append(pytest.param(name, marks=[pytest.mark.slow] if kind in kinds else []))
        kinds.add(kind)
    return marked


def grown(make: Callable[[], Any], domains: int = 2) -> tuple[Any, ComposedRetriever, dict[str, Tensor]]:
    """A strategy after two domains, its model, and what the model embedded after the first."""
    strategy, model = make(), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains()[:1], steps=2)
    first = embeddings(model.backbone)
    plain_loop(strategy, model, tiny_domains()[1:domains], steps=2)
    model.eval()
    return strategy, model, first


def restored(make: Callable[[], Any], strategy: Any, model: ComposedRetriever) -> ComposedRetriever:
    """Another model, from the state of the strategy and the stored tensors."""
    again, other = make(), tiny_retriever(composer=Sum())
    base = Weights(other)
    held = {name: t.clone() for name, t in Weights(model).tensors().items()}
    held |= {name: p.detach().clone() for name, p in model.named_parameters() if ".domain" in name}
    again.load_state_dict(strategy.state_dict())
    again.rebuild(tiny_learner(other))
    base.restore(held)
    return other.eval()


def refusal(make: Callable[[], Any]) -> str:
    """The line in which a part refuses; empty where it grows."""
    try:
        grown(make)
    except (UserError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", once_of_each_kind(registry.names("adapters")))
def test_one_adapter_per_domain_under_a_router(name: str) -> None:
    cls = registry.load("adapters", name)

    def make() -> RoutedExperts:
        return RoutedExperts(cls(**OPTIONS.get(name, {})), ALIKE)

    if cls.trains_base or cls.rewrites_base:
        said = refusal(make)
        assert re.search("the base, which all experts share", said) and "\n" not in said
        return
    strategy, model, first = grown(make)
    strategy.activate(model.backbone, "domain0")
    assert not difference(embeddings(model.backbone), first), "an old expert has changed"
    batch = tiny_collate()(tiny_domains()[0].train[:3])
    rows = model.encode_images(batch.reference)
    queries = model.encode_queries(batch.reference, batch.tokens)
    assert torch.isfinite(rows).all() and strategy.numbers() == {"experts": 2}
    other = restored(make, strategy, model)
    assert torch.equal(other.encode_images(batch.reference), rows)
    assert torch.equal(other.encode_queries(batch.reference, batch.tokens), queries)


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        *((name, None) for name in registry.names("prompts")),
        ("context", LoRA(r=2, targets=["v_proj"], last=1)),
    ],
)
def test_one_prompt_per_domain_under_a_router(name: str, adapter: Any) -> None:
    cls = registry.load("prompts", name)

    def make() -> RoutedExperts:
        return RoutedExperts(adapter, ALIKE, prompt=cls())

    strategy, model, first = grown(make)
    strategy.activate(model.backbone, "domain0")
    assert not difference(embeddings(model.backbone), first), "an old expert has changed"
    strategy.activate(model.backbone, "domain1")
    assert difference(embeddings(model.backbone), first)
    strategy.activate(model.backbone, None)
    assert not difference(embeddings(model.backbone), embeddings(tiny_retriever().backbone))
    batch = tiny_collate()(tiny_domains()[0].train[:3])
    queries = model.encode_queries(batch.reference, batch.tokens)
    other = restored(make, strategy, model)
    assert torch.equal(other.encode_queries(batch.reference, batch.tokens), queries)
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert trained and all("domain1" in name for name in trained)


def test_each_domain_trains_its_own_words_and_none_has_two_names() -> None:
    strategy, model, _ = grown(lambda: RoutedExperts(routing=ALIKE, prompt=ContextPrompt(2)))
    assert strategy.expert is None and model.backbone.adapters.active is None
    names = [name for name, _ in model.backbone.named_parameters() if "prompt" in name]
    assert names == ["prompts.domain0.text.vectors", "prompts.domain1.text.vectors"]
    with pytest.raises(UserError, match="kept already"):
        model.backbone.keep_prompts("domain0")
    with pytest.raises(UserError, match="did you mean 'domain1'"):
        model.backbone.use_prompts("domain11")
    with pytest.raises(ValueError, match="a prompt has no weights that could be averaged"):
        RoutedExperts(average="weights", prompt=ContextPrompt(2))


@pytest.mark.parametrize("name", ["lora", "bottleneck", "moe"])
def test_stacked(name: str) -> None:
    """What each kind makes of several is in the contract of adapters; here is what the strategy does."""
    cls = registry.load("adapters", name)
    if name == "moe":
        said = refusal(lambda: Stacked(cls()))
        assert re.match("adapters MoEAdapter work one at a time, .*routed_experts$", said)
        return
    strategy, model, first = grown(lambda: Stacked(cls()))
    assert strategy.numbers() == {"adapters": 2}
    assert model.backbone.adapters.together == ("domain0", "domain1")
    both = embeddings(model.backbone)
    assert difference(both, first)
    model.backbone.adapters.use(["domain0"])
    assert not difference(embeddings(model.backbone), first), "the old one was trained"
    other = restored(lambda: Stacked(cls()), strategy, model)
    assert not difference(embeddings(other.backbone), both)


def test_what_a_stack_refuses() -> None:
    for name in ("full", "pissa"):
        with pytest.raises(ValueError, match="changes the base that all share"):
            Stacked(registry.load("adapters", name)())


def test_experts_of_an_adapter_go_with_a_pool_of_prompts() -> None:
    """MoE-Adapters and L2P in one model: both are trained, both count."""
    model = tiny_retriever(MoEAdapter(experts=2, k=1, rank=2), composer=Sum())
    PoolPrompt(size=2, top=1, length=1).attach(model.backbone)
    start = embeddings(model.backbone)
    trained = {name: p.detach().clone() for name, p in model.backbone.named_parameters() if p.requires_grad}
    plain_loop(registry.load("strategies", "naive")(), model, steps=2)
    now = dict(model.backbone.named_parameters())
    moved = {name for name, tensor in trained.items() if not torch.equal(now[name], tensor)}
    assert any(".experts." in name for name in moved) and any("prompt" in name for name in moved)
    assert difference(embeddings(model.backbone), start)


@pytest.mark.parametrize("name", ["orthogonal_lora", "inflora", "sd_lora"])
def test_a_state_in_which_the_strategy_counted_domains_is_read(name: str) -> None:
    strategy = registry.load("strategies", name)()
    strategy.changes.domains = 2
    now = strategy.state_dict()
    before = {**{key: value for key, value in now.items() if key != "changes"}, "domains": 2}
    fresh = registry.load("strategies", name)()
    fresh.load_state_dict(before)
    assert fresh.changes.domains == 2 and fresh.state_dict() == now
