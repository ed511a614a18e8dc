"""What every adapter must do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar
from unittest import SkipTest

import torch

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters._base import Adapter
from clplat.randomness import generator
from clplat.testing.checks import declared, difference, trainable, weights
from clplat.testing.towers import AttachedContract, attached, distance, embeddings, train_a_little
from clplat.training.step import idle_tensors

__all__ = ["AdapterContract"]


class AdapterContract(AttachedContract[Adapter]):
    """Contract tests of an adapter: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.adapters.full import Full
        >>> class TestLastBlock(AdapterContract):
        ...     def make(self) -> Adapter:
        ...         return Full(last=1)
    """

    #: Instead of what the adapter says of itself (`Adapter.trains_base`, `Adapter.mergeable`).
    trains_base: ClassVar[bool | None] = None
    mergeable: ClassVar[bool | None] = None
    #: How far normalised features may move when it is merged.
    tolerance: ClassVar[float] = 1e-5

    def _has_bare_base(self, adapter: Adapter) -> bool:
        return not declared(self, adapter, "trains_base") and not adapter.rewrites_base

    # -- the contract -------------------------------------------------------------------------------------

    def test_attaching_names_what_is_trained_and_changes_nothing(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        before = embeddings(backbone)
        names = attached(adapter, backbone)
        assert names and len(set(names)) == len(names)
        assert sorted(names) == sorted(trainable(backbone)), "attach returns other names than it trains"
        if adapter.identity_at_init:
            moved = distance(embeddings(backbone), before)
            assert moved <= 1e-5, f"features moved by {moved:.1e}, but identity_at_init is set"
        again = self.backbone()
        attached(self.make(), again)
        found = difference(weights(again), weights(backbone))
        assert not found, f"the same seed gives another start: {found}"

    def test_training_reaches_every_named_tensor_and_no_other(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        names = set(attached(adapter, backbone))
        before = weights(backbone)
        untrained = embeddings(backbone)
        missed = names - _idle(adapter, backbone, names) - train_a_little(backbone)
        assert not missed, f"no gradient reaches {', '.join(sorted(missed)[:3])}"
        after = weights(backbone)
        parameters = dict(backbone.named_parameters())
        changed = {name for name in parameters if not torch.equal(before[name], after[name])}
        wrong = (changed ^ names) - _idle(adapter, backbone, names)
        assert not wrong, f"wrong tensors changed: {', '.join(sorted(wrong)[:3])}"
        assert distance(embeddings(backbone), untrained) > 1e-6, "training has no effect on the features"

    def test_what_is_declared_without_effect_has_none(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        names = set(attached(adapter, backbone))
        train_a_little(backbone)
        for pattern in adapter.without_effect:
            matched = [name for name in names if re.search(pattern, name)]
            assert matched, f"without_effect: no trained tensor is called {pattern}"
            before = embeddings(backbone)
            with torch.no_grad():
                for name in matched:
                    backbone.get_parameter(name).add_(1.0)
            moved = distance(embeddings(backbone), before)
            assert moved <= 1e-5, f"without_effect: {pattern} moved the features by {moved:.1e}"

    def test_none_is_the_bare_base(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        before = embeddings(backbone)
        names = attached(adapter, backbone)
        train_a_little(backbone)
        trained = embeddings(backbone)
        if not self._has_bare_base(adapter):
            try:
                adapter.activate(backbone, None)
            except UserError:
                return
            raise AssertionError("there is no bare base: activate(backbone, None) must raise a UserError")
        adapter.activate(backbone, None)
        assert not difference(embeddings(backbone), before), "without adapters they are not the base's"
        adapter.activate(backbone, "default")
        assert not difference(embeddings(backbone), trained), "the adapter does not come back as it was"
        assert sorted(trainable(backbone)) == sorted(names), "activate changes requires_grad"

    def test_a_second_one_is_active_wherever_the_switch_stood(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        if not self._has_bare_base(adapter):
            raise SkipTest("one at a time")
        before = embeddings(backbone)
        attached(adapter, backbone, "first")
        train_a_little(backbone)
        first = embeddings(backbone)
        adapter.activate(backbone, None)
        names = attached(adapter, backbone, "second")
        assert sorted(trainable(backbone)) == sorted(names), "attaching does not freeze the one before"
        if adapter.identity_at_init:
            assert distance(embeddings(backbone), before) <= 1e-5, "a second one starts from the first"
        missed = set(names) - _idle(adapter, backbone, names) - train_a_little(backbone)
        assert not missed, f"the second adapter gets no gradient: {', '.join(sorted(missed)[:3])}"
        adapter.activate(backbone, "first")
        assert not difference(embeddings(backbone), first), "training the second one changed the first"

    def test_those_before_stay_in_use_behind_a_new_one(self) -> None:
        """Frozen, and with all that they do; or the kind works one at a time, and says so."""
        adapter, backbone = self.make(), self.backbone()
        if not self._has_bare_base(adapter):
            raise SkipTest("one at a time")
        attached(adapter, backbone, "first")
        train_a_little(backbone)
        first, kept = embeddings(backbone), weights(backbone)
        names = attached(adapter, backbone, "second")
        if not backbone.adapters.stacks:
            try:
                backbone.adapters.use(["first", "second"])
            except UserError as error:
                assert "\n" not in str(error)
                return
            raise AssertionError("adapters that work one at a time must refuse to be used together")
        backbone.adapters.use(["first", "second"])
        if adapter.identity_at_init:
            moved = distance(embeddings(backbone), first)
            assert moved <= 1e-5, f"behind a new one the first moved by {moved:.1e}"
        missed = set(names) - _idle(adapter, backbone, names) - train_a_little(backbone)
        assert not missed, f"in a stack no gradient reaches {', '.join(sorted(missed)[:3])}"
        changed = [name for name, tensor in kept.items() if not torch.equal(tensor, weights(backbone)[name])]
        assert not changed, f"training the second changed {', '.join(changed[:3])}"
        both = embeddings(backbone)
        assert distance(both, first) > 1e-6, "the second does nothing in a stack"
        adapter.activate(backbone, "second")
        assert distance(embeddings(backbone), both) > 1e-6, "the first does nothing in a stack"
        backbone.adapters.use(["first", "second"])
        assert not difference(embeddings(backbone), both), "a stack does not come back as it was"
        if declared(self, adapter, "mergeable"):
            adapter.merge(backbone)
            moved = distance(embeddings(backbone), both)
            assert moved <= self.tolerance, f"merging a stack moved the features by {moved:.1e}"

    def test_merging_keeps_the_features(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        attached(adapter, backbone)
        train_a_little(backbone)
        trained, stock = embeddings(backbone), set(backbone.stock_state_dict())
        if not declared(self, adapter, "mergeable"):
            raise SkipTest("declared as not mergeable")
        adapter.merge(backbone)
        moved = distance(embeddings(backbone), trained)
        assert moved <= self.tolerance, f"merging moved the features by {moved:.1e}"
        assert set(backbone.stock_state_dict()) == stock and not backbone.adapters.installed

    def test_weights_are_moved_as_weights(self) -> None:
        """What `deltas` gives is what the adapter adds, and `absorb` adds to it, or refuses."""
        adapter, backbone, plain = self.make(), self.backbone(), self.backbone()
        attached(adapter, backbone)
        if not declared(self, adapter, "mergeable"):
            raise SkipTest("declared as not mergeable")
        train_a_little(backbone)
        trained = embeddings(backbone)
        base = backbone.base_state()
        sums = {key: base[key] + delta for key, delta in adapter.deltas(backbone).items()}
        plain.model.load_state_dict({**base, **sums})
        moved = distance(embeddings(plain), trained)
        assert moved <= self.tolerance, f"base and deltas together are {moved:.1e} from the features"
        steps = {key: 0.01 * value.abs().mean() * torch.ones_like(value) for key, value in sums.items()}
        try:
            adapter.absorb(backbone, steps)
        except UserError:
            moved = distance(embeddings(backbone), trained)
            assert moved <= self.tolerance, f"a refused absorb moved the features by {moved:.1e}"
            return
        adapter.absorb(plain, steps)
        moved = distance(embeddings(backbone), embeddings(plain))
        assert moved <= self.tolerance, f"absorb is {moved:.1e} from a sum of weights"

    def test_kept_features_are_never_stale(self) -> None:
        """Whatever changes, the feature store sees it, or sees that it cannot."""
        from clplat.cache.engine import FeatureCache
        from clplat.cache.store import Store

        backbone = self.backbone()
        names = attached(self.make(), backbone)
        cache = FeatureCache(backbone, Store(None))
        draw = generator(0, "contract", "stale")
        with torch.no_grad(), weights_fixed():
            for _ in range(2):
                moved = distance(embeddings(backbone, cache=cache), embeddings(backbone))
                assert moved <= 1e-4, f"the feature store serves features that are off by {moved:.1e}"
                for name in names:
                    parameter = backbone.get_parameter(name)
                    parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
                cache.refresh()


def _idle(adapter: Adapter, backbone: Backbone, names: Iterable[str]) -> set[str]:
    """The trained tensors without a gradient: zero but for rounding, or of a module that ``may_idle``."""
    named, idle = dict(backbone.named_parameters()), idle_tensors(backbone)
    silent = {name for name in names if any(re.search(part, name) for part in adapter.without_effect)}
    return silent | {name for name in names if id(named[name]) in idle}
