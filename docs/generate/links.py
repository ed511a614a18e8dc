"""Do all links inside a built site lead somewhere? ``python -m docs.generate.links site``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken"]


@dataclass
class _Page(HTMLParser):
    """The addresses that a page asks for, and the places in it that can be asked for."""

    links: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            if value and name in ("id", "name"):
                self.places.add(value)


def broken(site: Path) -> list[str]:
    """One line for every link to a file or an anchor that is not there; links to other hosts are not asked.

    Args:
        site: folder of a built site.
    """
    pages = {}
    for path in sorted(site.resolve().rglob("*.html")):
        pages[path] = _Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # served at any address, so that its links begin at the root
            continue
        for link in dict.fromkeys(page.links):
            if not _leads_somewhere(path, link, pages):
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    return found


def _leads_somewhere(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return False
    anchor = unquote(parts.fragment)
    return not anchor or target not in pages or anchor in pages[target].places


def main() -> int:
    """Print what is broken; 1 if anything is."""
    found = broken(Path(sys.argv[1]))
    print(*(found or ["all links lead somewhere"]), sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
