"""What every strategy must do, wherever it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import torch
from torch import Tensor

from clplat.checkpoint import Weights, load_state, save_state
from clplat.continual.strategy import Strategy
from clplat.files import load_tree, save_tree
from clplat.models.adapters.full import Full
from clplat.models.retriever import ComposedRetriever
from clplat.testing.checks import check_constructor, check_docstring, difference, trainable, weights
from clplat.testing.tiny import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_loss, tiny_retriever

__all__ = ["StrategyContract"]


class _Stop(Exception):
    """The plug is pulled."""


@dataclass
class _Run:
    """A finished run and what stood there before it; tests share it and only look."""

    trainer: Any
    before: dict[str, Tensor]
    free: set[str]
    generator_untouched: bool

    @property
    def strategy(self) -> Strategy:
        strategy: Strategy = self.trainer.strategy_plugin.strategy
        return strategy


_RUNS: dict[str, _Run] = {}


class StrategyContract:
    """Contract tests of a strategy: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from strategies import EWC
        >>> class TestEWC(StrategyContract):
        ...     def make(self) -> Strategy:
        ...         return EWC(lam=5.0)
    """

    #: Works around any module. False: it needs a `ComposedRetriever`, and plain loops are left out.
    any_module: ClassVar[bool] = True
    #: Starts from a backbone without an adapter, because it brings its own.
    own_adapter: ClassVar[bool] = False
    #: Changes weights. False for strategies that never update.
    learns: ClassVar[bool] = True

    def make(self) -> Strategy:
        """A fresh strategy; equal at every call."""
        raise NotImplementedError("return a new strategy of the kind under test")

    # -- set-up -------------------------------------------------------------------------------------------

    def _retriever(self) -> ComposedRetriever:
        return tiny_retriever(None if self.own_adapter else Full(last=1))

    def _trainer(
        self, strategy: Strategy, on_step: Callable[[Any], None] | None = None, seed: int = 0
    ) -> Any:
        from clplat.continual.trainer import TrainConfig, Trainer
        from clplat.losses.info_nce import InfoNCE

        return Trainer(
            model=self._retriever(),
            strategy=strategy,
            collate=tiny_collate(),
            loss=InfoNCE(),
            config=TrainConfig(epochs=2, batch_size=8, lr=3e-3),
            seed=seed,
            on_step=on_step,
        )

    def _trained(self) -> _Run:
        trainer = self._trainer(self.make())
        before, free, state = weights(trainer.model), set(trainable(trainer.model)), torch.get_rng_state()
        trainer.train(_stream(), eval_streams=[])
        return _Run(trainer, before, free, torch.equal(torch.get_rng_state(), state))

    def _run(self) -> _Run:
        strategy = self.make()
        given = [getattr(strategy, name) for name in inspect.signature(type(strategy)).parameters]
        key = f"{type(self)} {type(strategy)} {given}"
        if key not in _RUNS:
            _RUNS[key] = self._trained()
        return _RUNS[key]

    def _towers(self) -> TinyTowers:
        if not self.any_module:
            raise SkipTest("needs a retriever")
        return TinyTowers()

    # -- the contract -------------------------------------------------------------------------------------

    def test_the_constructor_stores_its_typed_arguments(self) -> None:
        check_constructor(self.make())

    def test_the_docstring_says_what_it_is(self) -> None:
        check_docstring(self.make())

    def test_it_trains_on_a_stream(self) -> None:
        run = self._run()
        before, after = run.before, weights(run.trainer.model)
        broken = [
            name for name, value in after.items() if value.is_floating_point() and not value.isfinite().all()
        ]
        assert not broken, f"not finite after training: {', '.join(broken[:3])}"
        moved = [name for name in before if name not in after or not torch.equal(before[name], after[name])]
        grown = after.keys() - before.keys()
        assert bool(moved or grown) == self.learns, (
            f"learns is {self.learns}, but {len(moved)} tensors changed"
        )

    def test_it_runs_in_a_plain_torch_loop(self) -> None:
        model = self._towers()
        before, state = weights(model), torch.get_rng_state()
        history = plain_loop(self.make(), model)
        after = weights(model)
        assert torch.equal(torch.get_rng_state(), state), (
            "a hook draws from or seeds torch's global generator"
        )
        assert torch.equal(before["eye.weight"], after["eye.weight"]), "a frozen weight changed"
        assert torch.equal(before["picture.weight"], after["picture.weight"]) != self.learns
        values = [value for terms in history for value in terms.values()]
        assert torch.tensor(values).isfinite().all() and bool(history) == self.learns

    def test_its_loss_terms_are_named_finite_scalars(self) -> None:
        model, strategy = self._towers(), self.make()
        plain_loop(strategy, model)
        batch = tiny_collate()(tiny_domains()[1].train[:8])
        learner = _learner(model)
        strategy.before_experience(learner, _PlainExperience())
        terms = strategy.loss(learner, batch, model(batch))
        for name, term in terms.items():
            assert name not in ("task", "loss"), f"a term is called '{name}', which is the loop's own word"
            assert isinstance(term, torch.Tensor) and term.shape == (), f"term '{name}' is no scalar tensor"
            assert bool(term.isfinite()), f"term '{name}' is {float(term)}"

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20)  # whatever the process did before must not matter
            first, second = self._run().trainer, self._trained().trainer
        assert first.losses == second.losses, "the losses of two equal runs differ"
        found = difference(weights(first.model), weights(second.model))
        assert not found, f"two equal runs end with other weights: {found}"

    def test_it_leaves_the_global_generator_alone(self) -> None:
        assert self._run().generator_untouched, "training changed torch's global generator"

    def test_its_state_survives_the_disk(self, tmp_path: Path) -> None:
        strategy = self._run().strategy
        save_tree(tmp_path / "state.safetensors", strategy.state_dict())
        read = load_tree(tmp_path / "state.safetensors")
        fresh = self.make()
        fresh.load_state_dict(read)
        assert not difference(fresh.state_dict(), strategy.state_dict()), (
            "load_state_dict forgets a part of state_dict"
        )
        assert fresh.memory_bytes() == strategy.memory_bytes()

    def test_it_resumes_in_the_middle_of_an_experience(self, tmp_path: Path) -> None:
        path, stop_at = (
            tmp_path / "checkpoint.safetensors",
            10,
        )  # 6 steps an experience: the second epoch of the second

        def pull_the_plug(trainer: Any) -> None:
            kept.tensors()  # notes what is trained now: a growing strategy freezes it later
            if trainer.step == stop_at:
                save_state(path, trainer, kept, {})
                raise _Stop

        whole = self._run().trainer
        cut = self._trainer(self.make(), pull_the_plug)
        kept = Weights(cut.model)
        try:
            cut.train(_stream(), eval_streams=[])
        except _Stop:
            resumed = self._trainer(self.make())
            load_state(path, resumed, Weights(resumed.model))
            resumed.train(_stream()[resumed.position.experience :], eval_streams=[])
            assert resumed.losses == whole.losses, "the losses differ from those of an uninterrupted run"
            found = difference(_everything(resumed), _everything(whole))
            assert not found, f"an interrupted run ends with other bits: {found}"
            return
        reached = cut.step >= stop_at
        assert not reached and not self.learns, f"{cut.step} steps were made"

    def test_frozen_weights_stay(self) -> None:
        run = self._run()
        before, model = run.before, run.trainer.model
        # A wrapper that grows around a layer renames its weights: compare by what the backbone calls them.
        after = weights(model) | {
            f"backbone.model.{key}": value for key, value in model.backbone.base_state().items()
        }
        frozen = [name for name in before if name not in run.free and name in after]
        changed = [name for name in frozen if not torch.equal(before[name], after[name])]
        assert frozen and not changed, f"frozen weights changed: {', '.join(changed[:3])}"

    def test_the_memory_is_counted(self) -> None:
        assert self.make().memory_bytes() == 0, "a strategy that has seen nothing stores nothing"
        strategy = self._run().strategy
        held = strategy.memory_bytes()
        assert isinstance(held, int) and held >= 0
        counts = type(strategy).memory_bytes is not Strategy.memory_bytes
        assert (held > 0) == counts, f"memory_bytes() is {held} after two experiences"

    def test_it_is_a_plugin_of_any_avalanche_template(self) -> None:
        from clplat.testing.avalanche import stock_template

        model = TinyTowers() if self.any_module else self._retriever()
        before = weights(model)
        template = stock_template(model, self.make().as_plugin())
        template.train(_stream(), eval_streams=[])
        after = weights(template.model)
        assert all(bool(value.isfinite().all()) for value in after.values() if value.is_floating_point())
        assert bool(difference(before, after)) == self.learns

    def test_its_hooks_have_the_contracts_arguments(self) -> None:
        own = type(self.make())
        for name, hook in inspect.getmembers(Strategy, inspect.isfunction):
            if name != "__init__" and name in vars(own):
                wanted, given = (list(inspect.signature(f).parameters) for f in (hook, vars(own)[name]))
                assert given == wanted, (
                    f"{name} takes {', '.join(given)}; the contract says {', '.join(wanted)}"
                )


class _PlainExperience:
    dataset = tiny_domains()[1].train


def _learner(model: Any) -> Any:
    from clplat.continual.strategy import Learner

    return Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        predict_fn=model,
        loss_fn=tiny_loss,
        collate_fn=tiny_collate(),
    )


def _stream() -> Any:
    from clplat.continual.streams import build_benchmark

    return build_benchmark(tiny_domains()).train_stream


def _everything(trainer: Any) -> dict[str, Any]:
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    moments = {names[parameter]: dict(state) for parameter, state in trainer.optimizer.state.items()}
    strategy = trainer.strategy_plugin.strategy.state_dict()
    return {"weights": weights(trainer.model), "moments": dict(sorted(moments.items())), "strategy": strategy}
