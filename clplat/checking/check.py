"""All that is looked at of a stream, in one report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clplat.checking.alone import Alone
from clplat.checking.copies import groups_of_equals, pairs_alike
from clplat.checking.lengths import Lengths
from clplat.checking.pictures import Look, look_at
from clplat.checking.shortcuts import shortcuts
from clplat.data.missing import without_pictures
from clplat.data.records import Domain, Picture

__all__ = ["Report", "check"]

_FIRST = 5


@dataclass
class Report:
    """What was found.

    Args:
        counts: a row for training data and each set of every domain, by its place ``<domain>/<set>``.
        problems: what makes numbers wrong or a run impossible, a line each.
        remarks: what a reader of numbers should know, a line each.
        lengths: of the texts, in tokens of a model.
        alone: how far a model comes with half of a query, by the place of a set.
        details: keys and ids behind them, by what they are.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    lengths: Lengths = field(default_factory=Lengths)
    alone: dict[str, Alone] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, to: list[str], what: str, found: Sequence[Any], said: str) -> None:
        """A line, with the first of what it is about, where there is anything."""
        if found:
            self.details[what] = list(found)
            shown = [
                " = ".join(one) if isinstance(one, (list, tuple)) else str(one) for one in found[:_FIRST]
            ]
            to.append(f"{len(found)} {said}: {', '.join(shown)}" + (", ..." if len(found) > _FIRST else ""))


def check(
    domains: Sequence[Domain],
    published: Mapping[str, int] | None = None,
    counted: Mapping[str, int] | None = None,
    quick: bool = False,
    near: bool = False,
    workers: int = 0,
    said: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Look at a stream as its files describe it.

    Args:
        domains: what is missing included.
        published: counts of the source by name; ``counted`` the same here. Without the latter, names such
            as ``<domain>/<set>/queries`` are those of `Report.counts`.
        quick: decode nothing: only files that are not there are found.
        near: look for pictures that are nearly equal, too.
        workers: processes that decode.
        said: told how many pictures are done, of how many.
    """
    report = Report(counts={place: row for domain in domains for place, row in _counts(domain).items()})
    places = _places(domains)
    pictures = [picture for picture, _ in places.values()]
    looks = {} if quick else look_at(pictures, workers, lambda done: said(done, len(pictures)))
    _bad(report, domains, pictures, looks)
    _copies(report, places, looks, near)
    for domain in domains:
        for name, held in domain.sets.items():
            for what, ids in shortcuts(held, looks).items():
                to = report.problems if what == "reference" else report.remarks
                report.add(to, f"{domain.name}/{name}/{what}", ids, f"{domain.name}/{name}: {_SAID[what]}")
    known = counted or {f"{at}/{what}": n for at, row in report.counts.items() for what, n in row.items()}
    other = [
        f"{name} is {known.get(name, 'not there')}, published {count}"
        for name, count in (published or {}).items()
        if known.get(name) != count
    ]
    report.add(report.problems, "published", other, "counts differ from the published ones")
    return report


_SAID = {
    "reference": "queries that their reference answers by itself",
    "words": "queries that say the same as others and share an answer with them",
    "picture": "queries of a reference that has others, and shares an answer with them",
    "named": "queries that are the caption of their answer alone",
}


def _counts(domain: Domain) -> dict[str, dict[str, int]]:
    rows = {f"{domain.name}/train": {"examples": len(domain.train)}} if len(domain.train) else {}
    for name, held in domain.sets.items():
        answers = sum(len(query.targets) for query in held.queries)
        gallery = len(held.gallery.items)
        rows[f"{domain.name}/{name}"] = {"queries": len(held.queries), "answers": answers, "gallery": gallery}
    return rows


def _places(domains: Sequence[Domain]) -> dict[str, tuple[Picture, set[str]]]:
    """Key -> the picture, and where it stands: in ``train`` or in a set."""
    found: dict[str, tuple[Picture, set[str]]] = {}
    for domain in domains:
        trained = [item.picture for example in domain.train for item in example.items]
        for picture in (*trained, *(item.picture for item in domain.reference)):
            if picture is not None:
                found.setdefault(picture.key, (picture, set()))[1].add("train")
        for name, held in domain.sets.items():
            shown = [item.picture for item in held.gallery.items] + [q.reference for q in held.queries]
            for picture in shown:
                if picture is not None:
                    found.setdefault(picture.key, (picture, set()))[1].add(name.partition("/")[0])
    return found


def _bad(
    report: Report, domains: Sequence[Domain], pictures: Sequence[Picture], looks: Mapping[str, Look]
) -> None:
    missing = [p.key for p in pictures if p.stamp is not None and p.stamp().startswith("absent")]
    broken = [key for key, look in looks.items() if look.error and key not in set(missing)]
    report.add(report.problems, "missing", missing, "pictures are not there")
    report.add(report.problems, "unreadable", broken, "pictures cannot be read")
    if missing or broken:
        report.details["errors"] = {key: looks[key].error for key in broken}
        report.details["lost"] = without_pictures(domains, [*missing, *broken])[1]
        for place, counts in report.details["lost"].items():
            gone = ", ".join(f"{count} {what}" for what, count in counts.items())
            report.problems.append(f"{place} loses by that: {gone}")


def _copies(
    report: Report, places: Mapping[str, tuple[Picture, set[str]]], looks: Mapping[str, Look], near: bool
) -> None:
    def crosses(keys: Sequence[str]) -> bool:
        """Trained on under one name, and measured under another."""
        trained = [key for key in keys if "train" in places[key][1]]
        return any(key != other and places[other][1] - {"train"} for key in trained for other in keys)

    equal, alike = groups_of_equals(looks), pairs_alike(looks) if near else []
    across = [group for group in equal if crosses(group)]
    report.add(report.problems, "copies", across, "pictures are trained on and measured under another name")
    rest = [group for group in equal if not crosses(group)]
    report.add(report.remarks, "equal", rest, "pictures have more than one name")
    apart: dict[bool, list[tuple[str, str]]] = defaultdict(list)
    for pair in alike:
        apart[crosses(pair)].append(pair)
    report.add(report.remarks, "near", apart[True], "pictures look like one that is trained on")
    report.add(report.remarks, "alike", apart[False], "further pairs of pictures look alike")
