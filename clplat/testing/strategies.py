"""What every strategy must do, wherever it comes from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clplat.parts.adapters.full import Full
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference, generator_untouched, said, trainable, weights
from clplat.testing.loop import Compiled, TinyTowers, plain_loop, tiny_learner
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import SHORT_CUTS, Run, begun, everything, finish, resumed, tiny_stream, tiny_trainer
from clplat.testing.tiny import tiny_collate, tiny_domains, tiny_retriever
from clplat.training.combined import Combined
from clplat.training.strategy import Strategy
from clplat.trees import load_tree, save_tree

__all__ = ["StrategyContract"]

_RUNS: dict[str, Run] = {}


class _Pulling(Strategy):
    """Pulls all weights, and the outputs."""

    terms = ("pull",)

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, torch.Tensor]:
        trained = [(p**2).sum() for p in learner.model.parameters() if p.requires_grad]
        return {"pull": torch.stack(trained).sum() + outputs.query.sum()}


def _keys(node: Any) -> Iterator[str]:
    """All keys of a tree."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield str(key)
        yield from _keys(value)


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

    def _trainer(self) -> Any:
        """Of two epochs of two steps per experience."""
        trainer: Any = tiny_trainer(self.make(), self._retriever(), batch_size=12)
        trainer.flops_per_step = {0: 0, 1: 0}  # to count them takes longer than a step
        trainer.between_steps = nullcontext
        return trainer

    def _run(self) -> Run:
        """One whole run, made when the first test asks for it."""
        strategy = self.make()
        key = f"{type(self)} {said(strategy)}"
        if key not in _RUNS:
            _RUNS[key] = finish(self._trainer(), SHORT_CUTS)
        return _RUNS[key]

    def _module(self) -> nn.Module:
        """What a plain loop trains: any module, or a retriever where the strategy needs one."""
        return TinyTowers() if self.make().any_module else self._retriever()

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
        model = self._module()
        before, free = weights(model), trainable(model)
        frozen = {name for name, _ in model.named_parameters()} - {*free}
        with generator_untouched("a hook draws from or seeds torch's generator"):
            history = plain_loop(self.make(), model)
        after = weights(model)
        changed = [name for name in frozen & after.keys() if not torch.equal(before[name], after[name])]
        assert not changed, f"frozen weights changed: {', '.join(changed[:3])}"
        moved = after.keys() - before.keys() or any(not torch.equal(before[n], after[n]) for n in free)
        assert bool(moved) == self.make().trains
        values = torch.tensor([value for terms in history for value in terms.values()])
        assert bool(values.isfinite().all()) and bool(history) == self.make().trains

    def test_what_it_keeps_has_the_names_of_the_bare_model(self) -> None:
        if not self.make().any_module:
            return
        model, strategy = TinyTowers(), self.make()
        model.picture = Compiled(model.picture)
        plain_loop(strategy, model, steps=1)
        wrong = [key for key in _keys(strategy.state_dict()) if "_orig_mod" in key]
        assert not wrong, f"it keeps '{wrong[0]}': names are those of clplat.models.names.named_parameters"

    def test_its_loss_terms_are_named_finite_scalars(self) -> None:
        model, strategy = self._module(), self.make()
        plain_loop(strategy, model, steps=2)  # so that teachers and memories hold something
        batch = tiny_collate()(tiny_domains()[1].train[:8])
        for name, term in strategy.loss(tiny_learner(model), batch, model(batch)).items():
            assert name not in ("task", "loss"), f"a term is called '{name}', which is the loop's own word"
            assert isinstance(term, torch.Tensor) and term.shape == (), f"term '{name}' is no scalar tensor"
            assert bool(term.isfinite()), f"term '{name}' is {float(term.detach())}"

    def test_what_it_measures_is_free_of_other_strategies_terms(self) -> None:
        if not self.make().trains:
            return
        alone, together = self.make(), self.make()
        # The same weights in both loops, whatever pulls at them.
        plain_loop(alone, self._module(), steps=2, lr=0.0)
        plain_loop(Combined([together, _Pulling()]), self._module(), steps=2, lr=0.0)
        found = difference(together.state_dict(), alone.state_dict(), tolerance=1e-3)
        assert not found, f"with another strategy's term it measures something else (reads_gradient): {found}"

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20)  # whatever the process did before must not matter
            self._is_as_between(begun(self._trainer()), "two equal runs")

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
        assert self.make().state_bytes() == 0, "nor does it keep anything else"
        strategy = self._run().strategy
        kept, stores = strategy.state_bytes(), strategy.stores
        assert kept > 0 or stores not in ("weights", "statistics"), f"stores {stores}, and state_bytes() is 0"
        assert kept == 0 or stores != "nothing", f"stores nothing, and state_bytes() is {kept}"
        held, counts = strategy.memory_bytes(), type(strategy).memory_bytes is not Strategy.memory_bytes
        assert isinstance(held, int) and (held > 0) == counts, (
            f"memory_bytes() is {held} after two experiences"
        )

    def test_its_numbers_are_flat_and_finite(self) -> None:
        for name, value in self._run().strategy.numbers().items():
            assert isinstance(name, str) and name, f"numbers() has the name {name!r}"
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            assert plain and math.isfinite(value), f"numbers() says '{name}' is {value!r}, no finite number"

    def test_its_state_survives_the_disk(self, tmp_path: Path) -> None:
        strategy, fresh = self._run().strategy, self.make()
        save_tree(tmp_path / "state.safetensors", strategy.state_dict())
        fresh.load_state_dict(load_tree(tmp_path / "state.safetensors"))
        found = difference(fresh.state_dict(), strategy.state_dict())
        assert not found, f"load_state_dict does not restore what state_dict returned: {found}"
        assert fresh.memory_bytes() == strategy.memory_bytes()
        assert fresh.numbers() == strategy.numbers(), "numbers() are not those of the state"

    def _is_as_between(self, again: Any, which: str) -> None:
        """It is after one experience as the shared run was; the test of the border goes on from there."""
        run = self._run()
        losses = run.trainer.losses[: again.step]
        assert again.losses == losses, f"the losses of {which} differ"
        found = difference(everything(again), run.between)
        assert not found, f"{which} end with other bits: {found}"

    def _resumes(self, checkpoint: str) -> None:
        run = self._run()
        again = resumed(run, checkpoint, self._trainer())
        assert again.losses == run.trainer.losses, "the losses differ from those of an uninterrupted run"
        found = difference(everything(again), everything(run.trainer))
        assert not found, f"an interrupted run ends with other bits: {found}"

    def _has_steps(self) -> bool:
        run = self._run()
        assert self.make().trains or run.trainer.step == 0, f"the run ended after {run.trainer.step} steps"
        return self.make().trains

    def test_it_resumes_in_the_first_experience(self) -> None:
        first, _ = SHORT_CUTS
        if self._has_steps():
            again = resumed(self._run(), str(first), self._trainer(), until=1)
            self._is_as_between(again, "a run and one that was interrupted in the first experience")

    def test_it_resumes_between_two_experiences(self) -> None:
        self._resumes("border")

    def test_it_resumes_in_the_middle_of_an_experience(self) -> None:
        _, second = SHORT_CUTS
        if not self._has_steps():
            return
        trainer = self._run().trainer
        still = not any(parameter.requires_grad for parameter in trainer.model.parameters())
        assert still or trainer.step > second, f"it can be trained, and ended after {trainer.step} steps"
        if not still:  # with the first domain
            self._resumes(str(second))

    def test_it_is_a_plugin_of_any_avalanche_template(self) -> None:
        from clplat.testing.avalanche import stock_template

        model = self._module()
        before = weights(model)
        template = stock_template(model, self.make().as_plugin())
        template.train(tiny_stream(), eval_streams=[])
        after = weights(template.model)
        assert all(bool(value.float().isfinite().all()) for value in after.values())
        assert bool(difference(before, after)) == self.make().trains
