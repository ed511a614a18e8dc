"""How experts are used: load, the router's entropy, and the share of the parameters that a token needs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch

from clplat.mechanisms.experts import entropy, load
from clplat.models.adapters import Route
from clplat.models.backbone import Backbone
from clplat.parts.probes._base import Group, ModelView, Probe, texts_asked

__all__ = ["ExpertUse"]


class ExpertUse(Probe):
    """What the routers of a mixture of experts do with the pictures and texts that are evaluated.

    For each tower, means over its blocks: ``load max`` and ``load min``, the shares of all choices that the
    most and the least used expert of a block have; ``entropy`` of the router, 0 where it is sure, 1 where all
    experts are alike. ``active`` is the share of the parameters that a token goes through. A tower without
    experts counts as one that has one.

    Args:
        most: pictures, and texts, at most.

    Raises:
        ValueError: no picture.

    References:
        Wang et al. 2025 (CLIP-UP), arXiv 2502.00965; Mustafa et al. 2022 (LIMoE), arXiv 2206.02770.
    """

    name = "experts"
    group: Group = "geometry"
    headline = "active"
    higher = False
    unit = "number"

    def __init__(self, most: int = 64) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        self.most = most

    def measure(self, view: ModelView) -> dict[str, float]:
        """The numbers, the same names with and without experts."""
        backbone: Backbone = view.encoder.backbone
        items = (item for held in view.sets.values() for item in held.gallery.items)
        shown = list(islice((item.picture for item in items if item.picture is not None), self.most))
        said = texts_asked(view, self.most)
        where, state = backbone.logit_scale.device, backbone.adapters
        used, active = state.parameters_used(backbone.model)
        with torch.no_grad(), state.watched() as seen:
            if shown:
                backbone.image(view.inputs(shown).pixels.to(where))
            routes = {"image": [*seen]}
            if said:
                backbone.text(view.tokens(said).to(where))
            routes["text"] = seen[len(routes["image"]) :]
        uses = {tower: _use(found) for tower, found in routes.items()}
        return {"active": active / used} | {
            f"{tower} {name}": value for tower, use in uses.items() for name, value in use.items()
        }


def _use(routes: Iterable[Route]) -> dict[str, float]:
    rows = [
        (float(load(gates).max()), float(load(gates).min()), float(entropy(logits)))
        for logits, gates in routes
    ]
    means = [sum(column) / len(column) for column in zip(*rows, strict=True)] or [1.0, 1.0, 0.0]
    return dict(zip(("load max", "load min", "entropy"), means, strict=True))
