"""A contract that lets a broken part pass is worth nothing: each of these must be caught where it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.parts.projections.procrustes import Procrustes
from clplat.testing import (
    AdapterContract,
    ComposerContract,
    LossContract,
    ProjectionContract,
    StrategyContract,
)
from clplat.training.strategy import Strategy
from strategies import EWC, Replay


class Forgetful(EWC):
    """Keeps its running estimate to itself."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "running": {}}


class ForgetfulMemory(Replay):
    """Stores exemplars and forgets them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores nothing."""


class Drawing(Strategy):
    """Draws from the global generator."""

    def after_step(self, learner: Any) -> None:
        torch.rand(1)
        parameter = next(p for p in learner.model.parameters() if p.requires_grad)
        parameter.data.add_(1e-3 * torch.rand(1))


class Seeding(Strategy):
    """Seeds the global generator."""

    def after_experience(self, learner: Any, experience: Any) -> None:
        torch.manual_seed(0)


class Thawing(Strategy):
    """Moves what is frozen."""

    def after_experience(self, learner: Any, experience: Any) -> None:
        for parameter in learner.model.parameters():
            parameter.data.mul_(1.01)


class Swallowing(Strategy):
    """Takes anything."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Converting(Strategy):
    """Changes what it is given.

    Args:
        weight: doubled.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = 2 * weight


class Refusing(Strategy):
    """Refuses by an error of its own.

    Args:
        weight: at least 0.
    """

    def __init__(self, weight: float = 1.0) -> None:
        if weight < 0:
            raise UserError(f"weight must be at least 0, not {weight}")
        self.weight = weight


class Exploding(Strategy):
    """Divides by zero."""

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"bad": torch.tensor(1.0) / 0}


class Uncounted(Replay):
    """Does not count its exemplars."""

    def memory_bytes(self) -> int:
        return 0


class Renaming(Strategy):
    """Has hooks of its own."""

    def after_step(self, trainer: Any) -> None:  # type: ignore[override]
        """Does nothing."""


class Lying(Full):
    """Names one tensor less than it trains."""

    def attach(self, backbone: Any, name: str = "default") -> list[str]:
        return super().attach(backbone, name)[1:]


class Shifting(Full):
    """Moves the base when attached."""

    def attach(self, backbone: Any, name: str = "default") -> list[str]:
        backbone.model.visual.proj.data.mul_(-1.0)
        return super().attach(backbone, name)


class Modest(Full):
    """Says of a tensor that matters that it has no effect."""

    without_effect = (r"visual\.ln_post\.bias",)


class Averaging(Sum):
    """Looks at the whole batch."""

    def forward(self, image: Any, text: Any) -> Tensor:
        return super().forward(image, text) + image.pooled.mean(0)


class Blind(Sum):
    """Says that it reads the text, and does not."""

    def forward(self, image: Any, text: Any) -> Tensor:
        return normalize(image.pooled, dim=-1)


class Dead(Sum):
    """Builds a layer that nothing uses."""

    def build(self, embed_dim: int) -> None:
        self.spare = nn.Linear(2, 2)


class Long(Procrustes):
    """Returns rows of any length."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


class Ordered:
    """Counts the first query twice."""

    def __call__(self, query: Tensor, candidates: Tensor, **_: Any) -> Tensor:
        losses = 1 - (query * candidates).sum(1)
        return losses.sum() + losses[0]


class Backward:
    """Rewards wrong answers."""

    def __call__(self, query: Tensor, candidates: Tensor, **_: Any) -> Tensor:
        return (query * candidates).sum(1).mean()


CASES: list[tuple[type, Any, str]] = [
    (StrategyContract, Forgetful, "test_it_resumes_in_the_middle_of_an_experience"),
    (StrategyContract, ForgetfulMemory, "test_its_state_survives_the_disk"),
    (StrategyContract, Drawing, "test_it_runs_in_a_plain_torch_loop"),
    (StrategyContract, Seeding, "test_it_leaves_the_global_generator_alone"),
    (StrategyContract, Thawing, "test_frozen_weights_stay"),
    (StrategyContract, Swallowing, "test_the_constructor_stores_its_typed_arguments"),
    (StrategyContract, Converting, "test_the_constructor_stores_its_typed_arguments"),
    (StrategyContract, Refusing, "test_a_wrong_value_is_refused_by_a_value_error"),
    (StrategyContract, Exploding, "test_its_loss_terms_are_named_finite_scalars"),
    (StrategyContract, Uncounted, "test_the_memory_is_counted"),
    (StrategyContract, Renaming, "test_its_hooks_have_the_contracts_arguments"),
    (AdapterContract, Lying, "test_attaching_names_what_is_trained_and_changes_nothing"),
    (AdapterContract, Shifting, "test_attaching_names_what_is_trained_and_changes_nothing"),
    (AdapterContract, Modest, "test_what_is_declared_without_effect_has_none"),
    (ComposerContract, Averaging, "test_rows_do_not_depend_on_each_other"),
    (ComposerContract, Blind, "test_it_reads_what_it_says_and_nothing_else"),
    (ComposerContract, Dead, "test_gradients_reach_every_parameter_and_every_input_that_it_reads"),
    (ProjectionContract, Long, "test_rows_have_unit_length_whatever_theirs_was"),
    (LossContract, Ordered, "test_the_order_of_the_batch_does_not_matter"),
    (LossContract, Backward, "test_right_answers_cost_less_than_random_ones"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("contract", "part", "test"), CASES, ids=[f"{case[1].__name__}" for case in CASES])
def test_a_broken_part_is_caught(contract: type, part: Any, test: str, tmp_path: Path) -> None:
    made: Any = type(
        "Made", (contract,), {"make": lambda self: part(), "trains_base": issubclass(part, Adapter)}
    )()
    method = getattr(made, test)
    needs_folder = "tmp_path" in method.__code__.co_varnames[: method.__code__.co_argcount]
    with pytest.raises(AssertionError), torch.random.fork_rng(devices=[]):
        method(tmp_path) if needs_folder else method()
