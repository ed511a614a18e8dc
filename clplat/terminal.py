"""The display of running experiments: a live matrix R, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clplat.events import Listener


def plain_output() -> bool:
    """True when output should be plain lines: not a terminal, or NO_COLOR is set."""
    dumb = os.environ.get("TERM") in ("dumb", "unknown")
    return not sys.stdout.isatty() or dumb or bool(os.environ.get("NO_COLOR"))


class Terminal:
    """Shows several experiments, each through the listener that `listener` returns.

    Args:
        total: experiments to come, None where nobody knows; the matrix of a single one stays on the screen
            when it is done.
        console: where to draw; by default this process's terminal.
    """

    def __init__(self, total: int | None = 1, console: Console | None = None) -> None:
        self.total, self.done, self._ran, self._began = total, 0, 0, time.monotonic()
        self.plain = console is None and plain_output()
        self.boards: dict[str, Board] = {}
        self.last: Table | None = None
        self.console = console or Console(highlight=False)
        # Drawn by Live's own thread, four times a second, however many events there are.
        self._live = Live(console=self.console, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Terminal:
        if not self.plain:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.plain:
            self.boards.clear()
            self._live.stop()
            if self.last is not None:
                self.console.print(self.last)

    def say(self, text: str) -> None:
        """One line above the live part."""
        if self.plain:
            # Not by rich: it would wrap lines at 80 columns where there is no terminal.
            print(text, flush=True)
        else:
            self.console.print(text, markup=False)

    def listener(self, label: str) -> Listener:
        """A listener for one experiment, shown under this label."""
        return Board(self, label)

    def _draw(self) -> RenderableType:
        boards = list(self.boards.values())
        if not boards:
            return Text("starting" if self.total == 1 and not self.done else "", style="dim")
        height = self.console.height // len(boards)
        tables = [board.table(self.console.width, height) for board in boards]
        return Group(*tables, Text(self.count(), style="dim"))

    def over(self, ran: bool) -> None:
        """One more experiment is done; ``ran``: it took its time, rather than being at hand."""
        self.done += 1
        self._ran += ran

    def count(self) -> str:
        """``[5/18] 2:10 left``, by what those that ran have taken; empty for a single experiment."""
        if self.total is None:
            return f"[{self.done}]"
        if self.total <= 1:
            return ""
        rest = self.total - self.done
        if not self._ran or not rest:
            return f"[{self.done}/{self.total}]"
        seconds = round((time.monotonic() - self._began) / self._ran * rest)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        left = f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
        return f"[{self.done}/{self.total}] {left} left"


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
        self.status = "continuing" if self.rows else "measuring zero-shot"
        self.terminal.boards[self.label] = self
        if self.terminal.plain:
            known = f"; {len(self.rows)} rows known" if self.rows else ""
            self.note(f"{len(self.domains)} domains: {', '.join(self.domains)}{known}")

    def progress(self, experience: int, done: int, total: int) -> None:
        self.status = f"training on {self.domains[experience]}, step {done} of {total}"

    def cell(self, row: int, column: int, metrics: dict[str, float]) -> None:
        while len(self.rows) <= row:
            self.rows.append([None] * len(self.domains))
        self.rows[row][column] = metrics[self.primary]
        self.status = f"measuring on {self.domains[column]}"

    def row(self, result: dict[str, Any]) -> None:
        if self.terminal.plain:
            values = result["metrics"][self.primary][-1]
            cells = "  ".join(
                f"{name} {value:5.1f}" for name, value in zip(self.domains, values, strict=True)
            )
            after = len(result["metrics"][self.primary]) - 1
            title = f"after {after}" if after else "zero-shot"
            self.note(f"{title:9s} {self.primary}  {cells}  mean {sum(values) / len(values):5.1f}")

    def finished(self, result: dict[str, Any]) -> None:
        self.terminal.over(ran=self.terminal.boards.pop(self.label, None) is not None)
        spent = result["measured"]["train_seconds"] + result["measured"]["evaluation_seconds"]
        self.status = f"{result['status']} in {spent:.0f} s"
        if self.terminal.total == 1 and self.rows and not self.terminal.plain:
            self.terminal.last = self.table(self.terminal.console.width, 1 << 16)
        elif result["status"] == "complete":
            last = result["metrics"][result["protocol"]["primary"]][-1]
            what = f"mean {result['protocol']['primary']} {sum(last) / len(last):.1f} in {spent:.0f} s"
            self.note("  ".join(filter(None, (what, self.terminal.count()))))
        elif result["status"] == "pruned":
            what = f"pruned after {len(result['scores']) - 1} of {len(self.domains)} domains"
            self.note("  ".join(filter(None, (what, self.terminal.count()))))
        reuse = reuse_in_words(result["measured"].get("features", {}))
        if reuse and self.terminal.total == 1:
            self.note(reuse)

    def failed(self, why: str) -> None:
        if self.terminal.boards.pop(self.label, None) is not None:  # else it was counted when it finished
            self.terminal.over(ran=True)
        self.note(f"failed: {' '.join(why.split())}")

    def note(self, text: str) -> None:
        self.terminal.say(f"{self.label}: {text}")

    def table(self, width: int, height: int) -> Table:
        """R as far as it is known: a row per version, what was just trained bold, the future dim.

        A long stream is shown around its newest row, in the rows and columns that there is room for.
        """
        names = ["zero-shot", *self.domains]
        newest = max(len(self.rows) - 1, 0)
        first = min(max(map(len, names)), 20)
        widest = max(5, *(len(word) for name in self.domains for word in _stacked(name)))
        columns = _window(len(self.domains), newest, (width - first - 2) // (widest + 3))
        rows = _window(len(names), newest, height - 5 - max(len(_stacked(name)) for name in names))
        title = Text(f"{self.label}  {self.primary}  {self.status}", overflow="ellipsis", no_wrap=True)
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        table.add_column("after", no_wrap=True, min_width=first, max_width=first)
        for column in columns:
            table.add_column("\n".join(_stacked(self.domains[column])), justify="right", vertical="bottom")
        for index in rows:
            known = self.rows[index] if index < len(self.rows) else [None] * len(self.domains)
            cells = []
            for column in columns:
                value = known[column]
                style = "dim" if index <= column else "bold" if index == column + 1 else ""
                cells.append(Text("·" if value is None else f"{value:.1f}", style=style))
            table.add_row(names[index], *cells)
        return table


def _stacked(name: str) -> list[str]:
    """A domain's name in short lines: ``"coat-cluttered"`` -> ``["coat-", "cluttered"]``."""
    return re.findall(r".{1,11}?(?:[-_ ]|$)|.{1,11}", name) or [name]


