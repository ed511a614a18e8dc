"""How alike the several features of a text are that a prompt with sets makes of it."""

from __future__ import annotations

import torch

from clplat.mechanisms.prompt_inputs import pairwise_cosine
from clplat.models.backbone import Backbone
from clplat.parts.probes._base import Group, ModelView, Probe, texts_asked

__all__ = ["PromptSets"]


class PromptSets(Probe):
    """The diversity of a text prompt's sets: whether contexts that are averaged say different things.

    ``alike`` is the mean cosine of any two of a text's features, before they become one: near 1 one context
    would do. ``sets`` is how many there are. A prompt without sets has one, which is like itself.

    Args:
        most: texts, at most.

    Raises:
        ValueError: no text.

    References:
        Agnolucci et al. 2023 (ECO), arXiv 2307.14063; Chen et al. 2023 (PLOT), arXiv 2210.01253.
    """

    name = "prompt_sets"
    group: Group = "geometry"
    headline = "alike"
    higher = False
    unit = "number"

    def __init__(self, most: int = 64) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        self.most = most

    def measure(self, view: ModelView) -> dict[str, float]:
        """Both numbers, also of a model without sets."""
        backbone: Backbone = view.encoder.backbone
        said = texts_asked(view, self.most)
        if not said or backbone.text_layers is None:
            return {"alike": 1.0, "sets": 1.0}
        with torch.no_grad():
            sets = backbone.text(view.tokens(said).to(backbone.logit_scale.device), {"sets"}).sets
        assert sets is not None
        count = sets.shape[1]
        alike = float(pairwise_cosine(sets).mean()) if count > 1 else 1.0
        return {"alike": alike, "sets": float(count)}
