"""What pages say of every kind of part, from the table of kinds: a new kind gets its lines.

Rows and sections that are there stay as somebody wrote them.

python -m docs.generate.kinds
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from clplat import registry
from clplat.files import write_text
from clplat.kinds import KINDS, Kind
from docs.generate.docstrings import cell

__all__ = ["pages"]

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120


def pages() -> dict[Path, str]:
    """Path -> text, of each page that names the kinds."""
    made = {"README.md": _examples, "docs/cli.md": _slots}
    made |= {"docs/choosing.md": _advice, "docs/parts.md": _groups}
    return {ROOT / name: write((ROOT / name).read_text(encoding="utf-8")) for name, write in made.items()}


def _kinds() -> list[Kind]:
    return [kind for kind in KINDS.values() if kind.plural and registry.names(kind.plural)]


def _slots(text: str) -> str:
    """The line of the command line's page that lists all slots, and the kinds of ``clplat list``."""
    slots = f"Slots: {', '.join(f'`{slot}`' for slot in KINDS)}. "
    text = re.sub(r"^(clplat list strategies +# ).*$", rf"\g<1>{_others()}", text, flags=re.MULTILINE)
    paragraph = re.search(r"^Slots: .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert paragraph, "docs/cli.md has no paragraph on slots"
    rest = re.sub(r"^Slots: .*?\. (?=Groups)", slots, " ".join(paragraph.group().split()))
    return text.replace(paragraph.group(), f"{_filled(rest)}\n\n")


def _others() -> str:
    plurals = [kind.plural for kind in KINDS.values() if kind.plural not in ("", "strategies")]
    return f"also {', '.join(plurals)}"


def _groups(text: str) -> str:
    """The groups of entry points for single classes."""
    groups = ", ".join(f"`clplat.{kind.plural}`" for kind in KINDS.values() if kind.plural)
    paragraph = re.search(r"^Groups of single classes: .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert paragraph, "docs/parts.md has no paragraph on groups"
    rest = re.sub(r"^.*?\. (?=The examples)", "", " ".join(paragraph.group().split()))
    said = _filled(f"Groups of single classes: {groups}. {rest}")
    return text.replace(paragraph.group(), f"{said}\n\n")


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _examples(text: str) -> str:
    """A row of the table of what there is, for a kind that has none."""
    for kind in _kinds():
        if f"\n| {kind.plural} | " not in text:
            names = ", ".join(f"`{name}`" for name in registry.names(kind.plural)[:8])
            text = text.replace("\n| backbones | ", f"\n| {kind.plural} | {names} |\n| backbones | ", 1)
    return text


def _advice(text: str) -> str:
    """A section of what to choose, for a kind that has none."""
    for kind in _kinds():
        title = f"## {kind.plural.capitalize()}\n"
        if title not in text and kind.plural != "scenarios":
            said = {name: cell(registry.describe(kind.plural, name)) for name in registry.names(kind.plural)}
            lines = [f"| `{name}` | {what} |" for name, what in said.items()]
            table = "\n".join(["| name | what it is |", "|---|---|", *lines])
            text = text.replace("\n## Then\n", f"\n{title}\n{table}\n\n## Then\n", 1)
    return text


def main() -> None:
    """Write the pages that have changed."""
    for path, text in pages().items():
        if path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            print(path)


if __name__ == "__main__":
    main()
