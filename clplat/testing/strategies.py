"""What every strategy must do, wherever it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest

import torch

from clplat.parts.adapters.full import Full
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.loop import TinyTowers, plain_loop, tiny_learner
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import Run, everything, finish, tiny_stream, tiny_trainer
from clplat.testing.tiny import tiny_collate, tiny_domains, tiny_retriever
from clplat.training.strategy import Strategy
from clplat.trees import load_tree, save_tree

__all__ = ["StrategyContract"]

_RUNS: dict[str, Run] = {}


class _Stop(Exception):
    """A simulated power cut."""


class StrategyContract(PlainPartContract[Strategy]):
    """Contract tests of a strategy: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from strategies import EWC
        >>> class TestEWC(StrategyContract):
        ...     def make(self) -> Strategy:
        ...         return EWC(lam=5.0)
    """

    # -- set-up -------------------------------------------------------------------------------------------

    def _retriever(self) -> ComposedRetriever:
        return tiny_retriever(None if self.make().brings else Full(last=1))

    def _trainer(self, on_step: Callable[[Any], None] | None = None) -> Any:
        return tiny_trainer(self.make(), self._retriever(), on_step)

    def _run(self) -> Run:
        """One whole run, made when the first test asks for it."""
        strategy = self.make()
        given = [getattr(strategy, name) for name in inspect.signature(type(strategy)).parameters]
        key = f"{type(self)} {type(strategy)} {given}"
        if key not in _RUNS:
            _RUNS[key] = finish(self._trainer())
        return _RUNS[key]

    def _towers(self) -> TinyTowers:
        if not self.make().any_module:
            raise SkipTest("needs a retriever")
        return TinyTowers()

    # -- the contract -------------------------------------------------------------------------------------

    def test_its_hooks_have_the_contracts_arguments(self) -> None:
        own = vars(type(self.make()))
        for name, hook in inspect.getmembers(Strategy, inspect.isfunction):
            if name != "__init__" and name in own:
                wanted, given = (list(inspect.signature(f).parameters) for f in (hook, own[name]))
                assert given == wanted, f"{name} takes {', '.join(given)}; the contract: {', '.join(wanted)}"

    def test_it_trains_on_a_stream(self) -> None:
        run = self._run()
        before, after = run.before, weights(run.trainer.model)
        broken = [name for name, value in after.items() if not bool(value.float().isfinite().all())]
        assert not broken, f"not finite after training: {', '.join(broken[:3])}"
        moved = [name for name in before if name in after and not torch.equal(before[name], after[name])]
        grown = after.keys() - before.keys()
        assert bool(moved or grown) == self.make().trains, (
            f"trains is {self.make().trains}; {len(moved)} tensors changed"
        )

    def test_it_runs_in_a_plain_torch_loop(self) -> None:
        model = self._towers()
        before = weights(model)
        with generator_untouched("a hook draws from or seeds torch's generator"):
            history = plain_loop(self.make(), model)
        after = weights(model)
        assert torch.equal(before["eye.weight"], after["eye.weight"]), "a frozen weight changed"
        assert torch.equal(before["picture.weight"], after["picture.weight"]) != self.make().trains
        values = torch.tensor([value for terms in history for value in terms.values()])
        assert bool(values.isfinite().all()) and bool(history) == self.make().trains

    def test_its_loss_terms_are_named_finite_scalars(self) -> None:
        model, strategy = self._towers(), self.make()
        plain_loop(strategy, model)  # so that teachers and memories hold something
        batch = tiny_collate()(tiny_domains()[1].train[:8])
        for name, term in strategy.loss(tiny_learner(model), batch, model(batch)).items():
            assert name not in ("task", "loss"), f"a term is called '{name}', which is the loop's own word"
            assert isinstance(term, torch.Tensor) and term.shape == (), f"term '{name}' is no scalar tensor"
            assert bool(term.isfinite()), f"term '{name}' is {float(term.detach())}"

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20)  # whatever the process did before must not matter
            first, second = self._run().trainer, finish(self._trainer()).trainer
        assert first.losses == second.losses, "the losses of two equal runs differ"
        found = difference(weights(first.model), weights(second.model))
        assert not found, f"two equal runs end with other weights: {found}"

    def test_it_leaves_the_global_generator_alone(self) -> None:
        assert self._run().generator_untouched, "training changed torch's global generator"

    def test_frozen_weights_stay(self) -> None:
        run = self._run()
        before, model = run.before, run.trainer.model
        # Adapters that a strategy grows rename the layers they wrap: compare by the backbone's own names.
        base = {f"backbone.model.{key}": value for key, value in model.backbone.base_state().items()}
        after = {**weights(model), **base}
        frozen = [name for name in before if name not in run.free and name in after]
        changed = [name for name in frozen if not torch.equal(before[name], after[name])]
        assert frozen and not changed, f"frozen weights changed: {', '.join(changed[:3])}"

    def test_the_memory_is_counted(self) -> None:
        assert self.make().memory_bytes() == 0, "a strategy that has seen nothing stores nothing"
        strategy = self._run().strategy
        held, counts = strategy.memory_bytes(), type(strategy).memory_bytes is not Strategy.memory_bytes
        assert isinstance(held, int) and (held > 0) == counts, (
            f"memory_bytes() is {held} after two experiences"
        )

    def test_its_state_survives_the_disk(self, tmp_path: Path) -> None:
        strategy, fresh = self._run().strategy, self.make()
        save_tree(tmp_path / "state.safetensors", strategy.state_dict())
        fresh.load_state_dict(load_tree(tmp_path / "state.safetensors"))
        found = difference(fresh.state_dict(), strategy.state_dict())
        assert not found, f"load_state_dict does not restore what state_dict returned: {found}"
        assert fresh.memory_bytes() == strategy.memory_bytes()

    def test_it_resumes_in_the_middle_of_an_experience(self, tmp_path: Path) -> None:
        from clplat.runs.checkpoint import Weights, load_state, save_state

        path, stop_at = tmp_path / "checkpoint.safetensors", 10  # of 12 steps, in the second experience

        def pull_the_plug(trainer: Any) -> None:
            kept.tensors()  # notes what is trained now: a growing strategy freezes it later
            if trainer.step == stop_at:
                save_state(path, trainer, kept, {})
                raise _Stop

        whole, cut = self._run().trainer, self._trainer(pull_the_plug)
        kept = Weights(cut.model)
        try:
            cut.train(tiny_stream(), eval_streams=[])
        except _Stop:
            resumed = self._trainer()
            load_state(path, resumed, Weights(resumed.model))
            resumed.train(tiny_stream()[resumed.position.experience :], eval_streams=[])
            assert resumed.losses == whole.losses, "the losses differ from those of an uninterrupted run"
            found = difference(everything(resumed), everything(whole))
            assert not found, f"an interrupted run ends with other bits: {found}"
        else:
            assert not self.make().trains and cut.step == 0, f"the run ended after {cut.step} steps"

    def test_it_is_a_plugin_of_any_avalanche_template(self) -> None:
        from clplat.testing.avalanche import stock_template

        model = TinyTowers() if self.make().any_module else self._retriever()
        before = weights(model)
        template = stock_template(model, self.make().as_plugin())
        template.train(tiny_stream(), eval_streams=[])
        after = weights(template.model)
        assert all(bool(value.float().isfinite().all()) for value in after.values())
        assert bool(difference(before, after)) == self.make().trains
