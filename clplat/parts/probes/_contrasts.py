"""Pictures with right and wrong texts: does the model tell them apart?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from clplat.data.items import Picture
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["Contrast", "Contrasts"]


@dataclass(frozen=True)
class Contrast:
    """One picture, the texts that describe it, and texts that do not.

    Args:
        picture: what is shown.
        right: at least one.
        wrong: at least one.
        kind: splits the numbers; empty for none.
    """

    picture: Picture
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    kind: str = ""


class Contrasts(Probe):
    """The share of pictures to which every right text is nearer than every wrong one.

    With two right texts or more also ``text accuracy``: the right texts of the picture are nearer to each
    other than any of them to a wrong one. A tie is a loss, so that a collapsed model has 0.

    Args:
        name: in results.
        cases: at least one.
        group: see `Probe`.

    Raises:
        ValueError: no cases, or one without a right or a wrong text.
    """

    headline = "accuracy"

    def __init__(self, name: str, cases: Sequence[Contrast], group: Group = "composition") -> None:
        if not cases:
            raise ValueError(f"probe '{name}' has no cases")
        bare = next((case for case in cases if not (case.right and case.wrong)), None)
        if bare is not None:
            raise ValueError(f"probe '{name}': '{bare.picture.key}' needs a right and a wrong text")
        self.name, self.cases, self.group = name, tuple(cases), group
        self.pictures = tuple({case.picture.key: case.picture for case in cases}.values())
        said = [text for case in cases for text in (*case.right, *case.wrong)]
        self.texts = tuple(dict.fromkeys(said))

    def identity(self) -> list[Any]:
        """Every case."""
        return [self.name, self.group, [[c.picture.key, c.right, c.wrong, c.kind] for c in self.cases]]

    @cached_property
    def _rows(self) -> tuple[dict[str, int], dict[str, int]]:
        shown = {picture.key: i for i, picture in enumerate(self.pictures)}
        return shown, {text: i for i, text in enumerate(self.texts)}

    def measure(self, view: ModelView) -> dict[str, float]:
        """``accuracy``, ``<kind> accuracy`` and ``text accuracy``, in percent."""
        images, texts = view.images(self.pictures).double(), view.texts(self.texts).double()
        shown, said = self._rows
        hits: dict[str, list[bool]] = {"accuracy": []}
        for case in self.cases:
            right, wrong = (texts[[said[text] for text in side]] for side in (case.right, case.wrong))
            hit = _told_apart(images[shown[case.picture.key]], right, wrong)
            hits["accuracy"].append(hit)
            if case.kind:
                hits.setdefault(f"{case.kind} accuracy", []).append(hit)
            if len(case.right) > 1:
                hits.setdefault("text accuracy", []).append(_kept_together(right, wrong))
        return {name: 100.0 * sum(found) / len(found) for name, found in hits.items()}


def _told_apart(image: Tensor, right: Tensor, wrong: Tensor) -> bool:
    return bool((right @ image).min() > (wrong @ image).max())


def _kept_together(right: Tensor, wrong: Tensor) -> bool:
    nearest = torch.stack([right[i] @ right[j] for i, j in combinations(range(len(right)), 2)]).min()
    return bool(nearest > (right @ wrong.T).max())
