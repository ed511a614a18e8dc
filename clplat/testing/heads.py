"""What every head must do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.parts.heads._base import Head, View
from clplat.randomness import generator, seeded
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.training.strategy import Strategy

__all__ = ["HeadContract"]


class HeadContract(PlainPartContract[Head]):
    """Contract tests of a head: subclass, override `make`, and pytest runs them all.

    The joint space of `tiny_backbone` is 24 wide.

    Example:
        >>> from clplat.parts.heads.matryoshka import Matryoshka
        >>> class TestTwoPrefixes(HeadContract):
        ...     def make(self) -> Head:
        ...         return Matryoshka(dims=[6, 3])
    """

    def _attached(self) -> tuple[Head, int]:
        head = self.make()
        with seeded(0, "contract", "head"):
            width = head.attach(Towers(tiny_backbone()))
        return head.eval(), width

    def _embeddings(self, rows: int = 48) -> Tensor:
        return 5 * torch.randn(rows, 24, generator=generator(0, "contract", "head"))

    def _seen(self) -> list[tuple[str, View, Tensor]]:
        """Each view with rows of the head, without gradients."""
        head, _ = self._attached()
        with torch.no_grad():
            rows = head(self._embeddings(), "gallery")
        return [(name, view, rows) for name, view in (head.views() or {"full": View()}).items()]

    # -- the contract -------------------------------------------------------------------------------------

    def test_its_rows_are_finite_and_as_wide_as_it_says(self) -> None:
        head, width = self._attached()
        for side in ("query", "gallery"):
            rows = head(self._embeddings(), side)
            assert rows.shape == (48, width), f"attach says {width}, a row of the {side} is {rows.shape[1:]}"
            lengths = rows.detach().norm(dim=1)
            assert bool(rows.isfinite().all()) and 0.2 < float(lengths.min()) <= float(lengths.max()) < 5

    def test_rows_do_not_depend_on_each_other(self) -> None:
        (head, _), x = self._attached(), self._embeddings()
        whole = head(x, "gallery")
        assert torch.allclose(head(x[5:9], "gallery"), whole[5:9], atol=1e-5), "a row depends on the others"

    def test_it_is_the_identity_at_first_or_says_that_it_is_not(self) -> None:
        (head, _), x = self._attached(), self._embeddings()
        for side in ("query", "gallery"):
            same = head(x, side).shape == x.shape and torch.allclose(
                head(x, side), normalize(x, dim=1), atol=1e-5
            )
            assert same or head.starts_random, f"it changes the {side}, and does not say starts_random"

    def test_the_same_seed_makes_the_same_head(self) -> None:
        assert not difference(weights(self._attached()[0]), weights(self._attached()[0]))

    def test_evaluation_draws_nothing(self) -> None:
        (head, _), x = self._attached(), self._embeddings()
        with generator_untouched("a forward pass in evaluation mode draws numbers"):
            assert torch.equal(head(x, "query"), head(x, "query"))

    def test_gradients_reach_its_weights_and_its_input_through_every_view(self) -> None:
        head, _ = self._attached()
        goal = normalize(torch.randn(48, 48, generator=generator(1, "contract", "goal")), dim=1)
        views = {name: view for name, view in (head.views() or {"full": View()}).items() if view.weight > 0}
        assert views, "no view is trained: each has the weight 0"
        reached: set[str] = set()
        for view in views.values():
            x = self._embeddings().requires_grad_()
            head.zero_grad()
            query, item = (view.map(head(x, side), side) for side in ("query", "gallery"))
            ((query @ item.T - goal) ** 2).mean().backward()  # type: ignore[no-untyped-call]
            assert x.grad is not None and bool(x.grad.any()) and bool(x.grad.isfinite().all())
            reached |= {n for n, p in head.named_parameters() if p.grad is not None and p.grad.any()}
        idle = {name for name, _ in head.named_parameters()} - reached
        assert not idle, f"no gradient: {sorted(idle)[:3]}"

    def test_what_is_stored_compares_as_what_is_trained(self) -> None:
        for name, view, rows in self._seen():
            item, query = view.map(rows, "gallery"), view.map(rows, "query")
            found = view.load(view.store(rows))
            assert found.dtype == torch.float32 and found.shape == item.shape, f"{name} loads other rows"
            assert query.shape == item.shape and bool(query.isfinite().all()), f"{name}: {query.shape}"
            lost = float((found - item).norm() / item.norm())
            assert lost < 0.2, f"view {name} loses {100 * lost:.0f} % between store and load"

    def test_each_item_is_stored_by_itself(self) -> None:
        for name, view, rows in self._seen():
            order = torch.randperm(len(rows), generator=generator(2, "contract", "order"))
            stored = view.store(rows)
            assert len(stored) == len(rows), f"view {name} stores other than one row an item"
            assert torch.equal(view.store(rows[order]), stored[order]), f"{name}: an item depends on others"
            assert torch.equal(view.load(stored[order]), view.load(stored)[order]), f"{name}: loads by place"

    def test_it_counts_the_bytes_that_it_stores(self) -> None:
        for name, view, rows in self._seen():
            stored = view.store(rows)
            real, said = stored.nbytes / len(rows), view.bytes_per_item(stored)
            assert said >= real, f"view {name} says {said} bytes an item and stores {real}"

    def test_codes_that_collide_count_ties_against(self) -> None:
        for name, view, rows in self._seen():
            stored = view.store(rows)
            collide = len({tuple(row) for row in stored.tolist()}) < len(stored)
            assert not collide or view.tie_rule == "against", (
                f"items collide in view {name}: count ties against"
            )

    def test_it_works_in_a_retriever(self) -> None:
        retriever = tiny_retriever(composer=Sum(), head=self.make()).eval()
        batch = tiny_collate()(tiny_domains()[0].train[:5])
        outputs, first = retriever(batch), next(iter(retriever.views.values()))
        shown = batch.pictures.part(range(5))
        query = first.map(retriever.encode_queries(shown, batch.texts), "query")
        assert torch.allclose(query, outputs.query, atol=1e-4), "training and retrieval compare other rows"
        held = first.map(retriever.encode_images(batch.pictures.part(range(5, 10))), "gallery")
        assert torch.allclose(held, outputs.candidates, atol=1e-4), "the gallery holds other candidates"
        with retriever.as_version(0):
            untrained = next(iter(retriever.views.values())).map(retriever.encode_images(shown), "gallery")
        bare = tiny_retriever(composer=Sum()).eval().encode_images(shown)
        assert torch.allclose(untrained, bare, atol=1e-5), "the untrained model is not the backbone's"

    def test_its_own_objectives_are_named_finite_scalars(self) -> None:
        retriever = tiny_retriever(head=self.make()).train()
        with seeded(0, "contract", "terms"):
            outputs = retriever(tiny_collate()(tiny_domains()[0].train[:8]))
        for name, term in outputs.terms.items():
            assert term.dim() == 0 and bool(term.isfinite()), f"{name}: {term}"

    def _trainer(self) -> object:
        return tiny_trainer(Strategy(), tiny_retriever(Full(last=1), head=self.make()))

    def test_its_weights_are_trained_and_it_resumes(self) -> None:
        run = finish(self._trainer())  # type: ignore[arg-type]
        after = weights(run.trainer.model)
        own = [n for n, _ in run.trainer.model.named_parameters() if n.startswith("head.")]
        idle = [name for name in own if torch.equal(run.before[name], after[name])]
        assert not idle, f"training leaves weights as they are: {', '.join(idle)}"
        again = resumed(run, "10", self._trainer())  # type: ignore[arg-type]
        found = difference(everything(again), everything(run.trainer))
        assert not found, f"an interrupted run ends with other bits: {found}"
