"""How far a model comes with half of a query, its picture or its words, beside both and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clplat.config.resolved import Config
from clplat.data.protocol import Protocol, metrics_in
from clplat.data.records import Domain, RetrievalSet
from clplat.evaluation.asked import asked
from clplat.evaluation.chance import chance_levels
from clplat.evaluation.comparing import Compared, compared_by
from clplat.evaluation.embedding import Embedder
from clplat.models.frozen import weights_fixed
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.text_only import TextOnly
from clplat.retriever import ComposedRetriever
from clplat.runs.assembly import pixel_store
from clplat.runs.evaluated import load_model

__all__ = ["Alone", "measured_alone"]

#: What a query is asked by, and the composer that embeds it so; ``both`` is the model's own.
_BY = {"own": "both", "image_only": "picture", "text_only": "text"}


@dataclass
class Alone:
    """What a model reaches on one set.

    Args:
        primary: the metric of the set's protocol.
        metrics: ``picture``, ``text``, ``both`` and ``chance`` -> metric -> percent: the primary one and the
            first place, ``R@1``, among what the protocol ranks.
        first: ``picture`` and ``text`` -> ids of the queries that have a right answer at the first place;
            ties count against.
    """

    primary: str
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    @property
    def remarks(self) -> list[str]:
        """A line for each half that comes as far as both together."""
        reached = {who: found[self.primary] for who, found in self.metrics.items()}
        return [
            f"a model finds as much by the {who} alone, {self.primary} {reached[who]:.1f}, as by both "
            f"together, {reached['both']:.1f} (chance {reached['chance']:.1f})"
            for who in self.first
            if reached[who] >= reached["both"]
        ]


def measured_alone(config: Config, domains: Sequence[Domain]) -> dict[str, Alone]:
    """Ask every set whose labels are known by halves; those are passed over that are asked by one anyway.

    Args:
        config: names the backbone, the composer of ``both``, how pictures are read and the device.
        domains: all of their pictures can be read.

    Returns:
        The place of a set, ``<domain>/<set>`` -> what was reached.

    Raises:
        UserError: a composer with weights, which nothing trained here.
    """
    model = load_model(config, None, None).retriever
    composers = {"own": model.composer, "image_only": ImageOnly(), "text_only": TextOnly()}
    pixels, batch = pixel_store(config, model), config.evaluation.batch_size
    embed = Embedder(pixels.images, model.backbone.tokenize, composers, batch)
    compared, *_ = compared_by(model).values()
    with weights_fixed():
        return {
            f"{domain.name}/{name}": _of(embed, model, compared, held)
            for domain in domains
            for name, held in domain.sets.items()
            if held.labels == "known" and all(q.reference is not None and q.said for q in held.queries)
        }


def _of(embed: Embedder, model: ComposedRetriever, compared: Compared, held: RetrievalSet) -> Alone:
    held = replace(held, protocol=_with_first(held.protocol))
    first, rows = held.protocol.measured[0].name, asked(held)
    found = Alone(held.protocol.primary)
    named = {"R@1": first, found.primary: found.primary}
    if held.gallery.name not in compared.stored:
        compared.take(held.gallery.name, embed.items(model, held.gallery.items))
    for composer, queries in embed.queries(model, held.queries).items():
        values, who = compared.measured(held, rows, queries).values, _BY[composer]
        found.metrics[who] = {to: 100 * values[name].double().mean().item() for to, name in named.items()}
        if who != "both":
            hits = values[first].bool().tolist()
            found.first[who] = [query.id for query, hit in zip(held.queries, hits, strict=True) if hit]
    chance = chance_levels(held, rows)
    found.metrics["chance"] = {to: chance[name] for to, name in named.items()}
    return found


def _with_first(protocol: Protocol) -> Protocol:
    """Only the first place, and what the primary metric is made of; items that look alike are no answers."""
    over = protocol.measured[0].over
    first = f"R_{over}@1" if over else "R@1"
    names = dict.fromkeys([first, *(metric.name for metric in metrics_in(protocol.primary))])
    return replace(protocol, metrics=tuple(names), tie_rule="against")
