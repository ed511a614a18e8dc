"""What every teacher must do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import SkipTest

import torch

from clplat.parts.adapters.full import Full
from clplat.parts.teachers._base import TeacherPart
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.loop import tiny_learner
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import nudge, tiny_collate, tiny_domains, tiny_retriever
from clplat.trees import load_tree, save_tree

__all__ = ["TeacherContract"]


class TeacherContract(PlainPartContract[TeacherPart]):
    """Contract tests of a teacher: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.teachers.momentum import Momentum
        >>> class TestFast(TeacherContract):
        ...     def make(self) -> TeacherPart:
        ...         return Momentum(decay=0.5)
    """

    def student(self) -> ComposedRetriever:
        """The model that it teaches; override it where the tiny one does not suit."""
        return tiny_retriever(Full(last=1)).train()

    def _begun(self) -> tuple[TeacherPart, Any, Any]:
        """A teacher, its student's learner, and a batch."""
        part, learner = self.make(), tiny_learner(self.student())
        part.begin(learner)
        return part, learner, tiny_collate()(tiny_domains()[0].train[:6])

    def _said(self, part: TeacherPart, learner: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        made = part.outputs(learner, batch)
        return made.query, made.candidates

    # -- the contract -------------------------------------------------------------------------------------

    def test_it_answers_in_the_students_form_and_without_gradients(self) -> None:
        part, learner, batch = self._begun()
        own = learner.model(batch)
        for found, wanted in zip(self._said(part, learner, batch), (own.query, own.candidates), strict=True):
            assert len(found) == len(wanted), f"{len(found)} rows for {len(wanted)}"
            assert not found.requires_grad, "a teacher's outputs carry gradients"
            assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=1e-4), "no unit rows"

    def test_it_leaves_the_student_alone(self) -> None:
        part, learner, batch = self._begun()
        before, modes = weights(learner.model), [module.training for module in learner.model.modules()]
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            first, again = self._said(part, learner, batch), self._said(part, learner, batch)
        part.follow(learner)
        assert not difference(list(first), list(again)), "the same batch gives other outputs: dropout is on"
        assert not difference(weights(learner.model), before), "the student's weights changed"
        assert [module.training for module in learner.model.modules()] == modes, "its modes changed"

    def test_it_does_not_move_with_the_student(self) -> None:
        part, learner, batch = self._begun()
        before = self._said(part, learner, batch)
        nudge(learner.model, 0.1)
        found = difference(list(self._said(part, learner, batch)), list(before))
        assert not found, "it moves with the student, without a call of follow"
        part.follow(learner)
        moved = bool(difference(list(self._said(part, learner, batch)), list(before)))
        assert moved == part.moves, f"moves is {part.moves}, and after follow its outputs changed: {moved}"

    def test_it_does_not_learn_what_is_unfrozen_later(self) -> None:
        part, learner, batch = self._begun()
        before = self._said(part, learner, batch)
        learner.model.requires_grad_(True)
        self._said(part, learner, batch)
        nudge(learner.model, 0.1)
        found = difference(list(self._said(part, learner, batch)), list(before))
        assert not found, "it follows the student in what became trainable later"

    def test_its_state_survives_the_disk(self, tmp_path: Path) -> None:
        part, learner, batch = self._begun()
        nudge(learner.model, 0.1)
        part.follow(learner)
        save_tree(tmp_path / "state.safetensors", part.state_dict())
        fresh, again = self.make(), tiny_learner(self.student())
        fresh.begin(again)
        nudge(again.model, 0.1)
        fresh.load_state_dict(load_tree(tmp_path / "state.safetensors"))
        found = difference(list(self._said(fresh, again, batch)), list(self._said(part, learner, batch)))
        assert not found, "load_state_dict does not restore what state_dict returned"
        assert fresh.bytes() == part.bytes() > 0, "what it keeps is not counted"

    def test_nothing_of_it_is_kept_while_it_moves(self) -> None:
        from clplat.cache.engine import FeatureCache
        from clplat.cache.store import Store

        part, learner, batch = self._begun()
        if not part.moves:
            raise SkipTest("it stays")
        model = learner.model
        model.cache = cache = FeatureCache(model.backbone, Store(None))
        every = tiny_collate()(tiny_domains()[0].train)
        model.prepare(every.pictures, every.texts)
        before = cache.counts["image"].encoded
        for _ in range(2):
            self._said(part, learner, batch)
            part.follow(learner)
        made = cache.counts["image"].encoded - before
        assert not made, f"{made} features of a teacher that moves were kept"

    def test_a_second_experience_begins_where_the_first_ended(self) -> None:
        part, learner, batch = self._begun()
        nudge(learner.model, 0.1)
        whole = copy.deepcopy(learner.model).eval()
        first = self._said(part, learner, batch)
        part.begin(learner)
        second = list(self._said(part, learner, batch))
        with torch.no_grad():
            made = whole(batch)
        now = bool(difference(second, [made.query, made.candidates])) is False
        assert now or not difference(second, list(first)), "it is neither what it was nor the student"
