"""What every loss must do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.records import Candidate, Example
from clplat.models.outputs import Outputs, Rows
from clplat.models.view import Towers
from clplat.parts.adapters.full import Full
from clplat.parts.losses._base import Loss
from clplat.parts.losses._combined import WeightedSum
from clplat.parts.losses.info_nce import InfoNCE
from clplat.progress import Progress
from clplat.randomness import generator, seeded
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.training.strategy import Strategy

if TYPE_CHECKING:
    from clplat.data.batch import Batch

__all__ = ["LossContract"]


class LossContract(PlainPartContract[Loss]):
    """Contract tests of a loss: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.losses.info_nce import InfoNCE
        >>> class TestInfoNCE(LossContract):
        ...     def make(self) -> Loss:
        ...         return InfoNCE(temperature=0.1)
    """

    #: Examples of the batch; each shows something else.
    rows: ClassVar[int] = 6

    # -- set-up -------------------------------------------------------------------------------------------

    def _attached(self) -> Loss:
        loss = self.make()
        with seeded(0, "contract", "loss"):
            loss.attach(Towers(tiny_backbone()))
        return loss

    def _world(self, noise: float = 1.0) -> tuple[Outputs, Batch]:
        """Outputs and their batch; without noise every query is its candidate, and a teacher knows that."""
        draw = generator(0, "contract", "loss")
        candidates, other = normalize(
            torch.randn(2, self.rows, tiny_backbone().embed_dim, generator=draw), dim=-1
        )
        query = normalize((1 - noise) * candidates + noise * other, dim=-1)
        made = Outputs(query.requires_grad_(), candidates.requires_grad_(), torch.tensor(10.0))
        known = candidates.detach()
        made.teacher = Outputs(known, known, torch.tensor(10.0))
        patches = torch.randn(self.rows, 4, tiny_backbone().image_width or 0, generator=draw)
        made.parts = {"candidate_tokens": Rows(patches.requires_grad_(), "candidate")}
        return made, tiny_collate()(tiny_domains()[0].train[: self.rows])

    def _terms(self, loss: Loss, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        made = loss(outputs, batch, Progress(total=6))
        return made if isinstance(made, dict) else {"task": made}

    def _value(self, loss: Loss, outputs: Outputs, batch: Batch) -> Tensor:
        return torch.stack([*self._terms(loss, outputs, batch).values()]).sum()

    # -- the contract -------------------------------------------------------------------------------------

    def test_it_is_a_finite_scalar(self) -> None:
        for noise in (0.0, 0.5, 1.0):
            loss = self._attached()
            assert isinstance(loss, Loss), "a loss extends clplat.parts.Loss"
            made = loss(*self._world(noise), Progress(total=6))
            for name, value in (made if isinstance(made, dict) else {"": made}).items():
                assert name not in ("task", "loss"), f"a term is called '{name}', the loop's own word"
                assert value.shape == () and bool(value.isfinite()), f"the loss {name} is {value}"

    def test_it_has_finite_gradients(self) -> None:
        loss, (outputs, batch) = self._attached(), self._world()
        self._value(loss, outputs, batch).backward()  # type: ignore[no-untyped-call]
        reached = {"the query": outputs.query, "the candidates": outputs.candidates}
        if not loss.compares:
            reached = {name: outputs[name] for name in loss.wants}
        for name, part in {**reached, **dict(loss.named_parameters())}.items():
            assert part.grad is not None and bool(part.grad.any()), f"no gradient reaches {name}"
            assert bool(part.grad.isfinite().all()), f"the gradient of {name} is not finite"

    def test_the_order_of_the_batch_does_not_matter(self) -> None:
        outputs, batch = self._world()
        order = torch.randperm(self.rows, generator=generator(1, "contract", "order"))
        moved = Outputs(outputs.query[order], outputs.candidates[order], outputs.scale)
        moved.parts = {name: Rows(part.value[order], part.along) for name, part in outputs.parts.items()}
        assert outputs.teacher is not None
        known = outputs.teacher.query[order]
        moved.teacher = Outputs(known, known, outputs.scale)
        whole = self._value(self._attached(), outputs, batch)
        other = self._value(self._attached(), moved, batch.part(order.tolist()))
        assert torch.allclose(other, whole, atol=1e-5)

    def test_negatives_are_candidates_like_any_other(self) -> None:
        """Pictures and texts, of both scopes, and not every example has some."""
        loss, batch = self._attached(), tiny_collate()(_with_negatives(self.rows))
        draw, width = generator(0, "contract", "negatives"), tiny_backbone().embed_dim
        query, candidates = (
            normalize(torch.randn(n, width, generator=draw), dim=-1).requires_grad_()
            for n in (self.rows, len(batch.owners))
        )
        outputs = Outputs(query, candidates, torch.tensor(10.0))
        patches = torch.randn(len(candidates), 4, tiny_backbone().image_width or 0, generator=draw)
        outputs.parts = {"candidate_tokens": Rows(patches, "candidate")}
        outputs.teacher = Outputs(query.detach(), candidates.detach(), torch.tensor(10.0))
        try:
            value = self._value(loss, outputs, batch)
        except (RuntimeError, ValueError, IndexError) as error:
            raise AssertionError(f"it does not take more candidates than targets: {error}") from error
        value.backward()  # type: ignore[no-untyped-call]
        for name, side in (("queries", outputs.query), ("candidates", outputs.candidates)):
            assert side.grad is None or bool(side.grad.isfinite().all()), f"no finite gradient of {name}"
        assert bool(value.isfinite()), f"with negatives the loss is {value}"

    def test_right_answers_cost_less_than_random_ones(self) -> None:
        if self.make().soft:
            return
        right, half, random = (
            float(self._value(self._attached(), *self._world(n)).detach()) for n in (0.0, 0.5, 1.0)
        )
        assert right < half < random, f"aligned {right:.4f}, half aligned {half:.4f}, random {random:.4f}"

    def test_its_gradient_points_downhill(self) -> None:
        outputs, batch = self._world()
        value, loss = self._value(self._attached(), outputs, batch), self.make()
        along = outputs.query if loss.compares else outputs[min(loss.wants)]
        (slope,) = torch.autograd.grad(value, along)
        along.data -= 1e-3 * slope / slope.norm()
        below = self._value(self._attached(), outputs, batch)
        assert float(below.detach()) < float(value.detach())

    def test_it_repeats_and_leaves_its_input_and_the_generator_alone(self) -> None:
        outputs, batch = self._world()
        before = outputs.query.detach().clone(), outputs.candidates.detach().clone()
        first, second = self._attached(), self._attached()
        with generator_untouched("it changes torch's global generator"):
            assert torch.equal(self._value(first, outputs, batch), self._value(second, outputs, batch))
        unchanged = torch.equal(outputs.query, before[0]) and torch.equal(outputs.candidates, before[1])
        assert unchanged, "it changes its input"

    def _trainer(self) -> Any:
        loss = self.make()
        # One that asks nothing of queries stands beside one that does.
        task = loss if loss.compares else WeightedSum([InfoNCE(temperature=0.1), loss])
        return tiny_trainer(Strategy(), tiny_retriever(Full(last=1)), loss=task)

    def test_its_weights_are_trained_and_it_resumes(self) -> None:
        loss = self._attached()
        if "teacher" in loss.wanted:  # a strategy's: it has no steps of its own
            return
        before, run = weights(self._trainer().task), finish(self._trainer())
        after = weights(run.trainer.task)
        own = dict(run.trainer.task.named_parameters())
        idle = [name for name in own if torch.equal(before[name], after[name])]
        assert not idle, f"training leaves weights as they are: {', '.join(idle)}"
        again = resumed(run, "10", self._trainer())
        found = difference(everything(again), everything(run.trainer))
        assert not found, f"an interrupted run ends with other bits: {found}"
        assert not [name for name in weights(again.model) if name.startswith("loss")], "in the deployed model"


def _with_negatives(count: int) -> list[Example]:
    examples = list(tiny_domains()[0].train[:count])
    negatives = [
        Candidate("a square of no colour", "nothing", "swapped_words", "anchor"),
        Candidate(examples[0].reference, "something", "near_miss"),
        Candidate("a purple circle", "a circle", "attribute"),
    ]
    return [replace(one, negatives=tuple(negatives[: i % 4])) for i, one in enumerate(examples)]
