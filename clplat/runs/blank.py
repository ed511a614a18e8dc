"""The result before anything is measured, and earlier results as ones of today (``docs/result.md``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from clplat import provenance
from clplat.config.resolve import command_of
from clplat.config.resolved import Config
from clplat.data.fingerprint import queries_fingerprint
from clplat.data.records import Protocol, RetrievalSet
from clplat.evaluation.chance import chance_levels
from clplat.evaluation.reranking import RERANKED, reranked_sets
from clplat.measures import probes_about, scores_after
from clplat.mechanisms.text_space import spaces_of
from clplat.parts.probes._base import Probe
from clplat.runs.assembly import Assembly
from clplat.runs.processing import PROCESSED

__all__ = ["SCHEMA", "blank", "changed_since", "completed_result", "described"]

SCHEMA = 2
#: What results did not have from the first, as it is in those that lack it.
_YOUNGER: dict[str, Any] = {"sets": {}, "views": {}, "extra_data": {}, "chance": {}, "numbers": {}}


def blank(config: Config, parts: Assembly) -> dict[str, Any]:
    """The result before anything is measured."""
    names, held = parts.evaluator.names, parts.evaluator.sets
    return {
        "schema": SCHEMA,
        "status": "running",
        "name": f"{config.name('strategy')} {config.name('scenario')} s{config.seed}".replace(",", "+"),
        "command": command_of(config),
        "config": config.as_dict(),
        "domains": names,
        "protocol": {
            **described(dict(zip(names, held, strict=True))),
            "primary": parts.evaluator.primary,
            "split": config.evaluation.split,
            "preprocess": config.data.preprocess,
        },
        "metrics": {},
        "chance": _chance(parts),
        "tags": {},
        "baselines": {},
        "ties": [],
        "probes": {},
        "probes_about": {probe.name: _about(probe) for probe in parts.probes},
        "compatibility": {},
        "scores": [],
        "sets": {
            name: {"protocol": described(domains), "metrics": {}, "ties": []}
            for name, domains in _further(parts).items()
        },
        "views": {},
        "numbers": {},
        "training": {},
        "cost": {},
        "data": {"cut_texts": parts.cut_texts, "report": getattr(parts.scenario, "report", {})},
        "extra_data": _beside(config, parts),
        "fingerprints": _fingerprints(config, parts),
        "measured": {"train_seconds": 0.0, "evaluation_seconds": 0.0},
        "failure": None,
        "versions": provenance.library_versions(),
    }


def _about(probe: Probe) -> dict[str, str | None]:
    """How the numbers of a probe are read."""
    better = "higher" if probe.higher else "lower"
    return {"group": probe.group, "headline": probe.headline, "better": better, "unit": probe.unit}


def _fingerprints(config: Config, parts: Assembly) -> dict[str, str]:
    """What the numbers are of."""
    texts = _texts(parts)
    return ({"texts": texts["fingerprint"]} if "rows" in texts else {}) | {
        "data": parts.scenario.fingerprint(),
        "queries": queries_fingerprint(parts.domains, config.evaluation.split),
        "weights": parts.base_fingerprint,
        "code": provenance.code_fingerprint(),
    }


def _further(parts: Assembly) -> dict[str, dict[str, RetrievalSet]]:
    """Sets beside what is measured: those of the domains, and lists that are ranked again."""
    part, evaluator = parts.postprocessor, parts.evaluator
    found = dict(evaluator.further)
    if part is not None and part.shortlist:
        found |= {f"{name}/{RERANKED}": domains for name, domains in reranked_sets(evaluator).items()}
    if part is not None and part.maps:
        found[f"{evaluator.split}/{PROCESSED}"] = dict(zip(evaluator.names, evaluator.sets, strict=True))
    return found


def _beside(config: Config, parts: Assembly) -> dict[str, Any]:
    """What is read beside the stream, where there is some: what a strategy learns from, texts of a table."""
    texts = _texts(parts)
    found: dict[str, Any] = {"texts": texts} if texts else {}
    if (held := parts.reference) is not None:
        found[config.name("reference")] = {
            "fingerprint": held.fingerprint(),
            "pictures": len(held.pictures()),
            "texts": len(held.texts()),
            "bytes": held.bytes(parts.retriever.backbone.image_size),
        }
    return found


def _texts(parts: Assembly) -> dict[str, Any]:
    """What is read of captions: of a table, where several parts read some."""
    found = spaces_of(parts.retriever.composer, parts.collate.transform, parts.postprocessor)
    said = sorted((space.said() for space in found), key=lambda one: "rows" in one)
    return said[-1] if said else {}


def _chance(parts: Assembly) -> dict[str, list[float | None]]:
    """What an order at random measures: metric -> one number per domain."""
    primary = parts.evaluator.primary
    levels = []
    for held in parts.evaluator.sets:
        found = chance_levels(held, parts.evaluator.rows_of(held))
        levels.append(found | {primary: found[held.protocol.primary]})
    names = dict.fromkeys(name for found in levels for name in found)
    return {name: [round(found[name], 6) if name in found else None for found in levels] for name in names}


def described(domains: Mapping[str, RetrievalSet]) -> dict[str, Any]:
    """The protocol of sets by domain: that of the first one, and those that differ from it by domain."""
    first, *_ = domains.values()
    galleries = {name: len(held.gallery.items) for name, held in domains.items()}
    queries = {name: len(held.queries) for name, held in domains.items()}
    others = {name: _protocol(held) for name, held in domains.items() if held.protocol != first.protocol}
    return {**_protocol(first), "others": others, "galleries": galleries, "queries": queries}


def _protocol(held: RetrievalSet) -> dict[str, Any]:
    return {**_protocol_of(held.protocol), "labels": held.labels}


def _protocol_of(protocol: Protocol) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "exclude_reference": protocol.exclude_reference,
        "ks": list(protocol.ks),
        "metrics": [metric.name for metric in protocol.measured],
        "primary": protocol.primary,
        "tie_rule": protocol.tie_rule,
    }


def completed_result(held: Mapping[str, Any]) -> dict[str, Any]:
    """A result of any schema as one of today: what it did not know is as it was then."""
    protocol = held["protocol"]
    usual = _protocol_of(Protocol("", ks=tuple(protocol["ks"]), primary=protocol["primary"]))
    return {
        **copy.deepcopy(_YOUNGER),
        **held,
        "probes_about": probes_about(held),
        "protocol": {**usual, "labels": "known", "others": {}, **protocol},
        "scores": [scores_after(held, row) for row in range(len(held["scores"]))],
        "schema": SCHEMA,
    }


def changed_since(held: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when a result began, in words."""
    words = {"data": "the data", "weights": "the backbone's weights", "code": "clplat's code"}
    words["texts"] = "the table of texts"
    before, after = held["fingerprints"], now["fingerprints"]
    return [what for key, what in words.items() if before.get(key) != after.get(key)]
