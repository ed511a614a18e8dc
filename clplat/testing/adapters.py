"""What every adapter must do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar
from unittest import SkipTest

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.models.backbone import Backbone
from clplat.models.retriever import ComposedRetriever
from clplat.parts.adapters._base import Adapter
from clplat.parts.composers.sum import Sum
from clplat.randomness import seeded
from clplat.testing.checks import check_refusals, difference, trainable, weights
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains, tiny_loss

__all__ = ["AdapterContract"]


class AdapterContract:
    """Contract tests of an adapter: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.adapters.full import Full
        >>> class TestLastBlock(AdapterContract):
        ...     trains_base, mergeable = True, False
        ...     def make(self) -> Adapter:
        ...         return Full(last=1)
    """

    #: The base weights themselves are trained: there is no bare base to go back to.
    trains_base: ClassVar[bool] = False
    #: `merge` folds it into the base weights.
    mergeable: ClassVar[bool] = True
    #: How far normalised features may move when it is merged.
    tolerance: ClassVar[float] = 1e-5

    def make(self) -> Adapter:
        """A fresh adapter; equal at every call."""
        raise NotImplementedError("return a new adapter of the kind under test")

    def backbone(self) -> Backbone:
        """What it is attached to; override it where the tiny one does not suit."""
        return tiny_backbone()

    # -- the contract -------------------------------------------------------------------------------------

    def test_a_wrong_value_is_refused_by_a_value_error(self) -> None:
        check_refusals(self.make())

    def test_attaching_names_what_is_trained_and_changes_nothing(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        before = _features(backbone)
        names = _attach(adapter, backbone)
        assert names and len(set(names)) == len(names)
        assert sorted(names) == sorted(trainable(backbone)), "attach returns other names than it trains"
        if adapter.identity_at_init:
            moved = _distance(_features(backbone), before)
            assert moved <= 1e-5, f"features moved by {moved:.1e}, but identity_at_init is set"
        again = self.backbone()
        _attach(self.make(), again)
        found = difference(weights(again), weights(backbone))
        assert not found, f"the same seed gives another start: {found}"

    def test_training_reaches_every_named_tensor_and_no_other(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        names = set(_attach(adapter, backbone))
        before = weights(backbone)
        untrained = _features(backbone)
        missed = names - _idle(adapter, names) - _train(backbone)
        assert not missed, f"no gradient reaches {', '.join(sorted(missed)[:3])}"
        after = weights(backbone)
        parameters = dict(backbone.named_parameters())
        changed = {name for name in parameters if not torch.equal(before[name], after[name])}
        wrong = (changed ^ names) - _idle(adapter, names)
        assert not wrong, f"wrong tensors changed: {', '.join(sorted(wrong)[:3])}"
        assert _distance(_features(backbone), untrained) > 1e-6, "training has no effect on the features"

    def test_what_is_declared_without_effect_has_none(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        names = set(_attach(adapter, backbone))
        _train(backbone)
        for pattern in adapter.without_effect:
            matched = [name for name in names if re.search(pattern, name)]
            assert matched, f"without_effect: no trained tensor is called {pattern}"
            before = _features(backbone)
            with torch.no_grad():
                for name in matched:
                    backbone.get_parameter(name).add_(1.0)
            moved = _distance(_features(backbone), before)
            assert moved <= 1e-5, f"without_effect: {pattern} moved the features by {moved:.1e}"

    def test_none_is_the_bare_base(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        before = _features(backbone)
        names = _attach(adapter, backbone)
        _train(backbone)
        trained = _features(backbone)
        if self.trains_base or adapter.rewrites_base:
            try:
                adapter.activate(backbone, None)
            except UserError:
                return
            raise AssertionError("there is no bare base: activate(backbone, None) must raise a UserError")
        adapter.activate(backbone, None)
        assert torch.equal(_features(backbone), before), "without adapters the features are not the base's"
        adapter.activate(backbone, "default")
        assert torch.equal(_features(backbone), trained), "the adapter does not come back as it was"
        assert sorted(trainable(backbone)) == sorted(names), "activate changes requires_grad"

    def test_a_second_one_is_active_wherever_the_switch_stood(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        if self.trains_base or adapter.rewrites_base:
            raise SkipTest("one at a time")
        before = _features(backbone)
        _attach(adapter, backbone, "first")
        _train(backbone)
        first = _features(backbone)
        adapter.activate(backbone, None)
        names = _attach(adapter, backbone, "second")
        assert sorted(trainable(backbone)) == sorted(names), "attaching does not freeze the one before"
        if adapter.identity_at_init:
            assert _distance(_features(backbone), before) <= 1e-5, "a second one starts from the first"
        missed = set(names) - _idle(adapter, names) - _train(backbone)
        assert not missed, f"the second adapter gets no gradient: {', '.join(sorted(missed)[:3])}"
        adapter.activate(backbone, "first")
        assert torch.equal(_features(backbone), first), "training the second one changed the first"

    def test_merging_keeps_the_features(self) -> None:
        adapter, backbone = self.make(), self.backbone()
        _attach(adapter, backbone)
        _train(backbone)
        trained, stock = _features(backbone), set(backbone.stock_state_dict())
        if not self.mergeable and not self.trains_base:
            raise SkipTest("declared as not mergeable")
        adapter.merge(backbone)
        moved = _distance(_features(backbone), trained)
        assert moved <= self.tolerance, f"merging moved the features by {moved:.1e}"
        assert set(backbone.stock_state_dict()) == stock and not backbone.adapters.installed

    def test_a_teacher_and_a_checkpoint_bring_it_back(self) -> None:
        """An earlier version is kept as its trained tensors: nothing else may decide about the output."""
        from clplat.runs.checkpoint import Weights

        backbone, again = self.backbone(), self.backbone()
        _attach(self.make(), backbone)
        start, teacher = _features(backbone), Teacher(snapshot(backbone))
        held = Weights(backbone)
        _train(backbone)
        trained, saved = _features(backbone), {name: t.clone() for name, t in held.tensors().items()}
        with teacher.active(backbone):
            assert torch.equal(_features(backbone), start), "a teacher's features are not those of its time"
        assert torch.equal(_features(backbone), trained), "a teacher left something behind"
        _attach(self.make(), again)
        Weights(again).restore(saved)
        assert torch.equal(_features(again), trained), "the saved tensors do not restore the features"


def _attach(adapter: Adapter, backbone: Backbone, name: str = "default") -> list[str]:
    with seeded(0, "contract", "attach"):
        return adapter.attach(backbone, name)


def _idle(adapter: Adapter, names: Iterable[str]) -> set[str]:
    """The trained tensors whose gradient is zero but for rounding."""
    return {name for name in names if any(re.search(part, name) for part in adapter.without_effect)}


def _features(backbone: Backbone) -> Tensor:
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    mode = backbone.training
    backbone.eval()
    with torch.no_grad():
        picture, text = backbone.image(batch.reference).pooled, backbone.text(batch.tokens).pooled
    backbone.train(mode)
    return F.normalize(torch.cat([picture, text]), dim=-1)


def _distance(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max())


def _train(backbone: Backbone, steps: int = 2) -> set[str]:
    """A few steps of composed retrieval; the names of all tensors that had a gradient other than zero."""
    retriever = ComposedRetriever(backbone, Sum())
    named = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    optimizer: Any = torch.optim.Adam(named.values(), lr=1e-2)
    reached: set[str] = set()
    backbone.train()
    with seeded(0, "contract", "train"):
        for step in range(steps):
            batch = tiny_collate()(tiny_domains()[step % 2].train[8 * step % 24 :][:8])
            optimizer.zero_grad()
            loss = tiny_loss(batch, retriever(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            reached |= {name for name, p in named.items() if p.grad is not None and bool(p.grad.any())}
            optimizer.step()
    backbone.eval()
    return reached
