"""Fills one row of R and of C: embeds every gallery once per model version and ranks every domain's queries.

The evaluator knows no strategy. It sees an encoder (the retriever), pictures and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from clplat.data.records import Domain, Picture, Query, RetrievalSet
from clplat.evaluation.model_view import VersionView
from clplat.evaluation.retrieval import per_query_metrics, target_rows
from clplat.parts.probes._base import ModelView, Probe


class Encoder(Protocol):
    """What the evaluator needs of a model; `ComposedRetriever` is one."""

    def prepare(self, images: Any, texts: Tensor) -> None: ...

    def encode_images(self, images: Any) -> Tensor: ...

    def encode_texts(self, texts: Tensor) -> Tensor: ...

    def raw_images(self, images: Any) -> Tensor: ...

    def raw_texts(self, texts: Tensor) -> Tensor: ...

    def encode_queries_by(self, composers: Sequence[Any], images: Any, texts: Tensor) -> Tensor: ...


@dataclass
class VersionMetrics:
    """All that is measured of one model version, in plain data, and its embeddings.

    ``ranks`` and ``values`` hold one number per query of each domain: the rank of its best-placed target, and
    the primary metric, 0 to 1.
    """

    metrics: dict[str, list[float]] = field(default_factory=dict)
    tags: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    ties: list[int] = field(default_factory=list)
    probes: dict[str, dict[str, float]] = field(default_factory=dict)
    ranks: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    galleries: dict[str, Tensor] = field(default_factory=dict)
    queries: dict[str, Tensor] = field(default_factory=dict)


class Evaluator:
    """Measures a model on every domain, seen and future, and on the probes.

    Args:
        domains: in stream order.
        probes: what else is measured of every version.
        split: ``"test"`` or ``"val"``.
        pictures: pictures -> what the encoder takes: `Images`, or pixels (N, 3, S, S).
        tokenize: texts -> (N, L).
        composers: name -> composer, the retriever's own under ``"own"``; the others are blind baselines.
        batch_size: pictures or queries per forward pass.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        probes: Sequence[Probe],
        *,
        split: str,
        pictures: Callable[[Sequence[Picture]], Any],
        tokenize: Callable[[Sequence[str]], Tensor],
        composers: Mapping[str, Any],
        batch_size: int = 256,
    ) -> None:
        self.names = [domain.name for domain in domains]
        self.sets = [{"val": domain.val, "test": domain.test}[split] for domain in domains]
        self.probes, self.pictures, self.tokenize = probes, pictures, tokenize
        self.composers, self.batch_size = composers, batch_size
        asked = [query for held in self.sets for query in held.queries]
        self.tags = sorted({tag for query in asked for tag in _tags_of(query)})
        shown: list[Picture] = []
        for held in self.sets:
            shown += [*held.gallery.pictures, *(query.reference for query in held.queries)]
        shown += [picture for probe in probes for picture in probe.pictures]
        self._all_pictures = list({picture.key: picture for picture in shown}.values())
        said = [query.text for query in asked] + [text for probe in probes for text in probe.texts]
        self._all_texts = list(dict.fromkeys(said))

    @torch.inference_mode()
    def images(self, encoder: Encoder, pictures: Sequence[Picture], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of pictures, on the CPU in fp32; ``raw``: before head and normalisation."""
        encode = encoder.raw_images if raw else encoder.encode_images
        parts = [encode(self.pictures(chunk)) for chunk in self._chunks(pictures)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def texts(self, encoder: Encoder, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of texts, on the CPU in fp32; ``raw``: before head and normalisation."""
        encode = encoder.raw_texts if raw else encoder.encode_texts
        parts = [encode(self.tokenize(chunk)) for chunk in self._chunks(texts)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def queries(self, encoder: Encoder, queries: Sequence[Query]) -> dict[str, Tensor]:
        """Query embeddings (Q, D) by each composer."""
        parts = []
        for chunk in self._chunks(queries):
            pictures = self.pictures([query.reference for query in chunk])
            texts = self.tokenize([query.text for query in chunk])
            parts.append(encoder.encode_queries_by(list(self.composers.values()), pictures, texts))
        joined = torch.cat(parts, dim=1).float().cpu()
        return dict(zip(self.composers, joined, strict=True))

    def _chunks(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]

    def row(
        self,
        encoder: Encoder,
        on_domain: Callable[[int, dict[str, float]], None] | None = None,
        *,
        version: int = 0,
        older: Callable[[int], ModelView] | None = None,
    ) -> VersionMetrics:
        """Measure one model version.

        Args:
            encoder: the model.
            on_domain: called with (j, metrics) as each cell is known.
            version: experiences trained.
            older: version -> what probes see of it.
        """
        row = VersionMetrics()
        encoder.prepare(self.pictures(self._all_pictures), self.tokenize(self._all_texts))
        for name, held in zip(self.names, self.sets, strict=True):
            if held.gallery.name not in row.galleries:
                row.galleries[held.gallery.name] = self.images(encoder, held.gallery.pictures)
            embedded = self.queries(encoder, held.queries)
            row.queries[name] = embedded["own"]
            values = {who: _values(held, found, row.galleries) for who, found in embedded.items()}
            own = values.pop("own")
            row.ranks[name], ties = own.pop("rank"), own.pop("ties")
            row.values[name] = own[held.protocol.primary].float()
            row.ties.append(int(ties.sum()))
            cell = _means(own)
            _append(row.metrics, cell)
            for who, blind in values.items():
                _append(
                    row.baselines.setdefault(who, {}), _means({k: v for k, v in blind.items() if k in own})
                )
            for tag in self.tags:
                mask = torch.tensor([tag in _tags_of(query) for query in held.queries])
                chosen = _means({k: v[mask] for k, v in own.items()}) if mask.any() else dict.fromkeys(own)
                _append(row.tags.setdefault(tag, {}), chosen)
            if on_domain is not None:
                on_domain(len(row.ties) - 1, cell)
        view = self.view(lambda: encoder, version, lambda: row.galleries, row.queries, older)
        for probe in self.probes:
            row.probes[probe.name] = probe.measure(view)
        return row

    def view(
        self,
        encoder: Callable[[], Any],
        version: int,
        galleries: Callable[[], Mapping[str, Tensor]],
        asked: Mapping[str, Tensor] | None = None,
        older: Callable[[int], ModelView] | None = None,
    ) -> VersionView:
        """One model version in the hands of probes, see `VersionView`."""
        sets = dict(zip(self.names, self.sets, strict=True))
        return VersionView(self, sets, version, encoder, galleries, asked, older)

    def cross_version(
        self, queries: Mapping[str, Tensor], galleries: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """One cell of C: each metric's mean over domains, these queries in that version's galleries."""
        cells = []
        for name, held in zip(self.names, self.sets, strict=True):
            values = _values(held, queries[name], galleries)
            cells.append(_means({k: v for k, v in values.items() if k not in ("rank", "ties")}))
        return {metric: sum(cell[metric] for cell in cells) / len(cells) for metric in cells[0]}


def _values(held: RetrievalSet, queries: Tensor, galleries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    targets, exclude = target_rows(held.queries, held.gallery, held.protocol.exclude_reference)
    return per_query_metrics(queries, galleries[held.gallery.name], targets, exclude, held.protocol.ks)


def _means(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {metric: 100.0 * value.double().mean().item() for metric, value in values.items()}


def _append(into: dict[str, list[Any]], cell: Mapping[str, float | None]) -> None:
    for metric, value in cell.items():
        into.setdefault(metric, []).append(value)


def _tags_of(query: Query) -> set[str]:
    return {f"{key}={value}" for key, value in query.tags.items()}
