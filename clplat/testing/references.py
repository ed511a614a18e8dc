"""What every reference must do, and a small one."""

from __future__ import annotations

from collections.abc import Sequence

from clplat.data.items import Picture
from clplat.parts.references._base import Reference
from clplat.progress import Progress
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import tiny_domains

__all__ = ["ReferenceContract", "TinyReference"]


class TinyReference(Reference):
    """Squares with a frame that the tiny stream does not have, and what they are called.

    Example:
        >>> len(TinyReference().pictures()), TinyReference().texts()[0]
        (12, 'a red square')
    """

    def pictures(self) -> Sequence[Picture]:
        return tiny_domains(4)[3].test.gallery.pictures

    def texts(self) -> Sequence[str]:
        return [*dict.fromkeys(str(picture.caption) for picture in self.pictures())]


class ReferenceContract(PlainPartContract[Reference]):
    """Contract tests of a reference: subclass, override `make` with a small one, and pytest runs them all.

    Example:
        >>> from scenarios.references.catalogue import CatalogueReference
        >>> class TestSmall(ReferenceContract):
        ...     def make(self) -> Reference:
        ...         return CatalogueReference(pictures_held=20, texts_held=20)
    """

    def test_its_pictures_and_texts_are_different_and_can_be_had_again(self) -> None:
        reference = self.make()
        shown, said = reference.pictures(), reference.texts()
        assert shown and len({picture.key for picture in shown}) == len(shown), "a picture is there twice"
        assert said and len(set(said)) == len(said), "a text is there twice"
        assert all(text.strip() for text in said), "a text is empty"
        for picture in (shown[0], shown[-1]):
            one, two = picture.load(), picture.load()
            assert one.mode == "RGB" and one.tobytes() == two.tobytes(), (
                f"picture '{picture.key}' differs from call to call"
            )

    def test_the_fingerprint_is_that_of_what_it_holds(self) -> None:
        one, two = self.make(), self.make()
        assert one.fingerprint() == two.fingerprint(), "two equal references have two fingerprints"
        assert [p.key for p in one.pictures()] == [p.key for p in two.pictures()]
        assert [*one.texts()] == [*two.texts()], "two equal references hold different texts"

    def test_a_draw_is_of_what_it_holds_and_depends_on_the_place(self) -> None:
        reference, here = self.make(), Progress(step=3)
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            pictures, texts = reference.sample(here, 4, 3)
            again = self.make().sample(here, 4, 3)
            draws = [reference.sample(Progress(step=step), 4, 3) for step in range(8)]
        assert ([p.key for p in again[0]], again[1]) == ([p.key for p in pictures], texts), (
            "the same place gives another draw"
        )
        assert len({str(([p.key for p in shown], said)) for shown, said in draws}) > 1, (
            "every draw is the same"
        )
        held, known = {p.key for p in reference.pictures()}, set(reference.texts())
        assert {p.key for p in pictures} <= held and set(texts) <= known, "a draw holds something else"
        assert len({p.key for p in pictures}) == min(4, len(held)) and len(set(texts)) == min(3, len(known))
        everything = reference.sample(here, 10**6, 10**6)
        assert len(everything[0]) == len(held) and len(everything[1]) == len(known)

    def test_it_is_counted_in_bytes(self) -> None:
        reference = self.make()
        said = sum(len(text.encode()) for text in reference.texts())
        assert reference.bytes(10) == 300 * len(reference.pictures()) + said
