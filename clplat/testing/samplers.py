"""What every sampler must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clplat.data.items import Item
from clplat.data.records import Example
from clplat.parts.adapters.full import Full
from clplat.parts.samplers._base import Sampler
from clplat.randomness import generator
from clplat.testing.checks import difference, generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from clplat.testing.tiny import tiny_domains, tiny_retriever
from clplat.training.strategy import Strategy

__all__ = ["SamplerContract"]


class SamplerContract(PlainPartContract[Sampler]):
    """Contract tests of a sampler: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.samplers.by_domain import ByDomain
        >>> class TestByDomain(SamplerContract):
        ...     def make(self) -> Sampler:
        ...         return ByDomain()
    """

    def _examples(self, count: int) -> list[Example]:
        return [example for domain in tiny_domains() for example in domain.train][:count]

    def _batches(self, count: int, size: int = 8, seed: int = 0) -> list[list[int]]:
        self.asked = 0

        def embed(items: Sequence[Item]) -> Tensor:
            self.asked += len(items)
            rows = [generator(0, item.key) for item in items]
            return torch.stack([torch.randn(20, generator=row) for row in rows])

        return self.make().batches(self._examples(count), size, generator(seed, "contract"), embed)

    # -- the contract -------------------------------------------------------------------------------------

    def test_a_batch_has_different_examples_and_no_more_than_it_takes(self) -> None:
        for count, size in ((48, 8), (41, 8), (24, 5), (3, 8), (1, 4)):
            batches = self._batches(count, size)
            assert batches, "there is no batch"
            for batch in batches:
                assert len(set(batch)) == len(batch), "a batch has an example twice"
                assert all(0 <= row < count for row in batch), "a batch has an example that is not there"
                assert len(batch) <= size + 1, f"a batch of {len(batch)} where {size} were asked for"
                assert len(batch) > 1 or count == 1, "an example stands alone, without negatives"

    def test_a_pass_has_every_example_once(self) -> None:
        for count in (48, 41):
            rows = sorted(row for batch in self._batches(count) for row in batch)
            assert not self.make().covers or rows == [*range(count)], "not every example is there once"

    def test_the_draw_decides_all(self) -> None:
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            first, again = self._batches(48), self._batches(48)
        assert first == again, "the same draw gives other batches"
        assert self._batches(48, seed=1) != first, "every pass has the same batches"

    def test_it_looks_at_the_model_only_if_it_says_so(self) -> None:
        self._batches(48)
        assert (self.asked > 0) == self.make().looks, f"looks is {self.make().looks}"

    def test_a_run_with_it_resumes(self) -> None:
        def trainer() -> Any:
            # A rate that turns neighbourhoods over in a step.
            return tiny_trainer(Strategy(), tiny_retriever(Full(last=1)), sampler=self.make(), lr=0.1)

        run = finish(trainer(), cuts=(1,))
        again = resumed(run, "1", trainer())
        assert again.losses == run.trainer.losses, "a resumed run has other batches"
        found = difference(everything(again), everything(run.trainer))
        assert not found, f"an interrupted run ends with other bits: {found}"
