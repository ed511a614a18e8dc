"""Whether a router sends pictures to the experts of their own domain; only the measurement knows which."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from clplat.data.records import Picture, RetrievalSet
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["RoutingProbe"]


class RoutingProbe(Probe):
    """How often a model with experts for each domain chooses right; it is added wherever a strategy routes.

    Of the pictures that a domain's queries show or ask for. ``accuracy``: the share of those of trained
    domains whose largest expert was trained on their domain, the mean over these domains. ``base`` and
    ``unseen base``: the share that goes through the bare base, of trained domains and of those to come.
    ``evenness``: how alike the experts are used by pictures of trained domains, 1 where all the same.
    ``experts``: that a picture goes through, on average. Nothing of a model without experts.

    The domain's name is known here alone: the model is asked about pictures.

    Example:
        >>> RoutingProbe().headline
        'accuracy'
    """

    name = "routing"
    group: Group = "stream"
    headline = "accuracy"

    def measure(self, view: ModelView) -> dict[str, float]:
        """The numbers; those that no domain gives are missing."""
        shares = getattr(view.encoder, "shares", None)
        owners_of = _domains_of(view.sets)
        found: dict[str, list[float]] = {}
        seen: list[Tensor] = []
        for number, held in enumerate(view.sets.values()):
            pictures = list({picture.key: picture for picture in _shown(held)}.values())
            given = shares(view.inputs(pictures)) if shares is not None and pictures else None
            if given is None:
                continue
            weights, owners = given[0].cpu(), torch.tensor(given[1])
            away = weights.sum(1) == 0
            if number >= view.version:
                found.setdefault("unseen base", []).append(_percent(away))
                continue
            chosen = owners[weights.argmax(1)].tolist()
            right = [owner in owners_of[picture.key] for owner, picture in zip(chosen, pictures, strict=True)]
            found.setdefault("accuracy", []).append(_percent(torch.tensor(right) & ~away))
            found.setdefault("base", []).append(_percent(away))
            found.setdefault("experts", []).append(float((weights > 0).sum(1).float().mean()))
            seen.append(weights)
        numbers = {name: sum(values) / len(values) for name, values in found.items()}
        return numbers | ({"evenness": _evenness(torch.cat(seen))} if seen else {})


def _shown(held: RetrievalSet) -> Iterator[Picture]:
    """The pictures of a domain's queries and of their answers."""
    wanted = {key for query in held.queries for key in query.targets}
    asked = [query.reference for query in held.queries]
    for picture in (*asked, *(item.picture for item in held.gallery.items if item.key in wanted)):
        if picture is not None:
            yield picture


def _domains_of(sets: Mapping[str, RetrievalSet]) -> dict[str, set[int]]:
    """Key of a picture -> the domains that it belongs to, in stream order."""
    found: dict[str, set[int]] = {}
    for number, held in enumerate(sets.values()):
        for picture in _shown(held):
            found.setdefault(picture.key, set()).add(number)
    return found


def _percent(chosen: Tensor) -> float:
    return 100.0 * float(chosen.double().mean())


def _evenness(shares: Tensor) -> float:
    """The entropy of the experts' mean shares, as a part of the largest possible; 1 of a single expert."""
    used = shares.double().sum(0)
    if len(used) < 2 or not float(used.sum()) > 0:
        return 1.0
    p = used / used.sum()
    return float(-torch.xlogy(p, p).sum()) / math.log(len(p))
