"""What is committed of a study: an entry for each stream, and what queries take."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.files import read_json, write_json
from clplat.provenance import library_versions

__all__ = ["Published"]

_LATENCY = "latency"


@dataclass(frozen=True)
class Published:
    """JSON files in a folder of results, written with their day.

    Args:
        folder: below the root of the repository.
    """

    folder: Path

    def write(self, entry: Mapping[str, Any], root: Path) -> None:
        """Write the entry of its stream."""
        write_json(root / self.folder / f"{entry['stream']}.json", {**entry, "date": _today()})

    def entries(self, root: Path) -> list[dict[str, Any]]:
        """All entries, by name of the stream."""
        paths = sorted((root / self.folder).glob("*.json"))
        return [read_json(path) for path in paths if path.stem != _LATENCY]

    def write_latency(self, timed: Mapping[str, Any], root: Path) -> None:
        """Write what queries take, by name of what was timed."""
        content = {"date": _today(), "versions": library_versions(), **timed}
        write_json(root / self.folder / f"{_LATENCY}.json", content)

    def latency(self, root: Path) -> dict[str, Any]:
        """What was timed; nothing where nothing was."""
        path = root / self.folder / f"{_LATENCY}.json"
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
