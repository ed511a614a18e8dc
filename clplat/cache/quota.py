"""The size of a store on disk: what this process wrote, and what has to go when it is too much."""

from __future__ import annotations

from pathlib import Path

from clplat.cache.folder import delete, remove_folder, stats_in, table_folders

__all__ = ["Quota"]


class Quota:
    """Keeps a store below its limit, and the first problem of writing there.

    Args:
        root: the store's folder; None: in memory only.
        limit_bytes: most bytes of segments on disk.

    Attributes:
        bytes_written: by this process.
        problem: the first thing that went wrong, for the run to report once.
    """

    def __init__(self, root: Path | None, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self.bytes_written = 0
        self.problem = ""

    def note(self, problem: str) -> None:
        """Keep the first thing that went wrong."""
        self.problem = self.problem or problem

    def wrote(self, size: int) -> None:
        """A segment of ``size`` bytes was written: make room where the store is over its limit now.

        Tables go until it is at 90 % of the limit, those used longest ago first. The last one to go may lose
        a part only: its oldest segments.
        """
        self.bytes_written += size
        tables = {folder: stats_in(folder) for folder in table_folders(self.root)}
        total = sum(stat.st_size for stats in tables.values() for stat in stats.values())
        if total <= self.limit_bytes:
            return
        last_used = {
            folder: max(s.st_mtime_ns for s in stats.values()) for folder, stats in tables.items() if stats
        }
        for folder in sorted(last_used, key=lambda folder: (last_used[folder], folder)):
            for path, stat in tables[folder].items():
                if total <= 0.9 * self.limit_bytes:
                    return
                if delete(path):
                    total -= stat.st_size
            remove_folder(folder)
