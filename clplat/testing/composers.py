"""What every composer must do."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import difference, generator_untouched, weights
from clplat.testing.part import PartContract
from clplat.testing.tiny import tiny_backbone, tiny_collate, tiny_domains

__all__ = ["ComposerContract"]


class ComposerContract(PartContract[Composer]):
    """Contract tests of a composer: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.composers.sum import Sum
        >>> class TestSum(ComposerContract):
        ...     def make(self) -> Composer:
        ...         return Sum(weight=0.3)
    """

    #: Width of the joint space, and of the tokens.
    width: ClassVar[int] = 16

    def _built(self) -> Composer:
        composer = self.make()
        with seeded(0, "contract", "composer"):
            composer.build(self.width)
        return composer.eval()

    def _features(self, rows: int = 6, tokens: bool = True) -> tuple[ImageFeatures, TextFeatures]:
        draw = generator(0, "contract", "features", rows)
        pooled = 5 * torch.randn(2, rows, self.width, generator=draw)
        patches, words = torch.randn(2, rows, 7, self.width, generator=draw)
        ids = torch.randint(1, 9, (rows, 7), generator=draw)
        ends = torch.randint(1, 7, (rows,), generator=draw)
        image = ImageFeatures(pooled[0], patches if tokens else None)
        return image, TextFeatures(pooled[1], words if tokens else None, ends=ends, input_ids=ids)

    # -- the contract -------------------------------------------------------------------------------------

    def test_a_query_is_a_finite_row_of_the_joint_space(self) -> None:
        composer = self._built()
        for rows in (6, 1):
            query = composer(*self._features(rows))
            assert query.shape == (rows, self.width) and query.is_floating_point()
            assert bool(query.isfinite().all()) and bool((query.norm(dim=1) > 0).all())

    def test_rows_do_not_depend_on_each_other(self) -> None:
        composer, (image, text) = self._built(), self._features()
        whole, order = composer(image, text), torch.tensor([3, 0, 5, 1, 4, 2])
        shuffled = composer(_rows(image, order), _rows(text, order))
        assert torch.allclose(shuffled, whole[order], atol=1e-5), "a row depends on its place in the batch"
        alone = composer(_rows(image, order[:1]), _rows(text, order[:1]))
        assert torch.allclose(alone, whole[3:4], atol=1e-5), "a row depends on the others of its batch"

    def test_it_needs_no_more_than_it_says(self) -> None:
        composer = self._built()
        assert composer.needs <= {"pooled", "tokens"} and "pooled" in composer.needs
        if "tokens" not in composer.needs:
            plain = composer(*self._features(tokens=False))
            assert torch.equal(plain, composer(*self._features())), "it reads tokens without needing them"

    def test_it_reads_what_it_says_and_nothing_else(self) -> None:
        composer = self._built()
        assert composer.reads <= {"image", "text"} and composer.reads
        (image, text), whole = self._features(), composer(*self._features())
        others = torch.arange(5, -1, -1)
        for name, changed in (
            ("image", composer(_rows(image, others), text)),
            ("text", composer(image, _rows(text, others))),
        ):
            reads = not torch.equal(changed, whole)
            assert reads == (name in composer.reads), f"reads says {set(composer.reads)}; {name}: {reads}"

    def test_gradients_reach_every_parameter_and_every_input_that_it_reads(self) -> None:
        composer, (image, text) = self._built().train(), self._features(rows=32)
        parameters = dict(composer.named_parameters())
        optimizer = torch.optim.SGD(parameters.values(), lr=0.1) if parameters else None
        goal = normalize(torch.randn(32, self.width, generator=generator(1, "contract", "goal")), dim=1)
        reached: set[str] = set()
        with seeded(0, "contract", "composer training"):
            for _ in range(4):  # layers behind zeroed ones get a gradient from the second step on
                for part in (image, text):
                    part.pooled = part.pooled.detach().requires_grad_()
                composer.zero_grad()
                _pull(composer(image, text), goal)
                reached |= {name for name, p in parameters.items() if p.grad is not None and p.grad.any()}
                if optimizer is not None:
                    optimizer.step()
        assert not parameters.keys() - reached, f"no gradient: {sorted(parameters.keys() - reached)[:3]}"
        for name, part in (("image", image), ("text", text)):
            gradient = part.pooled.grad
            moves = gradient is not None and bool(gradient.any())
            assert moves == (name in composer.reads), f"gradient to {name}: {moves}"

    def test_the_same_seed_builds_the_same_composer(self) -> None:
        assert not difference(weights(self._built()), weights(self._built()))

    def test_evaluation_draws_nothing(self) -> None:
        composer = self._built()
        with generator_untouched("a forward pass in evaluation mode draws numbers"):
            assert torch.equal(composer(*self._features()), composer(*self._features()))

    def test_it_works_in_a_retriever(self) -> None:
        with seeded(0, "contract", "retriever"):
            retriever = ComposedRetriever(tiny_backbone(), self.make())
        outputs = retriever.eval()(tiny_collate()(tiny_domains()[0].train[:5]))
        assert outputs.query.shape == outputs.candidates.shape
        assert torch.allclose(outputs.query.norm(dim=1), torch.ones(5), atol=1e-5)


def _pull(query: Tensor, goal: Tensor) -> None:
    loss = (1 - (nn.functional.normalize(query, dim=1) * goal).sum(1)).mean()
    loss.backward()  # type: ignore[no-untyped-call]


def _rows(features: ImageFeatures | TextFeatures, order: Tensor) -> ImageFeatures | TextFeatures:
    held = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    chosen: dict[str, Any] = {k: v[order] if isinstance(v, Tensor) else v for k, v in held.items()}
    return type(features)(**chosen)
