"""Fills a table of texts, row by row: what was written is not lost, and what is there is not asked again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clplat.data.text_table import TextTable, collected, row_of
from clplat.errors import UserError
from clplat.files import parsed
from clplat.locks import locked

__all__ = ["TextWriter"]


class TextWriter:
    """A table that grows, inside a ``with`` block.

    Rows are appended to ``<path>.partial``, each at once; at the end, also one by an error, they and what
    stood there before are the table, in one step. What a killed process leaves is where the next one goes on.

    Args:
        path: of the table, ``.jsonl``.
        made: how its rows are made, by ``what`` they are: rows of one kind come of one source.

    Raises:
        UserError: the table has such rows of another source, or another process writes it.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "texts.jsonl"
        >>> with TextWriter(path, [{"what": "captions", "by": "rules"}]) as table:
        ...     table.add("bag.jpg", "", ["a red bag"])
        >>> TextTable.read(path).texts("bag.jpg")
        ('a red bag',)
    """

    def __init__(self, path: Path, made: Sequence[Mapping[str, Any]]) -> None:
        if path.suffix.lower() != ".jsonl":
            raise UserError(f"a table of texts is written to a file that ends with .jsonl, not '{path}'")
        self.path, self.partial = path, path.with_name(f"{path.name}.partial")
        self._new, self._held = list(made), ExitStack()

    def __enter__(self) -> TextWriter:
        try:
            self._held.enter_context(locked(self.path.with_name(f".{self.path.name}.lock"), wait=False))
        except BlockingIOError:
            raise UserError(f"another process writes {self.path}") from None
        try:
            self.table = TextTable.read(self.path) if self.path.exists() else TextTable({}, where=self.path)
            self._note(self._new)
            self._take_up()
            self._file = self._held.enter_context(self.partial.open("a", encoding="utf-8"))
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            self.table.write(self.path)
            self.partial.unlink()

    def has(self, picture: str, text: str = "") -> bool:
        """Whether there is such a row."""
        return (picture, text) in self.table.rows

    def add(self, picture: str, text: str, texts: Sequence[str]) -> None:
        """Write a row; it is on disk when this returns."""
        self.table.rows[picture, text] = tuple(texts)
        self._file.write(json.dumps(row_of(picture, text, texts)) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _note(self, made: Sequence[Mapping[str, Any]]) -> None:
        known = {one.get("what"): one for one in self.table.made}
        for one in made:
            if known.get(one["what"], one) != one:
                raise UserError(
                    f"the {one['what']} of {self.path} were written otherwise ({_said(known[one['what']])}, "
                    f"now {_said(one)}); choose another file"
                )
            if one["what"] not in known:
                self.table.made.append(dict(one))

    def _take_up(self) -> None:
        """The rows that a process left that was killed; a line that it did not finish is left out."""
        if not self.partial.exists():
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self.partial.write_text(json.dumps({"made": self.table.made}) + "\n", encoding="utf-8")
            return
        whole, _, torn = self.partial.read_bytes().rpartition(b"\n")
        head, *lines = whole.splitlines() or [b'{"made": []}']
        self._note(parsed(head, self.partial)["made"])
        numbered = ((f"{self.partial}:{n}", line) for n, line in enumerate(lines, 2))
        self.table.rows |= collected((place, parsed(line, place)) for place, line in numbered)
        if torn:
            os.truncate(self.partial, len(whole) + 1)


def _said(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in made.items() if name != "what")
