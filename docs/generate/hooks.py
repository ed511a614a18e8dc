"""What mkdocs calls while it builds the site (`mkdocs.yml`): pages made from the code, links set right."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from clplat import registry
from clplat.config.recipes import families, recipes
from docs.generate.api import api_page
from docs.generate.parts import SHOWN, link_names, part_pages
from docs.generate.recipes import recipe_pages, table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: Files above docs/ that are pages of the site, and their names there.
ABOVE = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
#: Where systems.md takes the table of recipes.
RECIPES = "<!-- table of recipes -->"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation."""
    nav: list[dict[str, Any]] = config.nav  # type: ignore[assignment]
    sections = {title: items for entry in nav for title, items in entry.items()}
    for kind in SHOWN:
        pages = [f"{kind.plural}/{name}.md" for name in registry.names(kind.plural)]
        sections["Parts"].append({kind.plural.capitalize(): [f"{kind.plural}/index.md", *pages]})
    for family in families():
        title = family.replace("_", " ").capitalize()
        sections["Systems"].append({title: [f"recipes/{recipe.name}.md" for recipe in recipes(family)]})
    decisions = sorted((DOCS / "decisions").glob("2*.md"), reverse=True)
    sections["Project"].append(
        {"Decisions": ["decisions/README.md", *(f"decisions/{path.name}" for path in decisions)]}
    )
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made now, and those that lie above docs/."""
    made = {name: (ROOT / source).read_text(encoding="utf-8") for source, name in ABOVE.items()}
    made |= part_pages() | recipe_pages() | {"api.md": api_page()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the table of recipes into its page, and point links at the pages of the site."""
    name = page.file.src_uri
    if name == "systems.md":
        assert RECIPES in markdown, "systems.md has no place for its table"
        markdown = markdown.replace(RECIPES, table(recipes()))
    if name == "choosing.md":
        markdown = link_names(markdown)
    source = next((above for above, inside in ABOVE.items() if inside == name), f"docs/{name}")
    return re.sub(
        r"(?<!!)\[([^\]\n]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)|(!\[[^\]\n]*\]\()([^)\s:]+)\)",
        lambda found: _link(found, Path(source).parent, Path(name).parent),
        markdown,
    )


def _link(found: re.Match[str], inside: Path, page: Path) -> str:
    """A link as the site needs it; its text alone where the target is a file that is no page of it."""
    text, target, anchor, image, picture = found.groups()
    path = os.path.normpath(inside / (target or picture))
    if not (ROOT / path).exists():  # a generated page, which is written for the site; or no link at all
        return found.group(0)
    if path not in ABOVE and not path.startswith("docs/"):
        return str(text)
    uri = os.path.relpath(ABOVE.get(path, path.removeprefix("docs/")), page)
    return f"{image}{uri})" if image else f"[{text}]({uri}{anchor or ''})"
