"""What readers of composed-retrieval benchmarks share: checked files, and counts beside published ones."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clplat.data.counts import count_remarks
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.records import Domain
from clplat.data.validate import validate_domain
from clplat.documents.checked import checked
from clplat.errors import UserError, nearest
from clplat.parts import Probe

from ._stream import Stream

__all__ = ["Benchmark", "Read", "existing_file", "finished", "read_json"]


@dataclass(frozen=True)
class Read:
    """A benchmark as it was read.

    Args:
        domains: in stream order.
        counts: what was found, by the names of the published counts.
        published: those counts.
        absent: what was left out for missing pictures.
        notes: what else a reader of the numbers should know, a line each.
    """

    domains: list[Domain]
    counts: Mapping[str, int]
    published: Mapping[str, int]
    absent: Absent = field(default_factory=Absent)
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> dict[str, Any]:
        """Plain values for a log and for the result."""
        return {"counts": dict(self.counts), "missing": self.absent.report}

    @property
    def remarks(self) -> list[str]:
        """Notes, counts that differ from the published ones, missing pictures: a line each."""
        return [*self.notes, *count_remarks(self.counts, self.published), *self.absent.remarks]


class Files(Protocol):
    """What knows which of its pictures are not there, as `PictureFiles`."""

    @property
    def absent(self) -> Sequence[str]: ...


class Benchmark(Stream):
    """A scenario whose domains are read from files; a reader says how, in `_read`."""

    @property
    @abstractmethod
    def _read(self) -> Read:
        """The benchmark, read once."""

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order, and no probes; the same objects at every call."""
        return self._read.domains, []

    @property
    def report(self) -> dict[str, Any]:
        """Counts of what was read, and what is missing: plain values for a log."""
        return self._read.report

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return self._read.remarks


def finished(read: Read, files: Sequence[Files], missing: MissingPictures, scenario: str) -> Read:
    """The benchmark without what needs a missing picture, checked as every stream is.

    Raises:
        UserError: as `without_missing` and `validate_domain`.
    """
    gone = [key for one in files for key in one.absent]
    domains, absent = without_missing(read.domains, gone, missing, scenario)
    for domain in domains:
        validate_domain(domain)
    return Read(domains, read.counts, read.published, absent, read.notes)


def existing_file(path: Path, scenario: str) -> Path:
    """The path of a file of a benchmark.

    Raises:
        UserError: it is not there; the nearest name of its folder is given.
    """
    if path.is_file():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise UserError(f"scenario {scenario}: no such folder: {folder}")
    near = nearest(path.name, (one.name for one in folder.iterdir()))
    raise UserError(f"scenario {scenario}: no such file: {path}{near}")


def read_json(path: Path, schema: Any, what: str, scenario: str) -> Any:
    """What a JSON file holds, as the schema says.

    Args:
        path: of the file.
        schema: as `clplat.documents.checked.checked` takes it.
        what: it should hold, such as ``"list of captions"``.
        scenario: its name, for messages.

    Raises:
        UserError: no such file; no JSON; something else, with the place: ``12.captions`` is that of entry 12,
            from 0.
    """
    try:
        content = json.loads(existing_file(path, scenario).read_bytes())
    except ValueError as error:  # of bytes that are no text as well
        raise UserError(f"{path} is no JSON: {' '.join(str(error).split())}") from None
    return checked(content, schema, path, what)
