"""What a person sees while experiments run: a live matrix R, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clplat.events import Listener

__all__ = ["Terminal", "plain_output"]


def plain_output() -> bool:
    """True when output should be plain lines: not a terminal, or NO_COLOR is set."""
    return not sys.stdout.isatty() or "NO_COLOR" in os.environ


class Terminal:
    """Shows several experiments, each through the listener that `listener` returns."""

    def __init__(self, total: int = 1) -> None:
        self.total, self.done = total, 0
        self.console = Console(highlight=False)
        self.plain = plain_output()
        self.boards: dict[str, Board] = {}
        self._live = None if self.plain else Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Terminal:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line above the live part."""
        (self._live.console if self._live is not None else self.console).print(text, markup=False)

    def listener(self, label: str) -> Listener:
        """A listener for one experiment, shown under this label."""
        return Board(self, label)

    def refresh(self) -> None:
        if self._live is not None:
            parts = [board.table() for board in self.boards.values()]
            count = Text(f"{self.done} of {self.total} experiments done", style="dim")
            self._live.update(Group(*parts, count))


class Board(Listener):
    """The matrix of one running experiment."""

    def __init__(self, terminal: Terminal, label: str) -> None:
        self.terminal, self.label = terminal, label
        self.domains: list[str] = []
        self.primary = ""
        self.rows: list[list[float | None]] = []
        self.status = "starting"

    def started(self, result: dict[str, Any]) -> None:
        self.domains, self.primary = result["domains"], result["protocol"]["primary"]
        self.rows = [list(row) for row in result["metrics"].get(self.primary, [])]
        self.status = "measuring zero-shot" if not self.rows else "continuing"
        self.terminal.boards[self.label] = self
        if self.terminal.plain:
            known = f", {len(self.rows)} rows known" if self.rows else ""
            self.terminal.say(f"{self.label}: {len(self.domains)} domains: {', '.join(self.domains)}{known}")
        self.terminal.refresh()

    def progress(self, experience: int, done: int, total: int) -> None:
        self.status = f"training on {self.domains[experience]}: step {done} of {total}"
        if not self.terminal.plain:
            self.terminal.refresh()

    def cell(self, row: int, column: int, metrics: dict[str, float]) -> None:
        while len(self.rows) <= row:
            self.rows.append([None] * len(self.domains))
        self.rows[row][column] = metrics[self.primary]
        self.status = "measuring"
        self.terminal.refresh()

    def row(self, result: dict[str, Any]) -> None:
        if self.terminal.plain:
            values = result["metrics"][self.primary][-1]
            cells = "  ".join(
                f"{name} {value:5.1f}" for name, value in zip(self.domains, values, strict=True)
            )
            after = len(result["metrics"][self.primary]) - 1
            title = f"after {after}" if after else "zero-shot"
            self.terminal.say(
                f"{self.label}: {title:9s} {self.primary}  {cells}  mean {sum(values) / len(values):5.1f}"
            )

    def finished(self, result: dict[str, Any]) -> None:
        self.terminal.boards.pop(self.label, None)
        self.terminal.done += 1
        spent = result["measured"]["train_seconds"] + result["measured"]["evaluation_seconds"]
        if result["status"] == "complete":
            last = result["metrics"][result["protocol"]["primary"]][-1]
            mean = sum(last) / len(last)
            self.terminal.say(
                f"{self.label}: mean {result['protocol']['primary']} {mean:.1f} in {spent:.0f} s"
            )
        self.terminal.refresh()

    def note(self, text: str) -> None:
        self.terminal.say(f"{self.label}: {text}")

    def table(self) -> Table:
        """The live matrix: rows are versions, the diagonal cells are bold."""
        table = Table(
            title=f"{self.label}   {self.primary}   {self.status}", title_justify="left", expand=False
        )
        table.add_column("after")
        for name in self.domains:
            table.add_column(name, justify="right")
        for index in range(len(self.domains) + 1):
            values = self.rows[index] if index < len(self.rows) else [None] * len(self.domains)
            cells = []
            for column, value in enumerate(values):
                style = "dim" if index <= column else "bold" if index == column + 1 else ""
                cells.append(Text("·" if value is None else f"{value:.1f}", style=style))
            table.add_row("zero-shot" if index == 0 else self.domains[index - 1], *cells)
        return table
