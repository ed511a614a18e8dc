"""Whether a router sends inputs to the experts of their own domain; only the measurement knows which."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.records import RetrievalSet
from clplat.evaluation.asked import asked, measure
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["RoutingProbe"]


class RoutingProbe(Probe):
    """How often a model with experts for each domain chooses right; it is added wherever a strategy routes.

    Of the pictures that a domain's queries show or ask for; of their texts, where these are routed.
    ``accuracy``: the share of those of trained domains whose largest expert was trained on their domain, the
    mean over these domains. ``base`` and ``unseen base``: the share that goes through the bare base, of
    trained domains and of those to come. ``evenness``: how alike the experts are used by what trained domains
    show, 1 where all the same. ``experts``: that an input goes through, on average.

    Where items are stored as what each expert makes of them, the primary metric on trained domains of each
    alone (``expert 0``, ...), of their equal mean (``mean``) and as routed (``routed``) stand side by side.

    The domain's name is known here alone: the model is asked about pictures or texts. Nothing of a model
    without experts.

    Example:
        >>> RoutingProbe().headline
        'accuracy'
    """

    name = "routing"
    group: Group = "stream"
    headline = "accuracy"

    def measure(self, view: ModelView) -> dict[str, float]:
        """The numbers; those that no domain gives are missing."""
        experts = getattr(view.encoder, "experts", None)
        words = experts is not None and experts.by_words
        inputs = {name: dict(_inputs(held, words)) for name, held in view.sets.items()}
        found: dict[str, list[float]] = {}
        seen: list[Tensor] = []
        for number, own in enumerate(inputs.values()):
            given = self._shares(view, own, words)
            if given is None:
                continue
            weights, owners = given[0].cpu(), torch.tensor(given[1])
            away = weights.sum(1) == 0
            if number >= view.version:
                found.setdefault("unseen base", []).append(_percent(away))
                continue
            chosen = owners[weights.argmax(1)].tolist()
            right = [key in [*inputs.values()][owner] for owner, key in zip(chosen, own, strict=True)]
            found.setdefault("accuracy", []).append(_percent(torch.tensor(right) & ~away))
            found.setdefault("base", []).append(_percent(away))
            found.setdefault("experts", []).append(float((weights > 0).sum(1).float().mean()))
            seen.append(weights)
        numbers = {name: sum(values) / len(values) for name, values in found.items()}
        numbers |= {"evenness": _evenness(torch.cat(seen))} if seen else {}
        if experts is None or not words:
            return numbers
        return numbers | _side_by_side(view, len(experts.router.names))

    def _shares(self, view: ModelView, own: Mapping[str, Any], words: bool) -> Any:
        """Shares of the experts, and the experience of each; the model is told neither domain nor answer."""
        ask = getattr(view.encoder, "word_shares" if words else "shares", None)
        if ask is None or not own:
            return None
        return ask(view.tokens([*own]) if words else view.inputs([*own.values()]))


def _inputs(held: RetrievalSet, words: bool) -> Iterator[tuple[str, Any]]:
    """What is routed of a domain, by key: texts of its queries, or pictures of these and of their answers."""
    if words:
        yield from ((text, text) for query in held.queries for text in query.said)
        return
    wanted = {key for query in held.queries for key in query.targets}
    shown = [query.reference for query in held.queries]
    for picture in (*shown, *(item.picture for item in held.gallery.items if item.key in wanted)):
        if picture is not None:
            yield picture.key, picture


def _side_by_side(view: ModelView, experts: int) -> dict[str, float]:
    """The primary metric of each expert alone, of the mean of all, and of what is stored as it is."""
    found: dict[str, list[float]] = {}
    for name, held in [*view.sets.items()][: view.version]:
        query, item = view.asked[name], view.galleries[held.gallery.name]
        apart = [rows.view(len(rows), experts, -1) for rows in (query, item)]
        alone = [normalize(rows, dim=-1) for rows in apart]
        rows = {f"expert {e}": (alone[0][:, e], alone[1][:, e]) for e in range(experts)}
        rows |= {"mean": (alone[0].flatten(1), alone[1].flatten(1)), "routed": (query, item)}
        for what, (left, right) in rows.items():
            values = measure(held, asked(held), left.contiguous(), right.contiguous()).values
            found.setdefault(what, []).append(100.0 * float(values[held.protocol.primary].double().mean()))
    return {what: sum(values) / len(values) for what, values in found.items()}


def _evenness(shares: Tensor) -> float:
    """The entropy of the experts' mean shares, as a part of the largest possible; 1 of a single expert."""
    used = shares.double().sum(0)
    if len(used) < 2 or not float(used.sum()) > 0:
        return 1.0
    p = used / used.sum()
    return float(-torch.xlogy(p, p).sum()) / math.log(len(p))


def _percent(chosen: Tensor) -> float:
    return 100.0 * float(chosen.double().mean())
