"""A page per recipe, and the table of all, made from their files."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from clplat import registry
from clplat.config.recipes import MATCHES, Recipe, recipes
from clplat.kinds import KINDS
from clplat.tables.text import markdown
from docs.generate.docstrings import cell
from docs.generate.ledger import rows_of_recipe, rows_of_system

__all__ = ["recipe_page", "recipe_pages", "table"]


def recipe_pages() -> dict[str, str]:
    """Path below docs/ -> text, of the page of each recipe."""
    return {f"recipes/{recipe.name}.md": recipe_page(recipe) for recipe in recipes()}


def table(every: Sequence[Recipe]) -> str:
    """All recipes, a section per family, as it stands in systems.md."""
    counts = ", ".join(f"{sum(r.match == match for r in every)} {match}" for match in MATCHES)
    lines = [f"There are {len(every)} recipes: {counts}.", ""]
    for family in sorted({recipe.family for recipe in every}):
        head = ["system", "recipe", "match", "parts", "paper"]
        body = [
            [f"[{cell(r.system)}](recipes/{r.name}.md)", f"`{r.name}`", r.match, _named(r), cell(_cited(r))]
            for r in every
            if r.family == family
        ]
        lines += [f"### {_title(family)}", "", markdown(head, body, len(head)), ""]
    return "\n".join(lines)


def recipe_page(recipe: Recipe) -> str:
    """The page of one recipe."""
    lines = [
        f"# {recipe.system}",
        "",
        recipe.note,
        "",
        "| | |",
        "|---|---|",
        *(f"| {label} | {text} |" for label, text in _facts(recipe)),
        "",
        "## Run it",
        "",
        "```sh",
        f"clplat run --recipe {recipe.name}",
        f"clplat sweep --recipes {recipe.name}    # three seeds, beside both controls",
        "```",
        "",
        "## Parts",
        "",
        markdown(["slot", "part", "what it is"], [_part(*item) for item in recipe.parts.items()], 3),
        "",
    ]
    if recipe.deviates:
        lines += ["## What deviates from the paper", "", *(f"- {text}" for text in recipe.deviates), ""]
    if recipe.reported:
        said = {"metric": "", "value": "", "data": "", "setting": "", "table": ""} | dict(recipe.reported)
        body = [[cell(str(value)) for value in said.values()]]
        lines += ["## Reported by the paper", "", markdown([*said], body, len(said)), ""]
    lines += ["## Configuration", "", "```yaml", _written(recipe.config), "```", ""]
    if recipe.small:
        lines += ["Tests run it smaller:", "", "```yaml", _written(recipe.small), "```", ""]
    none = "No row of the ledger has this configuration yet."
    return "\n".join(
        [*lines, "## Measured", "", *(rows_of_recipe(recipe) + rows_of_system(recipe.name) or [none]), ""]
    )


def _facts(recipe: Recipe) -> list[tuple[str, str]]:
    family = f"[{_title(recipe.family).lower()}](../systems.md#{recipe.family.replace('_', '-')})"
    facts = [
        ("recipe", f"`{recipe.name}`, family {family}"),
        ("match", f"**{recipe.match}**: {MATCHES[recipe.match]}"),
        ("paper", cell(_cited(recipe, link=True))),
    ]
    if recipe.code:
        url, commit = recipe.code["url"], recipe.code["commit"]
        link = f"[{url.partition('//')[2]}]({url}/tree/{commit}) at `{commit[:7]}`"
        facts.append(("public code that was read", link))
    return facts


def _title(family: str) -> str:
    return family.replace("_", " ").capitalize()


def _cited(recipe: Recipe, link: bool = False) -> str:
    number = None if recipe.arxiv is None else f"arXiv {recipe.arxiv}"
    if number and link:
        number = f"[{number}](https://arxiv.org/abs/{recipe.arxiv})"
    return ", ".join(text for text in (recipe.paper, recipe.venue, number) if text)


def _named(recipe: Recipe) -> str:
    return ", ".join(f"{slot} {name}" for slot, name in recipe.parts.items())


def _part(slot: str, name: str) -> list[str]:
    kind = KINDS[slot]
    if "," in name:  # several parts in one slot
        found = [_part(slot, one) for one in name.split(",")]
        return [slot, ", ".join(part for _, part, _ in found), " ".join(said for _, _, said in found)]
    if name not in (registry.names(kind.plural) if kind.plural else ()):
        return [slot, f"`{name}`", ""]
    return [slot, f"[`{name}`](../{kind.plural}/{name}.md)", cell(registry.describe(kind.plural, name))]


def _written(config: object) -> str:
    plain = {key: dict(value) if isinstance(value, dict) else value for key, value in dict(config).items()}  # type: ignore[call-overload]
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=100).strip()
