"""Avalanche benchmarks whose experiences carry a `Domain`. The one place that builds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from clplat.data.records import Domain, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.errors import UserError
from clplat.parts.probes._base import Probe
from clplat.training.avalanche import (
    CLScenario,
    DataAttribute,
    DatasetExperience,
    EagerCLStream,
    make_avalanche_dataset,
)

__all__ = ["DomainExperience", "ProbeExperience", "build_benchmark"]


class _Records(Dataset[Any]):
    """A sequence of records as a torch data set; records stay records until they are collated."""

    def __init__(self, records: Sequence[Any]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        return self.records[index]


class DomainExperience(DatasetExperience):  # type: ignore[misc]
    """One domain of a stream. ``dataset`` yields `Example`s (train) or `Query`s (test)."""

    def __init__(self, *, dataset: Any, domain: Domain) -> None:
        super().__init__(dataset=dataset)
        self.domain = domain


class ProbeExperience(DatasetExperience):  # type: ignore[misc]
    """Zero-shot data outside the stream; ``dataset`` yields `Picture`s."""

    def __init__(self, *, dataset: Any, probe: Probe) -> None:
        super().__init__(dataset=dataset)
        self.probe = probe


def _dataset(records: Sequence[Any], name: str) -> Any:
    # The attribute takes a plain list: numpy values would leak into its keys. Collating needs the model's
    # tokenizer and picture size, so that it belongs to the trainer; here a batch stays a list of records.
    attribute = DataAttribute([name] * len(records), "domain")
    return make_avalanche_dataset(_Records(records), data_attributes=[attribute], collate_fn=list)


def _asked(domain: Domain) -> RetrievalSet:
    """The test set; of a domain without one, its first set."""
    return domain.sets.get("test", next(iter(domain.sets.values())))


def build_benchmark(domains: Sequence[Domain], probes: Sequence[Probe] = ()) -> Any:
    """Build an Avalanche ``CLScenario`` with the streams ``train``, ``test`` and ``probe``.

    Experience i of ``train`` and ``test`` carries ``.domain``; experiences of ``probe`` carry ``.probe``.

    Raises:
        UserError: no domains, two of one name, or a domain that cannot be evaluated.
    """
    if not domains:
        raise UserError("a stream needs at least one domain")
    names = [domain.name for domain in domains]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two domains of one stream have the name '{twice[0]}'")
    for domain in domains:
        validate_domain(domain)
    train = [
        DomainExperience(dataset=_dataset(domain.train, domain.name), domain=domain) for domain in domains
    ]
    test = [
        DomainExperience(dataset=_dataset(_asked(domain).queries, domain.name), domain=domain)
        for domain in domains
    ]
    streams = [EagerCLStream("train", train), EagerCLStream("test", test)]
    if probes:
        outside = [
            ProbeExperience(dataset=_dataset(probe.pictures, probe.name), probe=probe) for probe in probes
        ]
        streams.append(EagerCLStream("probe", outside))
    return CLScenario(streams)
