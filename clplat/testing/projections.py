"""What every projection must do."""

from __future__ import annotations

from typing import ClassVar
from unittest import SkipTest

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.projections._base import Projection
from clplat.randomness import generator
from clplat.testing.checks import declared, generator_untouched
from clplat.testing.part import PartContract

__all__ = ["ProjectionContract"]


class ProjectionContract(PartContract[Projection]):
    """Contract tests of a projection: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.projections.ridge import Ridge
        >>> class TestRidge(ProjectionContract):
        ...     def make(self) -> Projection:
        ...         return Ridge(alpha=0.01)
    """

    #: Instead of what the projection says of itself (`Projection.fitted`).
    fitted: ClassVar[bool | None] = None
    #: Width of the embeddings.
    width: ClassVar[int] = 12

    def _pairs(self, count: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Unit rows; the old space is a rotation of the new one, or apart by a shift, plus a little noise."""
        fixed, draw = generator(0, "contract", "rotation"), generator(seed, "contract", "pairs")
        way = torch.randn(self.width, self.width, generator=fixed)
        rows = normalize(torch.randn(count, self.width, generator=draw), dim=1)
        noise = 0.02 * torch.randn(count, self.width, generator=draw)
        if self.make().undoes == "shift":
            apart = normalize(rows + normalize(way[0], dim=0) + noise, dim=1)
            return (apart, rows) if self.make().maps == "query" else (rows, apart)
        return rows, normalize(rows @ torch.linalg.qr(way)[0] + noise, dim=1)

    def _ways(self, new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        """What it maps, and where to: new to old, or old to new for a gallery."""
        return (new, old) if self.make().maps == "query" else (old, new)

    def _fitted(self) -> Projection:
        projection = self.make()
        projection.fit(*self._pairs())
        return projection

    # -- the contract -------------------------------------------------------------------------------------

    def test_rows_have_unit_length_whatever_theirs_was(self) -> None:
        projection, (new, _) = self._fitted(), self._ways(*self._pairs())
        for x in (new, 7 * new, new[:1]):
            y = projection(x)
            assert y.shape == x.shape and torch.allclose(y.norm(dim=1), torch.ones(len(x)), atol=1e-4)
        assert torch.allclose(projection(7 * new), projection(new), atol=1e-5)

    def test_an_unfitted_one_says_so(self) -> None:
        new, _ = self._pairs()
        if not declared(self, self.make(), "fitted"):
            assert self.make()(new).shape == new.shape
            return
        try:
            self.make()(new)
        except UserError as error:
            assert "\n" not in str(error) and str(error)
        else:
            raise AssertionError("an unfitted projection must raise a UserError")

    def test_pairs_that_are_none_are_refused(self) -> None:
        new, old = self._pairs()
        broken = new.clone()
        broken[3, 0] = float("nan")
        for wrong in ((new[:3], old), (new[:0], old[:0]), (broken, old)):
            assert _refuses(self.make(), *wrong), "fit must refuse rows that are no pairs, no rows, and NaN"

    def test_new_queries_find_their_targets_in_the_old_index(self) -> None:
        if not declared(self, self.make(), "fitted"):
            raise SkipTest("nothing is learnt")
        queries, index = self._ways(*self._pairs(seed=1))  # other pictures than those it was fitted on
        found = (self._fitted()(queries) @ index.T).argmax(1)
        right = float((found == torch.arange(len(index))).float().mean())
        before = float(((queries @ index.T).argmax(1) == torch.arange(len(index))).float().mean())
        assert right > 0.9 > before, f"{right:.0%} of the targets are found, {before:.0%} without it"

    def test_it_maps_between_spaces_of_unequal_widths(self) -> None:
        if not declared(self, self.make(), "fitted"):
            raise SkipTest("nothing is learnt")
        new, old = self._pairs()
        for cut in ((new, old[:, : self.width - 4]), (new[:, : self.width - 4], old)):
            projection, (source, goal) = self.make(), self._ways(*cut)
            if projection.undoes == "shift":
                assert _refuses(projection, *cut), "spaces of unequal widths are not a shift apart"
                continue
            projection.fit(*cut)
            y = projection(source)
            assert y.shape == goal.shape, f"{tuple(y.shape)} instead of {tuple(goal.shape)}"
            assert torch.allclose(y.norm(dim=1), torch.ones(len(y)), atol=1e-4), "rows of unit length"
            fresh = self.make()
            fresh.load_state_dict(projection.state_dict())
            assert torch.equal(fresh(source), y), "a fresh one must take over any width"

    def test_it_says_what_it_reads_and_stores(self) -> None:
        projection = self.make()
        unknown = projection.reads - {"pictures", "pooled", "texts", "queries"} | projection.stores - {"base"}
        assert not unknown, f"nobody keeps {', '.join(sorted(unknown))}"
        assert not projection.stores or projection.maps == "gallery", "only galleries have stored columns"

    def test_fitting_repeats_and_leaves_its_input_and_the_generator_alone(self) -> None:
        new, old = self._pairs()
        before, first, second = (new.clone(), old.clone()), self.make(), self.make()
        with generator_untouched("fit changes torch's global generator"):
            first.fit(new, old)
            second.fit(*self._pairs(seed=3))
            second.fit(new, old)  # forgets the first fit
        assert torch.equal(first(new), second(new)), "the same pairs give another projection"
        assert torch.equal(new, before[0]) and torch.equal(old, before[1]), "fit changes its input"

    def test_a_fresh_one_takes_over_the_state(self) -> None:
        new, projection, fresh = self._pairs()[0], self._fitted(), self.make()
        fresh.load_state_dict(projection.state_dict())
        assert torch.equal(fresh(new), projection(new))
        self.make().load_state_dict(self.make().state_dict())

    def test_it_has_nothing_for_an_optimizer(self) -> None:
        assert not [name for name, p in self._fitted().named_parameters() if p.requires_grad]

    def test_it_fits_in_inference_mode(self) -> None:
        new, old = self._pairs()
        projection = self.make()
        with torch.inference_mode():
            projection.fit(new.clone(), old.clone())
        assert torch.equal(projection(new), self._fitted()(new))


def _refuses(projection: Projection, new: Tensor, old: Tensor) -> bool:
    try:
        projection.fit(new, old)
    except UserError:
        return True
    return False
