"""What an experiment refuses before it begins, each with one line that says what would be allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from clplat.config.resolved import Config
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.parts.references._base import Reference
from clplat.retriever import ComposedRetriever

__all__ = ["cut_texts", "reference_of", "refuse_unlike_scorer", "remarks"]


def remarks(config: Config, scenario: Any) -> list[str]:
    """What is not refused, but said when an experiment begins."""
    data, said = config.data, list(getattr(scenario, "remarks", ()))
    if data.augment != "none":
        kept = f"{data.views} views of each are kept" if data.views else "drawn anew, nothing is kept"
        said.append(f"training pictures are augmented ({data.augment}): {kept}")
    return said


def cut_texts(retriever: ComposedRetriever, said: Iterable[str], policy: str) -> list[str]:
    """Texts that would be cut, beside a composer's template too; refused unless the user declared it."""
    backbone, places, said = retriever.backbone, retriever.composer.places, iter(said)
    found: dict[str, None] = {}
    while some := list(dict.fromkeys(islice(said, 1 << 16))):
        found |= dict.fromkeys(some[i] for i in backbone.truncated(some, places))
    cut = list(found)
    if cut and policy == "refuse":
        beside = f", of which the composer's template takes {places}" if places else ""
        raise UserError(
            f"{len(cut)} texts are longer than the backbone's "
            f"context of {backbone.context_length} tokens{beside}, the first: "
            f"'{cut[0][:80]}...'; shorten them or declare it with --data.long_texts cut"
        )
    return cut


def refuse_unlike_scorer(config: Config, retriever: ComposedRetriever) -> None:
    """Refuse a post-processor that compares vectors where the scorer does something else."""
    if config.name("postprocessor") != "none" and not retriever.scorer.approximable:
        raise UserError(
            f"postprocessor '{config.name('postprocessor')}' compares one vector of each item, which scorer "
            f"'{config.name('scorer')}' does not; choose --scorer dot"
        )


def reference_of(config: Config, domains: Sequence[Domain]) -> Reference | None:
    """The data beside the stream, which may show nothing that the stream is measured on."""
    found: Reference | None = config.make("reference")
    if found is None:
        return None
    name = config.name("reference")
    try:
        shown = {picture.key for picture in found.pictures()}
        found.texts()
    except ValueError as error:
        raise UserError(f"reference '{name}': {error}") from error
    for part in (part for domain in domains for part in domain.sets.values()):
        held = [item.picture for item in part.gallery.items] + [query.reference for query in part.queries]
        both = next((picture.key for picture in held if picture is not None and picture.key in shown), None)
        if both is not None:
            raise UserError(
                f"reference '{name}' holds picture '{both}', which the stream is measured on "
                f"(gallery '{part.gallery.name}'); choose data beside the stream"
            )
    return found
