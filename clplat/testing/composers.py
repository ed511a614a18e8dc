"""What every composer must do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.backbone import Backbone
from clplat.models.features import WANTS, ImageFeatures, TextFeatures, Triplets
from clplat.models.outputs import Outputs
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.part import PartContract
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains
from clplat.testing.towers import features

__all__ = ["ComposerContract", "objectives"]


class ComposerContract(PartContract[Composer]):
    """Contract tests of a composer: subclass, override `make`, and pytest runs them all.

    The towers are those of `tiny_backbone`: the joint space, the patch tokens and the word tokens have
    unequal widths, as in every real model.

    Example:
        >>> from clplat.parts.composers.sum import Sum
        >>> class TestSum(ComposerContract):
        ...     def make(self) -> Composer:
        ...         return Sum(weight=0.3)
    """

    def backbone(self) -> Backbone:
        """Whose towers it is attached to; override it where the tiny one does not suit."""
        return tiny_backbone()

    def _attached(self) -> Composer:
        composer = self.make()
        with seeded(0, "contract", "composer"):
            composer.attach(Towers(self.backbone()))
        return composer.eval()

    def _features(self, rows: int = 6) -> tuple[ImageFeatures, TextFeatures]:
        return features(self.backbone(), rows)

    # -- the contract -------------------------------------------------------------------------------------

    def test_a_query_is_a_finite_row_of_the_joint_space(self) -> None:
        composer, width = self._attached(), self.backbone().embed_dim
        for rows in (6, 1):
            query = composer(*self._features(rows))
            assert query.shape == (rows, width) and query.is_floating_point()
            assert bool(query.isfinite().all()) and bool((query.norm(dim=1) > 0).all())

    def test_rows_do_not_depend_on_each_other(self) -> None:
        composer, (image, text) = self._attached(), self._features()
        whole, order = composer(image, text), [3, 0, 5, 1, 4, 2]
        shuffled = composer(image.part(order), text.part(order))
        assert torch.allclose(shuffled, whole[order], atol=1e-5), "a row depends on its place in the batch"
        alone = composer(image.part([3]), text.part([3]))
        assert torch.allclose(alone, whole[3:4], atol=1e-5), "a row depends on the others of its batch"

    def test_it_needs_no_more_than_it_wants(self) -> None:
        composer = self._attached()
        wants = [frozenset(composer.wants.get(side, ())) for side in ("image", "text")]
        assert set(composer.wants) <= {"image", "text"} and frozenset().union(*wants) <= WANTS
        image, text = (_only(found, wanted) for found, wanted in zip(self._features(), wants, strict=True))
        whole = composer(*self._features())
        assert torch.equal(composer(image, text), whole), "it reads what it does not want"
        shown, target = (
            self._features()[0],
            composer.target(_only(self._features()[0], composer.target_wants)),
        )
        assert torch.equal(target, composer.target(shown)), "its target reads what it does not want"

    def test_it_reads_what_it_says_and_nothing_else(self) -> None:
        composer = self._attached()
        assert any(composer.wants.values()), "it wants nothing"
        (image, text), whole = self._features(), composer(*self._features())
        others = [5, 4, 3, 2, 1, 0]
        for name, changed in (
            ("image", composer(image.part(others), text)),
            ("text", composer(image, text.part(others))),
        ):
            reads = not torch.equal(changed, whole)
            assert reads == bool(composer.wants.get(name)), (
                f"it wants {dict(composer.wants)}; {name}: {reads}"
            )

    def test_a_candidate_is_a_finite_row_of_the_joint_space(self) -> None:
        composer, (image, _) = self._attached(), self._features()
        held = composer.target(image)
        assert held.shape == image.pooled.shape and bool(held.isfinite().all())
        alone = composer.target(image.part([3]))
        assert torch.allclose(alone, held[3:4], atol=1e-5), "a candidate depends on the others of its batch"

    def test_gradients_reach_every_parameter_and_every_input_that_it_reads(self) -> None:
        composer, (image, text) = self._attached().train(), self._features(rows=24)
        parameters = dict(composer.named_parameters())
        optimizer = torch.optim.SGD(parameters.values(), lr=0.1) if parameters else None
        goal = normalize(torch.randn(image.pooled.shape, generator=generator(1, "contract", "goal")), dim=1)
        reached: set[str] = set()
        with seeded(0, "contract", "composer training"):
            for _ in range(4):  # layers behind zeroed ones get a gradient from the second step on
                for found in (image, text):
                    _let_gradients_in(found)
                composer.zero_grad()
                loss = _pull(composer(image, text), goal) + _pull(composer.target(image), goal)
                loss = loss + objectives(composer, image, text)
                loss.backward()  # type: ignore[no-untyped-call]
                reached |= {name for name, p in parameters.items() if p.grad is not None and p.grad.any()}
                if optimizer is not None:
                    optimizer.step()
        assert not parameters.keys() - reached, f"no gradient: {sorted(parameters.keys() - reached)[:3]}"
        for name, found in (("image", image), ("text", text)):
            wanted = frozenset(composer.wants.get(name, ()))
            if name == "image":
                wanted |= composer.target_wants
            if name == "image":
                wanted |= composer.learns_from.get("answer", frozenset())
            wanted |= composer.learns_from.get(name, frozenset())
            moved = {key for key in ("pooled", "states", "tokens") if _moves(getattr(found, key))}
            assert moved == wanted & {"pooled", "states", "tokens"}, f"gradient to {name}: {sorted(moved)}"

    def test_the_same_seed_builds_the_same_composer(self) -> None:
        assert not difference(weights(self._attached()), weights(self._attached()))

    def test_evaluation_draws_nothing(self) -> None:
        composer = self._attached()
        with generator_untouched("a forward pass in evaluation mode draws numbers"):
            assert torch.equal(composer(*self._features()), composer(*self._features()))

    def test_it_works_in_a_retriever(self) -> None:
        with seeded(0, "contract", "retriever"):
            retriever = ComposedRetriever(self.backbone(), self.make())
        batch = tiny_collate()(tiny_domains()[0].train[:5])
        outputs = retriever.eval()(batch)
        assert outputs.query.shape == outputs.candidates.shape and not outputs.terms
        assert torch.allclose(outputs.query.norm(dim=1), torch.ones(5), atol=1e-5)
        query = retriever.encode_queries(batch.pictures.part(range(5)), batch.texts)
        assert torch.allclose(query, outputs.query, atol=1e-5), "training and retrieval compose differently"
        held = retriever.encode_images(batch.pictures.part(range(5, 10)))
        assert torch.allclose(held, outputs.candidates, atol=1e-5), "the gallery holds other candidates"

    def test_its_own_objectives_are_named_finite_scalars(self) -> None:
        with seeded(0, "contract", "retriever"):
            retriever = ComposedRetriever(self.backbone(), self.make()).train()
            outputs = retriever(tiny_collate()(tiny_domains()[0].train[:8]))
        for name, term in outputs.terms.items():
            assert term.dim() == 0 and bool(term.isfinite()), f"{name}: {term}"

    def test_what_it_is_fitted_to_counts_and_is_kept(self) -> None:
        composer, again, found = self._attached(), self._attached(), self._features()
        before = composer(*found)
        draw = generator(2, "contract", "fit")
        rows = [torch.randn(40, self.backbone().embed_dim, generator=draw) + 1.0 for _ in range(3)]
        composer.fit(*rows)
        query = composer(*found)
        assert torch.equal(query, before) != composer.fits, "`fits` says whether `fit` changes a query"
        assert bool(query.isfinite().all()) and bool(composer.target(found[0]).isfinite().all())
        again.load_state_dict(composer.state_dict())
        assert torch.equal(again(*found), query), "what was fitted is not in its state"

    def test_its_template_leaves_room_for_a_text(self) -> None:
        towers = Towers(self.backbone())
        assert 0 <= self._attached().places <= towers.room - 3, "no room for SOS, a word and EOT"


def objectives(composer: Composer, image: ImageFeatures, text: TextFeatures) -> Tensor:
    """The sum of a composer's own objectives where each picture answers the query of the next one."""
    if not composer.learns_from:
        return image.pooled.new_zeros(())
    rows = list(range(len(image.pooled)))
    seen = Triplets(rows=rows, reference=image, text=text, answer=image.part(rows[1:] + rows[:1]))
    batch = tiny_collate()([tiny_domains()[0].train[i % 24] for i in rows])
    query, held = (normalize(found, dim=1) for found in (composer(image, text), composer.target(seen.answer)))
    outputs = Outputs(query, held, torch.tensor(10.0), triplets=seen)
    return torch.stack([*composer.terms(batch, outputs).values()]).sum()


def _pull(query: Tensor, goal: Tensor) -> Tensor:
    return (1 - (nn.functional.normalize(query, dim=1) * goal).sum(1)).mean()


def _only(found: Any, wanted: frozenset[str]) -> Any:
    """Features with what is wanted, and what always travels: keys, texts, token ids."""
    kept = {
        name: vars(found).get(name)
        for name in ("keys", "captions", "texts", "input_ids", "ends")
        if name in vars(found)
    }
    kept |= {name: vars(found)[name] for name in wanted & {"pooled", "states", "tokens", "hidden"}}
    return type(found)(
        **kept, **({"pixels": found.pixels} if "input" in wanted and "pixels" in vars(found) else {})
    )


def _let_gradients_in(found: ImageFeatures | TextFeatures) -> None:
    for name in ("pooled", "states", "tokens"):
        value = getattr(found, name).detach().requires_grad_()
        setattr(found, name, value)


def _moves(value: Tensor) -> bool:
    return value.grad is not None and bool(value.grad.any())
