"""Several strategies as one: every hook of each, and importance that is the task's alone."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.files import read_json
from clplat.roles import role_of
from clplat.runs.experiment import run
from clplat.testing import StrategyContract, TinyTowers, plain_loop, plain_step, tiny_learner
from clplat.testing.tiny import tiny_collate, tiny_domains
from clplat.training.combined import Combined
from clplat.training.strategy import Strategy
from strategies import AGEM, EWC, Cumulative, Distill, Frozen, LoRAPerDomain, Naive, Replay


class TestEWCAndReplay(StrategyContract):
    def make(self) -> Strategy:
        return Combined([EWC(lam=5.0), Replay(size=8, batch_size=4)])


class Pulling(Strategy):
    """A term whose gradient is known: a share of the squared length of the weights."""

    terms = ("pull",)

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        trained = [p for p in learner.model.parameters() if p.requires_grad]
        return {"pull": 3.0 * torch.stack([(p**2).sum() for p in trained]).sum() + 0.1 * outputs.query.sum()}


def still(strategy: Strategy, steps: int = 3) -> tuple[Any, list[dict[str, float]]]:
    """Two experiences of which the weights learn nothing: every gradient is that of the same point."""
    model = TinyTowers()
    learner = tiny_learner(model)
    learner.optimizer.param_groups[0]["lr"] = 0.0
    told = []
    for i, domain in enumerate(tiny_domains()[:2]):
        experience = type("Experience", (), {"dataset": domain.train, "current_experience": i})()
        learner.begin(i, total=steps)
        strategy.before_experience(learner, experience)
        learner.dataset = strategy.training_set(experience)
        for step in range(steps):
            rows = [domain.train[(8 * step + k) % len(domain.train)] for k in range(8)]
            told.append(plain_step(strategy, learner, tiny_collate()(rows)))
        strategy.after_experience(learner, experience)
    return model, told


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [Pulling, lambda: Replay(size=8, batch_size=4), Distill])
def test_importance_is_that_of_the_task_whatever_else_is_added(other: Any, order: int) -> None:
    alone, together = EWC(lam=5.0), EWC(lam=5.0)
    still(alone)
    still(Combined([together, other()][::order]))
    for name, value in alone.fisher.items():
        torch.testing.assert_close(together.fisher[name], value, rtol=1e-4, atol=1e-6)


def test_importance_is_measured_before_gradients_are_changed() -> None:
    alone, together = EWC(lam=5.0), EWC(lam=5.0)
    still(alone)
    still(Combined([AGEM(size=8, batch_size=4), together]))
    for name, value in alone.fisher.items():
        torch.testing.assert_close(together.fisher[name], value, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_sum_of_all_terms() -> None:
    def gradients(strategy: Strategy) -> tuple[dict[str, Tensor], dict[str, float]]:
        model, told = still(strategy, steps=2)
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, told[-1]

    ewc, pull, bare = (gradients(s) for s in (EWC(lam=5.0), Pulling(), Naive()))
    both = gradients(Combined([EWC(lam=5.0), Pulling()]))
    assert set(both[1]) == {"task", "ewc", "pull"} and both[1]["pull"] == pytest.approx(pull[1]["pull"])
    for name in bare[0]:
        expected = ewc[0][name] + pull[0][name] - bare[0][name]
        torch.testing.assert_close(both[0][name], expected, rtol=1e-4, atol=1e-5)


def test_a_combination_trains_as_its_only_part_does() -> None:
    one, other = TinyTowers(), TinyTowers()
    assert plain_loop(Replay(size=8, batch_size=4), one) == plain_loop(
        Combined([Replay(size=8, batch_size=4)]), other
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_every_hook_of_the_contract_is_handed_on() -> None:
    own = vars(Combined)
    for name, _ in inspect.getmembers(Strategy, inspect.isfunction):
        beside = ("__init__", "as_plugin", "experience", "stream")
        assert name in own or name in beside, f"Combined does not hand on {name}"
    tags = {name for name in Strategy.__annotations__ if name != "state"}
    # `plain` goes with `brings`, of which no two share a run, and is read by the name of a part.
    own_by_class = {"trains", "plain"}
    assert tags - vars(Combined([EWC(), Replay()])).keys() == own_by_class, "a tag of several is that of all"


def test_what_it_says_of_itself() -> None:
    made = Combined([EWC(), Replay()])
    assert (made.stores, made.terms, made.any_module, made.role) == (
        "exemplars",
        ("ewc", "replay"),
        True,
        "method",
    )
    grown = Combined([LoRAPerDomain(), Replay()])
    assert grown.brings == ("adapter", "prompt") and grown.grows and not grown.any_module
    assert role_of({"strategy": "ewc,replay"}) == "method"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([Frozen, EWC], "Frozen never trains: it runs alone"),
        (
            [Cumulative, Cumulative],
            "Cumulative and Cumulative choose the data of an experience: one",
        ),
        ([LoRAPerDomain, LoRAPerDomain], "bring adapters of their own: one of them can"),
    ],
)
def test_what_cannot_go_together_is_refused_in_a_line(parts: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Combined([part() for part in parts])


def test_strategies_together_are_configured_by_their_names(tmp_path: Path) -> None:
    small = {"domains": 2, "train": 8, "queries": 4, "gallery": 20, "size": 16}
    raw = {
        "strategy": "ewc,replay",
        "strategy.ewc.lam": 5,
        "strategy.replay": {"size": 8, "batch_size": 4},
        "scenario": small,
        "train": {"epochs": 1, "batch_size": 4},
        "adapter": {"name": "full", "last": 1},
        "probes": "none",
        "seed": 7,
    }
    made = resolve(raw).make("strategy")
    assert isinstance(made, Combined) and made.parts[1].seed == 7
    assert resolve({"strategy": "lora_per_domain,replay"}).name("adapter") == "none"
    with pytest.raises(UserError, match="strategy 'frozen,ewc': Frozen never trains: it runs alone"):
        resolve({"strategy": "frozen,ewc"})
    result = run(raw, tmp_path / "run")
    assert result["name"] == "ewc+replay catalogue s7" and {"ewc", "replay"} <= result["training"].keys()
    assert result["cost"]["exemplar_bytes"] > 0
    assert read_json(tmp_path / "run" / "result.json")["config"]["strategy"]["replay"]["size"] == 8


class Counting(Strategy):
    """Says a number."""

    def numbers(self) -> dict[str, float]:
        return {"models": 3}


def test_numbers_of_all_parts_are_said() -> None:
    assert Combined([Counting(), Naive(), Counting()]).numbers() == {"models": 3, "Counting.models": 3}
