"""What every scorer must do."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.models.features import WANTS, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.adapters.full import Full
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.text_only import TextOnly
from clplat.parts.scorers._base import Scorer
from clplat.randomness import seeded
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features
from clplat.training.strategy import Strategy

__all__ = ["ScorerContract"]


class ScorerContract(PlainPartContract[Scorer]):
    """Contract tests of a scorer: subclass, override `make`, and pytest runs them all.

    The towers are those of `tiny_backbone`: the joint space, the patch tokens and the word tokens have
    unequal widths, as in every real model.

    Example:
        >>> from clplat.parts.scorers.dot import Dot
        >>> class TestDot(ScorerContract):
        ...     def make(self) -> Scorer:
        ...         return Dot()
    """

    def _attached(self) -> Scorer:
        scorer = self.make()
        with seeded(0, "contract", "scorer"):
            scorer.attach(Towers(tiny_backbone()))
        return scorer.eval()

    def _features(self) -> tuple[ImageFeatures, TextFeatures]:
        return features(tiny_backbone(), 6)

    def _rows(self) -> tuple[Tensor, Tensor]:
        """Rows of queries and of items, as a retriever makes them."""
        retriever = tiny_retriever(composer=Sum(), scorer=self.make()).eval()
        batch = tiny_collate()(tiny_domains()[0].train[:8])
        with torch.no_grad():
            shown = batch.pictures.part(range(8))
            return retriever.encode_queries(shown, batch.texts), retriever.encode_images(batch.pictures)

    # -- the contract -------------------------------------------------------------------------------------

    def test_queries_pictures_and_texts_are_flat_finite_rows_of_one_width(self) -> None:
        scorer, (image, text) = self._attached(), self._features()
        rows = [
            scorer.query(image, text, Sum()),
            scorer.item(image, lambda found: found.pooled),
            scorer.text(text),
        ]
        assert all(made.dim() == 2 and len(made) == 6 and bool(made.isfinite().all()) for made in rows)
        widths = {made.shape[1] for made in rows}
        assert len(widths) == 1, f"rows of several widths: {sorted(widths)}"
        assert not scorer.single or widths == {24}, "a single vector lies in the joint space"

    def test_rows_do_not_depend_on_each_other(self) -> None:
        scorer, (image, text), one = self._attached(), self._features(), [3]
        for whole, alone in (
            (scorer.query(image, text, Sum()), scorer.query(image.part(one), text.part(one), Sum())),
            (scorer.item(image, lambda i: i.pooled), scorer.item(image.part(one), lambda i: i.pooled)),
            (scorer.text(text), scorer.text(text.part(one))),
        ):
            assert torch.allclose(alone, whole[one], atol=1e-5), "a row depends on the others of its batch"

    def test_it_reads_known_features(self) -> None:
        scorer = self._attached()
        wanted = frozenset[str]().union(scorer.item_wants, scorer.composes, *scorer.wants.values())
        assert set(scorer.wants) <= {"image", "text"} and wanted <= WANTS

    def test_blocks_are_as_near_to_pairs_as_it_says(self) -> None:
        scorer, (queries, items) = self._attached(), self._rows()
        block = scorer.block(queries, items)
        pairs = torch.stack([scorer.pairs(query.expand(len(items), -1), items) for query in queries])
        assert block.shape == (len(queries), len(items)) and bool(block.isfinite().all())
        apart = float((block - pairs).abs().max())
        assert apart <= scorer.slack, (
            f"block and pairs are {apart:.1e} apart, its slack is {scorer.slack:.1e}"
        )

    def test_a_pair_scores_the_same_bits_in_any_company(self) -> None:
        scorer, (queries, items) = self._attached(), self._rows()
        count, order = len(queries), [3, 0, 5, 1, 4, 2]
        whole = scorer.pairs(queries, items[:count])
        assert torch.equal(scorer.pairs(queries[order], items[order]), whole[order]), (
            "it depends on the place"
        )
        for i in range(count):
            alone = scorer.pairs(queries[i : i + 1], items[i : i + 1])
            assert torch.equal(alone, whole[i : i + 1]), "equal rows would not tie"

    def test_gradients_reach_both_sides(self) -> None:
        queries, items = (rows.requires_grad_() for rows in self._rows())
        self._attached().block(queries, items).square().mean().backward()  # type: ignore[no-untyped-call]
        for rows in (queries, items):
            assert rows.grad is not None and bool(rows.grad.any()) and bool(rows.grad.isfinite().all())

    def test_blind_baselines_see_one_half_of_a_query(self) -> None:
        """ARTEMIS composes nothing and its own query reads the text: the baseline beside it does not."""
        retriever = tiny_retriever(composer=ImageOnly(), scorer=self.make()).eval()
        batch, turned = tiny_collate()(tiny_domains()[0].train[:4]), [3, 2, 1, 0]
        shown, said = batch.pictures.part(range(4)), batch.texts
        with torch.no_grad():
            made = retriever.encode_queries_by([ImageOnly(), TextOnly()], shown, said)
            words = retriever.encode_queries_by([ImageOnly()], shown, said.part(turned))
            other = retriever.encode_queries_by([TextOnly()], shown.part(turned), said)
        assert torch.allclose(words[0], made[0], atol=1e-6), "the picture alone depends on the text"
        assert torch.allclose(other[0], made[1], atol=1e-6), "the text alone depends on the picture"

    def test_only_inner_products_are_approximable(self) -> None:
        scorer, (queries, items) = self._attached(), self._rows()
        if scorer.approximable:
            assert torch.allclose(scorer.block(queries, items), queries @ items.T, atol=1e-5)

    def test_it_draws_nothing(self) -> None:
        scorer, rows = self._attached(), self._rows()
        with generator_untouched("it draws numbers"):
            assert torch.equal(scorer.block(*rows), scorer.block(*rows))

    def test_training_and_retrieval_compare_the_same_rows(self) -> None:
        retriever = tiny_retriever(composer=Sum(), scorer=self.make()).eval()
        batch = tiny_collate()(tiny_domains()[0].train[:5])
        outputs, shown = retriever(batch), batch.pictures.part(range(5))
        query = retriever.encode_queries(shown, batch.texts)
        held = retriever.encode_images(batch.pictures.part(range(5, 10)))
        assert torch.allclose(query, outputs.query, atol=1e-5), "queries differ"
        assert torch.allclose(held, outputs.candidates, atol=1e-5), "candidates differ"
        scores = retriever.scorer.block(query, held)
        assert torch.allclose(outputs.scores(), scores, atol=1e-5), "the loss sees other scores"

    def _trainer(self) -> object:
        return tiny_trainer(Strategy(), tiny_retriever(Full(last=1), scorer=self.make()))

    def test_it_trains_and_resumes(self) -> None:
        run = finish(self._trainer())  # type: ignore[arg-type]
        after = weights(run.trainer.model)
        own = [n for n, _ in run.trainer.model.named_parameters() if n.startswith("scorer.")]
        idle = [name for name in own if torch.equal(run.before[name], after[name])]
        assert not idle, f"training leaves weights as they are: {', '.join(idle)}"
        first, last = run.trainer.losses[0]["loss"], run.trainer.losses[5]["loss"]
        assert last < first, f"training does not lower the loss: {first:.3f} to {last:.3f}"
        again = resumed(run, "10", self._trainer())  # type: ignore[arg-type]
        found = difference(everything(again), everything(run.trainer))
        assert not found, f"an interrupted run ends with other bits: {found}"
