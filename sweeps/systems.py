"""Which published systems does clplat run, and how closely?

Every recipe in ``clplat/recipes`` says which system it is and where it deviates. This script turns that into
``docs/systems.md``; a test keeps the page and the recipes together, and another one runs every recipe.

    python -m sweeps.systems
    clplat run --config clplat/recipes/prompts/maple.yaml
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clplat.config.resolve import read_config
from clplat.errors import UserError
from clplat.files import write_text
from clplat.kinds import KINDS

__all__ = ["MATCHES", "NOT_YET", "PAGE", "RECIPES", "Recipe", "page", "read_recipes"]

RECIPES = Path(__file__).parents[1] / "clplat" / "recipes"
PAGE = Path(__file__).parents[1] / "docs" / "systems.md"
TEST = "tests/sweeps/test_recipes.py"

MATCHES = {
    "whole": "the mechanism of the paper as far as it applies to composed retrieval",
    "core": "its central formula; the note says which piece is missing or different",
    "relative": "the same idea in another form; numbers are not comparable with the paper",
}

#: Systems near to a recipe that the parts of today cannot express, and what they need.
NOT_YET = {
    "Mod-X (arXiv 2305.07437)": "`distill` without the rows in which the teacher is wrong; the loss "
    "`similarity_distillation` can leave them out, the strategy has no option for it",
    "ZSCL, whole (arXiv 2303.06628)": "a second stream of reference data, and weights averaged in training",
    "DER++ (arXiv 2004.07211)": "a memory that also stores what the model put out at the time of storing",
    "L2-SP, SI, MAS": "`ewc` with another importance than the Fisher matrix",
    "CLoVe": "hard negative texts; its last step, the interpolation of weights, is the recipe `wise_ft`",
    "CoDyRA (LoRA with learned ranks)": "a scalar for every rank, and a proximal step after the optimizer's",
    "CPE-CLIP": "a strategy that scales the gradients of prompts by the share of new data",
    "ProLIP": "the adapter `full` on the last projection alone",
    "CLIP4Cir, both stages in one run": "a schedule that freezes the towers and changes the composer",
}


@dataclass(frozen=True)
class Recipe:
    """One file of ``clplat/recipes``: which system it is, and the raw configuration that `clplat run` takes.

    Args:
        name: of the file, without ``.yaml``.
        system: what it is called in the field.
        paper: title; arxiv: its number, where it has one.
        match: a key of `MATCHES`.
        note: what matches and what deviates.
        config: the slots.
        id: in the list of systems that the project was planned with, where it stands there.
    """

    name: str
    system: str
    paper: str
    arxiv: str | None
    match: str
    note: str
    config: dict[str, Any]
    id: str | None = None

    @property
    def parts(self) -> str:
        """The parts that it names, in the order of the slots, without their options."""
        named = {slot: str(self.config[slot].get("name")) for slot in KINDS if self.config.get(slot)}
        return ", ".join(f"{slot} {name}" for slot, name in named.items())


def read_recipes(folder: Path = RECIPES) -> list[Recipe]:
    """All recipes, by name.

    Raises:
        UserError: a recipe that is no YAML or does not say what it is.
    """
    return [_read(path) for path in sorted(folder.rglob("*.yaml"), key=lambda path: path.stem)]


def _read(path: Path) -> Recipe:
    config = read_config(path)
    about = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("about")
    wanted = {"system", "paper", "arxiv", "match", "note"}
    if not isinstance(about, dict) or not wanted <= about.keys() <= wanted | {"id"}:
        raise UserError(f"{path}: 'about' needs the keys {', '.join(sorted(wanted))}, and may have 'id'")
    if about["match"] not in MATCHES:
        raise UserError(f"{path}: 'match' is '{about['match']}' (allowed: {', '.join(MATCHES)})")
    return Recipe(name=path.stem, config=config, **about)


def page(recipes: list[Recipe]) -> str:
    """The page in Markdown."""
    listed = {recipe.id for recipe in recipes if recipe.id}
    counts = ", ".join(f"{sum(r.match == match for r in recipes)} {match}" for match in MATCHES)
    lines = [
        "# Published systems",
        "",
        "<!-- Written by `python -m sweeps.systems` from clplat/recipes; do not edit. -->",
        "",
        "A recipe is a YAML file that names parts and their settings, and so is a published system:",
        "",
        "```sh",
        "clplat run --config clplat/recipes/prompts/maple.yaml",
        "clplat run --config clplat/recipes/prompts/maple.yaml --scenario.domains 3   # options go on top",
        "```",
        "",
        f"There are {len(recipes)} recipes: {counts}. {len(listed)} entries of the list of systems that the "
        "project was planned with have one. The sizes of training (epochs, batch, rate) are those of clplat, "
        "unless a recipe says otherwise.",
        "",
        "| match | means |",
        "|---|---|",
        *(f"| {match} | {meaning} |" for match, meaning in MATCHES.items()),
        "",
        "## Recipes",
        "",
        "| system | recipe | match | parts | paper |",
        "|---|---|---|---|---|",
        *(f"| {r.system} | `{r.name}` | {r.match} | {r.parts} | {_cited(r)} |" for r in recipes),
        "",
        f"Every recipe is resolved and run on a small stream by `{TEST}`.",
        "",
        "## What matches and what deviates",
        "",
        *(f"- **{recipe.system}** (`{recipe.name}`). {recipe.note}" for recipe in recipes),
        "",
        "## Not yet",
        "",
        "Near to a recipe, but the parts of today do not say it:",
        "",
        "| system | needs |",
        "|---|---|",
        *(f"| {system} | {need} |" for system, need in NOT_YET.items()),
    ]
    return "\n".join(lines) + "\n"


def _cited(recipe: Recipe) -> str:
    return recipe.paper if recipe.arxiv is None else f"{recipe.paper}, arXiv {recipe.arxiv}"


def main() -> None:
    """Write the page."""
    write_text(PAGE, page(read_recipes()))
    print(PAGE)


if __name__ == "__main__":
    main()
