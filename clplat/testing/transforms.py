"""What every transform must do."""

from __future__ import annotations

import pickle
from dataclasses import replace

from clplat.data.records import Domain, Example
from clplat.data.validate import validate_domain
from clplat.data.walk import plain
from clplat.errors import UserError
from clplat.parts.transforms._base import Transform
from clplat.parts.transforms.captions import Captions
from clplat.randomness import generator
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import tiny_domains

__all__ = ["TransformContract"]


class TransformContract(PlainPartContract[Transform]):
    """Contract tests of a transform: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.transforms.captions import Captions
        >>> class TestCaptions(TransformContract):
        ...     def make(self) -> Transform:
        ...         return Captions()
    """

    def _domain(self) -> Domain:
        domain = tiny_domains()[0]
        if not self.make().needs_text:
            return domain
        captions = Captions()
        return replace(domain, train=tuple(captions(e, generator(0, e.id)) for e in domain.train))

    def _made(self, moment: int = 0) -> list[Example]:
        part = self.make()
        return [part(example, generator(0, moment, example.id)) for example in self._domain().train]

    # -- the contract -------------------------------------------------------------------------------------

    def test_what_it_makes_can_be_trained_on(self) -> None:
        for moment in range(3):
            try:
                validate_domain(replace(self._domain(), train=self._made(moment)))
            except UserError as error:
                raise AssertionError(f"what it makes is refused: {error}") from error

    def test_an_example_keeps_its_name_and_place(self) -> None:
        for before, after in zip(self._domain().train, self._made(), strict=True):
            assert (after.id, after.domain) == (before.id, before.domain), f"'{before.id}' is renamed"
            assert after.groups == before.groups and after.weight == before.weight, (
                f"'{before.id}' loses some"
            )

    def test_a_moment_decides_all_that_is_drawn(self) -> None:
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            first, again = self._made(), self._made()
        assert plain(first) == plain(again), "the same moment gives another example"

    def test_it_leaves_its_input_alone(self) -> None:
        domain = self._domain()
        before = plain(domain.train)
        part = self.make()
        for example in domain.train:
            part(example, generator(0, example.id))
        assert plain(domain.train) == before, "it changes the examples of the stream"

    def test_a_negative_says_something_else_than_the_target(self) -> None:
        for example in self._made():
            known = {negative.item for negative in self._source(example.id).negatives}
            for negative in example.negatives:
                wrong = negative.item not in known and negative.label != example.label
                assert not wrong or negative.item != example.target, f"'{example.id}': its target is negative"

    def _source(self, name: str) -> Example:
        return next(example for example in self._domain().train if example.id == name)

    def test_it_can_be_sent_to_a_loaders_process(self) -> None:
        try:
            part = pickle.loads(pickle.dumps(self.make()))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise AssertionError(f"it cannot be sent to another process: {error}") from error
        example = self._domain().train[0]
        assert plain(part(example, generator(0))) == plain(self.make()(example, generator(0)))