def _window(count: int, newest: int, room: int) -> range:
    """At most ``room`` of ``count`` places, the newest among them with a few of its neighbours."""
    room = min(max(room, 3), count)
    start = min(max(newest - room + 2, 0), count - room)
    return range(start, start + room)


def reuse_in_words(report: Mapping[str, Any]) -> str:
    """A report as one line of text; empty where nothing was reused.

    Example:
        >>> image = {"asked": 688, "reused": 513, "seconds_saved": 25.7}
        >>> text = {"asked": 307, "reused": 219, "seconds_saved": 1.3}
        >>> reuse_in_words({"image": image, "text": text, "bytes_written": 812_091})
        'computed once: 513 of 688 pictures and 219 of 307 texts were at hand, 27 s saved, 0.8 MB kept'
    """
    towers = {"image": "pictures", "text": "texts"}
    parts = [
        f"{report[tower]['reused']:,} of {report[tower]['asked']:,} {words}"
        for tower, words in towers.items()
        if tower in report and report[tower]["reused"]
    ]
    saved = sum(report[tower]["seconds_saved"] for tower in towers if tower in report)
    if not parts:
        return ""
    size = report.get("bytes_written", 0) / 1e6
    return f"computed once: {' and '.join(parts)} were at hand, {saved:.0f} s saved, {size:.1f} MB kept"
